//! Frames that the server sends (PROTOCOL section 6).

mod answers;
mod encode;
mod events;
mod presence;
mod rooms;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::content::SafeInteger;
use super::timestamp::Timestamp;
use super::types::{Id, Integer, UserId};

pub use answers::{
    Ack, AckStatus, Conversation, Conversations, ErrorFrame, History, OkFrame, PastMessage, Pong,
    Reactions,
};
pub use events::{
    Deleted, Edited, Erased, RawContent, Reacted, Receipt, ReceiptKind, ServerMessage,
    ServerTyping, Skipped,
};
pub use presence::{Presence, PresenceStatus};
pub use rooms::{Member, Members, RoomChange, RoomEvent, RoomReason};

/// A frame from the server. `type` names it. Clients ignore fields and types that they do not know.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The first frame of every session.
    Welcome(Welcome<'a>),
    /// The replay has reached the `seq` of `welcome`.
    Synced(Synced),
    /// Entries that the client has not received are no longer available.
    Truncated(Truncated),
    /// A message.
    Message(ServerMessage<'a>),
    /// The reply to a frame that sends or changes a message, and to `join` and `leave`.
    Ack(Ack<'a>),
    /// The content of a message was replaced.
    Edited(Edited<'a>),
    /// The content of a message was removed.
    Deleted(Deleted<'a>),
    /// A reaction was added or removed.
    Reacted(Reacted<'a>),
    /// A user has joined or left a room.
    Room(RoomChange<'a>),
    /// Another user, who shares a conversation with the user of this session, was erased.
    Erased(Erased<'a>),
    /// An entry of the inbox whose change was superseded.
    Skipped(Skipped),
    /// A user has received or read a conversation up to a message.
    Receipt(Receipt<'a>),
    /// A user is typing, or has stopped.
    Typing(ServerTyping<'a>),
    /// The reply to `history`.
    History(History<'a>),
    /// The reply to `conversations`.
    Conversations(Conversations<'a>),
    /// The reply to `members`.
    Members(Members<'a>),
    /// The presence of a user: a reply to `watch`, or a notification.
    Presence(Presence<'a>),
    /// The reply to `block`, `unblock`, `unwatch` and `status`.
    Ok(OkFrame<'a>),
    /// The reply to `ping`.
    Pong(Pong<'a>),
    /// Sent at a regular interval on an idle connection, so that the client can detect a lost one.
    Heartbeat(Heartbeat),
    /// A client frame was rejected.
    Error(ErrorFrame<'a>),
    /// The last frame of a session: the server closes the connection after it.
    Goodbye(Goodbye<'a>),
}

/// The first frame of every session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "welcome", "protocol": "dmwire.v1", "session_id": "5f0c1f5e-52a3-4d1b-8f3c-9a5d7e6b4c21",
    "user_id": "8888", "device": "default", "resumed": "device",
    "epoch": "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e", "seq": 41, "server_time": "2026-11-20T11:03:00.123Z", "schema": "9f86d081884c7d65", "heartbeat_seconds": 30,
    "limits": {"max_frame_bytes": 65536, "messages_per_second": 50}
}))]
pub struct Welcome<'a> {
    /// The name of the protocol: `dmwire.v1`.
    pub protocol: &'a str,
    /// The id of this session.
    pub session_id: Id,
    /// The user of this session.
    #[schemars(with = "UserId<'a>")]
    pub user_id: &'a str,
    /// The device of this session, as the client named it.
    #[schemars(with = "UserId<'a>")]
    pub device: &'a str,
    /// How the start of the replay was found.
    pub resumed: Resumed,
    /// The epoch of the user's inbox. A `seq` is valid only together with the epoch it was received in.
    pub epoch: Id,
    /// The newest entry of the user's inbox; 0 if it is empty.
    pub seq: SafeInteger,
    /// The time by the server's clock.
    pub server_time: Timestamp,
    /// A hash of the schemas that this server uses. It changes whenever one of them does.
    pub schema: &'a str,
    /// The interval of `heartbeat` frames on an idle connection, in seconds.
    pub heartbeat_seconds: SafeInteger,
    /// Limits of this server that clients must respect.
    pub limits: Limits,
}

/// How the start of the replay was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resumed {
    /// By `since`.
    Cursor,
    /// By the stored position of this device.
    Device,
    /// The server knows no position of this device.
    New,
}

/// Limits of this server that clients must respect.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// The largest client frame, in bytes.
    pub max_frame_bytes: SafeInteger,
    /// The rate of client frames per session, in frames per second.
    pub messages_per_second: SafeInteger,
}

/// The replay has reached the `seq` of `welcome`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "synced", "seq": 41}))]
pub struct Synced {
    /// The `seq` of `welcome`.
    pub seq: SafeInteger,
}

/// The reason why entries are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncatedReason {
    /// They are older than the server keeps entries.
    Retention,
    /// The client's `since` belongs to another epoch, or is ahead of the log.
    Reset,
}

/// Entries that the client has not received are no longer available. The replay starts with the oldest available one.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "truncated", "reason": "retention", "oldest_seq": 107}))]
pub struct Truncated {
    /// The reason.
    pub reason: TruncatedReason,
    /// The first entry of the replay; one past the newest entry if there is none.
    pub oldest_seq: SafeInteger,
}

/// Sent at a regular interval on an idle connection, so that the client can detect a lost one.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "heartbeat", "timestamp": "2026-11-20T11:03:00.123Z"}))]
pub struct Heartbeat {
    /// The time by the server's clock.
    pub timestamp: Timestamp,
}

/// The last frame of a session: the server closes the connection after it. Nothing follows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "goodbye", "code": 1012, "reason": "shutdown", "detail": "the server is shutting down",
    "reconnect": true, "retry_after_ms": 1000
}))]
pub struct Goodbye<'a> {
    /// The WebSocket close code that follows.
    pub code: Integer<1000, 4999>,
    /// The reason for programs: a word in `snake_case`.
    pub reason: &'a str,
    /// The reason for people.
    pub detail: &'a str,
    /// Whether the client should reconnect.
    pub reconnect: bool,
    /// How long the client should wait before it reconnects, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<SafeInteger>,
}
