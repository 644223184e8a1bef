//! The erasure of a user while others use the store.

use std::sync::Arc;

use super::recipients::Recipient;
use super::rooms::RoomMembers;

/// An entry of an inbox about another user who was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedEntry {
    /// Its number in the inbox.
    pub seq: u64,
    /// The name that the user has got.
    pub renamed_to: String,
    /// The hash of the former name in hexadecimal digits: SHA-256 of the epoch of the inbox, a colon and the name.
    pub user_hash: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
}

/// The numbers of what an erasure has changed or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Messages whose content was removed.
    pub messages: u64,
    /// Reactions that were removed.
    pub reactions: u64,
    /// Entries that were removed from the user's inbox.
    pub entries: u64,
    /// Other users whose inboxes have an entry about the erasure.
    pub notified: u64,
}

/// A step of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasureStep {
    /// The former name of the user.
    pub name: Arc<str>,
    /// The name that the user has got.
    pub renamed_to: Arc<str>,
    /// Users whose inboxes have new entries, up to this one.
    pub entries: Vec<Recipient>,
    /// The membership of the user in a small room has ended: these other members do not see the user any more.
    pub left: Vec<Arc<str>>,
    /// The members of a room that has become a small one by that.
    pub regrouped: Option<RoomMembers>,
    /// Blocks that were removed: the user who blocked, and the user who was blocked.
    pub unblocked: Vec<(Arc<str>, Arc<str>)>,
    /// Nothing has changed, because copies of what was removed are still in a log: the next step is to be made a little later.
    pub waits: bool,
    /// The erasure is complete.
    pub done: Option<Erased>,
}
