//! Rules of rooms.

/// Who may join rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomMode {
    /// Any user may join any room; the first join creates it.
    Open,
    /// Users cannot join by themselves.
    Managed,
    /// There are no rooms.
    #[default]
    Off,
}

/// Which messages of a room its members may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomHistory {
    /// All.
    #[default]
    All,
    /// Those from their last join on.
    Joined,
}

/// Rules of rooms that are enforced at commit, and by queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomRules {
    /// Who may join rooms.
    pub mode: RoomMode,
    /// Members of one room.
    pub members: u64,
    /// Rooms of one user.
    pub per_user: u64,
    /// What members may read.
    pub history: RoomHistory,
    /// The largest number of members of a small room.
    pub small: u64,
    /// Inbox entries that the room frames of one user may create per second; `None`: no limit.
    pub entries_per_second: Option<u32>,
    /// As `entries_per_second`, at once.
    pub entries_burst: u32,
}

/// No rooms. The limits are those of the settings.
impl Default for RoomRules {
    fn default() -> Self {
        Self {
            mode: RoomMode::Off,
            members: 1000,
            per_user: 1000,
            history: RoomHistory::All,
            small: 100,
            entries_per_second: None,
            entries_burst: 20_000,
        }
    }
}
