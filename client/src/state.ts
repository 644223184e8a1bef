import type { DmwireError } from './errors.js';
import type { ServerWelcome } from './frames.generated.js';

/** What the connection is doing. A client has one such value; it is replaced, never changed. */
export type State =
  /** A connection is being made: the first, or a new one. */
  | { readonly status: 'connecting' }
  /** The server has welcomed us. */
  | { readonly status: 'open'; readonly session: ServerWelcome }
  /** The line is down; the next attempt comes by itself. */
  | { readonly status: 'waiting'; readonly retryInMs: number; readonly reason: string }
  /** For good: `close()` was called, or, with `error`, it makes no sense to go on. */
  | { readonly status: 'closed'; readonly error?: DmwireError };
