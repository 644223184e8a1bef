//! Server frames that answer a client frame.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::RawContent;
use crate::protocol::client::{Cursor, Emoji};
use crate::protocol::content::Amount;
use crate::protocol::error::ErrorCode;
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{MessageId, Ref, RoomId, UserId};

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
    #[schemars(with = "Emoji<'a>")]
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
    #[schemars(with = "Option<Cursor<'a>>", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<&'a str>,
    /// The `ref` of the frame that is answered.
    #[schemars(with = "Option<Ref<'a>>", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "ref")]
    pub reference: Option<&'a str>,
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
