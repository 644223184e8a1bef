type Handler = (event: never) => unknown;

/** Event handlers by event type. */
export class Emitter {
  readonly #handlers = new Map<string, Set<Handler>>();

  /** Adds a handler. Returns a function that removes it. */
  on(type: string, handler: Handler): () => void {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers);
    // Wrapped, so that the same function added twice counts as two handlers.
    const wrapped: Handler = event => handler(event);
    handlers.add(wrapped);
    return () => void handlers.delete(wrapped);
  }

  /** Whether the type has a handler. */
  has(type: string): boolean {
    return (this.#handlers.get(type)?.size ?? 0) > 0;
  }

  /** Calls all handlers without waiting for them. An error in a handler becomes an unhandled rejection. */
  emit(type: string, event: unknown): void {
    for (const handler of [...(this.#handlers.get(type) ?? [])]) void call(handler, event);
  }

  /** Calls all handlers by `run` and waits for all of them, then throws the first error. */
  async deliver(type: string, event: unknown, run: (call: () => Promise<void>) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(
      [...(this.#handlers.get(type) ?? [])].map(handler => run(() => call(handler, event))),
    );
    const failed = results.find(result => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

async function call(handler: Handler, event: unknown): Promise<void> {
  await handler(event as never);
}
