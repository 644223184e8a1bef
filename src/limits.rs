//! Limits of users and client addresses across all connections (PROTOCOL section 8). The limits of a single session are in `session`.
//!
//! A [`Limits`] is shared as an `Arc`. Its maps drop the entries of users and addresses that have not been active recently, so their size
//! depends on the activity of the last seconds; [`Limits::sweep`] does this once a second. Locks are held for one map access only.

pub mod connections;
pub mod ip_quota;
pub mod memory;
pub mod rates;
pub mod read_rate;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use self::connections::Connections;
use self::ip_quota::IpQuotas;
use self::memory::MemoryBudget;
use self::rates::UserRates;
use self::read_rate::{ReadLimits, SharedReadRates};
use crate::config::{LimitsConfig, RecipientsConfig, RoomsConfig, TrustedProxies};

pub use self::connections::{ConnectionPermit, TooManyConnections, WebSocketPermit};
pub use self::rates::{KeyedRateLimit, UserKey};

/// Number of entries for which a map keeps its memory after a peak.
const SPARE_ENTRIES: usize = 1024;

/// The limits of users and client addresses.
#[derive(Debug)]
pub struct Limits {
    /// Connections, in total and per address.
    pub connections: Arc<Connections>,
    /// Frames and queries per user.
    pub users: UserRates,
    /// Frames without a reply, and bytes, per user or address.
    pub read_rates: SharedReadRates,
    /// Messages per address to users who have never connected.
    pub ip_quotas: IpQuotas,
    /// Memory for unsent and incomplete messages of all connections.
    pub memory: Arc<MemoryBudget>,
}

impl Limits {
    /// The limits that the settings define.
    pub fn new(
        config: &LimitsConfig,
        recipients: &RecipientsConfig,
        rooms: &RoomsConfig,
        proxies: &TrustedProxies,
    ) -> Arc<Self> {
        Arc::new(Self {
            connections: Connections::new(config, proxies.clone()),
            users: UserRates::new(config, rooms),
            read_rates: SharedReadRates::new(ReadLimits {
                control_frames_per_second: config.user_control_frames_per_second(),
                bytes_per_second: config.user_bytes_per_second(),
            }),
            ip_quotas: IpQuotas::new(recipients),
            memory: MemoryBudget::new(config.buffer_bytes),
        })
    }

    /// Drops the entries of users and addresses whose rate limits are fully refilled. Call it once a second.
    pub fn sweep(&self) {
        self.connections.sweep();
        self.users.sweep();
        self.read_rates.sweep();
    }
}

/// A client address for the purpose of limits: an IPv4 address, or a /64 network of IPv6, which is what one customer usually gets.
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
