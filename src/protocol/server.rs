//! What the server sends (PROTOCOL section 6). How it is written is in `write`.

mod encode;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::content::{Amount, Content};
use super::error::ErrorCode;
use super::ids::{Id, MessageId, Ref, RoomId, UserId};
use super::timestamp::Timestamp;

/// A frame from the server, told apart by `type`. Clients ignore fields and types that they do not know.
#[derive(Clone, Debug, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The first frame of every session.
    Welcome(Welcome<'a>),
    /// The replay has reached the head that `welcome` named.
    Synced(Synced),
    /// Entries that the client asked for, or is owed, are not there.
    Truncated(Truncated),
    /// A message.
    Message(ServerMessage<'a>),
    /// The answer to a frame that changes something.
    Ack(Ack<'a>),
    /// A message has other content now.
    Edited(Edited<'a>),
    /// A message has lost its content.
    Deleted(Deleted<'a>),
    /// A reaction was added or removed.
    Reacted(Reacted<'a>),
    /// Somebody has received or read a conversation up to a message.
    Receipt(Receipt<'a>),
    /// Somebody is typing, or has stopped.
    Typing(ServerTyping<'a>),
    /// The answer to `history`.
    History(History<'a>),
    /// The answer to `conversations`.
    Conversations(Conversations<'a>),
    /// What was asked is done.
    Ok(Done<'a>),
    /// The answer to a `ping`.
    Pong(Pong<'a>),
    /// A sign of life on a quiet line.
    Heartbeat(Heartbeat),
    /// A frame was refused.
    Error(ErrorFrame<'a>),
    /// The server closes the connection after this.
    Goodbye(Goodbye<'a>),
}

/// The first frame of every session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "welcome", "protocol": "dmwire.v1", "session_id": "5f0c1f5e-52a3-4d1b-8f3c-9a5d7e6b4c21",
    "user_id": "8888", "device": "default", "epoch": "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e", "seq": 41,
    "server_time": "2026-11-20T11:03:00.123Z", "schema": "9f86d081884c7d65", "heartbeat_seconds": 30,
    "limits": {"max_frame_bytes": 65536, "messages_per_second": 50}
}))]
pub struct Welcome<'a> {
    /// Name of the protocol: `dmwire.v1`.
    pub protocol: &'a str,
    /// This session.
    pub session_id: Id,
    /// The user whose session this is.
    #[schemars(with = "UserId<'a>")]
    pub user_id: &'a str,
    /// The user's device, as the client named it.
    #[schemars(with = "UserId<'a>")]
    pub device: &'a str,
    /// The store's epoch: with another one, sequence numbers mean something else.
    pub epoch: Id,
    /// The newest entry of the user's inbox; 0 while there is none.
    pub seq: Amount,
    /// The server's clock.
    pub server_time: Timestamp,
    /// Hash of the schema in force; it changes when the schema does.
    pub schema: &'a str,
    /// On a quiet line a `heartbeat` comes this often, in seconds.
    pub heartbeat_seconds: Amount,
    /// Bounds that a client should keep to.
    pub limits: Limits,
}

/// Bounds that a client should keep to.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// Largest frame that the server takes, in bytes.
    pub max_frame_bytes: Amount,
    /// Client frames per second that the server takes from a session.
    pub messages_per_second: Amount,
}

/// The replay has reached the head that `welcome` named.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "synced", "seq": 41}))]
pub struct Synced {
    /// The head that `welcome` named.
    pub seq: Amount,
}

/// Why entries are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncatedReason {
    /// They are older than what is kept.
    Retention,
    /// The client's `since` is of another epoch, or ahead of the log.
    Reset,
}

/// Entries that the client asked for, or is owed, are not there. What there is follows.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "truncated", "reason": "retention", "oldest_seq": 107}))]
pub struct Truncated {
    /// Why.
    pub reason: TruncatedReason,
    /// Where the replay starts; one past the newest entry if there is nothing.
    pub oldest_seq: Amount,
}

/// A message.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "message", "message": "hello", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 42, "sent_at": "2026-11-20T11:03:00.123Z"
    })
)]
pub struct ServerMessage<'a> {
    /// What it carries, as it was sent.
    pub message: RawContent<'a>,
    /// Its author.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user it was sent to. Exactly one of `target_user` and `target_room` is there.
    #[schemars(with = "Option<UserId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_user: Option<&'a str>,
    /// The room it was sent to.
    #[schemars(with = "Option<RoomId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_room: Option<&'a str>,
    /// With the conversation, the message's address.
    pub id: MessageId,
    /// Its place in the inbox of the user who is told; absent if ephemeral.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Amount>,
    /// When the server took it.
    pub sent_at: Timestamp,
    /// The message that this one answers.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// When its content was last replaced.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// True if it is not stored.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
}

/// A message has other content now.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "edited", "message": "hello!", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 43, "edited_at": "2026-11-20T11:04:00.123Z"
    })
)]
pub struct Edited<'a> {
    /// What it carries now.
    pub message: RawContent<'a>,
    /// Its author, who made the change.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user of the conversation. Exactly one of `target_user` and `target_room` is there.
    #[schemars(with = "Option<UserId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[schemars(with = "Option<RoomId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_room: Option<&'a str>,
    /// The message.
    pub id: MessageId,
    /// The place of this entry in the inbox of the user who is told.
    pub seq: Amount,
    /// When its content was last replaced.
    pub edited_at: Timestamp,
}

