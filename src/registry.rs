//! The sessions of this node, by user.
//!
//! A [`Registry`] is shared as an `Arc`. Its map is split into shards. The mutex of a shard is held only while the list of one
//! user is read or changed, never across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::outbox::Outbox;

const SHARDS: usize = 64;

/// The sessions of one user: the open ones in the order in which they were opened, among them those that are being opened.
type Sessions = Vec<Arc<Outbox>>;
type Shard = HashMap<Arc<str>, Sessions, RandomState>;

/// The sessions of this node, by user.
#[derive(Debug)]
pub struct Registry {
    /// Chooses the shard of a user. Randomly seeded, so that clients cannot choose user ids of the same shard.
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// Users who may open no sessions at the moment, and how many calls have closed each.
    closed: Mutex<HashMap<Arc<str>, usize>>,
}

/// Keeps a user from opening sessions until it is dropped.
#[derive(Debug)]
pub struct ClosedUser {
    registry: Arc<Registry>,
    user: Arc<str>,
}

/// The entry of a session in the registry. Dropping it, also in a panic, removes the session.
#[derive(Debug)]
pub struct Registered {
    registry: Arc<Registry>,
    outbox: Arc<Outbox>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            closed: Mutex::default(),
        }
    }
}

impl Registry {
    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(user) as usize % SHARDS;
        lock(&self.shards[index])
    }

    /// Adds a session that is about to be opened.
    pub fn register(self: &Arc<Self>, outbox: &Arc<Outbox>) -> Registered {
        let mut shard = self.shard(outbox.user());
        let sessions = shard.entry(outbox.user().clone()).or_default();
        sessions.push(outbox.clone());
        Registered {
            registry: self.clone(),
            outbox: outbox.clone(),
        }
    }

    /// Keeps a user from opening sessions. A session is registered before it checks [`Registry::is_closed`]: so it finds that, or is
    /// among the sessions that the caller lists afterwards.
    pub fn close(self: &Arc<Self>, user: &Arc<str>) -> ClosedUser {
        *self.closed().entry(user.clone()).or_default() += 1;
        ClosedUser {
            registry: self.clone(),
            user: user.clone(),
        }
    }

    /// True if a user may open no sessions at the moment.
    pub fn is_closed(&self, user: &str) -> bool {
        self.closed().contains_key(user)
    }

    fn closed(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `visit` with the sessions of a user, which may be none. The list cannot change during the call.
    pub fn with<R>(&self, user: &str, visit: impl FnOnce(&[Arc<Outbox>]) -> R) -> R {
        let shard = self.shard(user);
        visit(shard.get(user).map_or(&[], Vec::as_slice))
    }

    /// The lowest replay cursor among a user's open sessions. Retention keeps the entries from there on.
    pub fn lowest_cursor(&self, user: &str) -> Option<u64> {
        self.with(user, |sessions| {
            sessions.iter().filter_map(|session| session.cursor()).min()
        })
    }

    /// True if a user has a session, also one that is not open yet.
    pub fn has_session(&self, user: &str) -> bool {
        self.with(user, |sessions| !sessions.is_empty())
    }

    /// The numbers of sessions and of users who have one.
    pub fn counts(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            counts.0 += shard.values().map(Vec::len).sum::<usize>();
            counts.1 += shard.len();
        }
        counts
    }

    /// All sessions.
    pub fn all(&self) -> Vec<Arc<Outbox>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| lock(shard).values().flatten().cloned().collect::<Vec<_>>())
            .collect()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Every change leaves a shard consistent, so a panic elsewhere has not damaged it.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registered {
    /// Opens the session's outbox, see [`Outbox::open`], and makes the session the newest of its user. If the user then has
    /// more than `limit` open sessions, the oldest are removed and returned; the caller disconnects them. Sessions that are
    /// being opened do not count: they may fail.
    #[must_use]
    pub fn open(&self, first: u64, head: u64, limit: usize) -> Vec<Arc<Outbox>> {
        let user = self.outbox.user();
        let mut shard = self.registry.shard(user);
        // Under the shard's lock: a session counts as open only in its new place, so that another session that opens at the
        // same time does not mistake it for the oldest.
        self.outbox.open(first, head);
        let Some(sessions) = shard.get_mut(user) else {
            return Vec::new();
        };
        let is_this = |session: &Arc<Outbox>| Arc::ptr_eq(session, &self.outbox);
        if let Some(index) = sessions.iter().position(is_this) {
            sessions[index..].rotate_left(1);
        }
        let is_open = |session: &Arc<Outbox>| session.cursor().is_some();
        let open = sessions.iter().filter(|session| is_open(session)).count();
        let excess = open.saturating_sub(limit);
        sessions
            .extract_if(.., |session| is_open(session))
            .take(excess)
            .collect()
    }
}

impl Drop for ClosedUser {
    fn drop(&mut self) {
        let mut closed = self.registry.closed();
        if let Some(calls) = closed.get_mut(&self.user) {
            *calls -= 1;
            if *calls == 0 {
                closed.remove(&self.user);
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let user = self.outbox.user();
        let mut shard = self.registry.shard(user);
        if let Some(sessions) = shard.get_mut(user) {
            sessions.retain(|other| !Arc::ptr_eq(other, &self.outbox));
            if sessions.is_empty() {
                shard.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::limits::memory::MemoryBudget;

    fn session(registry: &Arc<Registry>) -> (Arc<Outbox>, Registered) {
        let memory = MemoryBudget::new(1 << 20);
        let outbox = Outbox::new(Uuid::new_v4(), "u".into(), 1024, &memory);
        let registered = registry.register(&outbox);
        (outbox, registered)
    }

    #[test]
    fn the_oldest_open_session_is_removed_when_another_has_been_opened() {
        let registry = Arc::new(Registry::default());
        let (_first, first_entry) = session(&registry);
        let (second, second_entry) = session(&registry);
        let (_third, third_entry) = session(&registry);
        // Opened in another order than registered.
        assert!(second_entry.open(1, 0, 2).is_empty());
        assert!(first_entry.open(1, 0, 2).is_empty());
        let removed = third_entry.open(1, 0, 2);
        assert_eq!(removed.len(), 1);
        assert!(Arc::ptr_eq(&removed[0], &second));
        assert_eq!(registry.all().len(), 2);
    }

    #[test]
    fn sessions_that_are_being_opened_do_not_count() {
        let registry = Arc::new(Registry::default());
        let (first, first_entry) = session(&registry);
        assert!(first_entry.open(1, 0, 1).is_empty());
        let (_second, second_entry) = session(&registry);
        let (_third, third_entry) = session(&registry);
        drop(second_entry);
        assert_eq!(registry.all().len(), 2);
        let removed = third_entry.open(1, 0, 1);
        assert!(Arc::ptr_eq(&removed[0], &first));
        assert_eq!(registry.all().len(), 1);
    }
}
