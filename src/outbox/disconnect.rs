//! The reasons for which the server ends a session, as its client receives them in `goodbye` (PROTOCOL section 8).

use crate::websocket::close_codes;

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The close code.
    pub code: u16,
    /// A fixed name, for programs.
    pub reason: &'static str,
    /// An explanation, for people.
    pub detail: &'static str,
    /// `Some` if the client should connect again, after this number of milliseconds.
    pub reconnect: Option<u64>,
}

/// The server shuts down.
pub const SHUTDOWN: Disconnect = Disconnect {
    code: close_codes::SERVICE_RESTART,
    reason: "shutdown",
    detail: "the server is shutting down; connect again in a moment",
    reconnect: Some(1000),
};
/// The user has opened more sessions than `--sessions-per-user` allows, and this is the oldest.
pub const TOO_MANY_SESSIONS: Disconnect = Disconnect {
    code: close_codes::TOO_MANY_SESSIONS,
    reason: "too_many_sessions",
    detail: "this user has opened more sessions than the server allows; the oldest is closed",
    reconnect: None,
};
/// An operator has closed the sessions of the user.
pub const DISCONNECTED: Disconnect = Disconnect {
    code: close_codes::FORBIDDEN,
    reason: "disconnected",
    detail: "an operator of the server has closed this session",
    reconnect: None,
};
/// The token with which the session was opened has expired.
pub const EXPIRED: Disconnect = Disconnect {
    code: close_codes::UNAUTHORIZED,
    reason: "token_expired",
    detail: "the token has expired; connect again with a new one",
    reconnect: Some(0),
};
/// The client sent too many invalid frames.
pub const TOO_MANY_BAD: Disconnect = Disconnect {
    code: close_codes::POLICY_VIOLATION,
    reason: "too_many_bad_frames",
    detail: "too many invalid frames within a minute",
    reconnect: None,
};
/// The client sent too many frames after `rate_limited` errors.
pub const TOO_FAST: Disconnect = Disconnect {
    code: close_codes::POLICY_VIOLATION,
    reason: "rate_limited",
    detail: "too many frames were rejected as `rate_limited` within a minute",
    reconnect: None,
};
/// A frame was larger than `--max-frame-bytes`.
pub const TOO_LARGE: Disconnect = Disconnect {
    code: close_codes::TOO_LARGE,
    reason: "too_large",
    detail: "a frame was larger than the server accepts; see `welcome.limits.max_frame_bytes`",
    reconnect: Some(0),
};
/// The client did not read for `--stall-seconds`.
pub const SLOW_READER: Disconnect = Disconnect {
    code: close_codes::TRY_AGAIN_LATER,
    reason: "slow_reader",
    detail: "the client did not read for too long; stored messages are kept, connect again to receive them",
    reconnect: Some(1000),
};
/// The inbox could not be read.
pub const STORE_FAILED: Disconnect = Disconnect {
    code: close_codes::TRY_AGAIN_LATER,
    reason: "store_unavailable",
    detail: "the inbox could not be read; connect again in a moment",
    reconnect: Some(1000),
};
/// The memory budget for unsent and incomplete messages is used up, and this session needs more of it.
pub const OVERLOADED: Disconnect = Disconnect {
    code: close_codes::TRY_AGAIN_LATER,
    reason: "overloaded",
    detail: "the server has no memory left for unsent messages; stored messages are kept, connect again in a moment",
    reconnect: Some(5000),
};
