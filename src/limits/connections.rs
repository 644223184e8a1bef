//! Limits of connections, in total and per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rates::KeyedRateLimit;
use super::{ClientNet, SPARE_ENTRIES};
use crate::config::{LimitsConfig, RateLimit, TrustedProxies};
use crate::counters::Limit;

/// Connections beyond the limit that are upgraded only to send a `goodbye`, because browsers do not show an HTTP status.
const GOODBYE_CONNECTIONS: usize = 1024;
/// Connections from one address in addition to its WebSocket connections: HTTP requests, and handshakes in progress.
const HTTP_CONNECTIONS_PER_IP: usize = 256;
/// The same for all addresses together.
const HTTP_CONNECTIONS: usize = 4096;
/// The rate of connections of any kind from one address, relative to that of handshakes: loading the page takes a few connections.
const CONNECTIONS_PER_HANDSHAKE: u32 = 4;
const SERVER_FULL: &str = "the server has reached its limit of connections";
const ADDRESS_FULL: &str = "your address has reached its limit of connections";
/// When a client should try again if it is unknown when a connection will end.
const RETRY_AFTER_MS: u64 = 1000;

/// Counts connections.
#[derive(Debug)]
pub struct Connections {
    /// Maximum number of WebSocket connections.
    max: usize,
    /// Maximum number of WebSocket connections from one address.
    max_per_ip: usize,
    /// The numbers of connections from loopback addresses are limited only if the limit is set explicitly: a reverse proxy on this
    /// machine that is not configured would otherwise count as a single client.
    limits_loopback_count: bool,
    /// The same for the rates of connections and handshakes.
    limits_loopback_rate: bool,
    /// Addresses whose connections are not limited, because they carry those of many clients.
    proxies: TrustedProxies,
    /// WebSocket handshakes from each address.
    handshake_rate: KeyedRateLimit<ClientNet>,
    /// Connections of any kind from each address.
    connection_rate: KeyedRateLimit<ClientNet>,
    /// Number of open connections of any kind.
    open: AtomicUsize,
    counts: Mutex<Counts>,
    /// Number of connections and handshakes rejected since [`Connections::take_rejected`] was called last.
    rejected: AtomicU64,
    /// Number of malformed HTTP requests since [`Connections::take_malformed`] was called last.
    malformed: AtomicU64,
}

/// Numbers of open connections.
#[derive(Debug, Default)]
struct Counts {
    websockets: usize,
    websockets_per_ip: HashMap<ClientNet, usize>,
    connections_per_ip: HashMap<ClientNet, usize>,
}

/// An open connection of any kind. Counted until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    counted_as: Option<ClientNet>,
}

/// An open WebSocket connection. Counted until it is dropped.
#[derive(Debug)]
pub struct WebSocketPermit {
    connections: Arc<Connections>,
    counted_as: Option<ClientNet>,
}

/// A limit of connections is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TooManyConnections {
    /// The limit, for people.
    pub detail: &'static str,
    /// The time in milliseconds after which a new attempt makes sense.
    pub retry_after_ms: u64,
}

impl Connections {
    /// The limits that the settings define.
    pub fn new(config: &LimitsConfig, proxies: TrustedProxies) -> Arc<Self> {
        let handshakes = config.handshake_rate();
        Arc::new(Self {
            max: config.connections,
            max_per_ip: config.connections_per_ip() as usize,
            limits_loopback_count: config.connections_per_ip.0.is_some(),
            limits_loopback_rate: config.handshakes_per_second.0.is_some()
                || config.handshake_burst.0.is_some(),
            proxies,
            handshake_rate: KeyedRateLimit::new(handshakes),
            connection_rate: KeyedRateLimit::new(RateLimit {
                per_second: handshakes
                    .per_second
                    .saturating_mul(CONNECTIONS_PER_HANDSHAKE),
                burst: handshakes.burst.saturating_mul(CONNECTIONS_PER_HANDSHAKE),
            }),
            open: AtomicUsize::new(0),
            counts: Mutex::default(),
            rejected: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        })
    }

