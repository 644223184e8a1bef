//! What operators ask a store: they read every room, and what is known of a user.

use std::sync::Arc;

use uuid::Uuid;

use super::user_status::UserStatus;

/// What a store knows of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserOverview {
    /// The status that the user has chosen.
    pub status: UserStatus,
    /// When the user was last online for others, in milliseconds since 1970-01-01T00:00:00Z; `None`: it is not known.
    pub last_seen: Option<i64>,
    /// When the store has learnt of the user, in milliseconds since 1970-01-01T00:00:00Z; `None`: it is not known.
    pub first_seen: Option<i64>,
    /// The number of unread messages in the newest conversations, as lists of conversations count them.
    pub unread: u64,
    /// The first rooms of the user, by the bytes of their names.
    pub rooms: Vec<Arc<str>>,
}

/// Asks what a store knows of a user.
#[derive(Clone, Debug)]
pub struct UserQuery {
    /// The user.
    pub user: Arc<str>,
    /// The maximum number of conversations of which unread messages are counted.
    pub conversations: usize,
    /// The maximum number of rooms.
    pub rooms: usize,
    /// As in [`ConversationsQuery`](super::ConversationsQuery).
    pub not_before: Option<i64>,
}

/// Selects rooms.
#[derive(Clone, Debug)]
pub struct RoomsQuery {
    /// Rooms whose names are greater.
    pub after: Option<Arc<str>>,
    /// The maximum number of rooms.
    pub limit: usize,
}

/// Part of the list of all rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsPage {
    /// Rooms, by the bytes of their names. There may be fewer than requested although there are more.
    pub rooms: Vec<RoomItem>,
    /// Where the next part starts; `None` in the last one. The room of this name may not exist any more.
    pub next: Option<Arc<str>>,
}

/// A room that has members or messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomItem {
    /// Its name.
    pub room: Arc<str>,
    /// The number of members.
    pub members: u64,
}

/// Selects members of any room.
#[derive(Clone, Debug)]
pub struct RoomMembersQuery {
    /// The room.
    pub room: Arc<str>,
    /// The maximum number of members.
    pub limit: usize,
    /// The cursor of the previous page: continue after it.
    pub cursor: Option<Uuid>,
}
