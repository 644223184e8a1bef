//! The limit of messages from one IP address to users who have never connected.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ClientNet, SPARE_ENTRIES};
use crate::config::RecipientsConfig;
use crate::store::RecipientQuota;

/// Number of addresses from which the quotas of addresses without a session are dropped.
const MAX_QUOTAS: usize = 100_000;
const MINUTES_PER_DAY: u64 = 24 * 60;

/// How many more messages one address may send to users who have never connected. It is refilled evenly over a day.
#[derive(Debug)]
pub struct IpQuota {
    per_day: u64,
    used: AtomicU64,
}

impl IpQuota {
    /// An unused quota.
    pub fn new(per_day: u64) -> Self {
        Self {
            per_day,
            used: AtomicU64::new(0),
        }
    }

    /// Adds the share of one minute, counted in minutes of a day so that the shares add up. True if the quota is full again.
    pub fn refill(&self, minute: u64) -> bool {
        let until = |minute: u64| self.per_day.saturating_mul(minute) / MINUTES_PER_DAY;
        let minute = minute % MINUTES_PER_DAY;
        let share = until(minute + 1) - until(minute);
        let refill = |used: u64| Some(used.saturating_sub(share));
        let before = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, refill);
        before.is_ok_and(|before| before <= share)
    }
}

/// The quotas of all addresses.
#[derive(Debug)]
pub struct IpQuotas {
    per_day: u64,
    /// Loopback addresses have a quota only if it is set explicitly: a reverse proxy on this machine that is not configured would
    /// otherwise count as a single client.
    limits_loopback: bool,
    quotas: Mutex<HashMap<ClientNet, Arc<IpQuota>>>,
}

impl IpQuotas {
    /// The quotas that the settings define.
    pub fn new(config: &RecipientsConfig) -> Self {
        Self {
            per_day: config.unknown_recipients_per_ip(),
            limits_loopback: config.unknown_recipients_per_ip.0.is_some(),
            quotas: Mutex::default(),
        }
    }

    /// The quota of the client at `ip`; `None` if there is no limit. `proxied`: the client came through a trusted proxy.
    pub fn get(&self, ip: Option<IpAddr>, proxied: bool) -> Option<Arc<IpQuota>> {
        let ip = ip?.to_canonical();
        if ip.is_loopback() && !proxied && !self.limits_loopback {
            return None;
        }
        let net = ClientNet::of(ip);
        let mut quotas = self.lock();
        if quotas.len() >= MAX_QUOTAS && !quotas.contains_key(&net) {
            // Addresses without a session start with a new quota; the limit for all senders together still applies.
            quotas.retain(|_, quota| Arc::strong_count(quota) > 1);
        }
        let quota = quotas.entry(net);
        let quota = quota.or_insert_with(|| Arc::new(IpQuota::new(self.per_day)));
        Some(quota.clone())
    }

    /// Refills every quota by the share of one minute and drops those that are full again.
    pub fn refill(&self, minute: u64) {
        let mut quotas = self.lock();
        quotas.retain(|_, quota| {
            // A quota in use is kept although it is full: further sessions of the address must get the same one.
            !quota.refill(minute) || Arc::strong_count(quota) > 1
        });
        if quotas.capacity() > SPARE_ENTRIES.max(4 * quotas.len()) {
            quotas.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientNet, Arc<IpQuota>>> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecipientQuota for IpQuota {
    fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.per_day
    }

    fn consume(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self) {
        // A refill may have taken it back already. The update always succeeds.
        let less = |used: u64| Some(used.saturating_sub(1));
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::{IpQuota, RecipientQuota as _};

    #[test]
    fn a_quota_is_full_again_after_a_day() {
        for per_day in [1, 3, 1000, 100_000] {
            let quota = IpQuota::new(per_day);
            (0..per_day).for_each(|_| quota.consume());
            assert!(quota.is_exhausted());
            for minute in 500..500 + 1440 {
                assert!(
                    !quota.refill(minute) || minute == 500 + 1439 || per_day < 1440,
                    "{per_day}"
                );
            }
            assert!(quota.refill(0), "{per_day}");
        }
    }

    #[test]
    fn a_message_that_was_taken_back_does_not_count() {
        let quota = IpQuota::new(1);
        quota.consume();
        quota.release();
        quota.release();
        assert!(!quota.is_exhausted());
        quota.consume();
        assert!(quota.is_exhausted());
    }
}
