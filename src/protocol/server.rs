//! What the server sends (PROTOCOL section 6). How it is written is in `encode`.

mod answers;
mod encode;
mod events;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::content::Amount;
use super::timestamp::Timestamp;
use super::types::{Id, Integer, UserId};

pub use answers::*;
pub use events::*;

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

/// A sign of life on a quiet line.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "heartbeat", "timestamp": "2026-11-20T11:03:00.123Z"}))]
pub struct Heartbeat {
    /// The server's clock.
    pub timestamp: Timestamp,
}

/// The server closes the connection after this. Nothing follows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "goodbye", "code": 1012, "reason": "shutdown", "detail": "the server is shutting down",
    "reconnect": true, "retry_after_ms": 1000
}))]
pub struct Goodbye<'a> {
    /// The WebSocket close code that follows.
    pub code: Integer<1000, 4999>,
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
