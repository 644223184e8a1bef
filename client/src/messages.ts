import type { ServerMessage } from './frames.generated.js';
import type { Inbox } from './inbox.js';
import type { State } from './state.js';

/** What {@link iterateMessages} needs of a client. */
export interface MessageSource {
  readonly state: State;
  readonly inbox: Inbox;
  /** Callbacks that wake waiting iterators when the client is closed. */
  readonly wakeups: Set<() => void>;
  /** Adds a handler for messages; returns a function that removes it. */
  onMessage(handler: (event: unknown) => unknown): () => void;
  /** Whether the iterator skips the message, which then counts as handled. */
  isSkipped(message: ServerMessage<unknown>): boolean;
}

/** Iterates over messages. A message counts as handled when the next one is requested. */
export async function* iterateMessages<App>(
  source: MessageSource,
): AsyncGenerator<ServerMessage<App>, void, undefined> {
  let next: { message: ServerMessage<App>; handled: () => void } | undefined;
  let wake = () => {};
  const wakeup = () => wake();
  source.wakeups.add(wakeup);
  source.inbox.finish();
  const off = source.onMessage(event => {
    const message = event as ServerMessage<App>;
    if (source.isSkipped(message as ServerMessage<unknown>)) return undefined;
    return new Promise<void>(handled => {
      next = { message, handled };
      wake();
    });
  });
  try {
    for (;;) {
      while (!next) {
        const { state } = source;
        if (state.status === 'closed') {
          if (state.error) throw state.error;
          return;
        }
        await new Promise<void>(resolve => {
          wake = resolve;
        });
      }
      const { message, handled } = next;
      next = undefined;
      let isFinished = false;
      try {
        yield message;
        isFinished = true;
      } finally {
        // The loop ended with `break`, `return` or an error while it handled this message.
        if (!isFinished && message.seq !== undefined) source.inbox.leaveUnfinished();
        handled();
      }
    }
  } finally {
    off();
    source.wakeups.delete(wakeup);
  }
}
