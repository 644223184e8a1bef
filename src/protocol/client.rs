//! What clients send (PROTOCOL section 4).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::content::{Amount, Content};
use super::error::ErrorCode;
use super::json::{Carried, DecodeError};
use super::tagged::tagged;
use super::types::{Bounded, Integer, MessageId, Ref, RoomId, UserId};

tagged! {
    /// A frame from a client, told apart by `type`. A frame without `type` is a `message`.
    pub enum ClientFrame<'a> {
        /// Sends a message.
        Message(ClientMessage<'a>) = "message",
        /// Replaces the content of one's own message.
        Edit(ClientEdit<'a>) = "edit",
        /// Removes the content of one's own message.
        Delete(ClientDelete<'a>) = "delete",
        /// Adds or removes a reaction.
        React(ClientReact<'a>) = "react",
        /// Says how far this device holds its inbox.
        Received(ClientReceived<'a>) = "received",
        /// Says how far the user has read a conversation.
        Read(ClientRead<'a>) = "read",
        /// Says that the user is typing, or has stopped.
        Typing(ClientTyping<'a>) = "typing",
        /// Asks for messages of a conversation.
        History(ClientHistory<'a>) = "history",
        /// Asks for the user's conversations.
        Conversations(ClientConversations<'a>) = "conversations",
        /// Takes nothing direct from a user any more.
        Block(ClientBlock<'a>) = "block",
        /// Takes messages from a user again.
        Unblock(ClientUnblock<'a>) = "unblock",
        /// Asks for a `pong`.
        Ping(ClientPing<'a>) = "ping",
    }
}

/// Declares a frame that is addressed to a user or a room: exactly one of the two fields is given.
macro_rules! addressed {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        $(#[$meta])*
        #[serde(deny_unknown_fields)]
        #[schemars(extend("oneOf" = [{"required": ["target_user"]}, {"required": ["target_room"]}]))]
        pub struct $name<'a> {
            /// The user of the conversation. Exactly one of `target_user` and `target_room` is given.
            #[serde(default, borrow)]
            pub target_user: Option<UserId<'a>>,
            /// The room.
            #[serde(default, borrow)]
            pub target_room: Option<RoomId<'a>>,
            $($(#[$field_meta])* pub $field: $type,)*
            /// The client's own mark on this frame.
            #[serde(default, borrow, rename = "ref")]
            pub reference: Option<Ref<'a>>,
        }

        impl $name<'_> {
            /// Where the frame is addressed to.
            pub fn target(&self) -> Target<'_> {
                Target::parsed(self.target_user.as_ref(), self.target_room.as_ref())
            }

            /// Exactly one of the two is given (PROTOCOL sections 4 and 10).
            fn check_target(&self) -> Result<(), DecodeError> {
                let refused = |detail: &str, field| {
                    Err(DecodeError::here(ErrorCode::InvalidFrame, detail)
                        .under(field)
                        .within(stringify!($name)))
                };
                match (&self.target_user, &self.target_room) {
                    (Some(_), None) | (None, Some(_)) => Ok(()),
                    (None, None) => refused(
                        "expected one of `target_user` and `target_room`, found neither",
                        "target_user",
                    ),
                    (Some(_), Some(_)) => refused(
                        "expected one of `target_user` and `target_room`, found both",
                        "target_room",
                    ),
                }
            }
        }
    };
}

addressed! {
    /// Sends a message to a user or a room. Answered with `ack`.
    #[schemars(
        example = json!({"message": "hello", "target_user": "6666"}),
        example = json!({
            "type": "message", "message": {"type": "markdown", "text": "*hello*"}, "target_user": "6666",
            "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "ref": "m1"
        })
    )]
    pub struct ClientMessage {
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
    }
}

addressed! {
    /// Replaces the content of a message; only its author may. Answered with `ack`.
    #[schemars(example = json!({
        "type": "edit", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "message": "hello!"
    }))]
    pub struct ClientEdit {
        /// The message.
        pub id: MessageId,
        /// What it is to carry.
        #[serde(borrow)]
        #[schemars(with = "Content<'a>")]
        pub message: Carried<'a, Content<'a>>,
    }
}

addressed! {
    /// Removes the content of a message; only its author may. Answered with `ack`.
    #[schemars(example = json!({
        "type": "delete", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
    }))]
    pub struct ClientDelete {
        /// The message.
        pub id: MessageId,
    }
}

