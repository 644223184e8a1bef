//! Rooms: their members, and the events and queries about them.

use std::sync::Arc;

use uuid::Uuid;

use super::recipients::Recipient;

/// How long a membership lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipKind {
    /// Until the user leaves.
    Lasting,
    /// As long as sessions of the user ask for it. It becomes a lasting one when the user joins again, and does not replace one.
    Session,
    /// As a lasting one, on behalf of a key: rates and [`RoomMode::Managed`](crate::config::RoomMode) do not apply. A user whose membership
    /// is ended in this way cannot join by themself until a key makes the user a member again.
    Assigned,
}

/// What has happened to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// The user has become a member.
    Joined,
    /// The user is not a member any more.
    Left,
}

/// An entry of an inbox about a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipEntry {
    /// Its number in the inbox.
    pub seq: u64,
    /// The room.
    pub room: Arc<str>,
    /// The user who has joined or left.
    pub user: Arc<str>,
    /// The event.
    pub event: MembershipEvent,
    /// The number of members after the event.
    pub members: u64,
    /// The membership has ended because the room was deleted.
    pub room_deleted: bool,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
}

/// The members of a room at a moment. A cheap handle over `Arc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomMembers {
    /// Their ids, in no particular order.
    pub users: Arc<[Arc<str>]>,
    /// The room is a small one.
    pub is_small: bool,
}

/// Identifies the deletion of a room in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomDeletionId(pub i64);

/// What one step of the deletion of a room has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomDeletionStep {
    /// The deletion.
    pub id: RoomDeletionId,
    /// The name of the room.
    pub room: Arc<str>,
    /// The users whose memberships have ended, each with the entry about it, which only this user has.
    pub members: Vec<Recipient>,
    /// The number of messages that were deleted.
    pub messages: u64,
    /// The time of the entries, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    /// The members who see each other no longer because of the room.
    pub regrouped: Option<RoomMembers>,
    /// There are more steps.
    pub more: bool,
}

/// Selects members of a room.
#[derive(Clone, Debug)]
pub struct MembersQuery {
    /// The user who asks.
    pub user: Arc<str>,
    /// The room.
    pub room: Arc<str>,
    /// The maximum number of members.
    pub limit: usize,
    /// The cursor of the previous page: continue after it.
    pub cursor: Option<Uuid>,
}

/// The answer to a [`MembersQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersAnswer {
    /// Members.
    Page(MembersPage),
    /// The user is not a member, or there is no such room.
    NotMember,
    /// There are no rooms.
    UnknownRoom,
    /// The cursor is not one that this user was given for this room.
    UnknownCursor,
}

/// Part of the list of a room's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersPage {
    /// Members, by the bytes of their ids.
    pub members: Vec<MemberItem>,
    /// The number of all members.
    pub total: u64,
    /// The room is a small one.
    pub is_small: bool,
    /// Where the next page starts; `None` on the last page.
    pub cursor: Option<Uuid>,
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberItem {
    /// The user.
    pub user: Arc<str>,
    /// When the user has joined, in milliseconds since 1970-01-01T00:00:00Z.
    pub joined_at: i64,
    /// In a small room: the user has read up to this message.
    pub read: Option<Uuid>,
}
