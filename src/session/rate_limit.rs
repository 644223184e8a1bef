//! What one session may ask of the server: frames per second, and bad frames per minute (PROTOCOL section 8).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::RateLimit;

const MINUTE: Duration = Duration::from_secs(60);
/// Frames refused for their rate in a minute, beyond which the session ends (PROTOCOL section 10).
const MAX_REFUSED: u32 = 1000;

/// A token bucket: `burst` at once, `per_second` on the long run.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// A full bucket.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        let RateLimit { per_second, burst } = limit;
        Self {
            per_second: f64::from(per_second),
            burst: f64::from(burst),
            tokens: f64::from(burst),
            filled: now,
        }
    }

    /// Judges a frame that has come now: `Some` says after how many milliseconds the next one may pass.
    pub fn judge(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let wait = (1.0 - self.tokens) / self.per_second * 1000.0;
        // Positive and at most a second.
        #[allow(clippy::cast_sign_loss)]
        Some((wait.ceil() as u64).max(1))
    }
}

/// Counts frames that were refused for their rate: a thousand in any 60 seconds are borne, to a second.
#[derive(Debug, Default)]
pub struct Refusals(Option<Box<Seconds>>);

/// Refusals of each of the last 60 seconds; most sessions never have any.
#[derive(Debug)]
struct Seconds {
    began: Instant,
    /// The second that `counts` has last counted in.
    last: u64,
    counts: [u16; SECONDS as usize],
    sum: u32,
}

const SECONDS: u64 = MINUTE.as_secs();

impl Refusals {
    /// Counts one. True: it is one too many.
    pub fn spend(&mut self, now: Instant) -> bool {
        let seconds = self.0.get_or_insert_with(|| {
            Box::new(Seconds {
                began: now,
                last: 0,
                counts: [0; SECONDS as usize],
                sum: 0,
            })
        });
        let second = now.saturating_duration_since(seconds.began).as_secs();
        for gone in (seconds.last + 1..=second).take(SECONDS as usize) {
            let count = &mut seconds.counts[(gone % SECONDS) as usize];
            seconds.sum -= u32::from(std::mem::take(count));
        }
        seconds.last = second.max(seconds.last);
        if seconds.sum >= MAX_REFUSED {
            return true;
        }
        seconds.counts[(seconds.last % SECONDS) as usize] += 1;
        seconds.sum += 1;
        false
    }
}

/// Counts bad frames: so many in any 60 seconds are borne.
#[derive(Debug)]
pub struct Budget {
    borne: usize,
    seen: VecDeque<Instant>,
}

impl Budget {
    /// Bears `per_minute` bad frames.
    pub fn new(per_minute: u32) -> Self {
        Self {
            borne: per_minute as usize,
            seen: VecDeque::new(),
        }
    }

    /// Counts one. True: it is one too many.
    pub fn spend(&mut self, now: Instant) -> bool {
        while self
            .seen
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE)
        {
            self.seen.pop_front();
        }
        self.seen.push_back(now);
        self.seen.len() > self.borne
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(
            RateLimit {
                per_second: 50,
                burst: 100,
            },
            start,
        );
        for _ in 0..100 {
            assert_eq!(rate.judge(start), None);
        }
        assert_eq!(rate.judge(start), Some(20));
        assert_eq!(rate.judge(start + Duration::from_millis(20)), None);
        let later = start + Duration::from_secs(100);
        for _ in 0..100 {
            assert_eq!(rate.judge(later), None);
        }
        assert!(rate.judge(later).is_some());
    }

    #[test]
    fn a_thousand_refusals_in_any_minute_are_borne() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut refusals = Refusals::default();
        for _ in 0..500 {
            assert!(!refusals.spend(at(0)));
        }
        for _ in 0..500 {
            assert!(!refusals.spend(at(59_000)));
        }
        assert!(refusals.spend(at(59_999)));
        // The first half is over a minute old, the second is not.
        for _ in 0..500 {
            assert!(!refusals.spend(at(60_000)));
        }
        assert!(refusals.spend(at(118_999)));
        for n in 0..100_000 {
            assert!(!refusals.spend(at(200_000 + 60 * n)), "{n}");
        }
        for _ in 0..1000 {
            assert!(!refusals.spend(at(1_000_000_000)));
        }
        assert!(refusals.spend(at(1_000_000_000)));
    }

    #[test]
    fn the_budget_is_of_any_sixty_seconds() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut budget = Budget::new(3);
        assert!(!budget.spend(at(0)));
        assert!(!budget.spend(at(30)));
        assert!(!budget.spend(at(59)));
        assert!(!budget.spend(at(60)));
        assert!(budget.spend(at(61)));
    }
}
