//! Limits how often a failure that repeats is logged.

use std::time::{Duration, Instant};

/// A failure is logged at most once within this time.
const INTERVAL: Duration = Duration::from_secs(60);

/// When a failure that repeats was last logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLimit {
    logged: Option<Instant>,
}

impl LogLimit {
    /// Whether a failure at this time is logged.
    pub fn allows(&mut self, now: Instant) -> bool {
        let allows = self.logged.is_none_or(|at| now >= at + INTERVAL);
        if allows {
            self.logged = Some(now);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_repeats_is_logged_once_a_minute() {
        let (mut limit, start) = (LogLimit::default(), Instant::now());
        let logged: Vec<u64> = (0..180)
            .filter(|second| limit.allows(start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(logged, [0, 60, 120]);
    }
}
