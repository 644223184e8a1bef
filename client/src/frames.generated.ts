// Generated from schema/ by `npm run generate`. Do not edit.

/** A frame from a client, told apart by `type`. A frame without `type` is a `message`. */
export type ClientFrame<App = never> = ClientMessage<App> | ClientEdit<App> | ClientDelete | ClientReact | ClientReceived | ClientRead | ClientTyping | ClientHistory | ClientConversations | ClientBlock | ClientUnblock | ClientPing;

/** A frame from the server, told apart by `type`. Clients ignore fields and types that they do not know. */
export type ServerFrame<App = never> = ServerWelcome | ServerSynced | ServerTruncated | ServerMessage<App> | ServerAck | ServerEdited<App> | ServerDeleted | ServerReacted | ServerReceipt | ServerTyping | ServerHistory<App> | ServerConversations<App> | ServerOk | ServerPong | ServerHeartbeat | ServerError | ServerGoodbye;

/** A user's id. */
export type UserId = string;

/** A room's id. */
export type RoomId = string;

/** What a message carries: text, or an object told apart by its `type`. */
export type Content<App = never> = string | TypedContent<App>;

/** Content that is more than text, told apart by `type`. */
export type TypedContent<App = never> = Markdown | Image | File | Audio | Video | Location | Data | App;

/** An http or https address. */
export type WebUrl = string;

/** A message's id: a hyphenated UUID in either case, sent back in lower case. */
export type MessageId = string;

/** The client's own mark on a frame: every direct reply to it carries it back. */
export type Ref = string;

