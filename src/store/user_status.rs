//! The status of a user (PROTOCOL section 8).

/// The status that a user has chosen. It is stored, and the same for all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserStatus {
    /// Online while a session exists.
    #[default]
    Online,
    /// As `Online`, but away from the device.
    Away,
    /// As `Online`, but not to be disturbed.
    Busy,
    /// Offline for others.
    Invisible,
}
