//! What one session may ask of the server: frames per second, and bad frames per minute (PROTOCOL section 8).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

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
    /// Refusals since `window`.
    refused: u32,
    window: Instant,
}

/// What a [`Rate`] says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It may pass.
    Pass,
    /// It may not; the next one may after so many milliseconds.
    Wait(u64),
    /// It may not, and there have been too many of those.
    Enough,
}

impl Rate {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second: f64::from(per_second),
            burst: f64::from(burst),
            tokens: f64::from(burst),
            filled: now,
            refused: 0,
            window: now,
        }
    }

    /// Judges a frame that has come now.
    pub fn judge(&mut self, now: Instant) -> Judgement {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Judgement::Pass;
        }
        if now.saturating_duration_since(self.window) >= MINUTE {
            self.window = now;
            self.refused = 0;
        }
        self.refused += 1;
        if self.refused > MAX_REFUSED {
            return Judgement::Enough;
        }
        let wait = (1.0 - self.tokens) / self.per_second * 1000.0;
        // Positive and at most a second.
        #[allow(clippy::cast_sign_loss)]
        Judgement::Wait((wait.ceil() as u64).max(1))
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
        let mut rate = Rate::new(50, 100, start);
        for _ in 0..100 {
            assert_eq!(rate.judge(start), Judgement::Pass);
        }
        assert_eq!(rate.judge(start), Judgement::Wait(20));
        assert_eq!(
            rate.judge(start + Duration::from_millis(20)),
            Judgement::Pass
        );
        let later = start + Duration::from_secs(100);
        for _ in 0..100 {
            assert_eq!(rate.judge(later), Judgement::Pass);
        }
        assert!(matches!(rate.judge(later), Judgement::Wait(_)));
    }

    #[test]
    fn a_thousand_refusals_in_a_minute_are_borne() {
        let start = Instant::now();
        let mut rate = Rate::new(1, 1, start);
        assert_eq!(rate.judge(start), Judgement::Pass);
        for _ in 0..1000 {
            assert!(matches!(rate.judge(start), Judgement::Wait(1..=1000)));
        }
        assert_eq!(rate.judge(start), Judgement::Enough);
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