addressed! {
    /// Adds one's reaction to a message, or removes it. Answered with `ack`.
    #[schemars(example = json!({
        "type": "react", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "emoji": "👍"
    }))]
    pub struct ClientReact {
        /// The message.
        pub id: MessageId,
        /// The reaction.
        #[serde(borrow)]
        pub emoji: Emoji<'a>,
        /// True to remove it.
        #[serde(default)]
        #[schemars(extend("default" = false))]
        pub remove: Option<bool>,
    }
}

addressed! {
    /// Says that the user has read a conversation up to a message. Not answered.
    #[schemars(example = json!({
        "type": "read", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
    }))]
    pub struct ClientRead {
        /// The newest message that was read.
        pub id: MessageId,
    }
}

addressed! {
    /// Says that the user is typing, or has stopped. Not answered.
    #[schemars(example = json!({"type": "typing", "target_user": "6666"}))]
    pub struct ClientTyping {
        /// False when the user has stopped typing.
        #[serde(default)]
        #[schemars(extend("default" = true))]
        pub active: Option<bool>,
    }
}

addressed! {
    /// Asks for messages of a conversation, the newest unless `before` or `after` says otherwise. Answered with `history`.
    #[schemars(
        extend("not" = {"required": ["before", "after"]}),
        example = json!({"type": "history", "target_user": "6666", "limit": 20, "ref": "h1"})
    )]
    pub struct ClientHistory {
        /// Messages before this one.
        #[serde(default)]
        pub before: Option<MessageId>,
        /// Messages after this one; not together with `before`.
        #[serde(default)]
        pub after: Option<MessageId>,
        /// How many at the most.
        #[serde(default)]
        #[schemars(extend("default" = 50))]
        pub limit: Option<Limit>,
    }
}

/// How many items an answer may have.
pub type Limit = Integer<1, 200>;
/// A reaction: 1 to 16 characters.
pub type Emoji<'a> = Bounded<'a, 1, 16>;
/// Where a list goes on, as the answer before gave it.
pub type Cursor<'a> = Bounded<'a, 1, 64>;
/// Items of an answer when nothing else is asked for.
pub const DEFAULT_LIMIT: u64 = 50;

/// Asks for the user's conversations, newest first. Answered with `conversations`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "conversations", "limit": 20, "ref": "c1"}))]
pub struct ClientConversations<'a> {
    /// How many at the most.
    #[serde(default)]
    #[schemars(extend("default" = 50))]
    pub limit: Option<Limit>,
    /// Where to go on: the `cursor` of the answer before.
    #[serde(default, borrow)]
    pub cursor: Option<Cursor<'a>>,
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

/// Takes nothing direct from a user any more. Answered with `ok`, also if it was so before.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "block", "user": "6666", "ref": "b1"}))]
pub struct ClientBlock<'a> {
    /// The user.
    #[serde(borrow)]
    pub user: UserId<'a>,
    /// The client's own mark on this frame.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Takes messages from a user again. Answered with `ok`, also if nothing was blocked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "unblock", "user": "6666", "ref": "b2"}))]
pub struct ClientUnblock<'a> {
    /// The user.
    #[serde(borrow)]
    pub user: UserId<'a>,
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

impl ClientFrame<'_> {
    /// The rules that no single field can tell.
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Message(frame) => frame.check_target(),
            Self::Edit(frame) => frame.check_target(),
            Self::Delete(frame) => frame.check_target(),
            Self::React(frame) => frame.check_target(),
            Self::Read(frame) => frame.check_target(),
            Self::Typing(frame) => frame.check_target(),
            Self::History(frame) => {
                frame.check_target()?;
                if frame.before.is_some() && frame.after.is_some() {
                    let detail = "expected one of `before` and `after`, found both";
                    return Err(DecodeError::here(ErrorCode::InvalidFrame, detail)
                        .under("after")
                        .within("ClientHistory"));
                }
                Ok(())
            }
            Self::Received(_)
            | Self::Conversations(_)
            | Self::Block(_)
            | Self::Unblock(_)
            | Self::Ping(_) => Ok(()),
        }
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
}
