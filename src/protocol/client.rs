//! Frames that clients send (PROTOCOL section 4).

mod presence;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub use self::presence::{ChosenStatus, ClientStatus, ClientUnwatch, ClientWatch, UserList};
use super::content::{Content, SafeInteger};
use super::error::ErrorCode;
use super::json::{DecodeError, WithRaw};
use super::tagged::tagged;
use super::types::{Bounded, Integer, MessageId, Ref, RoomId, UserId};

tagged! {
    /// A frame from a client. `type` names it; a frame without `type` is a `message`.
    pub enum ClientFrame<'a> {
        /// Sends a message.
        Message(ClientMessage<'a>) = "message",
        /// Replaces the content of a message of the sender.
        Edit(ClientEdit<'a>) = "edit",
        /// Removes the content of a message of the sender.
        Delete(ClientDelete<'a>) = "delete",
        /// Adds or removes a reaction.
        React(ClientReact<'a>) = "react",
        /// Confirms that this device has received its inbox up to an entry.
        Received(ClientReceived<'a>) = "received",
        /// Reports that the user has read a conversation up to a message.
        Read(ClientRead<'a>) = "read",
        /// Reports that the user is typing, or has stopped.
        Typing(ClientTyping<'a>) = "typing",
        /// Requests messages of a conversation.
        History(ClientHistory<'a>) = "history",
        /// Requests the user's conversations.
        Conversations(ClientConversations<'a>) = "conversations",
        /// Makes the user a member of a room.
        Join(ClientJoin<'a>) = "join",
        /// Ends the user's membership of a room.
        Leave(ClientLeave<'a>) = "leave",
        /// Requests the members of a room.
        Members(ClientMembers<'a>) = "members",
        /// Blocks a user: direct messages in both directions are rejected.
        Block(ClientBlock<'a>) = "block",
        /// Removes a block.
        Unblock(ClientUnblock<'a>) = "unblock",
        /// Requests the presence of users, and every change of it.
        Watch(ClientWatch<'a>) = "watch",
        /// Ends the notifications about users.
        Unwatch(ClientUnwatch<'a>) = "unwatch",
        /// Sets the user's status.
        Status(ClientStatus<'a>) = "status",
        /// Requests a `pong`.
        Ping(ClientPing<'a>) = "ping",
    }
}

/// Declares a frame that is addressed to a user or a room, by exactly one of two fields.
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
            /// The other user of the conversation. Exactly one of `target_user` and `target_room` is required.
            #[serde(default, borrow)]
            pub target_user: Option<UserId<'a>>,
            /// The room of the conversation.
            #[serde(default, borrow)]
            pub target_room: Option<RoomId<'a>>,
            $($(#[$field_meta])* pub $field: $type,)*
            /// An identifier chosen by the client. Every direct reply to this frame repeats it.
            #[serde(default, borrow, rename = "ref")]
            pub reference: Option<Ref<'a>>,
        }

        impl $name<'_> {
            /// The address of the frame.
            pub fn target(&self) -> Target<'_> {
                Target::parsed(self.target_user.as_ref(), self.target_room.as_ref())
            }

            /// Checks that exactly one of the two fields is present (PROTOCOL sections 4 and 10).
            fn check_target(&self) -> Result<(), DecodeError> {
                let error = |detail: &str, field| {
                    Err(DecodeError::here(ErrorCode::InvalidFrame, detail)
                        .under(field)
                        .within(stringify!($name)))
                };
                match (&self.target_user, &self.target_room) {
                    (Some(_), None) | (None, Some(_)) => Ok(()),
                    (None, None) => error(
                        "expected one of `target_user` and `target_room`, found neither",
                        "target_user",
                    ),
                    (Some(_), Some(_)) => error(
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
        /// The content.
        #[serde(borrow)]
        #[schemars(with = "Content<'a>")]
        pub message: WithRaw<'a, Content<'a>>,
        /// The message's id, made by the client so that it can resend the message without duplicating it. Without one, the server makes
        /// an id.
        #[serde(default)]
        pub id: Option<MessageId>,
        /// The message of the same conversation that this one replies to.
        #[serde(default)]
        pub reply_to: Option<MessageId>,
        /// True for a message that is not stored and reaches only live sessions.
        #[serde(default)]
        pub ephemeral: Option<bool>,
    }
}

addressed! {
    /// Replaces the content of a message. Only its author may do this. Answered with `ack`.
    #[schemars(example = json!({
        "type": "edit", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "message": "hello!"
    }))]
    pub struct ClientEdit {
        /// The id of the message.
        pub id: MessageId,
        /// The new content.
        #[serde(borrow)]
        #[schemars(with = "Content<'a>")]
        pub message: WithRaw<'a, Content<'a>>,
    }
}

addressed! {
    /// Removes the content of a message. Only its author may do this. Answered with `ack`.
    #[schemars(example = json!({
        "type": "delete", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
    }))]
    pub struct ClientDelete {
        /// The id of the message.
        pub id: MessageId,
    }
}

addressed! {
    /// Adds a reaction of the user to a message, or removes it. Answered with `ack`.
    #[schemars(example = json!({
        "type": "react", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b", "emoji": "👍"
    }))]
    pub struct ClientReact {
        /// The id of the message.
        pub id: MessageId,
        /// The reaction.
        #[serde(borrow)]
        pub emoji: Emoji<'a>,
        /// True to remove the reaction.
        #[serde(default)]
        #[schemars(extend("default" = false))]
        pub remove: Option<bool>,
    }
}

addressed! {
    /// Reports that the user has read a conversation up to a message. Not answered.
    #[schemars(example = json!({
        "type": "read", "target_user": "6666", "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
    }))]
    pub struct ClientRead {
        /// The id of the newest message that was read.
        pub id: MessageId,
    }
}

addressed! {
    /// Reports that the user is typing, or has stopped. Not answered.
    #[schemars(example = json!({"type": "typing", "target_user": "6666"}))]
    pub struct ClientTyping {
        /// False when the user has stopped typing.
        #[serde(default)]
        #[schemars(extend("default" = true))]
        pub active: Option<bool>,
    }
}

addressed! {
    /// Requests messages of a conversation: the newest, or those next to `before` or `after`. Answered with `history`.
    #[schemars(
        extend("not" = {"required": ["before", "after"]}),
        example = json!({"type": "history", "target_user": "6666", "limit": 20, "ref": "h1"})
    )]
    pub struct ClientHistory {
        /// Return messages older than this one.
        #[serde(default)]
        pub before: Option<MessageId>,
        /// Return messages newer than this one. Not allowed together with `before`.
        #[serde(default)]
        pub after: Option<MessageId>,
        /// The largest number of items to return.
        #[serde(default)]
        #[schemars(extend("default" = 50))]
        pub limit: Option<Limit>,
    }
}

