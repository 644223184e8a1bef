//! The blocks between users, in memory: for frames that are delivered without the store, such as `typing`.
//!
//! The store is authoritative and decides about stored messages. This copy is read when the server starts, and updated before a
//! `block` or `unblock` is acknowledged. Its lock is held for one access only.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// All blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Computes the hash of a pair. Randomly seeded, so that nobody can search for two pairs with the same hash.
    hasher: RandomState,
    /// A hash of 64 bits for each block instead of the user ids. A collision is improbable even with millions of blocks.
    hashes: RwLock<HashSet<u64, ahash::RandomState>>,
    /// Number of blocks. It is usually 0, and then the lock is not needed.
    count: AtomicUsize,
}

impl Blocks {
    /// Whether `user` has blocked `other`.
    pub fn contains(&self, user: &str, other: &str) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self
                .hashes
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&self.hash(user, other))
    }

    /// Records that `user` blocks `other`, or unblocks it. False: that was so before.
    pub fn set(&self, user: &str, other: &str, blocked: bool) -> bool {
        let hash = self.hash(user, other);
        let mut hashes = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = if blocked {
            hashes.insert(hash)
        } else {
            hashes.remove(&hash)
        };
        self.count.store(hashes.len(), Ordering::Release);
        has_changed
    }

    fn hash(&self, user: &str, other: &str) -> u64 {
        self.hasher.hash_one((user, other))
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn a_block_has_a_direction() {
        let blocks = Blocks::default();
        assert!(blocks.set("a", "b", true));
        assert!(!blocks.set("a", "b", true));
        assert!(blocks.set("ab", "c", true));
        assert!(blocks.contains("a", "b") && blocks.contains("ab", "c"));
        assert!(!blocks.contains("b", "a") && !blocks.contains("a", "bc"));
        assert!(blocks.set("a", "b", false));
        assert!(!blocks.set("a", "c", false));
        assert!(!blocks.contains("a", "b") && blocks.contains("ab", "c"));
    }
}