    /// Counts a connection of any kind from `ip`. These limits are so high that they only concern attacks: beyond them a connection
    /// gets a short response, or none.
    ///
    /// # Errors
    /// [`TooManyConnections`]
    pub fn open(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
    ) -> Result<ConnectionPermit, TooManyConnections> {
        let ip = ip.filter(|ip| !self.proxies.contains(*ip));
        let (counted_as, rated_as) = self.limited(ip, false);
        if let Some(net) = rated_as
            && let Err(retry_after_ms) = self.connection_rate.check(&net)
        {
            let detail = "too many connections from your address";
            return Err(self.reject(Limit::Handshakes, detail, retry_after_ms));
        }
        // Created before the check, so that an error uncounts the connection.
        let mut permit = ConnectionPermit {
            connections: self.clone(),
            counted_as: None,
        };
        let max = self
            .max
            .saturating_add(GOODBYE_CONNECTIONS + HTTP_CONNECTIONS);
        // Counted before the check, so that two connections cannot get the last place.
        if self.open.fetch_add(1, Ordering::Relaxed) >= max {
            return Err(self.reject(Limit::Connections, SERVER_FULL, RETRY_AFTER_MS));
        }
        if let Some(net) = counted_as {
            let mut counts = self.counts();
            let count = counts.connections_per_ip.entry(net).or_default();
            if *count >= self.max_per_ip.saturating_add(HTTP_CONNECTIONS_PER_IP) {
                let limit = Limit::ConnectionsOfAddress;
                return Err(self.reject(limit, ADDRESS_FULL, RETRY_AFTER_MS));
            }
            *count += 1;
            permit.counted_as = counted_as;
        }
        Ok(permit)
    }

    /// Counts a WebSocket connection from `ip`, in addition to [`Connections::open`]. `proxied`: it came through a trusted proxy.
    ///
    /// # Errors
    /// [`TooManyConnections`]
    pub fn open_websocket(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
        proxied: bool,
    ) -> Result<WebSocketPermit, TooManyConnections> {
        let (counted_as, rated_as) = self.limited(ip, proxied);
        if let Some(net) = rated_as
            && let Err(retry_after_ms) = self.handshake_rate.check(&net)
        {
            let detail = "too many handshakes from your address";
            return Err(self.reject(Limit::Handshakes, detail, retry_after_ms));
        }
        let mut counts = self.counts();
        if counts.websockets >= self.max {
            return Err(self.reject(Limit::Connections, SERVER_FULL, RETRY_AFTER_MS));
        }
        if let Some(net) = counted_as {
            let from_address = counts.websockets_per_ip.get(&net).copied();
            if from_address.unwrap_or(0) >= self.max_per_ip {
                let limit = Limit::ConnectionsOfAddress;
                return Err(self.reject(limit, ADDRESS_FULL, RETRY_AFTER_MS));
            }
            *counts.websockets_per_ip.entry(net).or_default() += 1;
        }
        counts.websockets += 1;
        Ok(WebSocketPermit {
            connections: self.clone(),
            counted_as,
        })
    }

    /// The address for the numbers of connections and the one for the rates; `None` where there is no limit.
    fn limited(&self, ip: Option<IpAddr>, proxied: bool) -> (Option<ClientNet>, Option<ClientNet>) {
        let loopback = !proxied && ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        let net = ip.map(ClientNet::of);
        (
            net.filter(|_| !loopback || self.limits_loopback_count),
            net.filter(|_| !loopback || self.limits_loopback_rate),
        )
    }

    /// Whether a rejected client may be upgraded to receive a `goodbye`, while there are `sessions` sessions.
    pub fn may_send_goodbye(&self, sessions: usize) -> bool {
        sessions < self.max.saturating_add(GOODBYE_CONNECTIONS)
    }

    /// Number of connections and handshakes rejected since the last call.
    pub fn take_rejected(&self) -> u64 {
        self.rejected.swap(0, Ordering::Relaxed)
    }

    /// Counts a request that is not HTTP. Its connection is closed.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of malformed requests since the last call.
    pub fn take_malformed(&self) -> u64 {
        self.malformed.swap(0, Ordering::Relaxed)
    }

