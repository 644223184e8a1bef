//! Rate limits of users, and what they have in common with those of addresses.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::Clock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::SPARE_ENTRIES;
use crate::config::{LimitsConfig, RateLimit, RoomsConfig};

/// A user in the maps of rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(u64);

/// Rate limits of users, over all of their sessions.
#[derive(Debug)]
pub struct UserRates {
    /// Computes the keys of users. Randomly seeded, so that nobody can choose a user id that shares the key of another user.
    hasher: RandomState,
    /// Frames from clients.
    frames: KeyedRateLimit<UserKey>,
    /// `ping` frames.
    pings: KeyedRateLimit<UserKey>,
    /// Queries of the store.
    queries: KeyedRateLimit<UserKey>,
    /// Frames to members of rooms that are not stored, one for each member.
    signals: KeyedRateLimit<UserKey>,
}

impl UserRates {
    /// The rate limits that the settings define.
    pub fn new(config: &LimitsConfig, rooms: &RoomsConfig) -> Self {
        Self {
            hasher: RandomState::new(),
            frames: KeyedRateLimit::new(config.user_rate()),
            pings: KeyedRateLimit::new(config.user_ping_rate()),
            queries: KeyedRateLimit::new(config.query_rate()),
            signals: KeyedRateLimit::new(rooms.signal_rate()),
        }
    }

    /// The key of a user, for the other methods. Sessions compute it once.
    pub fn key(&self, user: &str) -> UserKey {
        UserKey(self.hasher.hash_one(user))
    }

    /// Counts a frame from a user that arrived at `now`.
    ///
    /// # Errors
    /// The time in milliseconds until the user may send the next frame.
    pub fn check_frame(&self, user: UserKey, now: Instant) -> Result<(), u64> {
        self.frames.check_at(&user, now)
    }

    /// Counts a `ping` from a user that arrived at `now`.
    ///
    /// # Errors
    /// The time in milliseconds until the user may send the next one.
    pub fn check_ping(&self, user: UserKey, now: Instant) -> Result<(), u64> {
        self.pings.check_at(&user, now)
    }

    /// Counts a query of a user.
    ///
    /// # Errors
    /// The time in milliseconds until the user may send the next query.
    pub fn check_query(&self, user: UserKey) -> Result<(), u64> {
        self.queries.check(&user)
    }

    /// Counts a frame from a user to `members` members of a room that is not stored.
    ///
    /// # Errors
    /// The time in milliseconds until the user may send the frame.
    pub fn check_signal(&self, user: UserKey, members: usize) -> Result<(), u64> {
        self.signals.check_many(&user, members)
    }

    pub(super) fn sweep(&self) {
        self.signals.sweep();
        self.frames.sweep();
        self.pings.sweep();
        self.queries.sweep();
    }
}

thread_local! {
    /// The time of the event that this thread is counting, if the caller knows it.
    static GIVEN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The monotonic clock, or the time that the caller has read already: reading the clock costs several times as much as counting.
#[derive(Clone, Copy, Debug)]
struct GivenOrMonotonic;

impl Clock for GivenOrMonotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        GIVEN.get().unwrap_or_else(Instant::now)
    }
}

/// A rate limit per key.
#[derive(Debug)]
pub struct KeyedRateLimit<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, DashMapStateStore<K, ahash::RandomState>, GivenOrMonotonic>,
    burst: NonZeroU32,
}

impl<K: Clone + Eq + Hash> KeyedRateLimit<K> {
    /// A limiter whose keys each have this rate.
    pub fn new(limit: RateLimit) -> Self {
        let positive = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let burst = positive(limit.burst);
        let quota = Quota::per_second(positive(limit.per_second)).allow_burst(burst);
        Self {
            limiter: RateLimiter::dashmap_with_clock_and_hasher(
                quota,
                GivenOrMonotonic,
                ahash::RandomState::new(),
            ),
            burst,
        }
    }

    /// Counts one event.
    ///
    /// # Errors
    /// The time in milliseconds until the next one is allowed.
    pub fn check(&self, key: &K) -> Result<(), u64> {
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(GivenOrMonotonic.now());
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
        })
    }

    /// Counts one event of the time `now`.
    ///
    /// # Errors
    /// As [`KeyedRateLimit::check`].
    pub fn check_at(&self, key: &K, now: Instant) -> Result<(), u64> {
        GIVEN.set(Some(now));
        let checked = self.check(key);
        GIVEN.set(None);
        checked
    }

    /// Counts `count` events at once. More than the burst count as the burst: otherwise they would never be allowed.
    fn check_many(&self, key: &K, count: usize) -> Result<(), u64> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Some(count) = NonZeroU32::new(count.min(self.burst.get())) else {
            return Ok(());
        };
        match self.limiter.check_key_n(key, count) {
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(GivenOrMonotonic.now());
                Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
            }
            // Not more than the burst.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Drops the entries that are fully refilled.
    pub fn sweep(&self) {
        if !self.limiter.is_empty() {
            self.limiter.retain_recent();
            if self.limiter.len() < SPARE_ENTRIES {
                self.limiter.shrink_to_fit();
            }
        }
    }
}
