//! Server frames that reply to a client frame.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::RawContent;
use crate::protocol::client::{Cursor, Emoji};
use crate::protocol::content::SafeInteger;
use crate::protocol::error::ErrorCode;
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{MessageId, Ref, RoomId, UserId};

/// The outcome of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Committed to the store.
    Stored,
    /// Ephemeral: a recipient whom the sender sees had a live session.
    Relayed,
    /// Ephemeral: the sender sees all recipients, and none of them had a live session.
    Dropped,
    /// Ephemeral: forwarded to the live sessions of recipients whom the sender does not see, if there are any.
    Sent,
}

/// The reply to a frame that sends or changes a message, and to `join` and `leave`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["id"]}, {"required": ["room"]}]),
    example = json!({
        "type": "ack", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 7, "status": "stored",
        "sent_at": "2026-11-20T11:03:00.123Z", "ref": "m1"
    }),
    example = json!({
        "type": "ack", "room": "lobby", "seq": 8, "status": "stored", "sent_at": "2026-11-20T11:03:01.123Z"
    })
)]
pub struct Ack<'a> {
    /// The id of the message. Exactly one of `id` and `room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The room that the user has joined or left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub room: Option<&'a str>,
    /// The sequence number of this entry in the sender's own inbox; absent if the message is ephemeral, or if the frame added no
    /// entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<SafeInteger>,
    /// The outcome.
    pub status: AckStatus,
    /// The time at which the server accepted it.
    pub sent_at: Timestamp,
    /// True if the frame repeats an earlier one: the other fields are those of the first ack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    /// The `ref` of the client frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// A message in `history` and `conversations`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    extend("anyOf" = [{"required": ["message"]}, {"required": ["deleted_at"]}])
)]
pub struct PastMessage<'a> {
    /// Always `message`.
    #[schemars(extend("const" = "message"))]
    pub r#type: &'a str,
    /// The content; absent if the message was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<RawContent<'a>>,
    /// The author of the message.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user it was sent to. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The id of the message, unique in its conversation.
    pub id: MessageId,
    /// The time at which the server accepted it.
    pub sent_at: Timestamp,
    /// The message that this one replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The time at which its content was last replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// The time at which the message was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The reactions to the message, one item per emoji.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reactions<'a>>,
}

/// The users who reacted to a message with one emoji.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reactions<'a> {
    /// The reaction.
    #[schemars(with = "Emoji<'a>")]
    pub emoji: &'a str,
    /// The users with this reaction.
    #[schemars(with = "Vec<UserId<'a>>")]
    pub users: Vec<&'a str>,
}

/// The reply to `history`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// The other user of the conversation, from the point of view of the user of this session. Exactly one of `target_user` and
    /// `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The messages, oldest first, in commit order.
    pub messages: Vec<PastMessage<'a>>,
    /// Whether there are more messages in the requested direction.
    pub more: bool,
    /// The `ref` of the client frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    #[serde(rename = "ref")]
    pub reference: Option<&'a str>,
}

/// A conversation of the user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]))]
pub struct Conversation<'a> {
    /// The other user. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The number of members; only of a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<SafeInteger>,
    /// The newest message; absent for a room without messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<PastMessage<'a>>,
    /// The number of messages by others after `my_read`, without deleted ones. In a room they are counted from the time at which
    /// the user joined, up to 1,000.
    pub unread: SafeInteger,
    /// The newest message that the user has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub my_read: Option<MessageId>,
    /// The newest message that the other user has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub their_read: Option<MessageId>,
    /// The newest message that the other user has received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub their_received: Option<MessageId>,
}

/// The reply to `conversations`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// The conversations, newest first.
    pub items: Vec<Conversation<'a>>,
    /// The position of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Cursor<'a>>")]
    pub cursor: Option<&'a str>,
    /// The `ref` of the client frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    #[serde(rename = "ref")]
    pub reference: Option<&'a str>,
}

/// The reply to `block` and `unblock`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "ok", "ref": "b1"}))]
pub struct OkFrame<'a> {
    /// The `ref` of the client frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// The reply to `ping`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "pong", "server_time": "2026-11-20T11:03:00.123Z", "ref": "p1"}))]
pub struct Pong<'a> {
    /// The time by the server's clock.
    pub server_time: Timestamp,
    /// The `ref` of the client frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

/// A client frame was rejected. It had no effect, unless the code is `internal`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "error", "code": "invalid_frame", "detail": "expected the field `message`, found none",
    "path": "/message", "schema": "client-frame.schema.json#/$defs/ClientMessage", "retryable": false, "ref": "m1"
}))]
pub struct ErrorFrame<'a> {
    /// The reason for programs.
    pub code: ErrorCode,
    /// The reason for people: what was expected, what was found.
    pub detail: &'a str,
    /// A JSON Pointer to the invalid value in the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// A reference to the schema definition that the frame violates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<&'a str>,
    /// Whether the same frame may succeed later.
    pub retryable: bool,
    /// How long the client should wait before it resends the frame, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<SafeInteger>,
    /// The `ref` of the client frame.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}
