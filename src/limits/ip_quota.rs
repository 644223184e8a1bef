//! The limit of messages from one IP address to users who have never connected.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::RecipientQuota;

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

impl RecipientQuota for IpQuota {
    fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.per_day
    }

    fn consume(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
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
}
