//! Who takes nothing direct from whom, in memory: for what does not go through the store.
//!
//! The store is the truth, and decides about what is stored. This follows it: read when the server starts, and changed
//! before a `block` or `unblock` is acknowledged. A [`Blocks`] is shared by reference; its lock is held for one look.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// All blocks in force.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Turns a pair into its mark. Seeded at random: nobody can look for two pairs with the same.
    hasher: RandomState,
    /// A mark of 64 bits for each block, not the names: that two pairs out of millions share one is not to be expected.
    marks: RwLock<HashSet<u64>>,
    /// How many there are: mostly none, and then nobody needs the lock.
    count: AtomicUsize,
}

impl Blocks {
    /// Whether `user` takes nothing direct from `other`.
    pub fn has(&self, user: &str, other: &str) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self
                .marks
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&self.mark(user, other))
    }

    /// From now on `user` takes nothing direct from `other`, or, with `on` false, takes it again.
    pub fn set(&self, user: &str, other: &str, on: bool) {
        let mark = self.mark(user, other);
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        if on {
            marks.insert(mark);
        } else {
            marks.remove(&mark);
        }
        self.count.store(marks.len(), Ordering::Release);
    }

    fn mark(&self, user: &str, other: &str) -> u64 {
        self.hasher.hash_one((user, other))
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn a_block_has_a_direction() {
        let blocks = Blocks::default();
        blocks.set("a", "b", true);
        blocks.set("a", "b", true);
        blocks.set("ab", "c", true);
        assert!(blocks.has("a", "b") && blocks.has("ab", "c"));
        assert!(!blocks.has("b", "a") && !blocks.has("a", "bc"));
        blocks.set("a", "b", false);
        blocks.set("a", "c", false);
        assert!(!blocks.has("a", "b") && blocks.has("ab", "c"));
    }
}
