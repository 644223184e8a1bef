/** Share of the allowed rate that is used: clocks differ slightly and the network delivers frames unevenly. */
const SHARE = 0.95;

/**
 * Token bucket for outgoing frames. It keeps the client below the server's limit (`welcome.limits.messages_per_second`): a
 * rejected frame followed by an accepted one would reorder messages, and too many rejected frames end a session.
 */
export class TokenBucket {
  #perSecond = 1;
  #tokens = 0;
  /** By `performance.now()`: unlike the wall clock, it is never set. */
  #refilledAt = 0;

  /** Starts a session. The server's own bucket is full then, and holds the frames of two seconds by default. */
  start(perSecond: number): void {
    this.#perSecond = Math.max(1, perSecond * SHARE);
    this.#tokens = this.#perSecond;
    this.#refilledAt = performance.now();
  }

  /** Empties the bucket after the server has answered `rate_limited`. */
  drain(): void {
    this.#tokens = 0;
    this.#refilledAt = performance.now();
  }

  /** Takes one token. Returns 0, or the milliseconds until a token is available. */
  take(): number {
    const now = performance.now();
    const elapsed = (now - this.#refilledAt) / 1000;
    this.#refilledAt = now;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + elapsed * this.#perSecond);
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000) + 1;
    this.#tokens -= 1;
    return 0;
  }
}
