/** The longest delay that timers take. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * How long to wait before the next attempt: anything between nothing and a bound that doubles with each attempt (full
 * jitter), so that many clients who lost the same server do not all come back at the same moment.
 */
export class Backoff {
  #attempts = 0;

  /** @param base Bound of the first wait, in milliseconds. @param max Bound of all waits. */
  constructor(
    readonly base = 500,
    readonly max = 30_000,
  ) {}

  /** Milliseconds to wait now, `least` (what the server asked for) at the minimum. */
  next(least = 0): number {
    const bound = Math.min(this.max, this.base * 2 ** this.#attempts);
    this.#attempts += 1;
    return Math.min(least + Math.random() * bound, LONGEST_TIMER);
  }

  /** Begins anew: the last attempt was a success. */
  reset(): void {
    this.#attempts = 0;
  }
}
