//! A cache of pairs of users who have a conversation, for signals that are not stored and only go to contacts (`typing`).
//!
//! The cache holds pairs for which the store has confirmed a conversation, and nothing else:
//! - Such a pair stays valid, because a conversation is never removed while the server runs: retention removes messages, and
//!   `dmwire erase` needs a stopped server.
//! - The absence of a conversation is not cached, so the first message between two users invalidates nothing.
//! - Blocks are not part of it: [`crate::blocks::Blocks`] is looked at for every signal.
//!
//! It is filled by the reader threads, with the result of [`Contacts::look_up`]. It is consulted by
//! [`crate::delivery::Delivery`] on the writer's thread, in the order of the queue: a signal takes its turn behind the messages
//! that its sender has sent before (which may have created the conversation), but does not touch the store there.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::readers::Readers;

/// The maximum number of pairs. Beyond it the cache is emptied.
const MAX_PAIRS: usize = 200_000;

/// A cache of pairs of users. A cheap handle over `Arc`; its lock is held for one lookup.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    readers: Readers,
    /// Turns a pair into 64 bits. Seeded at random, so that nobody can search for two pairs with the same value.
    hasher: RandomState,
    /// The pairs, as 64 bits each: that two of them share a value is not to be expected.
    pairs: Mutex<HashSet<u64>>,
    /// Lookups in progress.
    lookups: AtomicUsize,
}

impl Contacts {
    /// An empty cache, which is filled by `readers`.
    pub fn new(readers: Readers) -> Self {
        Self {
            shared: Arc::new(Shared {
                readers,
                ..Shared::default()
            }),
        }
    }

    /// True if two users are known to have a conversation. False also while any lookup is in progress, so that a signal does
    /// not overtake an earlier one.
    pub fn contains(&self, a: &str, b: &str) -> bool {
        self.shared.lookups.load(Ordering::Acquire) == 0
            && self.shared.pairs().contains(&self.shared.key(a, b))
    }

    /// Has the store asked for a conversation of two users, and calls `found` on a reader's thread if there is one. Lookups
    /// run in the order in which they are requested.
    pub fn look_up(&self, a: &Arc<str>, b: &Arc<str>, found: impl FnOnce() + Send + 'static) {
        let key = self.shared.key(a, b);
        let lookup = Lookup::start(self.shared.clone());
        let done = move |result| {
            match result {
                Ok(true) => {
                    found();
                    lookup.shared.insert(key);
                }
                Ok(false) => {}
                Err(error) => log::error!("the store could not look up a conversation: {error}"),
            }
            drop(lookup);
        };
        self.shared
            .readers
            .have_conversation(a.clone(), b.clone(), done);
    }
}

impl Shared {
    fn pairs(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for both orders of two users.
    fn key(&self, a: &str, b: &str) -> u64 {
        self.hasher.hash_one((a.min(b), a.max(b)))
    }

    fn insert(&self, key: u64) {
        let mut pairs = self.pairs();
        if pairs.len() >= MAX_PAIRS {
            *pairs = HashSet::new();
        }
        pairs.insert(key);
    }
}

/// Counts a lookup until it is dropped, also if the readers drop the job.
struct Lookup {
    shared: Arc<Shared>,
}

impl Lookup {
    fn start(shared: Arc<Shared>) -> Self {
        shared.lookups.fetch_add(1, Ordering::AcqRel);
        Self { shared }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.shared.lookups.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Contacts;

    #[test]
    fn a_pair_has_no_direction() {
        let contacts = Contacts::default();
        let shared = &contacts.shared;
        shared.insert(shared.key("a", "b"));
        assert!(contacts.contains("a", "b") && contacts.contains("b", "a"));
        assert!(!contacts.contains("a", "a") && !contacts.contains("ab", ""));
    }
}
