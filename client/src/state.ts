import type { DmwireError } from './errors.js';
import type { ServerWelcome } from './frames.generated.js';

/** State of the connection. A client replaces the value on each change and never modifies it. */
export type State =
  /** The first connection, or a new one, is being opened. */
  | { readonly status: 'connecting' }
  /** The server has sent `welcome`. */
  | { readonly status: 'open'; readonly session: ServerWelcome }
  /** The connection was lost; the client reconnects after `retryInMs`. */
  | { readonly status: 'waiting'; readonly retryInMs: number; readonly reason: string }
  /** Final: `close()` was called, or, with `error`, reconnecting cannot succeed. */
  | { readonly status: 'closed'; readonly error?: DmwireError };
