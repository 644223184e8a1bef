/** Longest delay that `setTimeout` accepts, in milliseconds. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Exponential backoff with full jitter: a random delay between zero and a bound that doubles with each attempt. The jitter
 * spreads the reconnects of many clients that lost the same server.
 */
export class Backoff {
  #attempts = 0;

  /** @param base Bound of the first delay, in milliseconds. @param max Bound of all delays. */
  constructor(
    readonly base = 500,
    readonly max = 30_000,
  ) {}

  /** Returns the next delay in milliseconds: the random part plus `minimum`, the delay that the server asked for. */
  next(minimum = 0): number {
    const bound = Math.min(this.max, this.base * 2 ** this.#attempts);
    this.#attempts += 1;
    return Math.min(minimum + Math.random() * bound, MAX_TIMER_MS);
  }

  /** Restarts at the base delay after a successful attempt. */
  reset(): void {
    this.#attempts = 0;
  }
}
