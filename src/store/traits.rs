//! The two halves of a store.

use std::sync::Arc;
use std::time::Instant;

use super::content::ContentHasher;
use super::events::EventReader;
use super::export::{ExportPage, ExportQuery};
use super::files::StoreFiles;
use super::inbox::{InboxItem, InboxState};
use super::model::{Outcome, Write};
use super::name_hash::{NameHash, NameHasher};
use super::overview::{RoomMembersQuery, RoomsPage, RoomsQuery, UserOverview, UserQuery};
use super::query::{
    ConversationsPage, ConversationsQuery, HistoryAnswer, HistoryQuery, InboxQuery, InboxRange,
    Watched,
};
use super::rooms::{MembersAnswer, MembersQuery, RoomDeletionId, RoomMembers};

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or another process has locked the store for too long: nothing was stored, and a retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// Any other error: the outcome is unknown.
    #[error("{0}")]
    Failed(String),
    /// The disk has failed: what was written may not be on it, although it can be read. The store must not be used any more. A
    /// start reads what is on the disk, writes it again and syncs it.
    #[error("{0}")]
    Broken(String),
}

/// By which times a store was written, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTimes {
    /// The time of the newest commit.
    pub newest: i64,
    /// The time of the newest commit that was made while the present time was certain.
    pub trusted: i64,
}

/// Asks for [`Store::maintain`] before it is due. May be called on any thread.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The writing half. It belongs to one thread, the writer's.
pub trait Store: Send {
    /// Hashes long content for this store, so that its writing half need not.
    fn content_hasher(&self) -> ContentHasher;

    /// Hashes the names of users as this store does for revocations.
    fn name_hasher(&self) -> NameHasher;

    /// The files of the store, which the caller checks: nothing may be committed while one is not in its place.
    fn files(&self) -> Arc<StoreFiles>;

    /// Applies a batch in order, as of `now` (milliseconds since 1970-01-01T00:00:00Z), commits it durably, and returns the
    /// outcome of each operation in the same order. An operation that is refused does not affect the others.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the batch is stored, or, for `Failed` and `Broken`, the outcome is unknown.
    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError>;

    /// The members of a room after the last commit: for what is not stored. `None`: `user`, if one is given, is not a member, or
    /// there is no such room.
    ///
    /// # Errors
    /// [`StoreError`]
    fn room_members(
        &mut self,
        room: &str,
        user: Option<&str>,
    ) -> Result<Option<RoomMembers>, StoreError>;

    /// Does a part of the work that is not part of a commit, such as retention. It takes a few milliseconds at most, because
    /// commits wait for it. Called after each commit, when the returned time has come, and after a call of the waker. Returns
    /// the time when it is due again. Entries and messages expire as of `expire_at`, also in later commits (milliseconds since
    /// 1970-01-01T00:00:00Z); `None`: none expire, because the present time is uncertain.
    ///
    /// # Errors
    /// [`StoreError`]: it is called again later.
    fn maintain(&mut self, expire_at: Option<i64>) -> Result<Instant, StoreError>;

    /// The users whose erasure has begun and is not complete, for [`Write::EraseStep`].
    ///
    /// # Errors
    /// [`StoreError`]
    fn unfinished_erasures(&mut self) -> Result<Vec<i64>, StoreError>;

    /// The times of the newest commits of earlier runs, with a precision of a minute. `None`: nothing was committed.
    ///
    /// # Errors
    /// [`StoreError`]
    fn stored_times(&self) -> Result<Option<StoredTimes>, StoreError>;

    /// Closes the store: what is committed is moved to its place, so that the files can be copied. Nothing may be called after
    /// it. A store that is dropped instead is closed as far as possible.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost, except with `Broken`; the next start does the rest.
    fn close(&mut self) -> Result<(), StoreError>;

    /// Sets the function by which the store and its readers ask for [`Store::maintain`]. Without one, readers must do without
    /// maintenance, which may be slow.
    fn set_waker(&mut self, waker: Waker);

    /// Opens a reading half.
    ///
    /// # Errors
    /// [`StoreError`]
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The reading half. Each call sees everything that was committed before it.
pub trait Reader: EventReader + Send {
    /// Reads the state of the inboxes of these devices, in the same order. From then on their users count as connected: see
    /// [`Outcome::UnknownUser`]. An entry that the client knows is compared with the stored one by the message's id and by
    /// every time that a session may have been told for it, now or earlier.
    ///
    /// # Errors
    /// [`StoreError`]
    fn open_inboxes(&mut self, queries: &[InboxQuery]) -> Result<Vec<InboxState>, StoreError>;

