//! How many messages one address may leave with users who have never connected.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many messages one address may leave with users who have never connected. It fills up again within a day.
#[derive(Debug)]
pub struct IpQuota {
    most: u64,
    spent: AtomicU64,
}

impl IpQuota {
    /// A full one.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            spent: AtomicU64::new(0),
        }
    }

    /// Whether there is nothing left in it.
    pub fn is_empty(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= self.most
    }

    /// Takes one out.
    pub fn spend(&self) {
        self.spent.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts in what comes back in minute `minute` of a day. True: it is full.
    pub fn fill(&self, minute: u64) -> bool {
        const DAY: u64 = 24 * 60;
        let by = |minute: u64| self.most.saturating_mul(minute) / DAY;
        let back = by(minute % DAY + 1) - by(minute % DAY);
        let fill = |spent: u64| Some(spent.saturating_sub(back));
        let before = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill);
        before.is_ok_and(|before| before <= back)
    }
}

#[cfg(test)]
mod tests {
    use super::IpQuota;

    #[test]
    fn a_purse_is_full_again_after_a_day() {
        for most in [1, 3, 1000, 100_000] {
            let ip_quota = IpQuota::new(most);
            (0..most).for_each(|_| ip_quota.spend());
            assert!(ip_quota.is_empty());
            for minute in 500..500 + 1440 {
                assert!(
                    !ip_quota.fill(minute) || minute == 500 + 1439 || most < 1440,
                    "{most}"
                );
            }
            assert!(ip_quota.fill(0), "{most}");
        }
    }
}
