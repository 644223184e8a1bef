//! Limits the inbox entries that the frames of one user create in rooms: a token bucket for each user (PROTOCOL section 8).
//!
//! A bucket is one number, the time at which it is full again, and is forgotten then.

use std::collections::HashMap;
use std::time::Instant;

/// Microseconds per second.
const SECOND: u64 = 1_000_000;
/// The number of buckets beyond which the full ones are forgotten.
const MAX_BUCKETS: usize = 100_000;

/// The buckets, in the memory of the writing half of a store.
#[derive(Debug)]
pub struct EntryRates {
    /// The beginning of the times, in microseconds.
    epoch: Instant,
    /// By user: when the bucket is full again.
    full_at: HashMap<i64, u64>,
    /// What the present transaction has changed: the buckets as they were before, `None` for those that were full.
    undo: Vec<(i64, Option<u64>)>,
    /// Beyond this number the full buckets are forgotten.
    shrink_at: usize,
}

/// Entries per second and at once.
#[derive(Clone, Copy, Debug)]
pub struct EntryLimit {
    pub per_second: u32,
    pub burst: u32,
}

impl EntryLimit {
    /// The time in which a number of entries is refilled.
    fn time(self, entries: u64) -> u64 {
        entries.saturating_mul(SECOND) / u64::from(self.per_second.max(1))
    }
}

impl Default for EntryRates {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            full_at: HashMap::new(),
            undo: Vec::new(),
            shrink_at: MAX_BUCKETS,
        }
    }
}

impl EntryRates {
    /// The time in milliseconds after which a user may create this many entries; `None`: they may be created now. More than the
    /// burst may be created when the bucket is full.
    pub fn wait(&self, user: i64, entries: u64, limit: EntryLimit) -> Option<u64> {
        self.wait_at(self.now(), user, entries, limit)
    }

    fn wait_at(&self, now: u64, user: i64, entries: u64, limit: EntryLimit) -> Option<u64> {
        let full_at = *self.full_at.get(&user)?;
        let burst = limit.time(limit.burst.into());
        let allowed_at = full_at
            .saturating_add(limit.time(entries))
            .saturating_sub(burst)
            .min(full_at);
        (allowed_at > now).then(|| (allowed_at - now).div_ceil(1000))
    }

    /// Counts entries that [`EntryRates::wait`] has allowed.
    pub fn count(&mut self, user: i64, entries: u64, limit: EntryLimit) {
        self.count_at(self.now(), user, entries, limit);
    }

    fn count_at(&mut self, now: u64, user: i64, entries: u64, limit: EntryLimit) {
        if self.full_at.len() >= self.shrink_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.shrink_at = MAX_BUCKETS.max(2 * self.full_at.len());
        }
        let before = self.full_at.get(&user).copied();
        self.undo.push((user, before));
        let full_at = before.unwrap_or(now).max(now);
        let full_at = full_at.saturating_add(limit.time(entries));
        self.full_at.insert(user, full_at);
    }

    /// The entries that were counted are committed.
    pub fn committed(&mut self) {
        self.undo.clear();
    }

    /// The entries that were counted since the last commit were rolled back.
    pub fn rolled_back(&mut self) {
        while let Some((user, before)) = self.undo.pop() {
            match before {
                Some(full_at) => self.full_at.insert(user, full_at),
                None => self.full_at.remove(&user),
            };
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: EntryLimit = EntryLimit {
        per_second: 10,
        burst: 30,
    };

    #[test]
    fn entries_beyond_the_burst_wait_for_the_refill() {
        let mut rates = EntryRates::default();
        assert_eq!(rates.wait_at(0, 1, 30, LIMIT), None);
        rates.count_at(0, 1, 30, LIMIT);
        assert_eq!(rates.wait_at(0, 1, 5, LIMIT), Some(500));
        assert_eq!(rates.wait_at(0, 2, 5, LIMIT), None);
        assert_eq!(rates.wait_at(500_000, 1, 5, LIMIT), None);
        // More than the burst: when the bucket is full.
        assert_eq!(rates.wait_at(0, 1, 1000, LIMIT), Some(3000));
        assert_eq!(rates.wait_at(3_000_000, 1, 1000, LIMIT), None);
    }

    #[test]
    fn entries_that_are_rolled_back_are_not_counted() {
        let mut rates = EntryRates::default();
        rates.count_at(0, 1, 20, LIMIT);
        rates.committed();
        rates.count_at(0, 1, 10, LIMIT);
        rates.count_at(0, 2, 30, LIMIT);
        rates.rolled_back();
        assert_eq!(rates.wait_at(0, 1, 10, LIMIT), None);
        assert_eq!(rates.wait_at(0, 1, 11, LIMIT), Some(100));
        assert_eq!(rates.wait_at(0, 2, 30, LIMIT), None);
    }
}
