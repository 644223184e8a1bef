//! How much of the server one user and one address may have for themselves (PROTOCOL section 8): what no session can know of
//! itself alone. What a session knows, it bounds itself (`session::bounds`).
//!
//! A [`Limits`] is shared as an `Arc`. Its maps forget whoever has been quiet for as long as their allowance takes to fill up,
//! so that they are bounded by what the last seconds have brought; [`Limits::sweep`] does that, once a second. No lock is
//! held longer than one look.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

pub mod ip_quota;
pub mod memory;

use self::ip_quota::IpQuota;
use self::memory::{MemoryBudget, Reservation};
use crate::config::{LimitsConfig, RateLimit, RecipientsConfig, TrustedProxies};

/// Keys that a map may hold on to after a storm, rather than ask for the memory again.
const SPARE: usize = 1024;
/// Beyond its number of connections the server still takes so many to tell them so in a way that a browser sees.
const LINGERING: usize = 1024;
/// Beyond its number of sessions an address may have so many connections: requests for pages, and handshakes under way.
const REQUESTS_OF_ONE: usize = 256;
/// The same of all together.
const REQUESTS: usize = 4096;
/// A page takes a few connections where a WebSocket takes one.
const ARRIVALS_PER_HANDSHAKE: u32 = 4;
/// Addresses whose purses are remembered while nobody is there.
const PURSES: usize = 100_000;
const ALL_TAKEN: &str = "the server has as many connections as it takes";
const YOURS_TAKEN: &str = "your address has as many connections as one may have";
/// When to come back where it cannot be told when there will be room.
const LATER: Duration = Duration::from_secs(1);

/// An address as limits go by it. Whoever has one IPv6 address has a whole /64 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ClientNet {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl ClientNet {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// A user as limits go by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(u64);

/// The allowances of everybody.
#[derive(Debug)]
pub struct Limits {
    /// Makes keys of users. Seeded at random: nobody can look for a user who shares somebody's allowance.
    hasher: RandomState,
    clock: DefaultClock,
    /// Client frames of each user, over all sessions.
    frames: DefaultKeyedRateLimiter<UserKey>,
    /// What each user asks the store for.
    queries: DefaultKeyedRateLimiter<UserKey>,
    /// WebSocket handshakes from each address.
    handshakes: DefaultKeyedRateLimiter<ClientNet>,
    /// Connections that come from each address, whatever they are for.
    arrivals: DefaultKeyedRateLimiter<ClientNet>,
    /// Connections that are there, whatever they are for.
    sockets: AtomicUsize,
    /// Who speaks for others, and is not limited for what they all do.
    proxies: TrustedProxies,
    /// Connections at a time, in all and from one address.
    most: usize,
    most_of_one: usize,
    /// Nobody has said otherwise, so that this machine itself, or a proxy on it, is nobody in particular.
    spares_loopback: (bool, bool),
    here: Mutex<Here>,
    /// Messages that each address may leave with users who have never connected, and whether this machine itself may, too.
    unclaimed: u64,
    counts_loopback: bool,
    purses: Mutex<HashMap<ClientNet, Arc<IpQuota>>>,
    /// Handshakes refused since the log was last told.
    refused: AtomicU64,
    /// What waits in memory for all.
    buffers: Arc<MemoryBudget>,
}

/// Who is here.
#[derive(Debug, Default)]
struct Here {
    all: usize,
    by_place: HashMap<ClientNet, usize>,
    sockets_by_place: HashMap<ClientNet, usize>,
}

/// A connection that has come, before anything is known of it. Dropping it uncounts it.
#[derive(Debug)]
pub struct ConnectionPermit {
    limits: Arc<Limits>,
    place: Option<ClientNet>,
}

/// A connection's place among all. Dropping it gives it up.
#[derive(Debug)]
pub struct WebSocketPermit {
    limits: Arc<Limits>,
    place: Option<ClientNet>,
}

/// A connection is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// For people.
    pub detail: &'static str,
    /// When it makes sense to come again.
    pub retry_after_ms: u64,
}

impl Limits {
    /// The limits that the settings name.
    pub fn new(
        config: &LimitsConfig,
        recipients: &RecipientsConfig,
        proxies: &TrustedProxies,
    ) -> Arc<Self> {
        let handshakes = config.handshake_rate();
        Arc::new(Self {
            hasher: RandomState::new(),
            clock: DefaultClock::default(),
            frames: RateLimiter::keyed(quota(config.user_rate())),
            queries: RateLimiter::keyed(quota(config.query_rate())),
            handshakes: RateLimiter::keyed(quota(handshakes)),
            arrivals: RateLimiter::keyed(quota(RateLimit {
                per_second: handshakes.per_second.saturating_mul(ARRIVALS_PER_HANDSHAKE),
                burst: handshakes.burst.saturating_mul(ARRIVALS_PER_HANDSHAKE),
            })),
            sockets: AtomicUsize::new(0),
            proxies: proxies.clone(),
            most: config.connections,
            most_of_one: config.connections_per_ip() as usize,
            spares_loopback: (
                config.connections_per_ip.0.is_none(),
                config.handshakes_per_second.0.is_none() && config.handshake_burst.0.is_none(),
            ),
            here: Mutex::default(),
            unclaimed: recipients.unknown_recipients_per_ip(),
            counts_loopback: recipients.unknown_recipients_per_ip.0.is_some(),
            purses: Mutex::default(),
            refused: AtomicU64::new(0),
            buffers: MemoryBudget::new(config.buffer_bytes),
        })
    }

