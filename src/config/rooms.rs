//! Rooms: who may join, limits, and what members may read.

use super::limits::RateLimit;
use super::setting::{choice, number, section};

section! {
    /// Who may join rooms, their limits, and what members may read.
    #[derive(Copy)]
    pub struct RoomsConfig = config.rooms, "Rooms";

    /// Who may join rooms: open, any user, and the first join creates a room; managed, users cannot join by themselves; off,
    /// there are no rooms
    rooms: RoomMode = RoomMode::Open,
        choice(&[("open", RoomMode::Open), ("managed", RoomMode::Managed), ("off", RoomMode::Off)]);

    /// Members of one room
    room_limit: u64 = 1000, number("N", 1..=10_000);

    /// Rooms of which one user can be a member
    rooms_per_user: u64 = 1000, number("N", 1..=100_000);

    /// Messages that members can read: all, or joined, those from their last join on
    room_history: RoomHistory = RoomHistory::All,
        choice(&[("all", RoomHistory::All), ("joined", RoomHistory::Joined)]);

    /// Largest number of members of a small room, whose members see each other, and each other's joins, typing and read marks
    small_room: u64 = 100, number("N", 0..=1000);

    /// Average number of inbox entries per second that the frames of one user can create in rooms: one for each member who gets
    /// a message
    room_entries_per_second: u32 = 10_000, number("N", 1..=10_000_000);

    /// Inbox entries that the frames of one user can create in rooms at once after a pause
    room_entries_burst: u32 = 20_000, number("N", 1..=10_000_000);
}

impl RoomsConfig {
    /// The rules that the store enforces.
    pub fn rules(&self) -> RoomRules {
        RoomRules {
            mode: self.rooms,
            members: self.room_limit,
            per_user: self.rooms_per_user,
            history: self.room_history,
            small: self.small_room,
            entries_per_second: Some(self.room_entries_per_second),
            entries_burst: self.room_entries_burst,
        }
    }

    /// The rate of frames that are not stored, counted once for each session that gets one: the same as that of entries.
    pub fn signal_rate(&self) -> RateLimit {
        RateLimit {
            per_second: self.room_entries_per_second,
            burst: self.room_entries_burst,
        }
    }
}

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
