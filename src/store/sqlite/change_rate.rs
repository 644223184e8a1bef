//! Limits the changes that one user makes to one message: a token bucket for each pair, which is refilled evenly over an hour
//! (PROTOCOL section 8).
//!
//! A bucket is one number, the time at which it is full again, and is forgotten then. So the number of buckets depends on the
//! changes of the last hour. If there are more of them than fit, those that are full again first are forgotten: a user who has
//! nearly reached a limit keeps that bucket, however many other messages are changed meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Microseconds in which a bucket is refilled.
const HOUR: u64 = 3_600_000_000;
/// The number of buckets beyond which some are forgotten.
const MAX_BUCKETS: usize = 100_000;

/// The buckets, in the memory of the writing half of a store.
#[derive(Debug)]
pub struct ChangeRates {
    /// The beginning of the times, in microseconds.
    epoch: Instant,
    /// By user and message: when the bucket is full again.
    full_at: HashMap<(i64, i64), u64>,
    /// What the present transaction has changed: the buckets as they were before, `None` for those that were full.
    undo: Vec<((i64, i64), Option<u64>)>,
}

impl Default for ChangeRates {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            full_at: HashMap::new(),
            undo: Vec::new(),
        }
    }
}

impl ChangeRates {
    /// The time in milliseconds after which a user may change a message, if `limit` changes an hour are allowed; `None`: it may be
    /// changed now.
    pub fn wait(&self, user: i64, message: i64, limit: u32) -> Option<u64> {
        let now = self.now();
        let full_at = *self.full_at.get(&(user, message))?;
        let share = share(limit);
        let allowed_at = (full_at + share).saturating_sub(share * u64::from(limit));
        (allowed_at > now).then(|| (allowed_at - now).div_ceil(1000))
    }

    /// Counts a change that [`ChangeRates::wait`] has allowed.
    pub fn count(&mut self, user: i64, message: i64, limit: u32) {
        let now = self.now();
        if self.full_at.len() >= MAX_BUCKETS {
            self.shrink(now);
        }
        let key = (user, message);
        let before = self.full_at.get(&key).copied();
        self.undo.push((key, before));
        let full_at = before.unwrap_or(now).max(now) + share(limit);
        self.full_at.insert(key, full_at);
    }

    /// The changes that were counted are committed.
    pub fn committed(&mut self) {
        self.undo.clear();
    }

    /// The changes that were counted since the last commit were rolled back.
    pub fn rolled_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(full_at) => self.full_at.insert(key, full_at),
                None => self.full_at.remove(&key),
            };
        }
    }

    /// Forgets the buckets that are full, and if these are few, the half of all that is full again first.
    fn shrink(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() > MAX_BUCKETS / 2 {
            let mut times: Vec<u64> = self.full_at.values().copied().collect();
            let (_, median, _) = times.select_nth_unstable(self.full_at.len() / 2);
            let median = *median;
            self.full_at.retain(|_, full_at| *full_at > median);
        }
        self.full_at.shrink_to(MAX_BUCKETS / 2);
    }

    fn now(&self) -> u64 {
        let passed: Duration = self.epoch.elapsed();
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX / 2)
    }
}

/// The time in which a bucket gets one more change.
fn share(limit: u32) -> u64 {
    HOUR / u64::from(limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves the beginning of the times back.
    fn pass(rates: &mut ChangeRates, time: Duration) {
        for full_at in rates.full_at.values_mut() {
            *full_at = full_at.saturating_sub(time.as_micros() as u64);
        }
    }

    #[test]
    fn a_message_may_be_changed_up_to_the_limit_and_after_the_wait() {
        for limit in [1, 3, 7, 1000] {
            let mut rates = ChangeRates::default();
            for _ in 0..limit {
                assert_eq!(rates.wait(1, 1, limit), None);
                rates.count(1, 1, limit);
            }
            let wait = rates.wait(1, 1, limit).expect("the limit is reached");
            let share = 3_600_000 / u64::from(limit);
            assert!(
                (share - 1000..=share + 1).contains(&wait),
                "{limit}: {wait}"
            );
            assert_eq!(rates.wait(1, 2, limit), None, "another message");
            assert_eq!(rates.wait(2, 1, limit), None, "another user");
            pass(&mut rates, Duration::from_millis(wait));
            assert_eq!(rates.wait(1, 1, limit), None);
            rates.count(1, 1, limit);
            assert!(rates.wait(1, 1, limit).is_some());
        }
    }

    #[test]
    fn buckets_are_bounded_and_one_in_use_is_kept() {
        let mut rates = ChangeRates::default();
        for _ in 0..10 {
            rates.count(1, 0, 10);
        }
        for message in 1..=3 * MAX_BUCKETS as i64 {
            rates.count(1, message, 10);
        }
        assert!(rates.full_at.len() <= MAX_BUCKETS);
        assert!(rates.wait(1, 0, 10).is_some());
    }

    #[test]
    fn full_buckets_are_forgotten_first() {
        let mut rates = ChangeRates::default();
        for message in 0..MAX_BUCKETS as i64 {
            rates.count(1, message, 1000);
        }
        pass(&mut rates, Duration::from_secs(60));
        rates.count(2, 0, 1000);
        assert_eq!(rates.full_at.len(), 1);
    }
}