    /// Reads part of an inbox, in order.
    ///
    /// # Errors
    /// [`StoreError`]
    fn entries(&mut self, range: &InboxRange) -> Result<Vec<InboxItem>, StoreError>;

    /// Reads messages of a conversation.
    ///
    /// # Errors
    /// [`StoreError`]
    fn history(&mut self, query: &HistoryQuery) -> Result<HistoryAnswer, StoreError>;

    /// Reads a user's conversations. `None`: the cursor is not one that this user was given.
    ///
    /// # Errors
    /// [`StoreError`]
    fn conversations(
        &mut self,
        query: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>, StoreError>;

    /// True if the store has messages of both users in their direct conversation, also deleted ones, or the users are members of
    /// a small room; always for one user. It sees messages as soon as they are committed, and never waits for the writer.
    ///
    /// # Errors
    /// [`StoreError`]
    fn is_mutual(&mut self, a: &str, b: &str) -> Result<bool, StoreError>;

    /// Reads members of a room.
    ///
    /// # Errors
    /// [`StoreError`]
    fn members(&mut self, query: &MembersQuery) -> Result<MembersAnswer, StoreError>;

    /// Reads what is known of a user, for operators. `None`: nothing is.
    ///
    /// # Errors
    /// [`StoreError`]
    fn user_overview(&mut self, query: &UserQuery) -> Result<Option<UserOverview>, StoreError>;

    /// Reads rooms, for operators.
    ///
    /// # Errors
    /// [`StoreError`]
    fn rooms(&mut self, query: &RoomsQuery) -> Result<RoomsPage, StoreError>;

    /// Reads members of a room, for operators: never [`MembersAnswer::NotMember`].
    ///
    /// # Errors
    /// [`StoreError`]
    fn room_members(&mut self, query: &RoomMembersQuery) -> Result<MembersAnswer, StoreError>;

    /// Reads messages of a room, for operators, as if the user of the query had always been a member.
    ///
    /// # Errors
    /// [`StoreError`]
    fn room_history(&mut self, query: &HistoryQuery) -> Result<HistoryAnswer, StoreError>;

    /// Reads a page of all messages of a user, also those that the user has written in rooms and could not read any more, and all that
    /// were not removed yet, whatever their age. Read one page after the other: none has a message of another. `None`: the user is not
    /// known, or not any more.
    ///
    /// # Errors
    /// [`StoreError`]
    fn export(&mut self, query: &ExportQuery) -> Result<Option<ExportPage>, StoreError>;

    /// Reads about users whom `viewer` watches, in the same order.
    ///
    /// # Errors
    /// [`StoreError`]
    fn watched(&mut self, viewer: &str, users: &[Arc<str>]) -> Result<Vec<Watched>, StoreError>;

    /// True if users are recorded as online. At a start, the server before has not recorded when it ended.
    ///
    /// # Errors
    /// [`StoreError`]
    fn has_online_users(&mut self) -> Result<bool, StoreError>;

    /// Calls `each` with the memberships of sessions ([`MembershipKind::Session`](super::MembershipKind)): the user and the room.
    ///
    /// # Errors
    /// [`StoreError`]
    fn session_memberships(&mut self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError>;

    /// Until when the tokens of a user are revoked, in milliseconds since 1970-01-01T00:00:00Z; `None`: they are not.
    ///
    /// # Errors
    /// [`StoreError`]
    fn revoked_until(&mut self, user: &str) -> Result<Option<i64>, StoreError>;

    /// Calls `each` with the hashed name of every user whose tokens are revoked.
    ///
    /// # Errors
    /// [`StoreError`]
    fn revocations(&mut self, each: &mut dyn FnMut(&NameHash)) -> Result<(), StoreError>;

    /// The deletions of rooms that have steps left.
    ///
    /// # Errors
    /// [`StoreError`]
    fn room_deletions(&mut self) -> Result<Vec<RoomDeletionId>, StoreError>;

    /// Calls `each` with every block: the user who blocks, and the user who is blocked.
    ///
    /// # Errors
    /// [`StoreError`]
    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError>;
}
