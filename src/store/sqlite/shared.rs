//! State that the store shares with its readers: whether the pending log must be flushed before a query, the newest inbox
//! entries in the log, and the users who have connected recently.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::Waker;

/// The maximum number of newly connected users. Beyond it the set is emptied: by then the table has most of them, or the store
/// does not accept writes.
const MAX_NEWLY_CONNECTED: usize = 100_000;
/// The number of entries that are added to the heads before they are computed again from the log, which may have become
/// shorter. Several times the entries of a full log.
const MAX_ADDED_HEADS: usize = 65_536;

/// Its locks are held for a lookup or a change of one entry, or of the entries of a batch, and never while another is held.
#[derive(Debug, Default)]
pub struct Shared {
    /// True while the pending log has messages: a reader must have it flushed before a query. Set before a commit returns, so
    /// that a reader which is asked after the commit finds it set.
    pending: AtomicBool,
    /// The number of flushes that readers have asked for.
    requested: AtomicU64,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
    heads: Mutex<Heads>,
    /// The number of changes in the pending log whose entries may supersede others.
    superseding: AtomicU64,
    /// Users who have connected, which the table does not have yet, with the generation that their sessions know.
    newly_connected: Mutex<HashMap<Box<str>, i64>>,
}

#[derive(Default)]
struct Flushes {
    /// How many of the requested flushes have been answered, and whether the last one succeeded.
    answered: u64,
    succeeded: bool,
    /// Wakes the store's thread. Without it there are no flushes on request.
    waker: Option<Waker>,
    /// The store is closed.
    closed: bool,
}

/// For users with messages in the pending log: the newest inbox entry that these make. It may include messages that have moved
/// to their tables: their entries are not newer than those in the tables.
#[derive(Debug, Default)]
struct Heads {
    by_user: Arc<HashMap<i64, u64>>,
    /// Entries that have not been added to `by_user`. The writer only appends to this list; a reader adds them.
    added: Vec<(i64, u64)>,
    /// The number of entries that were added since the heads were computed from the log.
    count: usize,
}

impl fmt::Debug for Flushes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flushes").finish_non_exhaustive()
    }
}

impl Shared {
    fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a reader: true if the pending log may have messages.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// For a reader: has the pending log flushed if it is not empty, and waits until that is done. False: it cannot be
    /// flushed.
    pub fn flush(&self) -> bool {
        if !self.pending.load(Ordering::Acquire) {
            return true;
        }
        let (waker, request) = {
            let flushes = self.flushes();
            let (false, Some(waker)) = (flushes.closed, &flushes.waker) else {
                return false;
            };
            let request = self.requested.fetch_add(1, Ordering::AcqRel) + 1;
            (waker.clone(), request)
        };
        waker();
        let mut flushes = self.flushes();
        while flushes.answered < request && !flushes.closed {
            flushes = self
                .flushed
                .wait(flushes)
                .unwrap_or_else(PoisonError::into_inner);
        }
        flushes.answered >= request && flushes.succeeded || !self.pending.load(Ordering::Acquire)
    }

    /// For the store: the number of flushes that have been requested.
    pub fn requested(&self) -> u64 {
        self.requested.load(Ordering::Acquire)
    }

    /// For the store: answers all requests up to number `request`.
    pub fn answer(&self, request: u64, succeeded: bool) {
        let mut flushes = self.flushes();
        flushes.answered = request;
        flushes.succeeded = succeeded;
        self.flushed.notify_all();
    }

