//! Numbers the changes of who is a contact of whom, so that what was read before a change is known to be old.
//!
//! A change of a group concerns any two of its members. It is recorded once for each member, not for each pair: what was read of two
//! users is old if both were in a group that has changed since. That may also be so if the groups were different ones, or if another
//! user has the same place in the table. Then the pair is read again, which costs a lookup and changes nothing.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of places in the table. Its size does not depend on the number of users.
const PLACES: usize = 1 << 16;

/// The changes so far. It has no lock.
#[derive(Debug, Default)]
pub struct Regroupings {
    /// Turns a user into a place of the table. Seeded at random, so that clients cannot choose user ids of the same place.
    hasher: RandomState,
    /// The number of changes.
    count: AtomicU64,
    /// The number of the last change of a group with a user, by the hash of the user. It exists from the first such change on.
    last: OnceLock<Box<[AtomicU64]>>,
}

impl Regroupings {
    /// The number of the last change. What is read from now on is as new as that change.
    pub fn now(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Numbers a change that is recorded elsewhere.
    pub fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Any two of these users may have become contacts, or may be contacts no more. To be called when the change can be read.
    pub fn add(&self, users: &[Arc<str>]) {
        let at = self.next();
        let create = || (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        let last = self.last.get_or_init(create);
        for user in users {
            if let Some(place) = last.get(self.place(user)) {
                place.fetch_max(at, Ordering::SeqCst);
            }
        }
    }

    /// True if what was read of two users when [`Regroupings::now`] was `since` may be old.
    pub fn concern(&self, a: &str, b: &str, since: u64) -> bool {
        if self.now() == since {
            return false;
        }
        let is_after = |last: &[AtomicU64], user| {
            let place = last.get(self.place(user));
            place.is_some_and(|at| at.load(Ordering::SeqCst) > since)
        };
        self.last
            .get()
            .is_some_and(|last| is_after(last, a) && is_after(last, b))
    }

    fn place(&self, user: &str) -> usize {
        self.hasher.hash_one(user) as usize % PLACES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_the_pairs_of_its_group_that_were_read_before() {
        let regroupings = Regroupings::default();
        let before = regroupings.now();
        regroupings.add(&["a".into(), "b".into()]);
        let after = regroupings.now();
        regroupings.next();
        assert!(regroupings.concern("a", "b", before) && regroupings.concern("b", "a", before));
        assert!(!regroupings.concern("a", "c", before) && !regroupings.concern("c", "d", before));
        assert!(!regroupings.concern("a", "b", after));
        regroupings.add(&["b".into(), "a".into()]);
        assert!(regroupings.concern("a", "b", after));
    }
}
