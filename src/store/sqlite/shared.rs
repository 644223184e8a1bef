//! State that the store shares with its readers: whether the pending log must be flushed before a query, and the users who have
//! connected recently.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::Waker;

/// The maximum number of newly connected users. Beyond it the set is emptied: by then most have a device in the table, or the
/// store does not accept writes.
const MAX_NEWLY_CONNECTED: usize = 100_000;

/// Its locks are held for a lookup or a change of one entry, and never while the other is held.
#[derive(Debug, Default)]
pub struct Shared {
    /// True while the pending log has messages: a reader must have it flushed before a query. Set before a commit returns, so
    /// that a reader which is asked after the commit finds it set.
    pending: AtomicBool,
    /// The number of flushes that readers have asked for.
    requested: AtomicU64,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
    /// Users who have connected and have no device in the table yet.
    newly_connected: Mutex<HashSet<Box<str>>>,
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

    fn newly_connected(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.newly_connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A user without a device in the table has connected.
    pub fn add_newly_connected(&self, user: &str) {
        let mut users = self.newly_connected();
        if users.len() >= MAX_NEWLY_CONNECTED {
            *users = HashSet::new();
        }
        users.insert(user.into());
    }

    /// True if this user has connected and has no device in the table yet.
    pub fn is_newly_connected(&self, user: &str) -> bool {
        self.newly_connected().contains(user)
    }

    /// The user has a device in the table now.
    pub fn remove_newly_connected(&self, user: &str) {
        self.newly_connected().remove(user);
    }
}
