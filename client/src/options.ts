import type { DmwireError } from './errors.js';
import type { ClientFrame, ClientJoin, ClientLeave, Content, ServerAck, ServerFrame } from './frames.generated.js';
import type { State } from './state.js';
import type { Storage } from './storage/storage.js';
import type { WebSocketClass } from './transport.js';

/** Server, user and behaviour of a connection. */
export interface ConnectOptions {
  /**
   * URL of the server (`http:`, `https:`, `ws:` or `wss:`), with its base path if it has one, such as
   * `https://chat.example.org/demo`. In a browser it may be relative to the page.
   */
  readonly url: string | URL;
  /**
   * The user. May be omitted if the token names it. Then the storage is opened once the token is known, and frames sent
   * before that are not stored yet.
   */
  readonly user?: string;
  /** A token that stays valid for the lifetime of the client. */
  readonly token?: string;
  /** Returns a token; called for each connection. */
  readonly getToken?: () => string | Promise<string>;
  /** Name of this device. Default: a name kept in the storage, or, without a storage, the server's `default`. */
  readonly device?: string;
  /** Keeps cursor and outbox across restarts: `webStorage()`, `fileStorage(path)`, or your own. */
  readonly storage?: Storage;
  /**
   * Where to start if the storage holds no cursor: after this `seq`; 0 requests everything that the server keeps. Default:
   * after the last entry that this device acknowledged.
   */
  readonly since?: number;
  /**
   * Rooms that each connection joins, at most 16. A room that the server refuses is reported as `failed`. A room is no longer
   * joined in this way after a call of {@link Client.join} or {@link Client.leave} for it.
   */
  readonly rooms?: readonly string[];
  /**
   * How long the user stays a member of {@link ConnectOptions.rooms}: until they leave, or, with `session`, as long as they
   * have a connection that asked for it. Default: `lasting`.
   */
  readonly membership?: 'lasting' | 'session';
  /** What happens when a handler fails on an entry of the log. Default: `keep`. */
  readonly onHandlerError?: HandlerErrorPolicy;
  /** The WebSocket class to use. Default: the runtime's own, or that of the package `ws`. */
  readonly WebSocket?: WebSocketClass;
  /** Bounds of the delay before a reconnect, in milliseconds. Default: 500 for the first, 30 000 for any. */
  readonly backoff?: { readonly base?: number; readonly max?: number };
}

/** What happens when a handler fails on an entry of the log. The event `fault` reports the error in all cases. */
export type HandlerErrorPolicy =
  /** The entry stays unhandled: later entries are delivered, and the next run delivers it and all of them again. */
  | 'keep'
  /** The entry counts as handled. */
  | 'skip'
  /**
   * The failed handler is called again up to `retry` times, after delays that grow to 30 seconds. Later entries wait. If it
   * fails each time, the entry is kept, or skipped with `skip: true`.
   */
  | { readonly retry: number; readonly skip?: boolean };

/** Recipient of a frame: a user name, `{ user }` or `{ room }`. */
export type Target =
  | string
  | { readonly user: string; readonly room?: never }
  | { readonly room: string; readonly user?: never };

/** Options of a message. */
export interface SendOptions {
  /** Id of the message, a UUID. Default: a new one. */
  readonly id?: string;
  /** Id of the message of the same conversation that this one replies to. */
  readonly replyTo?: string;
  /** True: the message is not stored and reaches connected sessions only. It is sent once, or fails with `disconnected`. */
  readonly ephemeral?: boolean;
}

/** The reply to a frame that sends or changes a message. */
export type MessageAck = ServerAck & { readonly id: string };

/** The reply to a frame that joins or leaves a room. */
export type RoomAck = ServerAck & { readonly room: string };

/** Range and direction of a history query. */
export interface HistoryOptions {
  /** Iterate backwards from this message. Default: from the newest. */
  readonly before?: string;
  /** Iterate forwards from this message. */
  readonly after?: string;
  /** Messages per request, 1 to 200. */
  readonly pageSize?: number;
}

/** Events by name: every server frame, and the client's own events. */
export type Events<App = never> = { [Frame in ServerFrame<App> as Frame['type']]: Frame } & {
  /**
   * Another user was erased. Frames of this client for that user that wait to be sent are dropped (their promises fail with
   * `forbidden`), and the user is not watched any more; remove what your application holds. `is` tells whether a name is the former one
   * of that user, which the frame does not have.
   */
  erased: { is(user: string): boolean };
  /** The state of the connection has changed. */
  state: State;
  /**
   * A message, edit, deletion, reaction, or the joining or leaving of a room is stored. Emitted in log order. The `ack` of a change
   * that a newer one or a deletion has replaced has no `seq`; such a change may not be stored.
   */
  sent:
    | { readonly frame: Exclude<ClientFrame<App>, ClientJoin | ClientLeave>; readonly ack: MessageAck }
    | { readonly frame: ClientJoin | ClientLeave; readonly ack: RoomAck };
  /**
   * The server has rejected a frame of this client, which is not sent again. A refused room of
   * {@link ConnectOptions.rooms} is reported as a `join`; the next connection asks for it again.
   */
  failed: { readonly frame: ClientFrame<App>; readonly error: DmwireError };
  /**
   * The server has rejected a frame of this client for now, for example because of the limit of bytes per day. The client sends
   * it again after `retryInMs`, more than two seconds, or on the next connection.
   */
  delayed: { readonly frame: ClientFrame<App>; readonly retryInMs: number; readonly error: DmwireError };
  /**
   * A handler has failed on an event, after the retries of the option `onHandlerError`. Without a handler for this event the
   * error becomes an unhandled rejection.
   */
  fault: { readonly error: unknown; readonly type: string; readonly event: unknown };
  /** A frame was received or sent. */
  wire: { readonly direction: 'in' | 'out'; readonly text: string };
};

/** A frame for {@link Client.request}: one that the server answers with a reply of its own. */
export type RequestFrame<App = never> = Exclude<ClientFrame<App>, { type: 'received' | 'read' | 'typing' }>;

/** Content of a message, including the application's own types. */
export type ContentOf<App> = Content<App>;