    /// For the store: sets whether the pending log has messages.
    pub fn set_pending(&self, pending: bool) {
        self.pending.store(pending, Ordering::Release);
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the store: messages were added to the pending log that make these entries, of a user each. True: the heads must be
    /// computed from the log and set.
    pub fn add_heads(&self, entries: impl Iterator<Item = (i64, u64)>) -> bool {
        let mut heads = self.heads();
        let before = heads.added.len();
        heads.added.extend(entries);
        heads.count += heads.added.len() - before;
        heads.count > MAX_ADDED_HEADS
    }

    /// For the store: sets the newest entries in the pending log.
    pub fn set_heads(&self, by_user: HashMap<i64, u64>) {
        *self.heads() = Heads {
            by_user: Arc::new(by_user),
            ..Heads::default()
        };
    }

    /// For the store: the pending log is empty.
    pub fn clear_heads(&self) {
        let mut heads = self.heads();
        heads.added.clear();
        heads.count = 0;
        if !heads.by_user.is_empty() {
            heads.by_user = Arc::default();
        }
    }

    /// For a reader: the newest entries in the pending log, by user. To be called before the tables are read: an entry that
    /// is missing here is in its table.
    pub fn read_heads(&self) -> Arc<HashMap<i64, u64>> {
        let mut heads = self.heads();
        let added = std::mem::take(&mut heads.added);
        if !added.is_empty() {
            let by_user = Arc::make_mut(&mut heads.by_user);
            for (user, seq) in added {
                let head = by_user.entry(user).or_default();
                *head = seq.max(*head);
            }
        }
        heads.by_user.clone()
    }

    /// For the store: sets the number of changes in the pending log whose entries may supersede others.
    pub fn set_superseding(&self, changes: u64) {
        self.superseding.store(changes, Ordering::Release);
    }

    /// For a reader: the number of changes in the pending log whose entries may supersede others. To be called after
    /// [`Shared::read_heads`] and before the tables are read: a change that is not counted is not among these heads, or its entries are
    /// in their table.
    pub fn superseding(&self) -> u64 {
        self.superseding.load(Ordering::Acquire)
    }

    /// Has the store maintained.
    pub fn wake(&self) {
        let waker = self.flushes().waker.clone();
        if let Some(waker) = waker {
            waker();
        }
    }

    pub fn set_waker(&self, waker: Waker) {
        self.flushes().waker = Some(waker);
    }

    /// For the store: nothing is flushed any more.
    pub fn close(&self) {
        let mut flushes = self.flushes();
        flushes.closed = true;
        flushes.waker = None;
        self.flushed.notify_all();
    }

    fn newly_connected(&self) -> MutexGuard<'_, HashMap<Box<str>, i64>> {
        self.newly_connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A user has connected for the first time, and would get this generation. Returns the one that the user has.
    pub fn add_newly_connected(&self, user: &str, generation: i64) -> i64 {
        let mut users = self.newly_connected();
        if users.len() >= MAX_NEWLY_CONNECTED {
            *users = HashMap::new();
        }
        *users.entry(user.into()).or_insert(generation)
    }

    /// The generation that a newly connected user has.
    pub fn generation_of(&self, user: &str) -> Option<i64> {
        self.newly_connected().get(user).copied()
    }

    /// True if this user has connected, and the table does not have it yet.
    pub fn is_newly_connected(&self, user: &str) -> bool {
        self.newly_connected().contains_key(user)
    }

    /// The table has it now that the user has connected.
    pub fn remove_newly_connected(&self, user: &str) {
        self.newly_connected().remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_the_newest_entries_until_the_log_is_empty() {
        let shared = Shared::default();
        shared.set_heads(HashMap::from([(1, 5), (2, 7)]));
        assert!(!shared.add_heads([(1, 6), (3, 1), (3, 2)].into_iter()));
        let first = shared.read_heads();
        assert_eq!(*first, HashMap::from([(1, 6), (2, 7), (3, 2)]));
        // What a reader has taken does not change.
        assert!(!shared.add_heads([(3, 3)].into_iter()));
        assert_eq!((shared.read_heads()[&3], first[&3]), (3, 2));
        assert!(!shared.add_heads([(3, 4)].into_iter()));
        shared.clear_heads();
        assert!(shared.read_heads().is_empty());
    }

    #[test]
    fn heads_are_computed_again_after_many_entries() {
        let shared = Shared::default();
        let entries = |n: usize| (0..n as i64).map(|user| (user, 1));
        assert!(!shared.add_heads(entries(MAX_ADDED_HEADS)));
        assert_eq!(shared.read_heads().len(), MAX_ADDED_HEADS);
        assert!(shared.add_heads(entries(1)));
        shared.set_heads(HashMap::from([(1, 5)]));
        assert_eq!(*shared.read_heads(), HashMap::from([(1, 5)]));
        assert!(!shared.add_heads(entries(MAX_ADDED_HEADS)));
    }
}