/// A message has lost its content.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "deleted", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 44, "deleted_at": "2026-11-20T11:05:00.123Z"
    })
)]
pub struct Deleted<'a> {
    /// Its author, who made the change.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user of the conversation. Exactly one of `target_user` and `target_room` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The message.
    pub id: MessageId,
    /// The place of this entry in the inbox of the user who is told.
    pub seq: Amount,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// A reaction was added or removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "reacted", "from_user": "6666", "target_user": "8888",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 45, "emoji": "👍"
    })
)]
pub struct Reacted<'a> {
    /// Who reacts.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user of the conversation. Exactly one of `target_user` and `target_room` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The message.
    pub id: MessageId,
    /// The place of this entry in the inbox of the user who is told.
    pub seq: Amount,
    /// The reaction.
    #[schemars(with = "super::client::Emoji<'a>")]
    pub emoji: &'a str,
    /// True if it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<bool>,
}

/// How far somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// One of the user's devices holds it.
    Received,
    /// The user has read it.
    Read,
}

/// Somebody has received or read a conversation up to a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "receipt", "kind": "read", "by_user": "6666", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "at": "2026-11-20T11:06:00.123Z"
    })
)]
pub struct Receipt<'a> {
    /// What has happened.
    pub kind: ReceiptKind,
    /// Who has received or read.
    #[schemars(with = "UserId<'a>")]
    pub by_user: &'a str,
    /// The conversation as the one who is told sees it: the other user. Exactly one of `target_user` and `target_room` is
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// Up to this message.
    pub id: MessageId,
    /// When the server was told.
    pub at: Timestamp,
}

/// A message as `history` and `conversations` show it.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    extend("anyOf" = [{"required": ["message"]}, {"required": ["deleted_at"]}])
)]
pub struct PastMessage<'a> {
    /// Always `message`.
    #[schemars(extend("const" = "message"))]
    pub r#type: &'a str,
    /// What it carries; absent if it was deleted.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub message: Option<RawContent<'a>>,
    /// Its author.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user it was sent to. Exactly one of `target_user` and `target_room` is there.
    #[schemars(with = "Option<UserId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_user: Option<&'a str>,
    /// The room it was sent to.
    #[schemars(with = "Option<RoomId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_room: Option<&'a str>,
    /// With the conversation, the message's address.
    pub id: MessageId,
    /// When the server took it.
    pub sent_at: Timestamp,
    /// The message that this one answers.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// When its content was last replaced.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// What others, and its author, make of it.
    #[schemars(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reactions<'a>>,
}

/// All who reacted to a message in one way.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reactions<'a> {
    /// The reaction.
    #[schemars(with = "super::client::Emoji<'a>")]
    pub emoji: &'a str,
    /// Whose it is.
    #[schemars(with = "Vec<UserId<'a>>")]
    pub users: Vec<&'a str>,
}

/// The answer to `history`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "history", "target_user": "6666", "more": false, "ref": "h1",
        "messages": [{
            "type": "message", "message": "hello", "from_user": "8888", "target_user": "6666",
            "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "sent_at": "2026-11-20T11:03:00.123Z",
            "reactions": [{"emoji": "👍", "users": ["6666"]}]
        }]
    })
)]
pub struct History<'a> {
    /// The conversation as the one who asks sees it: the other user. Exactly one of `target_user` and `target_room` is
    /// there.
    #[schemars(with = "Option<UserId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[schemars(with = "Option<RoomId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_room: Option<&'a str>,
    /// Oldest first, in the order of their commit.
    pub messages: Vec<PastMessage<'a>>,
    /// Whether there are more in the direction that was asked for.
    pub more: bool,
    /// The `ref` of the frame that is answered.
    #[schemars(with = "Option<Ref<'a>>", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "ref")]
    pub reference: Option<&'a str>,
}

