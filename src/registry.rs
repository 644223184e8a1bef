//! Who is here: user id -> the live sessions of that user on this node.
//!
//! A [`Registry`] is shared by reference. Its map is cut into shards, each behind a mutex of its own that is held only to
//! read or change one user's list, never across an await.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::outbox::Outbox;

const SHARDS: usize = 64;

/// The sessions of one user, oldest first.
type Sessions = Vec<Arc<Outbox>>;
type Shard = HashMap<Arc<str>, Sessions>;

/// The live sessions of this node, by user.
#[derive(Debug)]
pub struct Registry {
    /// Picks a user's shard. Seeded at random: a peer must not be able to aim at one shard.
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// A session's place in the registry. Dropping it, also in a panic, takes the session out.
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
        }
    }
}

impl Registry {
    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(user) as usize % SHARDS;
        // A shard is left whole by every change, so one that a panic has poisoned is as good as before.
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session. When the user then has more than `limit` of them, the oldest is returned, to be told to go.
    pub fn register(
        self: &Arc<Self>,
        outbox: &Arc<Outbox>,
        limit: usize,
    ) -> (Registered, Option<Arc<Outbox>>) {
        let mut shard = self.shard(outbox.user());
        let sessions = shard.entry(outbox.user().clone()).or_default();
        sessions.push(outbox.clone());
        let oldest = (sessions.len() > limit).then(|| sessions.remove(0));
        let registered = Registered {
            registry: self.clone(),
            outbox: outbox.clone(),
        };
        (registered, oldest)
    }

    /// Shows `visit` the sessions of a user; none if there are none.
    pub fn with<R>(&self, user: &str, visit: impl FnOnce(&[Arc<Outbox>]) -> R) -> R {
        let shard = self.shard(user);
        visit(shard.get(user).map_or(&[], Vec::as_slice))
    }

    /// The next entry that the slowest of a user's live sessions is owed.
    pub fn owed(&self, user: &str) -> Option<u64> {
        self.with(user, |sessions| {
            sessions.iter().filter_map(|session| session.cursor()).min()
        })
    }

    /// Every live session.
    pub fn all(&self) -> Vec<Arc<Outbox>> {
        let locked = self.shards.iter();
        locked
            .flat_map(|shard| {
                let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.values().flatten().cloned().collect::<Vec<_>>()
            })
            .collect()
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