    /// What waits in memory for all sessions.
    pub fn buffers(&self) -> &Arc<MemoryBudget> {
        &self.buffers
    }

    /// A user's key. A session asks once.
    pub fn key(&self, user: &str) -> UserKey {
        UserKey(self.hasher.hash_one(user))
    }

    /// Counts a frame of a user.
    ///
    /// # Errors
    /// In how many milliseconds the user may send the next one.
    pub fn frame(&self, user: UserKey) -> Result<(), u64> {
        self.ask(&self.frames, &user)
    }

    /// Counts something that a user asks the store for.
    ///
    /// # Errors
    /// In how many milliseconds the user may ask again.
    pub fn query(&self, user: UserKey) -> Result<(), u64> {
        self.ask(&self.queries, &user)
    }

    fn ask<K: Clone + Eq + std::hash::Hash>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<(), u64> {
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
        })
    }

    /// Counts a connection that has come from `ip`, whatever it is for, for as long as what it gives is held. These limits
    /// are wide: whom they stop has no part in dmwire, and gets no more than a word.
    ///
    /// # Errors
    /// [`TooMany`]
    pub fn arrive(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<ConnectionPermit, TooMany> {
        let ip = ip.map(|ip| ip.to_canonical());
        let ip = ip.filter(|ip| !self.proxies.contains(*ip));
        let loopback = ip.is_some_and(|ip| ip.is_loopback());
        let place = ip.map(ClientNet::of);
        let counted = place.filter(|_| !(loopback && self.spares_loopback.0));
        let paced = place.filter(|_| !(loopback && self.spares_loopback.1));
        if let Some(place) = paced
            && let Err(retry_after_ms) = self.ask(&self.arrivals, &place)
        {
            return Err(self.refuse("too many connections from your address", retry_after_ms));
        }
        // Counted, and then looked at: no two can have the last place.
        let mut arrival = ConnectionPermit {
            limits: self.clone(),
            place: None,
        };
        let most = self.most.saturating_add(LINGERING + REQUESTS);
        if self.sockets.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(self.refuse(ALL_TAKEN, LATER.as_millis() as u64));
        }
        if let Some(place) = counted {
            let mut here = self.here();
            let count = here.sockets_by_place.entry(place).or_default();
            if *count >= self.most_of_one.saturating_add(REQUESTS_OF_ONE) {
                drop(here);
                return Err(self.refuse(YOURS_TAKEN, LATER.as_millis() as u64));
            }
            *count += 1;
            arrival.place = counted;
        }
        Ok(arrival)
    }

    /// Counts a WebSocket from `ip`, for as long as what it gives is held.
    ///
    /// # Errors
    /// [`TooMany`]
    pub fn admit(self: &Arc<Self>, ip: Option<IpAddr>) -> Result<WebSocketPermit, TooMany> {
        let loopback = ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        let place = ip.map(ClientNet::of);
        let counted = place.filter(|_| !(loopback && self.spares_loopback.0));
        let paced = place.filter(|_| !(loopback && self.spares_loopback.1));
        if let Some(place) = paced
            && let Err(retry_after_ms) = self.ask(&self.handshakes, &place)
        {
            return Err(self.refuse("too many handshakes from your address", retry_after_ms));
        }
        let mut here = self.here();
        let of_one = counted.map_or(0, |place| here.by_place.get(&place).copied().unwrap_or(0));
        let too_many = if here.all >= self.most {
            Some(ALL_TAKEN)
        } else if of_one >= self.most_of_one {
            Some(YOURS_TAKEN)
        } else {
            None
        };
        if let Some(detail) = too_many {
            drop(here);
            return Err(self.refuse(detail, LATER.as_millis() as u64));
        }
        here.all += 1;
        if let Some(place) = counted {
            *here.by_place.entry(place).or_default() += 1;
        }
        Ok(WebSocketPermit {
            limits: self.clone(),
            place: counted,
        })
    }

    /// What the client at `ip` may leave with users who have never connected; `None`: any number of messages.
    pub fn ip_quota(&self, ip: Option<IpAddr>) -> Option<Arc<IpQuota>> {
        let ip = ip?.to_canonical();
        if ip.is_loopback() && !self.counts_loopback {
            return None;
        }
        let mut purses = self.purses();
        if purses.len() >= PURSES && !purses.contains_key(&ClientNet::of(ip)) {
            // Whoever is not here begins anew; what all together may leave still holds.
            purses.retain(|_, ip_quota| Arc::strong_count(ip_quota) > 1);
        }
        let ip_quota = purses.entry(ClientNet::of(ip));
        let ip_quota = ip_quota.or_insert_with(|| Arc::new(IpQuota::new(self.unclaimed)));
        Some(ip_quota.clone())
    }

    fn purses(&self) -> MutexGuard<'_, HashMap<ClientNet, Arc<IpQuota>>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back to every address what comes back within a minute.
    pub fn refill_ip_quotas(&self, minute: u64) {
        let mut purses = self.purses();
        purses.retain(|_, ip_quota| {
            // Also where somebody holds it: it is the one that they get again.
            !ip_quota.refill(minute) || Arc::strong_count(ip_quota) > 1
        });
        if purses.capacity() > SPARE.max(4 * purses.len()) {
            purses.shrink_to_fit();
        }
    }

    fn refuse(&self, detail: &'static str, retry_after_ms: u64) -> TooMany {
        self.refused.fetch_add(1, Ordering::Relaxed);
        TooMany {
            detail,
            retry_after_ms,
        }
    }

    /// Whether the server may take a connection, of `live` that it has, only to say why it takes none.
    pub fn may_linger(&self, live: usize) -> bool {
        live < self.most.saturating_add(LINGERING)
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        // Each change leaves it whole.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets whoever has their whole allowance again.
    pub fn sweep(&self) {
        fn forget<K: Clone + Eq + std::hash::Hash>(limiter: &DefaultKeyedRateLimiter<K>) {
            if !limiter.is_empty() {
                limiter.retain_recent();
                if limiter.len() < SPARE {
                    limiter.shrink_to_fit();
                }
            }
        }
        forget(&self.frames);
        forget(&self.queries);
        forget(&self.handshakes);
        forget(&self.arrivals);
        let mut here = self.here();
        let Here {
            by_place,
            sockets_by_place,
            ..
        } = &mut *here;
        for map in [by_place, sockets_by_place] {
            if map.capacity() > SPARE.max(4 * map.len()) {
                map.shrink_to_fit();
            }
        }
    }

    /// Handshakes that were refused since this was last asked.
    pub fn take_rejected(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

impl ConnectionPermit {
    /// What waits in memory for it.
    pub fn share(&self) -> Reservation {
        self.limits.buffers.share()
    }
}

impl Drop for WebSocketPermit {
    fn drop(&mut self) {
        let mut here = self.limits.here();
        here.all -= 1;
        if let Some(place) = self.place {
            uncount(&mut here.by_place, place);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.sockets.fetch_sub(1, Ordering::Relaxed);
        if let Some(place) = self.place {
            uncount(&mut self.limits.here().sockets_by_place, place);
        }
    }
}

fn uncount(counts: &mut HashMap<ClientNet, usize>, place: ClientNet) {
    if let Some(count) = counts.get_mut(&place) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&place);
        }
    }
}