/// A conversation.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]))]
pub struct Conversation<'a> {
    /// The other user. Exactly one of `target_user` and `target_room` is there.
    #[schemars(with = "Option<UserId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_user: Option<&'a str>,
    /// The room.
    #[schemars(with = "Option<RoomId<'a>>", skip_serializing_if = "Option::is_none")]
    pub target_room: Option<&'a str>,
    /// Its newest message.
    pub last: PastMessage<'a>,
    /// The others' messages after the user's read mark, deleted ones not counted.
    pub unread: Amount,
    /// The user has read up to this message.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub my_read: Option<MessageId>,
    /// The other user has read up to this message.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub their_read: Option<MessageId>,
    /// The other user has received up to this message.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub their_received: Option<MessageId>,
}

/// The answer to `conversations`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(example = json!({
    "type": "conversations", "ref": "c1",
    "items": [{
        "target_user": "6666", "unread": 1, "my_read": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b",
        "last": {
            "type": "message", "message": "and you", "from_user": "6666", "target_user": "8888",
            "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c", "sent_at": "2026-11-20T11:03:01.123Z"
        }
    }]
}))]
pub struct Conversations<'a> {
    /// Newest first.
    pub items: Vec<Conversation<'a>>,
    /// Where to go on; absent on the last page.
    #[schemars(
        with = "Option<super::client::Cursor<'a>>",
        skip_serializing_if = "Option::is_none"
    )]
    pub cursor: Option<&'a str>,
    /// The `ref` of the frame that is answered.
    #[schemars(with = "Option<Ref<'a>>", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "ref")]
    pub reference: Option<&'a str>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Committed to the store.
    Stored,
    /// Ephemeral: at least one live session was there.
    Relayed,
    /// Ephemeral: no live session was there.
    Dropped,
}

/// The answer to a frame that changes something.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "ack", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 7, "status": "stored",
    "sent_at": "2026-11-20T11:03:00.123Z", "ref": "m1"
}))]
pub struct Ack<'a> {
    /// The message's id.
    pub id: MessageId,
    /// The place of this entry in the sender's own inbox; absent if ephemeral, or if there never was an entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Amount>,
    /// What became of it.
    pub status: AckStatus,
    /// When the server took it.
    pub sent_at: Timestamp,
    /// True if it had been stored before: this is the first answer again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    /// The `ref` of the frame that is answered.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// Somebody is typing, or has stopped.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({"type": "typing", "from_user": "8888", "target_user": "6666", "active": true})
)]
pub struct ServerTyping<'a> {
    /// Who is typing.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user who is told. Exactly one of `target_user` and `target_room` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// False when the user has stopped typing.
    pub active: bool,
}

/// What was asked is done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "ok", "ref": "b1"}))]
pub struct Done<'a> {
    /// The `ref` of the frame that is answered.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// The answer to a `ping`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "pong", "server_time": "2026-11-20T11:03:00.123Z", "ref": "p1"}))]
pub struct Pong<'a> {
    /// The server's clock.
    pub server_time: Timestamp,
    /// The `ref` of the frame that is answered.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// A sign of life on a quiet line.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "heartbeat", "timestamp": "2026-11-20T11:03:00.123Z"}))]
pub struct Heartbeat {
    /// The server's clock.
    pub timestamp: Timestamp,
}

/// A frame was refused. It had no effect, unless the code is `internal`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "error", "code": "invalid_frame", "detail": "expected the field `message`, found none",
    "path": "/message", "schema": "client-frame.schema.json#/$defs/ClientMessage", "retryable": false, "ref": "m1"
}))]
pub struct ErrorFrame<'a> {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people: what was expected, what was found.
    pub detail: &'a str,
    /// JSON Pointer of the offending place in the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Reference to the definition in the schema that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<&'a str>,
    /// Whether the same frame may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<Amount>,
    /// The `ref` of the frame that was refused.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// The server closes the connection after this. Nothing follows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "goodbye", "code": 1012, "reason": "shutdown", "detail": "the server is shutting down",
    "reconnect": true, "retry_after_ms": 1000
}))]
pub struct Goodbye<'a> {
    /// The WebSocket close code that follows.
    pub code: super::ids::Integer<1000, 4999>,
    /// Why, for programs: a word in `snake_case`.
    pub reason: &'a str,
    /// Why, for people.
    pub detail: &'a str,
    /// Whether it makes sense to connect again.
    pub reconnect: bool,
    /// When to connect again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<Amount>,
}

/// Content as it came, checked when it came in.
#[derive(Clone, Copy, Debug)]
pub struct RawContent<'a>(pub &'a str);

impl JsonSchema for RawContent<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Content::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        Content::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Content::json_schema(generator)
    }
}
