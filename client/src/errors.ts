import type { ErrorCode, ServerError } from './frames.generated.js';

/** Codes of errors that the client itself reports. */
export type LocalErrorCode =
  /** The client was closed, by the application or by the server (then `cause` is its `goodbye`). */
  | 'closed'
  /** The server requires a token or rejects the given one. A valid token of another user is `forbidden`. */
  | 'unauthorized'
  /** The connection was lost before the answer, and sending the frame again could take effect twice. */
  | 'disconnected'
  /** The frame is larger than the server accepts. */
  | 'too_large'
  /** The storage cannot be opened or written; see `cause`. */
  | 'storage'
  /** This runtime has no WebSocket class. */
  | 'no_websocket'
  /** The URL, user or token cannot be used in a request, or the frame cannot be written as JSON. */
  | 'invalid_request'
  /** The storage holds the cursor and outbox of a different user than the session's. */
  | 'wrong_user';

/** Error of a failed operation: a `code` for programs and a `message` for people. */
export class DmwireError extends Error {
  override readonly name = 'DmwireError';
  /** Error code for programs. */
  readonly code: ErrorCode | LocalErrorCode;
  /** JSON Pointer to the invalid value in the frame. */
  readonly path: string | undefined;
  /** Whether the same operation may succeed later. */
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

  /** Converts an `error` frame. */
  static from(frame: ServerError): DmwireError {
    return new DmwireError(frame.code, frame.detail, { path: frame.path, retryable: frame.retryable, cause: frame });
  }
}