fn quota(allowed: RateLimit) -> Quota {
    let some = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(some(allowed.per_second)).allow_burst(some(allowed.burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_arrivals_together_have_a_bound_and_give_their_places_back() {
        let mut config = LimitsConfig::default();
        config.connections = 1;
        let limits = Limits::new(
            &config,
            &RecipientsConfig::default(),
            &TrustedProxies::default(),
        );
        let most = 1 + LINGERING + REQUESTS;
        let mut held: Vec<_> = (0..most)
            .map(|_| limits.arrive(None).expect("there is room"))
            .collect();
        for _ in 0..3 {
            let too_many = limits.arrive(None).expect_err("there is none");
            assert_eq!(too_many.detail, ALL_TAKEN);
        }
        held.pop();
        held.push(limits.arrive(None).expect("there is room again"));
        drop(held);
        assert_eq!(limits.sockets.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_address_has_so_many_arrivals_and_a_proxy_and_this_machine_any_number() {
        let mut config = LimitsConfig::default();
        config.connections_per_ip = crate::config::Auto(Some(2));
        config.handshakes_per_second = crate::config::Auto(Some(1000));
        let proxies = TrustedProxies::of(&["192.0.2.7"]);
        let limits = Limits::new(&config, &RecipientsConfig::default(), &proxies);
        let come = |ip: &str| limits.arrive(Some(ip.parse().expect("an address")));
        let held: Vec<_> = (0..2 + REQUESTS_OF_ONE)
            .map(|_| come("203.0.113.1").expect("there is room"))
            .collect();
        let too_many = come("203.0.113.1").expect_err("there is none");
        assert_eq!(too_many.detail, YOURS_TAKEN);
        come("203.0.113.2").expect("somebody else");
        drop(held);
        come("203.0.113.1").expect("there is room again");
        assert!(limits.here().sockets_by_place.is_empty());
        let proxied: Vec<_> = (0..1000).map(|_| come("192.0.2.7")).collect();
        assert!(proxied.iter().all(Result::is_ok));
    }
}
