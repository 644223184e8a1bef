//! Error codes (PROTOCOL section 7), and the error that rejects a frame.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The reason why a frame was rejected. The set is closed: a client can match on it exhaustively.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl ErrorCode {
            /// All codes, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it appears in a frame.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

codes! {
    /// Not JSON by RFC 8259, a duplicate member name, a lone surrogate, a number beyond the range of a double, or nesting deeper
    /// than 32 levels.
    InvalidJson = "invalid_json",
    /// JSON, but not a valid frame: `path` points to the invalid value.
    InvalidFrame = "invalid_frame",
    /// No client frame has this `type`.
    UnknownType = "unknown_type",
    /// The frame was a binary WebSocket message; frames are text messages.
    BinaryUnsupported = "binary_unsupported",
    /// The message violates the schema of its application content type: `path` points into `/message`.
    InvalidContent = "invalid_content",
    /// The content type is neither built in nor configured on this server.
    UnknownContentType = "unknown_content_type",
    /// The message does not exist, or is not visible to this user.
    UnknownMessage = "unknown_message",
    /// The room does not exist: this server has no rooms.
    UnknownRoom = "unknown_room",
    /// Only the author may change this message.
    NotAuthor = "not_author",
    /// Only members of the room may do this.
    NotMember = "not_member",
    /// The user may not do this.
    Forbidden = "forbidden",
    /// A block between the two users prevents direct messages.
    Blocked = "blocked",
    /// The `id` is in use in this conversation, for other content or by another author.
    IdConflict = "id_conflict",
    /// The room has the largest number of members already.
    RoomFull = "room_full",
    /// Too many frames. The frame was not processed; the client may resend it after `retry_after_ms`.
    RateLimited = "rate_limited",
    /// The server is overloaded. Nothing was stored; the client may resend the frame after `retry_after_ms`.
    Overloaded = "overloaded",
    /// The outcome is unknown: resend with the same `id`.
    Internal = "internal",
}

impl ErrorCode {
    /// Whether the same frame may succeed later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Internal)
    }

    /// Whether a frame rejected with this code counts toward the limit of invalid frames (PROTOCOL section 10).
    pub fn is_bad_frame(self) -> bool {
        matches!(
            self,
            Self::InvalidJson
                | Self::InvalidFrame
                | Self::InvalidContent
                | Self::UnknownType
                | Self::UnknownContentType
                | Self::BinaryUnsupported
        )
    }
}

/// The reason why a frame is rejected: the fields of an `error` frame, except `ref` and the retry time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct FrameError {
    /// The reason for programs.
    pub code: ErrorCode,
    /// The reason for people.
    pub detail: String,
    /// A JSON Pointer to the invalid value.
    pub path: Option<String>,
    /// The violated definition in the schema of client frames: its name, or a pointer that begins with the name.
    pub definition: Option<Cow<'static, str>>,
}

