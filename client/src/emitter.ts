type Handler = (event: never) => unknown;

/** Handlers by the type of what they handle. */
export class Emitter {
  readonly #handlers = new Map<string, Set<Handler>>();

  /** Adds a handler; gives the function that removes it. */
  on(type: string, handler: Handler): () => void {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers);
    // Wrapped, so that a function given twice is two handlers.
    const own: Handler = event => handler(event);
    handlers.add(own);
    return () => void handlers.delete(own);
  }

  /** Whether anybody handles it. */
  has(type: string): boolean {
    return (this.#handlers.get(type)?.size ?? 0) > 0;
  }

  /** Tells all, waiting for nobody. A handler's error goes where unhandled rejections go. */
  emit(type: string, event: unknown): void {
    for (const handler of [...(this.#handlers.get(type) ?? [])]) void call(handler, event);
  }

  /** Tells all, and waits until all are done. Fails if one of them does, once the others are done too. */
  async deliver(type: string, event: unknown): Promise<void> {
    const results = await Promise.allSettled(
      [...(this.#handlers.get(type) ?? [])].map(handler => call(handler, event)),
    );
    const failed = results.find(result => result.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

async function call(handler: Handler, event: unknown): Promise<void> {
  await handler(event as never);
}
