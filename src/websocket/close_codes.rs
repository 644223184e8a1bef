//! Close codes that the server sends (RFC 6455 section 7.4.1 and PROTOCOL section 8).

/// The connection ends normally.
pub const NORMAL: u16 = 1000;
/// The peer violated RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A text message is not valid UTF-8.
pub const INVALID_UTF8: u16 = 1007;
/// Too many invalid frames.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message exceeds the size limit.
pub const TOO_LARGE: u16 = 1009;
/// The server shuts down; the client may reconnect.
pub const SERVICE_RESTART: u16 = 1012;
/// The server is overloaded; the client may try again later.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// The token is invalid or has expired (PROTOCOL section 2, as for the following codes).
pub const UNAUTHORIZED: u16 = 4401;
/// The user may not connect, or an operator has closed the session.
pub const FORBIDDEN: u16 = 4403;
/// The user opened too many sessions; the oldest one is closed.
pub const TOO_MANY_SESSIONS: u16 = 4408;
/// Too many connections.
pub const TOO_MANY_CONNECTIONS: u16 = 4429;
