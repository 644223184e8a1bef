//! Why a session ends, as its client is told (PROTOCOL section 8).

use super::Disconnect;
use crate::websocket::close;

/// The server goes down.
pub const SHUTDOWN: Disconnect = Disconnect {
    code: close::RESTART,
    reason: "shutdown",
    detail: "the server is shutting down; connect again in a moment",
    reconnect: Some(1000),
};
/// The user has opened more sessions than one may have, and this is the oldest.
pub const TOO_MANY_SESSIONS: Disconnect = Disconnect {
    code: close::REPLACED,
    reason: "too_many_sessions",
    detail: "this user has opened more sessions than the server allows; the oldest is closed",
    reconnect: None,
};
/// The token that the session began with holds no longer.
pub const EXPIRED: Disconnect = Disconnect {
    code: close::UNAUTHORIZED,
    reason: "token_expired",
    detail: "the token has expired; connect again with a new one",
    reconnect: Some(0),
};
/// Too many bad frames.
pub const TOO_MANY_BAD: Disconnect = Disconnect {
    code: close::POLICY,
    reason: "too_many_bad_frames",
    detail: "too many frames that the server could not accept within a minute",
    reconnect: None,
};
/// Too many frames in spite of being refused for it.
pub const TOO_FAST: Disconnect = Disconnect {
    code: close::POLICY,
    reason: "rate_limited",
    detail: "too many frames were sent in spite of `rate_limited` within a minute",
    reconnect: None,
};
/// A frame beyond the limit.
pub const TOO_LARGE: Disconnect = Disconnect {
    code: close::TOO_LARGE,
    reason: "too_large",
    detail: "a frame was larger than the server takes; `welcome.limits.max_frame_bytes` says how large one may be",
    reconnect: Some(0),
};
/// Nothing could be sent for too long.
pub const SLOW_READER: Disconnect = Disconnect {
    code: close::LATER,
    reason: "slow_reader",
    detail: "nothing could be sent for a while; what lasts is kept, connect again to get it",
    reconnect: Some(1000),
};
/// The inbox could not be read.
pub const STORE_FAILED: Disconnect = Disconnect {
    code: close::LATER,
    reason: "store_unavailable",
    detail: "the inbox could not be read; connect again in a moment",
    reconnect: Some(1000),
};
/// All memory for what waits is taken, and this session would need more of it.
pub const OVERLOADED: Disconnect = Disconnect {
    code: close::LATER,
    reason: "overloaded",
    detail: "the server holds as much for its clients as it may; what lasts is kept, connect again in a moment",
    reconnect: Some(5000),
};