impl FrameError {
    /// An error that concerns the whole frame.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: None,
            definition: None,
        }
    }

    /// The same error for a caller that acts in the name of the user, and is not addressed as the user.
    #[must_use]
    pub fn about_user(mut self) -> Self {
        if self == Self::too_many_rooms() {
            "the user is a member of the maximum number of rooms".clone_into(&mut self.detail);
        }
        self
    }

    /// An error that concerns one top-level field of the frame.
    fn in_field(field: &str, code: ErrorCode, detail: &str) -> Self {
        Self {
            path: Some(format!("/{field}")),
            ..Self::new(code, detail)
        }
    }

    /// This server has no rooms. `field` is the field of the frame that names the room.
    pub fn unknown_room(field: &str) -> Self {
        let detail = "this room does not exist: rooms are off on this server";
        Self::in_field(field, ErrorCode::UnknownRoom, detail)
    }

    /// The room has neither members nor messages. `field` is the field that names the room.
    pub fn no_such_room(field: &str) -> Self {
        let detail = "this room does not exist";
        Self::in_field(field, ErrorCode::UnknownRoom, detail)
    }

    /// The user is not a member of the room, whether or not it exists. `field` is the field of the frame that names the room.
    pub fn not_member(field: &str) -> Self {
        let detail = "only members of the room may do this";
        Self::in_field(field, ErrorCode::NotMember, detail)
    }

    /// The room to be joined has the maximum number of members.
    pub fn room_full() -> Self {
        let detail = "this room has the maximum number of members";
        Self::in_field("room", ErrorCode::RoomFull, detail)
    }

    /// The user is a member of the maximum number of rooms.
    pub fn too_many_rooms() -> Self {
        let detail = "you are a member of the maximum number of rooms; leave one first";
        Self::in_field("room", ErrorCode::Forbidden, detail)
    }

    /// Users cannot join the room by themselves.
    pub fn room_closed() -> Self {
        let detail = "you cannot join this room: its members are managed by the server's operator";
        Self::in_field("room", ErrorCode::Forbidden, detail)
    }

    /// The user's frames have created too many inbox entries in rooms.
    pub fn too_many_entries() -> Self {
        let detail =
            "your frames have reached the limit of inbox entries in rooms; nothing was stored";
        Self::new(ErrorCode::RateLimited, detail)
    }

    /// A message does not exist, or is not visible to the user. `field` is the field of the frame that names it.
    pub fn unknown_message(field: &str) -> Self {
        let detail = "this message does not exist in this conversation";
        Self::in_field(field, ErrorCode::UnknownMessage, detail)
    }

    /// A cursor of a list is not one that the user was given.
    pub fn unknown_cursor() -> Self {
        let detail = "this cursor is not from an answer to the same query";
        Self::in_field("cursor", ErrorCode::UnknownMessage, detail)
    }

    /// The user is not the author of the message to be changed.
    pub fn not_author() -> Self {
        let detail = "only the author may change this message";
        Self::in_field("id", ErrorCode::NotAuthor, detail)
    }

    /// A block between the two users prevents direct messages.
    pub fn blocked() -> Self {
        let detail = "a block between the two users prevents direct messages";
        Self::in_field("target_user", ErrorCode::Blocked, detail)
    }

    /// The recipient has never connected, and this server does not accept messages to such users.
    pub fn unknown_user() -> Self {
        let detail = "this user has never connected, and this server accepts messages only to users who have";
        Self::in_field("target_user", ErrorCode::Forbidden, detail)
    }

    /// The recipient has never connected, and the sender has reached the limit of messages to such users.
    pub fn too_many_to_unknown_users() -> Self {
        let detail = "you have reached the limit of messages to users who have never connected, and can write only to users \
                      who have written to you";
        Self::in_field("target_user", ErrorCode::Forbidden, detail)
    }

    /// The user was erased. `field` is the field of the frame that names the user.
    pub fn erased_user(field: &str) -> Self {
        let detail = "this user was erased; the server reserves names of this form";
        Self::in_field(field, ErrorCode::Forbidden, detail)
    }

    /// The user to be blocked is the user of the session.
    pub fn blocks_self() -> Self {
        Self::in_field("user", ErrorCode::Forbidden, "you cannot block yourself")
    }

    /// The user has reached the limit of blocked users.
    pub fn too_many_blocks() -> Self {
        let detail = "you have reached the limit of blocked users; unblock one first";
        Self::in_field("user", ErrorCode::Forbidden, detail)
    }

    /// The session would watch too many users.
    pub fn too_many_watched() -> Self {
        let detail = "a session watches at most 1000 users; nobody was added";
        Self::in_field("users", ErrorCode::Forbidden, detail)
    }

    /// All sessions together would watch too many users.
    pub fn too_many_watches() -> Self {
        let detail = "the server cannot watch more users now; nobody was added";
        Self::new(ErrorCode::Overloaded, detail)
    }

    /// The user has reached the limit of bytes per day.
    pub fn too_many_bytes() -> Self {
        let detail =
            "you have reached the limit of bytes that you may store per day; nothing was stored";
        Self::new(ErrorCode::RateLimited, detail)
    }

    /// The user has reached the limit of changes of a message.
    pub fn too_many_changes() -> Self {
        let detail = "you have changed this message too often within an hour; nothing was stored";
        Self::new(ErrorCode::RateLimited, detail)
    }

    /// The user's frames that are not stored have reached too many members of rooms.
    pub fn too_many_signals() -> Self {
        let detail = "you have sent too many ephemeral messages to members of rooms; this one was not forwarded";
        Self::new(ErrorCode::RateLimited, detail)
    }

    /// The message's id is in use for another message of the conversation.
    pub fn id_conflict() -> Self {
        let detail =
            "this id is in use in the conversation, by a message with another author or content";
        Self::in_field("id", ErrorCode::IdConflict, detail)
    }
}
