// Generated from schema/ by `npm run generate`. Do not edit.

/** A frame from a client. `type` names it; a frame without `type` is a `message`. */
export type ClientFrame<App = never> = ClientMessage<App> | ClientEdit<App> | ClientDelete | ClientReact | ClientReceived | ClientRead | ClientTyping | ClientHistory | ClientConversations | ClientJoin | ClientLeave | ClientMembers | ClientBlock | ClientUnblock | ClientWatch | ClientUnwatch | ClientStatus | ClientPing;

/** A frame from the server. `type` names it. Clients ignore fields and types that they do not know. */
export type ServerFrame<App = never> = ServerWelcome | ServerSynced | ServerTruncated | ServerMessage<App> | ServerAck | ServerEdited<App> | ServerDeleted | ServerReacted | ServerRoom | ServerErased | ServerSkipped | ServerReceipt | ServerTyping | ServerHistory<App> | ServerConversations<App> | ServerMembers | ServerPresence | ServerOk | ServerPong | ServerHeartbeat | ServerError | ServerGoodbye;

/** A user's id. */
export type UserId = string;

/** A room's id. */
export type RoomId = string;

/** The content of a message: text, or an object whose `type` names what it is. */
export type Content<App = never> = string | TypedContent<App>;

/** Content other than plain text. `type` names what it is. */
export type TypedContent<App = never> = Markdown | Image | File | Audio | Video | Location | Data | App;

/** An http or https URL. */
export type WebUrl = string;

/** A message id: a hyphenated UUID, accepted in either case and returned in lower case. */
export type MessageId = string;

/** An identifier chosen by the client. Every direct reply to the frame repeats it. */
export type Ref = string;

/** The status of a user, while the user has a session. */
export type ChosenStatus = "online" | "away" | "busy" | "invisible";

