import { Backoff } from './backoff.js';
import type { HandlerErrorPolicy } from './options.js';

/** Calls handlers, and repeats a failed call as often as the option `onHandlerError` says. */
export class Retries {
  readonly #count: number;
  /** Whether an entry counts as handled after its last failed call. */
  readonly skips: boolean;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #stopped = false;

  constructor(policy: HandlerErrorPolicy = 'keep') {
    const { retry, skip = false } = typeof policy === 'string' ? { retry: 0, skip: policy === 'skip' } : policy;
    this.#count = retry;
    this.skips = skip;
  }

  /** Makes a call until it succeeds. Throws the error of the last one. */
  async run(call: () => Promise<void>): Promise<void> {
    const backoff = new Backoff();
    for (let left = this.#count; ; left -= 1) {
      try {
        return await call();
      } catch (error) {
        if (this.#stopped || !(left > 0)) throw error;
      }
      await new Promise<void>(resolve => {
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          resolve();
        }, backoff.next());
        this.#timers.add(timer);
      });
    }
  }

  /** Starts no more calls. A call that waits for its repetition stays pending, so its entry does not count as handled. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