/** Sends a message. */
export type ClientMessage<App = never> = {
  type?: "message";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** What it carries. */
  message: Content<App>;
  /** Made by the client, so that the message can be sent again without being doubled; else the server makes one. */
  id?: MessageId;
  /** A message of the same conversation that this one answers. */
  reply_to?: MessageId;
  /** True for a message that is not stored and reaches live sessions only. */
  ephemeral?: boolean;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Replaces the content of one's own message. */
export type ClientEdit<App = never> = {
  type: "edit";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** What it is to carry. */
  message: Content<App>;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Removes the content of one's own message. */
export type ClientDelete = {
  type: "delete";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Adds or removes a reaction. */
export type ClientReact = {
  type: "react";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** The reaction. */
  emoji: string;
  /** True to remove it. */
  remove?: boolean;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Says how far this device holds its inbox. */
export interface ClientReceived {
  type: "received";
  /** The newest entry held; all before it are held too. */
  seq: number;
  /** The client's own mark on this frame. */
  ref?: Ref;
}

/** Says how far the user has read a conversation. */
export type ClientRead = {
  type: "read";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The newest message that was read. */
  id: MessageId;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Says that the user is typing, or has stopped. */
export type ClientTyping = {
  type: "typing";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** False when the user has stopped typing. */
  active?: boolean;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Asks for messages of a conversation. */
export type ClientHistory = {
  type: "history";
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is given. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** Messages before this one. */
  before?: MessageId;
  /** Messages after this one; not together with `before`. */
  after?: MessageId;
  /** How many at the most. */
  limit?: number;
  /** The client's own mark on this frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never }) & ({ before?: never } | { after?: never });

/** Asks for the user's conversations. */
export interface ClientConversations {
  type: "conversations";
  /** How many at the most. */
  limit?: number;
  /** Where to go on: the `cursor` of the answer before. */
  cursor?: string;
  /** The client's own mark on this frame. */
  ref?: Ref;
}

/** Takes nothing direct from a user any more. */
export interface ClientBlock {
  type: "block";
  /** The user. */
  user: UserId;
  /** The client's own mark on this frame. */
  ref?: Ref;
}

/** Takes messages from a user again. */
export interface ClientUnblock {
  type: "unblock";
  /** The user. */
  user: UserId;
  /** The client's own mark on this frame. */
  ref?: Ref;
}

/** Asks for a `pong`. */
export interface ClientPing {
  type: "ping";
  /** The client's own mark on this frame. */
  ref?: Ref;
}

/** Formatted text. */
export interface Markdown {
  type: "markdown";
  /** Text in Markdown. */
  text: string;
}

/** A picture, by address. */
export interface Image {
  type: "image";
  /** Where the picture is. */
  url: WebUrl;
  /** What the picture shows, for those who do not see it. */
  alt?: string;
  /** Media type. */
  mime?: string;
  /** Width in pixels. */
  width?: number;
  /** Height in pixels. */
  height?: number;
  /** Size in bytes. */
  size?: number;
}

/** A file, by address. */
export interface File {
  type: "file";
  /** Where the file is. */
  url: WebUrl;
  /** Name to show and to save under. */
  name: string;
  /** Media type. */
  mime?: string;
  /** Size in bytes. */
  size?: number;
}

/** A sound, by address. */
export interface Audio {
  type: "audio";
  /** Where the recording is. */
  url: WebUrl;
  /** Media type. */
  mime?: string;
  /** Length in milliseconds. */
  duration_ms?: number;
  /** Size in bytes. */
  size?: number;
}

/** A film, by address. */
export interface Video {
  type: "video";
  /** Where the recording is. */
  url: WebUrl;
  /** Media type. */
  mime?: string;
  /** Length in milliseconds. */
  duration_ms?: number;
  /** Size in bytes. */
  size?: number;
}

/** A place on earth. */
export interface Location {
  type: "location";
  /** Degrees north of the equator. */
  latitude: number;
  /** Degrees east of Greenwich. */
  longitude: number;
  /** Name of the place. */
  label?: string;
}

/** An application's own data, untyped. */
export interface Data {
  type: "data";
  /** What the data is, in the application's words. */
  name: string;
  /** Any JSON. */
  data: unknown;
}

/** A hyphenated UUID. */
export type Id = string;

/** A time by the server's clock: RFC 3339, UTC, milliseconds. It informs; `seq` orders. */
export type Time = string;

/** Bounds that a client should keep to. */
export interface Limits {
  /** Largest frame that the server takes, in bytes. */
  max_frame_bytes: number;
  /** Client frames per second that the server takes from a session. */
  messages_per_second: number;
}

/** A message as `history` and `conversations` show it. */
export type PastMessage<App = never> = {
  /** Always `message`. */
  type: "message";
  /** What it carries; absent if it was deleted. */
  message?: Content<App>;
  /** Its author. */
  from_user: UserId;
  /** The user it was sent to. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room it was sent to. */
  target_room?: RoomId;
  /** With the conversation, the message's address. */
  id: MessageId;
  /** When the server took it. */
  sent_at: Time;
  /** The message that this one answers. */
  reply_to?: MessageId;
  /** When its content was last replaced. */
  edited_at?: Time;
  /** When it was deleted. */
  deleted_at?: Time;
  /** What others, and its author, make of it. */
  reactions?: Reactions[];
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never }) & ({ message: Content<App> } | { deleted_at: Time });

/** All who reacted to a message in one way. */
export interface Reactions {
  /** The reaction. */
  emoji: string;
  /** Whose it is. */
  users: UserId[];
}

/** Why entries are not there. */
export type TruncatedReason = "retention" | "reset";

/** Why a frame was refused. A closed set: a client can match on it exhaustively. */
export type ErrorCode = "invalid_json" | "invalid_frame" | "unknown_type" | "binary_unsupported" | "invalid_content" | "unknown_content_type" | "unknown_message" | "unknown_room" | "not_author" | "not_member" | "forbidden" | "blocked" | "id_conflict" | "room_full" | "rate_limited" | "overloaded" | "internal";

/** A conversation. */
export type Conversation<App = never> = {
  /** The other user. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** Its newest message. */
  last: PastMessage<App>;
  /** The others' messages after the user's read mark, deleted ones not counted. */
  unread: number;
  /** The user has read up to this message. */
  my_read?: MessageId;
  /** The other user has read up to this message. */
  their_read?: MessageId;
  /** The other user has received up to this message. */
  their_received?: MessageId;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** What became of a frame. */
export type AckStatus = "stored" | "relayed" | "dropped";

/** How far somebody is. */
export type ReceiptKind = "received" | "read";

/** The first frame of every session. */
export interface ServerWelcome {
  type: "welcome";
  /** Name of the protocol: `dmwire.v1`. */
  protocol: string;
  /** This session. */
  session_id: Id;
  /** The user whose session this is. */
  user_id: UserId;
  /** The user's device, as the client named it. */
  device: UserId;
  /** The store's epoch: with another one, sequence numbers mean something else. */
  epoch: Id;
  /** The newest entry of the user's inbox; 0 while there is none. */
  seq: number;
  /** The server's clock. */
  server_time: Time;
  /** Hash of the schema in force; it changes when the schema does. */
  schema: string;
  /** On a quiet line a `heartbeat` comes this often, in seconds. */
  heartbeat_seconds: number;
  /** Bounds that a client should keep to. */
  limits: Limits;
}

/** The replay has reached the head that `welcome` named. */
export interface ServerSynced {
  type: "synced";
  /** The head that `welcome` named. */
  seq: number;
}

/** Entries that the client asked for, or is owed, are not there. What there is follows. */
export interface ServerTruncated {
  type: "truncated";
  /** Why. */
  reason: TruncatedReason;
  /** Where the replay starts; one past the newest entry if there is nothing. */
  oldest_seq: number;
}

/** A message. */
export type ServerMessage<App = never> = {
  type: "message";
  /** What it carries, as it was sent. */
  message: Content<App>;
  /** Its author. */
  from_user: UserId;
  /** The user it was sent to. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room it was sent to. */
  target_room?: RoomId;
  /** With the conversation, the message's address. */
  id: MessageId;
  /** Its place in the inbox of the user who is told; absent if ephemeral. */
  seq?: number;
  /** When the server took it. */
  sent_at: Time;
  /** The message that this one answers. */
  reply_to?: MessageId;
  /** When its content was last replaced. */
  edited_at?: Time;
  /** True if it is not stored. */
  ephemeral?: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The answer to a frame that changes something. */
export interface ServerAck {
  type: "ack";
  /** The message's id. */
  id: MessageId;
  /** The place of this entry in the sender's own inbox; absent if ephemeral, or if there never was an entry. */
  seq?: number;
  /** What became of it. */
  status: AckStatus;
  /** When the server took it. */
  sent_at: Time;
  /** True if it had been stored before: this is the first answer again. */
  duplicate?: boolean;
  /** The `ref` of the frame that is answered. */
  ref?: Ref;
}

/** A message has other content now. */
export type ServerEdited<App = never> = {
  type: "edited";
  /** What it carries now. */
  message: Content<App>;
  /** Its author, who made the change. */
  from_user: UserId;
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** The place of this entry in the inbox of the user who is told. */
  seq: number;
  /** When its content was last replaced. */
  edited_at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** A message has lost its content. */
export type ServerDeleted = {
  type: "deleted";
  /** Its author, who made the change. */
  from_user: UserId;
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** The place of this entry in the inbox of the user who is told. */
  seq: number;
  /** When it was deleted. */
  deleted_at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** A reaction was added or removed. */
export type ServerReacted = {
  type: "reacted";
  /** Who reacts. */
  from_user: UserId;
  /** The user of the conversation. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** The message. */
  id: MessageId;
  /** The place of this entry in the inbox of the user who is told. */
  seq: number;
  /** The reaction. */
  emoji: string;
  /** True if it was removed. */
  removed?: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Somebody has received or read a conversation up to a message. */
export type ServerReceipt = {
  type: "receipt";
  /** What has happened. */
  kind: ReceiptKind;
  /** Who has received or read. */
  by_user: UserId;
  /**
   * The conversation as the one who is told sees it: the other user. Exactly one of `target_user` and `target_room` is
   * there.
   */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** Up to this message. */
  id: MessageId;
  /** When the server was told. */
  at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Somebody is typing, or has stopped. */
export type ServerTyping = {
  type: "typing";
  /** Who is typing. */
  from_user: UserId;
  /** The user who is told. Exactly one of `target_user` and `target_room` is there. */
  target_user?: UserId;
  /** The room that is told. */
  target_room?: RoomId;
  /** False when the user has stopped typing. */
  active: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The answer to `history`. */
export type ServerHistory<App = never> = {
  type: "history";
  /**
   * The conversation as the one who asks sees it: the other user. Exactly one of `target_user` and `target_room` is
   * there.
   */
  target_user?: UserId;
  /** The room. */
  target_room?: RoomId;
  /** Oldest first, in the order of their commit. */
  messages: PastMessage<App>[];
  /** Whether there are more in the direction that was asked for. */
  more: boolean;
  /** The `ref` of the frame that is answered. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The answer to `conversations`. */
export interface ServerConversations<App = never> {
  type: "conversations";
  /** Newest first. */
  items: Conversation<App>[];
  /** Where to go on; absent on the last page. */
  cursor?: string;
  /** The `ref` of the frame that is answered. */
  ref?: Ref;
}

/** What was asked is done. */
export interface ServerOk {
  type: "ok";
  /** The `ref` of the frame that is answered. */
  ref?: Ref;
}

/** The answer to a `ping`. */
export interface ServerPong {
  type: "pong";
  /** The server's clock. */
  server_time: Time;
  /** The `ref` of the frame that is answered. */
  ref?: Ref;
}

/** A sign of life on a quiet line. */
export interface ServerHeartbeat {
  type: "heartbeat";
  /** The server's clock. */
  timestamp: Time;
}

/** A frame was refused. It had no effect, unless the code is `internal`. */
export interface ServerError {
  type: "error";
  /** Why, for programs. */
  code: ErrorCode;
  /** Why, for people: what was expected, what was found. */
  detail: string;
  /** JSON Pointer of the offending place in the frame. */
  path?: string;
  /** Reference to the definition in the schema that was broken. */
  schema?: string;
  /** Whether the same frame may succeed later. */
  retryable: boolean;
  /** When to try again, in milliseconds from now. */
  retry_after_ms?: number;
  /** The `ref` of the frame that was refused. */
  ref?: Ref;
}

/** The server closes the connection after this. Nothing follows it. */
export interface ServerGoodbye {
  type: "goodbye";
  /** The WebSocket close code that follows. */
  code: number;
  /** Why, for programs: a word in `snake_case`. */
  reason: string;
  /** Why, for people. */
  detail: string;
  /** Whether it makes sense to connect again. */
  reconnect: boolean;
  /** When to connect again, in milliseconds from now. */
  retry_after_ms?: number;
}
