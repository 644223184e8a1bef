import type { DmwireError } from './errors.js';
import type { ClientFrame, Content, ServerAck, ServerFrame } from './frames.generated.js';
import type { State } from './state.js';
import type { Storage } from './storage/storage.js';
import type { WebSocketClass } from './transport.js';

/** How to reach the server, and as whom. */
export interface ConnectOptions {
  /**
   * The server's address, `http:`, `https:`, `ws:` or `wss:`, with its base path if it has one, such as
   * `https://chat.example.org/demo`. In a page it may be relative to the page.
   */
  readonly url: string | URL;
  /**
   * The user. May be left out where the token names it: a storage is opened when there is a token then, and what is given
   * to be sent before that is not kept yet.
   */
  readonly user?: string;
  /** A token that is good for as long as the client lives. */
  readonly token?: string;
  /** Gives a token; asked anew for each connection. */
  readonly getToken?: () => string | Promise<string>;
  /** This device's name. Default: one that the storage remembers, or, without a storage, the server's `default`. */
  readonly device?: string;
  /** Keeps cursor and outbox beyond this run: `webStorage()`, `fileStorage(path)`, or one of your own. */
  readonly storage?: Storage;
  /**
   * Where to begin if nothing is stored: after this entry of the log; 0 is everything that the server keeps. Default:
   * after what this device has acknowledged.
   */
  readonly since?: number;
  /** The WebSocket class to use. Default: the runtime's own, or that of the package `ws`. */
  readonly WebSocket?: WebSocketClass;
  /** Bounds of the wait before a new connection, in milliseconds. Default: 500 for the first, 30 000 for any. */
  readonly backoff?: { readonly base?: number; readonly max?: number };
}

/** Whom a frame is for: a user, or what says so in full. */
export type Target =
  | string
  | { readonly user: string; readonly room?: never }
  | { readonly room: string; readonly user?: never };

/** More about a message that is sent. */
export interface SendOptions {
  /** Its id, a UUID. Default: a new one. */
  readonly id?: string;
  /** The message of the same conversation that it answers. */
  readonly replyTo?: string;
  /** True: it is not stored, and reaches live sessions only. It is sent once, or fails with `disconnected`. */
  readonly ephemeral?: boolean;
}

/** Which part of a conversation, and in which direction. */
export interface HistoryOptions {
  /** Back in time from this message. Default: from the newest. */
  readonly before?: string;
  /** Forward from this message. */
  readonly after?: string;
  /** Messages that are asked for at a time, 1 to 200. */
  readonly pageSize?: number;
}

/** What happens, by its name: every frame of the server, and what the client itself has to tell. */
export type Events<App = never> = { [Frame in ServerFrame<App> as Frame['type']]: Frame } & {
  /** The connection is doing something else now. */
  state: State;
  /** Something of ours is stored: a message, an edit, a deletion, a reaction. Comes in the order of the log. */
  sent: { readonly frame: ClientFrame<App>; readonly ack: ServerAck };
  /** Something of ours was refused for good, and will not be tried again. */
  failed: { readonly frame: ClientFrame<App>; readonly error: DmwireError };
  /**
   * A handler has failed on an entry of the log, which comes again in the next run. Where nobody handles this, the error
   * is an unhandled rejection.
   */
  fault: { readonly error: unknown; readonly type: string; readonly event: unknown };
  /** A frame has come or gone. */
  wire: { readonly direction: 'in' | 'out'; readonly text: string };
};

/** A frame for {@link Client.request}: one that has an answer of its own. */
export type RequestFrame<App = never> = Exclude<ClientFrame<App>, { type: 'received' | 'read' | 'typing' }>;

/** What a message carries, with an application's own types. */
export type ContentOf<App> = Content<App>;