/// The largest number of items in an answer.
pub type Limit = Integer<1, 200>;
/// A reaction: 1 to 16 characters.
pub type Emoji<'a> = Bounded<'a, 1, 16>;
/// The position at which a list continues, as the previous answer returned it.
pub type Cursor<'a> = Bounded<'a, 1, 64>;
/// Number of items in an answer if the client sets no `limit`.
pub const DEFAULT_LIMIT: u64 = 50;
/// The largest number of members to return.
pub type MembersLimit = Integer<1, 1000>;
/// Number of members in an answer if the client sets no `limit`.
pub const DEFAULT_MEMBERS_LIMIT: u64 = 100;

/// Requests the user's conversations, newest first. Answered with `conversations`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "conversations", "limit": 20, "ref": "c1"}))]
pub struct ClientConversations<'a> {
    /// The largest number of items to return.
    #[serde(default)]
    #[schemars(extend("default" = 50))]
    pub limit: Option<Limit>,
    /// The `cursor` of the previous answer, to get the next page.
    #[serde(default, borrow)]
    pub cursor: Option<Cursor<'a>>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Confirms that this device has received its inbox up to `seq`. Not answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "received", "seq": 41}))]
pub struct ClientReceived<'a> {
    /// The newest entry received. It confirms all earlier entries too.
    pub seq: SafeInteger,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Makes the user a member of a room. Answered with `ack`, also if the user is a member already.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "join", "room": "lobby", "ref": "j1"}))]
pub struct ClientJoin<'a> {
    /// The name of the room.
    #[serde(borrow)]
    pub room: RoomId<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Ends the user's membership of a room. Answered with `ack`, also if the user is not a member.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "leave", "room": "lobby", "ref": "l1"}))]
pub struct ClientLeave<'a> {
    /// The name of the room.
    #[serde(borrow)]
    pub room: RoomId<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Requests the members of a room, ordered by user id. Answered with `members`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "members", "room": "lobby", "limit": 20, "ref": "m1"}))]
pub struct ClientMembers<'a> {
    /// The name of the room.
    #[serde(borrow)]
    pub room: RoomId<'a>,
    /// The largest number of members to return.
    #[serde(default)]
    #[schemars(extend("default" = 100))]
    pub limit: Option<MembersLimit>,
    /// The `cursor` of the previous answer, to get the next page.
    #[serde(default, borrow)]
    pub cursor: Option<Cursor<'a>>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Blocks a user: direct messages in both directions are rejected. Answered with `ok`, also if the user is blocked already.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "block", "user": "6666", "ref": "b1"}))]
pub struct ClientBlock<'a> {
    /// The id of the user.
    #[serde(borrow)]
    pub user: UserId<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Removes a block. Answered with `ok`, also if the user was not blocked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "unblock", "user": "6666", "ref": "b2"}))]
pub struct ClientUnblock<'a> {
    /// The id of the user.
    #[serde(borrow)]
    pub user: UserId<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Requests a `pong`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "ping", "ref": "p1"}))]
pub struct ClientPing<'a> {
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// The address of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One user.
    User(&'a str),
    /// All members of a room.
    Room(&'a str),
}

impl<'a> ClientFrame<'a> {
    /// The content that the frame sends.
    pub(super) fn content(&self) -> Option<&WithRaw<'a, Content<'a>>> {
        match self {
            Self::Message(frame) => Some(&frame.message),
            Self::Edit(frame) => Some(&frame.message),
            _ => None,
        }
    }

    /// Checks the rules that involve several fields.
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
            | Self::Join(_)
            | Self::Leave(_)
            | Self::Members(_)
            | Self::Block(_)
            | Self::Unblock(_)
            | Self::Watch(_)
            | Self::Unwatch(_)
            | Self::Status(_)
            | Self::Ping(_) => Ok(()),
        }
    }
}

impl<'a> Target<'a> {
    /// The target of a frame whose two fields have passed `check_target`.
    pub(super) fn parsed(user: Option<&'a UserId<'_>>, room: Option<&'a RoomId<'_>>) -> Self {
        match (user, room) {
            (Some(user), _) => Self::User(user.as_str()),
            (None, room) => Self::Room(room.map_or("", RoomId::as_str)),
        }
    }
}
