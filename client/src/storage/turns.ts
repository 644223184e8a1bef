/** Lets one client of this process or page at a time have a key, in the order of the calls. */
export class Turns {
  /** For each key: resolves when all clients that have taken it so far have released it. */
  readonly #released = new Map<string, Promise<unknown>>();

  /** Resolves with a function that releases the key, or with `undefined` if it is not free within `timeoutMs`. */
  async take(key: string, timeoutMs: number): Promise<(() => void) | undefined> {
    const earlier = this.#released.get(key);
    let release!: () => void;
    const turn = new Promise<void>(resolve => {
      release = resolve;
    });
    const released = Promise.all([earlier, turn]);
    this.#released.set(key, released);
    void released.then(() => this.#released.get(key) === released && this.#released.delete(key));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<boolean>(resolve => {
      timer = setTimeout(resolve, timeoutMs, true);
    });
    const isLate = (await Promise.race([earlier, timeout])) === true;
    clearTimeout(timer);
    if (!isLate) return release;
    release();
    return undefined;
  }
}
