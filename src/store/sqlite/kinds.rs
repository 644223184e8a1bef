//! The values of `kind` in the table `inbox`.

/// A message.
pub const MESSAGE: i64 = 0;
/// A message's content was replaced.
pub const EDITED: i64 = 1;
/// A message's content was removed.
pub const DELETED: i64 = 2;
/// A reaction was added.
pub const REACTED: i64 = 3;
/// A reaction was removed.
pub const UNREACTED: i64 = 4;
/// A change that a later one has superseded. Such an entry keeps `conversation` and `message`, by which it is compared with what
/// clients know ([`super::read`]); the message may have expired.
pub const SUPERSEDED: i64 = 5;
/// A user has joined a room.
pub const JOINED: i64 = 6;
/// A user has left a room.
pub const LEFT: i64 = 7;
/// Another user was erased.
pub const ERASED: i64 = 8;
