//! Server frames about events: messages, changes of messages, receipts and typing.

use schemars::JsonSchema;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::protocol::client::Emoji;
use crate::protocol::content::{Content, SafeInteger};
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{MessageId, RoomId, UserId};

/// A message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "message", "message": "hello", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 42, "sent_at": "2026-11-20T11:03:00.123Z"
    })
)]
pub struct ServerMessage<'a> {
    /// The content, as it was sent.
    pub message: RawContent<'a>,
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
    /// The sequence number of this entry in the inbox of the user of this session; absent if the message is ephemeral.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<SafeInteger>,
    /// The time at which the server accepted it.
    pub sent_at: Timestamp,
    /// The message that this one replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The time at which its content was last replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// True if the message is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
}

/// The content of a message was replaced.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "edited", "message": "hello!", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 43, "edited_at": "2026-11-20T11:04:00.123Z"
    })
)]
pub struct Edited<'a> {
    /// The new content.
    pub message: RawContent<'a>,
    /// The author of the message, and of the change.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user the change was sent to. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The id of the message.
    pub id: MessageId,
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
    /// The time at which its content was last replaced.
    pub edited_at: Timestamp,
}

/// The content of a message was removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "deleted", "from_user": "8888", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "seq": 44, "deleted_at": "2026-11-20T11:05:00.123Z"
    })
)]
pub struct Deleted<'a> {
    /// The author of the message, and of the change.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user the change was sent to. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The id of the message.
    pub id: MessageId,
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
    /// The time at which the message was deleted.
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
    /// The user who reacts.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user the change was sent to. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The id of the message.
    pub id: MessageId,
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
    /// The reaction.
    #[schemars(with = "Emoji<'a>")]
    pub emoji: &'a str,
    /// True if the reaction was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<bool>,
}

/// Another user, who shares a conversation with the user of this session, was erased. Clients remove what they hold of that user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "erased", "as": "erased.0b9f4c1a6a534f0e9d3e1f2a3b4c5d6e",
    "user_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "seq": 48,
    "at": "2026-11-20T11:03:00.123Z"
}))]
pub struct Erased<'a> {
    /// The name that the erased user has got. In conversations and messages that remain it replaces the former one.
    #[serde(rename = "as")]
    #[schemars(with = "UserId<'a>")]
    pub renamed_to: &'a str,
    /// The SHA-256 hash, in hexadecimal digits, of the epoch in `welcome`, a colon and the former name, which is not kept.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub user_hash: &'a str,
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
    /// The time of the erasure.
    pub at: Timestamp,
}

/// An entry of the inbox that records a change which a later one has superseded: there is nothing to show for it. Only in a
/// replay.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({"type": "skipped", "seq": 46}))]
pub struct Skipped {
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
}

/// The kind of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// One of the user's devices has received the message.
    Received,
    /// The user has read the message.
    Read,
}

/// A user has received or read a conversation up to a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({
        "type": "receipt", "kind": "read", "by_user": "6666", "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "at": "2026-11-20T11:06:00.123Z"
    })
)]
pub struct Receipt<'a> {
    /// What the user has done.
    pub kind: ReceiptKind,
    /// The user who has received or read.
    #[schemars(with = "UserId<'a>")]
    pub by_user: &'a str,
    /// The other user of the conversation, from the point of view of the user of this session. Exactly one of `target_user` and
    /// `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// The id of the newest message that the receipt covers.
    pub id: MessageId,
    /// The time at which the server recorded it.
    pub at: Timestamp,
}

/// A user is typing, or has stopped.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({"type": "typing", "from_user": "8888", "target_user": "6666", "active": true})
)]
pub struct ServerTyping<'a> {
    /// The user who is typing.
    #[schemars(with = "UserId<'a>")]
    pub from_user: &'a str,
    /// The user this is sent to. Exactly one of `target_user` and `target_room` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<UserId<'a>>")]
    pub target_user: Option<&'a str>,
    /// The room this is sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomId<'a>>")]
    pub target_room: Option<&'a str>,
    /// False when the user has stopped typing.
    pub active: bool,
}

/// The JSON of valid content, as it was received.
#[derive(Clone, Copy, Debug)]
pub struct RawContent<'a>(pub &'a str);

/// Frames that contain content are written by `ServerFrame::write`, which copies it. This is the reference for tests: it
/// parses the content.
impl Serialize for RawContent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let content: serde_json::Value = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        content.serialize(serializer)
    }
}

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
