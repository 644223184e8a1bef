/** Clocks differ a little, and lines are not even: so much of what is allowed is used. */
const SHARE = 0.95;

/**
 * Keeps to the server's frames per second (`welcome.limits`), so that it has none to refuse: a refused frame followed
 * by one that passes would put messages out of order, and too many refused frames end a session.
 */
export class Pace {
  #perSecond = 1;
  #tokens = 0;
  #filled = 0;

  /** Begins a session: the server's own bucket is full then, and by default holds what two seconds allow. */
  start(perSecond: number): void {
    this.#perSecond = Math.max(1, perSecond * SHARE);
    this.#tokens = this.#perSecond;
    this.#filled = Date.now();
  }

  /** The server has refused a frame: its bucket is smaller than we took it for. */
  drain(): void {
    this.#tokens = 0;
    this.#filled = Date.now();
  }

  /** Takes a frame's worth: 0, or the milliseconds until there will be one. */
  take(): number {
    const now = Date.now();
    const passed = Math.max(0, now - this.#filled) / 1000;
    this.#filled = now;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + passed * this.#perSecond);
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000) + 1;
    this.#tokens -= 1;
    return 0;
  }
}
