//! Close codes that the server sends (RFC 6455 section 7.4.1 and PROTOCOL section 8).

/// Done.
pub const NORMAL: u16 = 1000;
/// The peer broke RFC 6455.
pub const PROTOCOL: u16 = 1002;
/// Text that is no UTF-8.
pub const INVALID_UTF8: u16 = 1007;
/// Too many bad frames.
pub const POLICY: u16 = 1008;
/// A message beyond the limit.
pub const TOO_LARGE: u16 = 1009;
/// The server is going down and comes back.
pub const RESTART: u16 = 1012;
/// Try again later.
pub const LATER: u16 = 1013;
/// A token that does not hold, or no longer (PROTOCOL section 2, as is the next).
pub const UNAUTHORIZED: u16 = 4401;
/// Too many sessions of this user; the oldest goes.
pub const REPLACED: u16 = 4408;
/// Too many connections.
pub const TOO_MANY: u16 = 4429;
