//! The status of a user (PROTOCOL section 12).

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

impl UserStatus {
    /// The number by which it is stored.
    pub fn number(self) -> i64 {
        match self {
            Self::Online => 0,
            Self::Away => 1,
            Self::Busy => 2,
            Self::Invisible => 3,
        }
    }

    /// The status with this number.
    pub fn of_number(number: i64) -> Self {
        match number {
            1 => Self::Away,
            2 => Self::Busy,
            0 => Self::Online,
            // What is unknown reveals nothing.
            _ => Self::Invisible,
        }
    }
}
