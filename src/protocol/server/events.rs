//! Server frames about messages: what others, or the user's other sessions, have done.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::protocol::client::Emoji;
use crate::protocol::content::{Amount, Content};
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{MessageId, RoomId, UserId};

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
    #[schemars(with = "Emoji<'a>")]
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
