import type { ErrorCode, ServerError } from './frames.generated.js';

/** Codes of errors that do not come from the server. */
export type LocalErrorCode =
  /** The client was closed, by the application or by the server (`cause` is its `goodbye`). */
  | 'closed'
  /** The server does not take the token, or wants one. That it is another user's is `forbidden`. */
  | 'unauthorized'
  /** The line broke before the answer, and asking again could have had its effect twice. */
  | 'disconnected'
  /** The frame is larger than the server takes. */
  | 'too_large'
  /** The storage could not be opened or written (`cause`). */
  | 'storage'
  /** This runtime has no WebSocket. */
  | 'no_websocket'
  /** The address, the user or the token cannot stand in a request, or what is to be sent is nothing that JSON can say. */
  | 'invalid_request'
  /** The storage holds the cursor and outbox of another user than the server says we are. */
  | 'wrong_user';

/** Why something failed: a `code` for programs, a `message` for people. */
export class DmwireError extends Error {
  override readonly name = 'DmwireError';
  /** Why, for programs. */
  readonly code: ErrorCode | LocalErrorCode;
  /** JSON Pointer of the offending place in the frame. */
  readonly path: string | undefined;
  /** Whether the same may succeed later. */
  readonly retryable: boolean;

  constructor(
    code: ErrorCode | LocalErrorCode,
    detail: string,
    more: { path?: string | undefined; retryable?: boolean; cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
    this.code = code;
    this.path = more.path;
    this.retryable = more.retryable ?? false;
  }

  /** The error that an `error` frame tells of. */
  static from(frame: ServerError): DmwireError {
    return new DmwireError(frame.code, frame.detail, { path: frame.path, retryable: frame.retryable, cause: frame });
  }
}
