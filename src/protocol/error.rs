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
