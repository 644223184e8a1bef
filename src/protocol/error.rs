//! The closed set of error codes (PROTOCOL section 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame was refused. A closed set: a client can match on it exhaustively.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl ErrorCode {
            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

codes! {
    /// Not RFC 8259, a duplicate member name, a lone surrogate, a number beyond a double, nesting beyond 32.
    InvalidJson = "invalid_json",
    /// JSON, but no frame of this protocol: `path` says where.
    InvalidFrame = "invalid_frame",
    /// No frame has this `type`.
    UnknownType = "unknown_type",
    /// Frames are text; a binary WebSocket message is none.
    BinaryUnsupported = "binary_unsupported",
    /// An application's content schema refused the message: `path` leads into `/message`.
    InvalidContent = "invalid_content",
    /// Neither a built-in content type nor one that this deployment has loaded.
    UnknownContentType = "unknown_content_type",
    /// The message is not there, or not yours to see.
    UnknownMessage = "unknown_message",
    /// There is no such room.
    UnknownRoom = "unknown_room",
    /// Only its author may change this message.
    NotAuthor = "not_author",
    /// Only members may do this in the room.
    NotMember = "not_member",
    /// Not allowed.
    Forbidden = "forbidden",
    /// The addressed user takes no direct messages from the sender.
    Blocked = "blocked",
    /// The `id` is taken in this conversation by something else.
    IdConflict = "id_conflict",
    /// The room takes no more members.
    RoomFull = "room_full",
    /// Too many frames: `retry_after_ms` says when to go on. The frame was not processed.
    RateLimited = "rate_limited",
    /// The server has too much to do: nothing was stored, `retry_after_ms` says when to try again.
    Overloaded = "overloaded",
    /// The outcome is unknown: send again with the same `id`.
    Internal = "internal",
}

impl ErrorCode {
    /// Whether the same frame may succeed later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Internal)
    }

    /// Whether a frame refused with this code spends the session's budget of bad frames (PROTOCOL section 10).
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

/// Why a frame is refused; everything of an `error` frame but its `ref`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub detail: String,
    /// JSON Pointer of the offending place.
    pub path: Option<String>,
    /// Name of the definition in the schema of client frames that was broken.
    pub definition: Option<&'static str>,
}

impl FrameError {
    /// A refusal that is not about one place in the frame.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: None,
            definition: None,
        }
    }

    /// The room that a frame is addressed to is not there.
    pub fn unknown_room() -> Self {
        Self {
            path: Some("/target_room".to_owned()),
            ..Self::new(ErrorCode::UnknownRoom, "there is no such room")
        }
    }

    /// A message is not there, or not the asker's to see; `field` is where the frame names it.
    pub fn unknown_message(field: &str) -> Self {
        Self {
            path: Some(format!("/{field}")),
            ..Self::new(
                ErrorCode::UnknownMessage,
                "there is no such message in this conversation",
            )
        }
    }

    /// Only its author may change a message.
    pub fn not_author() -> Self {
        Self {
            path: Some("/id".to_owned()),
            ..Self::new(
                ErrorCode::NotAuthor,
                "only its author may change this message",
            )
        }
    }

    /// The addressed user takes nothing direct from the sender.
    pub fn blocked() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Blocked,
                "this user takes no direct messages from you",
            )
        }
    }

    /// The addressed user has never connected, and such are not written to.
    pub fn unknown_user() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "this user has never connected, and only those who have can be written to",
            )
        }
    }

    /// The addressed user has never connected, and the sender has written to such as often as one may.
    pub fn left_too_many() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "this user has never connected, and as many messages as you may leave for such users are waiting",
            )
        }
    }

    /// Nobody can block themselves.
    pub fn own_block() -> Self {
        Self {
            path: Some("/user".to_owned()),
            ..Self::new(ErrorCode::Forbidden, "nobody can block themselves")
        }
    }

    /// The user has blocked as many others as one may.
    pub fn too_many_blocks() -> Self {
        Self {
            path: Some("/user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "you have blocked as many users as you may; unblock one first",
            )
        }
    }

    /// A message's id is taken by something else.
    pub fn id_conflict() -> Self {
        Self {
            path: Some("/id".to_owned()),
            ..Self::new(
                ErrorCode::IdConflict,
                "this id is taken in the conversation by a message with another author or content",
            )
        }
    }
}
