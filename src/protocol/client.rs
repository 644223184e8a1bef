//! What clients send (PROTOCOL section 4).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::content::{Amount, Content};
use super::de::{Carried, Mismatch};
use super::error::ErrorCode;
use super::ids::{MessageId, Ref, RoomId, UserId};
use super::tagged::tagged;

tagged! {
    /// A frame from a client, told apart by `type`. A frame without `type` is a `message`.
    pub enum ClientFrame<'a> {
        /// Sends a message.
        Message(ClientMessage<'a>) = "message",
        /// Says that the user is typing, or has stopped.
        Typing(ClientTyping<'a>) = "typing",
        /// Says how far this device holds its inbox.
        Received(ClientReceived<'a>) = "received",
        /// Asks for a `pong`.
        Ping(ClientPing<'a>) = "ping",
    }
}

/// Sends a message to a user or a room. Answered with `ack`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({"message": "hello", "target_user": "6666"}),
    example = json!({
        "type": "message", "message": {"type": "markdown", "text": "*hello*"}, "target_user": "6666",
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "ref": "m1"
    })
)]
pub struct ClientMessage<'a> {
    /// The user it goes to. Exactly one of `target_user` and `target_room` is given.
    #[serde(default, borrow)]
    pub target_user: Option<UserId<'a>>,
    /// The room it goes to.
    #[serde(default, borrow)]
    pub target_room: Option<RoomId<'a>>,
    /// What it carries.
    #[serde(borrow)]
    #[schemars(with = "Content<'a>")]
    pub message: Carried<'a, Content<'a>>,
    /// Made by the client, so that the message can be sent again without being doubled; else the server makes one.
    #[serde(default)]
    pub id: Option<MessageId>,
    /// A message of the same conversation that this one answers.
    #[serde(default)]
    pub reply_to: Option<MessageId>,
    /// True for a message that is not stored and reaches live sessions only.
    #[serde(default)]
    pub ephemeral: Option<bool>,
    /// The client's own mark on this frame.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Says that the user is typing, or has stopped. Not answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]),
    example = json!({"type": "typing", "target_user": "6666"})
)]
pub struct ClientTyping<'a> {
    /// The user who is told. Exactly one of `target_user` and `target_room` is given.
    #[serde(default, borrow)]
    pub target_user: Option<UserId<'a>>,
    /// The room that is told.
    #[serde(default, borrow)]
    pub target_room: Option<RoomId<'a>>,
    /// False when the user has stopped typing.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub active: Option<bool>,
    /// The client's own mark on this frame.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Says that this device holds its inbox up to `seq`. Not answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "received", "seq": 41}))]
pub struct ClientReceived<'a> {
    /// The newest entry held; all before it are held too.
    pub seq: Amount,
    /// The client's own mark on this frame.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Asks for a `pong`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "ping", "ref": "p1"}))]
pub struct ClientPing<'a> {
    /// The client's own mark on this frame.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Where a frame is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One user.
    User(&'a str),
    /// All members of a room.
    Room(&'a str),
}

impl ClientMessage<'_> {
    /// Where it goes.
    pub fn target(&self) -> Target<'_> {
        Target::parsed(self.target_user.as_ref(), self.target_room.as_ref())
    }
}

impl ClientTyping<'_> {
    /// Who is told.
    pub fn target(&self) -> Target<'_> {
        Target::parsed(self.target_user.as_ref(), self.target_room.as_ref())
    }
}

impl<'a> Target<'a> {
    /// The target of a frame that was parsed, and so has exactly one.
    fn parsed(user: Option<&'a UserId<'_>>, room: Option<&'a RoomId<'_>>) -> Self {
        match (user, room) {
            (Some(user), _) => Self::User(user.as_str()),
            (None, room) => Self::Room(room.map_or("", RoomId::as_str)),
        }
    }

    /// Exactly one of the two is given (PROTOCOL sections 4 and 10).
    pub(super) fn of(
        user: Option<&'a UserId<'_>>,
        room: Option<&'a RoomId<'_>>,
    ) -> Result<Self, Mismatch> {
        let refused =
            |detail: &str, field| Mismatch::here(ErrorCode::InvalidFrame, detail).under(field);
        match (user, room) {
            (Some(user), None) => Ok(Self::User(user.as_str())),
            (None, Some(room)) => Ok(Self::Room(room.as_str())),
            (None, None) => Err(refused(
                "expected one of `target_user` and `target_room`, found neither",
                "target_user",
            )),
            (Some(_), Some(_)) => Err(refused(
                "expected one of `target_user` and `target_room`, found both",
                "target_room",
            )),
        }
    }
}