    pub(super) fn sweep(&self) {
        self.handshake_rate.sweep();
        self.connection_rate.sweep();
        let mut counts = self.counts();
        let Counts {
            websockets_per_ip,
            connections_per_ip,
            ..
        } = &mut *counts;
        for map in [websockets_per_ip, connections_per_ip] {
            if map.capacity() > SPARE_ENTRIES.max(4 * map.len()) {
                map.shrink_to_fit();
            }
        }
    }

    fn reject(
        &self,
        limit: Limit,
        detail: &'static str,
        retry_after_ms: u64,
    ) -> TooManyConnections {
        limit.count(1);
        self.rejected.fetch_add(1, Ordering::Relaxed);
        TooManyConnections {
            detail,
            retry_after_ms,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A panic cannot leave the counts half changed, so a poisoned lock is usable.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(net) = self.counted_as {
            decrement(&mut self.connections.counts().connections_per_ip, net);
        }
    }
}

impl Drop for WebSocketPermit {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.websockets -= 1;
        if let Some(net) = self.counted_as {
            decrement(&mut counts.websockets_per_ip, net);
        }
    }
}

fn decrement(counts: &mut HashMap<ClientNet, usize>, net: ClientNet) {
    if let Some(count) = counts.get_mut(&net) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&net);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auto;

    #[test]
    fn the_total_number_of_connections_is_limited_until_some_end() {
        let config = LimitsConfig {
            connections: 1,
            ..LimitsConfig::default()
        };
        let connections = Connections::new(&config, TrustedProxies::default());
        let max = 1 + GOODBYE_CONNECTIONS + HTTP_CONNECTIONS;
        let mut open: Vec<_> = (0..max)
            .map(|_| connections.open(None).expect("the limit is not reached"))
            .collect();
        for _ in 0..3 {
            let error = connections.open(None).expect_err("the limit is reached");
            assert_eq!(error.detail, SERVER_FULL);
        }
        open.pop();
        open.push(connections.open(None).expect("a connection has ended"));
        drop(open);
        assert_eq!(connections.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn connections_are_limited_per_address_except_for_trusted_proxies() {
        let config = LimitsConfig {
            connections_per_ip: Auto(Some(2)),
            handshakes_per_second: Auto(Some(1000)),
            ..LimitsConfig::default()
        };
        let connections = Connections::new(&config, TrustedProxies::of(&["192.0.2.7"]));
        let open = |ip: &str| connections.open(Some(ip.parse().expect("an address")));
        let held: Vec<_> = (0..2 + HTTP_CONNECTIONS_PER_IP)
            .map(|_| open("203.0.113.1").expect("the limit is not reached"))
            .collect();
        let error = open("203.0.113.1").expect_err("the limit is reached");
        assert_eq!(error.detail, ADDRESS_FULL);
        open("203.0.113.2").expect("another address has its own limit");
        drop(held);
        open("203.0.113.1").expect("the connections have ended");
        assert!(connections.counts().connections_per_ip.is_empty());
        let proxied: Vec<_> = (0..1000).map(|_| open("192.0.2.7")).collect();
        assert!(proxied.iter().all(Result::is_ok));
    }

    #[test]
    fn websockets_are_limited_per_address_and_in_total() {
        let config = LimitsConfig {
            connections: 3,
            connections_per_ip: Auto(Some(2)),
            ..LimitsConfig::default()
        };
        let connections = Connections::new(&config, TrustedProxies::default());
        let open =
            |ip: &str| connections.open_websocket(Some(ip.parse().expect("an address")), false);
        let held = [open("2001:db8::1"), open("2001:db8::2")];
        let error = open("2001:db8::3").expect_err("the /64 network has two connections");
        assert_eq!(error.detail, ADDRESS_FULL);
        let other = open("203.0.113.1").expect("another address has its own limit");
        let error = open("203.0.113.2").expect_err("the server has three connections");
        assert_eq!(error.detail, SERVER_FULL);
        drop((held, other));
        assert_eq!(connections.take_rejected(), 2);
        open("2001:db8::3").expect("the connections have ended");
        assert!(connections.counts().websockets_per_ip.is_empty());
    }
}