/** Sends a message. */
export type ClientMessage<App = never> = {
  type?: "message";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The content. */
  message: Content<App>;
  /**
   * The message's id, made by the client so that it can resend the message without duplicating it. Without one, the server makes
   * an id.
   */
  id?: MessageId;
  /** The message of the same conversation that this one replies to. */
  reply_to?: MessageId;
  /** True for a message that is not stored and reaches only live sessions. */
  ephemeral?: boolean;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Replaces the content of a message of the sender. */
export type ClientEdit<App = never> = {
  type: "edit";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** The new content. */
  message: Content<App>;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Removes the content of a message of the sender. */
export type ClientDelete = {
  type: "delete";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Adds or removes a reaction. */
export type ClientReact = {
  type: "react";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** The reaction. */
  emoji: string;
  /** True to remove the reaction. */
  remove?: boolean;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Confirms that this device has received its inbox up to an entry. */
export interface ClientReceived {
  type: "received";
  /** The newest entry received. It confirms all earlier entries too. */
  seq: number;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Reports that the user has read a conversation up to a message. */
export type ClientRead = {
  type: "read";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the newest message that was read. */
  id: MessageId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Reports that the user is typing, or has stopped. */
export type ClientTyping = {
  type: "typing";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** False when the user has stopped typing. */
  active?: boolean;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** Requests messages of a conversation. */
export type ClientHistory = {
  type: "history";
  /** The other user of the conversation. Exactly one of `target_user` and `target_room` is required. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** Return messages older than this one. */
  before?: MessageId;
  /** Return messages newer than this one. Not allowed together with `before`. */
  after?: MessageId;
  /** The largest number of items to return. */
  limit?: number;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never }) & ({ before?: never } | { after?: never });

/** Requests the user's conversations. */
export interface ClientConversations {
  type: "conversations";
  /** The largest number of items to return. */
  limit?: number;
  /** The `cursor` of the previous answer, to get the next page. */
  cursor?: string;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Makes the user a member of a room. */
export interface ClientJoin {
  type: "join";
  /** The name of the room. */
  room: RoomId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Ends the user's membership of a room. */
export interface ClientLeave {
  type: "leave";
  /** The name of the room. */
  room: RoomId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Requests the members of a room. */
export interface ClientMembers {
  type: "members";
  /** The name of the room. */
  room: RoomId;
  /** The largest number of members to return. */
  limit?: number;
  /** The `cursor` of the previous answer, to get the next page. */
  cursor?: string;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Blocks a user: direct messages in both directions are rejected. */
export interface ClientBlock {
  type: "block";
  /** The id of the user. */
  user: UserId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Removes a block. */
export interface ClientUnblock {
  type: "unblock";
  /** The id of the user. */
  user: UserId;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Requests the presence of users, and every change of it. */
export interface ClientWatch {
  type: "watch";
  /** The ids of the users. */
  users: UserId[];
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Ends the notifications about users. */
export interface ClientUnwatch {
  type: "unwatch";
  /** The ids of the users. */
  users: UserId[];
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Sets the user's status. */
export interface ClientStatus {
  type: "status";
  /** The status. */
  status: ChosenStatus;
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Requests a `pong`. */
export interface ClientPing {
  type: "ping";
  /** An identifier chosen by the client. Every direct reply to this frame repeats it. */
  ref?: Ref;
}

/** Formatted text, in Markdown. */
export interface Markdown {
  type: "markdown";
  /** The text, in Markdown. */
  text: string;
}

/** An image, by URL. */
export interface Image {
  type: "image";
  /** The address of the image. */
  url: WebUrl;
  /** A description of the image, for users who cannot see it. */
  alt?: string;
  /** Media type, such as `image/png`. */
  mime?: string;
  /** Width in pixels. */
  width?: number;
  /** Height in pixels. */
  height?: number;
  /** Size in bytes. */
  size?: number;
}

/** A file, by URL. */
export interface File {
  type: "file";
  /** The address of the file. */
  url: WebUrl;
  /** The file name to display and to save the file as. */
  name: string;
  /** Media type, such as `image/png`. */
  mime?: string;
  /** Size in bytes. */
  size?: number;
}

/** An audio recording, by URL. */
export interface Audio {
  type: "audio";
  /** The address of the recording. */
  url: WebUrl;
  /** Media type, such as `image/png`. */
  mime?: string;
  /** Duration in milliseconds. */
  duration_ms?: number;
  /** Size in bytes. */
  size?: number;
}

/** A video, by URL. */
export interface Video {
  type: "video";
  /** The address of the recording. */
  url: WebUrl;
  /** Media type, such as `image/png`. */
  mime?: string;
  /** Duration in milliseconds. */
  duration_ms?: number;
  /** Size in bytes. */
  size?: number;
}

/** A geographic location. */
export interface Location {
  type: "location";
  /** Degrees north of the equator. */
  latitude: number;
  /** Degrees east of Greenwich. */
  longitude: number;
  /** The name of the place. */
  label?: string;
}

/** Data of an application, in any shape. */
export interface Data {
  type: "data";
  /** The application's name for this kind of data. */
  name: string;
  /** Any JSON value. */
  data: unknown;
}

/** A hyphenated UUID. */
export type Id = string;

/** How the start of the replay was found. */
export type Resumed = "cursor" | "device" | "new";

/** A time by the server's clock: RFC 3339, UTC, milliseconds. It is informational: `seq` determines the order. */
export type Time = string;

/** Limits of this server that clients must respect. */
export interface Limits {
  /** The largest client frame, in bytes. */
  max_frame_bytes: number;
  /** The rate of client frames per session, in frames per second. */
  messages_per_second: number;
}

/** Why a membership has ended, if the user has not left. */
export type RoomReason = "room_deleted";

/** The presence of a user, as far as the user of this session sees it. */
export type PresenceStatus = "online" | "away" | "busy" | "offline";

/** The reason why entries are not available. */
export type TruncatedReason = "retention" | "reset";

/** The reason why a frame was rejected. The set is closed: a client can match on it exhaustively. */
export type ErrorCode = "invalid_json" | "invalid_frame" | "unknown_type" | "binary_unsupported" | "invalid_content" | "unknown_content_type" | "unknown_message" | "unknown_room" | "not_author" | "not_member" | "forbidden" | "blocked" | "id_conflict" | "room_full" | "rate_limited" | "overloaded" | "internal";

/** A member of a room. */
export interface Member {
  /** The user. */
  user: UserId;
  /** The time at which the user became a member. */
  joined_at: Time;
  /** The status of the user as the user of this session sees it; only in small rooms. */
  status?: PresenceStatus;
  /** The newest message that the user has read; only in small rooms. */
  read?: MessageId;
}

/** The outcome of a frame. */
export type AckStatus = "stored" | "relayed" | "dropped" | "sent";

/** A message in `history` and `conversations`. */
export type PastMessage<App = never> = {
  /** Always `message`. */
  type: "message";
  /** The content; absent if the message was deleted. */
  message?: Content<App>;
  /** The author of the message. */
  from_user: UserId;
  /** The user it was sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room it was sent to. */
  target_room?: RoomId;
  /** The id of the message, unique in its conversation. */
  id: MessageId;
  /** The time at which the server accepted it. */
  sent_at: Time;
  /** The message that this one replies to. */
  reply_to?: MessageId;
  /** The time at which its content was last replaced. */
  edited_at?: Time;
  /** The time at which the message was deleted. */
  deleted_at?: Time;
  /** The reactions to the message, one item per emoji. */
  reactions?: Reactions[];
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never }) & ({ message: Content<App> } | { deleted_at: Time });

/** The kind of a receipt. */
export type ReceiptKind = "received" | "read";

/** A conversation of the user. */
export type Conversation<App = never> = {
  /** The other user. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The number of members; only of a room. */
  members?: number;
  /** The newest message; absent for a room without messages. */
  last?: PastMessage<App>;
  /**
   * The number of messages by others after `my_read`, without deleted ones. In a room they are counted from the time at which
   * the user joined, up to 1,000.
   */
  unread: number;
  /** The newest message that the user has read. */
  my_read?: MessageId;
  /** The newest message that the other user has read. */
  their_read?: MessageId;
  /** The newest message that the other user has received. */
  their_received?: MessageId;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The users who reacted to a message with one emoji. */
export interface Reactions {
  /** The reaction. */
  emoji: string;
  /** The users with this reaction. */
  users: UserId[];
}

/** A change of a room's members. */
export type RoomEvent = "joined" | "left";

/** The first frame of every session. */
export interface ServerWelcome {
  type: "welcome";
  /** The name of the protocol: `dmwire.v1`. */
  protocol: string;
  /** The id of this session. */
  session_id: Id;
  /** The user of this session. */
  user_id: UserId;
  /** The device of this session, as the client named it. */
  device: UserId;
  /** How the start of the replay was found. */
  resumed: Resumed;
  /** The epoch of the user's inbox. A `seq` is valid only together with the epoch it was received in. */
  epoch: Id;
  /** The newest entry of the user's inbox; 0 if it is empty. */
  seq: number;
  /** The time by the server's clock. */
  server_time: Time;
  /** A hash of the schemas that this server uses. It changes whenever one of them does. */
  schema: string;
  /** The interval of `heartbeat` frames on an idle connection, in seconds. */
  heartbeat_seconds: number;
  /** Limits of this server that clients must respect. */
  limits: Limits;
}

/** The replay has reached the `seq` of `welcome`. */
export interface ServerSynced {
  type: "synced";
  /** The `seq` of `welcome`. */
  seq: number;
}

/** Entries that the client has not received are no longer available. The replay starts with the oldest available one. */
export interface ServerTruncated {
  type: "truncated";
  /** The reason. */
  reason: TruncatedReason;
  /** The first entry of the replay; one past the newest entry if there is none. */
  oldest_seq: number;
}

/** A message. */
export type ServerMessage<App = never> = {
  type: "message";
  /** The content, as it was sent. */
  message: Content<App>;
  /** The author of the message. */
  from_user: UserId;
  /** The user it was sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room it was sent to. */
  target_room?: RoomId;
  /** The id of the message, unique in its conversation. */
  id: MessageId;
  /** The sequence number of this entry in the inbox of the user of this session; absent if the message is ephemeral. */
  seq?: number;
  /** The time at which the server accepted it. */
  sent_at: Time;
  /** The message that this one replies to. */
  reply_to?: MessageId;
  /** The time at which its content was last replaced. */
  edited_at?: Time;
  /** True if the message is not stored. */
  ephemeral?: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The reply to a frame that sends or changes a message, and to `join` and `leave`. */
export type ServerAck = {
  type: "ack";
  /** The id of the message. Exactly one of `id` and `room` is present. */
  id?: MessageId;
  /** The room that the user has joined or left. */
  room?: RoomId;
  /**
   * The sequence number of this entry in the sender's own inbox; absent if the message is ephemeral, or if the frame added no
   * entry.
   */
  seq?: number;
  /** The outcome. */
  status: AckStatus;
  /** The time at which the server accepted it. */
  sent_at: Time;
  /** True if the frame repeats an earlier one: the other fields are those of the first ack. */
  duplicate?: boolean;
  /** The `ref` of the client frame. */
  ref?: Ref;
} & ({ id: MessageId; room?: never } | { room: RoomId; id?: never });

/** The content of a message was replaced. */
export type ServerEdited<App = never> = {
  type: "edited";
  /** The new content. */
  message: Content<App>;
  /** The author of the message, and of the change. */
  from_user: UserId;
  /** The user the change was sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
  /** The time at which its content was last replaced. */
  edited_at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The content of a message was removed. */
export type ServerDeleted = {
  type: "deleted";
  /** The author of the message, and of the change. */
  from_user: UserId;
  /** The user the change was sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
  /** The time at which the message was deleted. */
  deleted_at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** A reaction was added or removed. */
export type ServerReacted = {
  type: "reacted";
  /** The user who reacts. */
  from_user: UserId;
  /** The user the change was sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the message. */
  id: MessageId;
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
  /** The reaction. */
  emoji: string;
  /** True if the reaction was removed. */
  removed?: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** A user has joined or left a room. */
export interface ServerRoom {
  type: "room";
  /** The name of the room. */
  room: RoomId;
  /** What the user has done. */
  event: RoomEvent;
  /** The user who has joined or left. */
  user: UserId;
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
  /** The number of members after the event. */
  members: number;
  /** Why the membership has ended. Only with `left`, and not if the user has left or was removed. */
  reason?: RoomReason;
  /** The time of the event. */
  at: Time;
}

/** Another user, who shares a conversation with the user of this session, was erased. Clients remove what they hold of that user. */
export interface ServerErased {
  type: "erased";
  /** The name that the erased user has got. In conversations and messages that remain it replaces the former one. */
  as: UserId;
  /** The SHA-256 hash, in hexadecimal digits, of the epoch in `welcome`, a colon and the former name, which is not kept. */
  user_hash: string;
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
  /** The time of the erasure. */
  at: Time;
}

/**
 * An entry of the inbox that records a change which a later one has superseded: there is nothing to show for it. Only in a
 * replay.
 */
export interface ServerSkipped {
  type: "skipped";
  /** The sequence number of this entry in the inbox of the user of this session. */
  seq: number;
}

/** A user has received or read a conversation up to a message. */
export type ServerReceipt = {
  type: "receipt";
  /** What the user has done. */
  kind: ReceiptKind;
  /** The user who has received or read. */
  by_user: UserId;
  /**
   * The other user of the conversation, from the point of view of the user of this session. Exactly one of `target_user` and
   * `target_room` is present.
   */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The id of the newest message that the receipt covers. */
  id: MessageId;
  /** The time at which the server recorded it. */
  at: Time;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** A user is typing, or has stopped. */
export type ServerTyping = {
  type: "typing";
  /** The user who is typing. */
  from_user: UserId;
  /** The user this is sent to. Exactly one of `target_user` and `target_room` is present. */
  target_user?: UserId;
  /** The room this is sent to. */
  target_room?: RoomId;
  /** False when the user has stopped typing. */
  active: boolean;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The reply to `history`. */
export type ServerHistory<App = never> = {
  type: "history";
  /**
   * The other user of the conversation, from the point of view of the user of this session. Exactly one of `target_user` and
   * `target_room` is present.
   */
  target_user?: UserId;
  /** The room of the conversation. */
  target_room?: RoomId;
  /** The messages, oldest first, in commit order. */
  messages: PastMessage<App>[];
  /** Whether there are more messages in the requested direction. */
  more: boolean;
  /** The `ref` of the client frame. */
  ref?: Ref;
} & ({ target_user: UserId; target_room?: never } | { target_room: RoomId; target_user?: never });

/** The reply to `conversations`. */
export interface ServerConversations<App = never> {
  type: "conversations";
  /** The conversations, newest first. */
  items: Conversation<App>[];
  /** The position of the next page; absent on the last page. */
  cursor?: string;
  /** The `ref` of the client frame. */
  ref?: Ref;
}

/** The reply to `members`. */
export interface ServerMembers {
  type: "members";
  /** The name of the room. */
  room: RoomId;
  /** Members, ordered by the bytes of their ids. */
  users: Member[];
  /** The number of members of the room. */
  total: number;
  /** The position of the next page; absent on the last page. */
  cursor?: string;
  /** The `ref` of the client frame. */
  ref?: Ref;
}

/** The reply to `watch` for one user, and the notification of a change. */
export interface ServerPresence {
  type: "presence";
  /** The user. */
  user: UserId;
  /** The status. */
  status: PresenceStatus;
  /** When the user was last online; only while offline, if known. */
  last_seen?: Time;
  /** The `ref` of the client frame; absent in a notification. */
  ref?: Ref;
}

/** The reply to `block` and `unblock`. */
export interface ServerOk {
  type: "ok";
  /** The `ref` of the client frame. */
  ref?: Ref;
}

/** The reply to `ping`. */
export interface ServerPong {
  type: "pong";
  /** The time by the server's clock. */
  server_time: Time;
  /** The `ref` of the client frame. */
  ref?: Ref;
}

/** Sent at a regular interval on an idle connection, so that the client can detect a lost one. */
export interface ServerHeartbeat {
  type: "heartbeat";
  /** The time by the server's clock. */
  timestamp: Time;
}

/** A client frame was rejected. It had no effect, unless the code is `internal`. */
export interface ServerError {
  type: "error";
  /** The reason for programs. */
  code: ErrorCode;
  /** The reason for people: what was expected, what was found. */
  detail: string;
  /** A JSON Pointer to the invalid value in the frame. */
  path?: string;
  /** A reference to the schema definition that the frame violates. */
  schema?: string;
  /** Whether the same frame may succeed later. */
  retryable: boolean;
  /** How long the client should wait before it resends the frame, in milliseconds. */
  retry_after_ms?: number;
  /** The `ref` of the client frame. */
  ref?: Ref;
}

/** The last frame of a session: the server closes the connection after it. Nothing follows it. */
export interface ServerGoodbye {
  type: "goodbye";
  /** The WebSocket close code that follows. */
  code: number;
  /** The reason for programs: a word in `snake_case`. */
  reason: string;
  /** The reason for people. */
  detail: string;
  /** Whether the client should reconnect. */
  reconnect: boolean;
  /** How long the client should wait before it reconnects, in milliseconds. */
  retry_after_ms?: number;
}
