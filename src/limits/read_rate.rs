//! Limits of what is delayed instead of rejected: bytes, and frames without a reply (PROTOCOL sections 8 and 10). A connection that
//! exceeds them is not read from for a moment.
//!
//! Each connection has a [`ReadRate`] of its own. In addition, the sessions of a user share one, and so do the connections to `/echo` from
//! an address whose client is not authenticated.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{ClientNet, SPARE_ENTRIES, UserKey};

/// What may be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Frames without a reply per second.
    pub control_frames_per_second: u64,
    /// Bytes of all frames per second.
    pub bytes_per_second: u64,
}

/// Two token buckets that may become negative: nothing is read then until they are positive again. Each holds two seconds' worth.
#[derive(Debug)]
pub struct ReadRate {
    control_frames: Tokens,
    bytes: Tokens,
    /// When the tokens were last updated.
    updated: Instant,
}

#[derive(Debug)]
struct Tokens {
    per_second: f64,
    left: f64,
}

/// A bucket holds what accumulates within this time, in seconds.
const BURST_SECONDS: f64 = 2.0;

impl ReadRate {
    /// Full buckets.
    pub fn new(limits: ReadLimits, now: Instant) -> Self {
        Self {
            control_frames: Tokens::full(limits.control_frames_per_second as f64),
            bytes: Tokens::full(limits.bytes_per_second as f64),
            updated: now,
        }
    }

    /// Counts frames and bytes that were read. `Some`: nothing may be read before this time.
    pub fn spend(&mut self, control_frames: u32, bytes: usize, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        // The times of several connections are not in order.
        self.updated = now.max(self.updated);
        let frames = self.control_frames.spend(f64::from(control_frames), passed);
        let wait = self.bytes.spend(bytes as f64, passed).max(frames);
        (wait > 0.0).then(|| now + Duration::from_secs_f64(wait))
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.spend(0, 0, now);
        self.control_frames.is_full() && self.bytes.is_full()
    }
}

impl Tokens {
    fn full(per_second: f64) -> Self {
        Self {
            per_second,
            left: per_second * BURST_SECONDS,
        }
    }

    fn is_full(&self) -> bool {
        self.left >= self.per_second * BURST_SECONDS
    }

    /// Takes tokens after `passed` seconds. Returns the seconds until the bucket is not negative any more.
    fn spend(&mut self, count: f64, passed: f64) -> f64 {
        let full = self.per_second * BURST_SECONDS;
        self.left = (self.left + passed * self.per_second).min(full) - count;
        // A frame may be larger than what accumulates in a minute, if both limits are set so.
        (-self.left / self.per_second).clamp(0.0, 60.0)
    }
}

/// A [`ReadRate`] that several connections share.
#[derive(Debug)]
pub struct SharedReadRate(Mutex<ReadRate>);

impl SharedReadRate {
    /// As [`ReadRate::spend`].
    pub fn spend(&self, control_frames: u32, bytes: usize, now: Instant) -> Option<Instant> {
        self.lock().spend(control_frames, bytes, now)
    }

    fn lock(&self) -> MutexGuard<'_, ReadRate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose connections share a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    User(UserKey),
    Address(ClientNet),
}

/// The rates that connections share.
#[derive(Debug)]
pub struct SharedReadRates {
    limits: ReadLimits,
    rates: Mutex<HashMap<Sharer, Arc<SharedReadRate>>>,
}

impl SharedReadRates {
    /// No rates; each one that is added has these limits.
    pub fn new(limits: ReadLimits) -> Self {
        Self {
            limits,
            rates: Mutex::default(),
        }
    }

    /// The rate of a user.
    pub fn of_user(&self, user: UserKey) -> Arc<SharedReadRate> {
        self.of(Sharer::User(user))
    }

    /// The rate of an address.
    pub fn of_address(&self, ip: IpAddr) -> Arc<SharedReadRate> {
        self.of(Sharer::Address(ClientNet::of(ip)))
    }

    fn of(&self, sharer: Sharer) -> Arc<SharedReadRate> {
        let full = || SharedReadRate(Mutex::new(ReadRate::new(self.limits, Instant::now())));
        let mut rates = self.lock();
        let rate = rates.entry(sharer).or_insert_with(|| Arc::new(full()));
        rate.clone()
    }

    /// Drops the rates that no connection uses and that are full again: a new connection does not refill a rate.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut rates = self.lock();
        rates.retain(|_, rate| match Arc::get_mut(rate) {
            // A connection uses it.
            None => true,
            Some(SharedReadRate(rate)) => {
                let rate = rate.get_mut().unwrap_or_else(PoisonError::into_inner);
                !rate.is_full(now)
            }
        });
        if rates.capacity() > SPARE_ENTRIES.max(4 * rates.len()) {
            rates.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sharer, Arc<SharedReadRate>>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReadLimits = ReadLimits {
        control_frames_per_second: 1000,
        bytes_per_second: 100_000,
    };

    #[test]
    fn what_exceeds_a_rate_is_delayed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = ReadRate::new(LIMITS, start);
        assert_eq!(rate.spend(2000, 1000, start), None);
        assert_eq!(rate.spend(100, 1000, start), Some(at(100)));
        assert_eq!(rate.spend(0, 1000, at(100)), None);
        assert_eq!(rate.spend(0, 200_000, at(100_000)), None);
        assert_eq!(rate.spend(2000, 50_000, at(100_000)), Some(at(100_500)));
    }

    #[test]
    fn a_time_before_the_last_one_refills_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = ReadRate::new(LIMITS, start);
        assert_eq!(rate.spend(2000, 0, at(1000)), None);
        for _ in 0..1000 {
            rate.spend(0, 0, start);
            rate.spend(0, 0, at(1000));
        }
        assert_eq!(rate.spend(1, 0, at(1000)), Some(at(1001)));
    }

    #[test]
    fn a_shared_rate_is_kept_until_it_is_full_and_unused() {
        let rates = SharedReadRates::new(LIMITS);
        let ip = "2001:db8::1".parse().expect("an address");
        let now = Instant::now();
        let first = rates.of_address(ip);
        assert_eq!(first.spend(2000, 0, now), None);
        drop(first);
        rates.sweep();
        // Another address of the same network.
        let again = rates.of_address("2001:db8::2".parse().expect("an address"));
        assert!(again.spend(1000, 0, now).is_some());
        let other = rates.of_address("192.0.2.1".parse().expect("an address"));
        assert_eq!(other.spend(0, 0, now), None);
        rates.sweep();
        assert_eq!(rates.lock().len(), 2, "both are in use");
        drop(other);
        rates.sweep();
        assert_eq!(rates.lock().len(), 1);
    }
}
