//! Limits of one session: frames per second, rejected frames and invalid frames per minute (PROTOCOL sections 8 and 10).
//!
//! [`FrameRate`] is a token bucket of its own, although the limits of users and addresses use `governor`: it takes the time of
//! the session's turn, so that a frame costs no reading of the clock. Measured per accepted frame (release build, interleaved):
//! 12 ns; `governor` with its clock 112 ns (9 times), and with a clock that returns the time of the turn 17 ns (1.5 times).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{LimitsConfig, RateLimit};
use crate::limits::read_rate::ReadLimits;

const MINUTE: Duration = Duration::from_secs(60);
/// The session ends after this many frames were rejected with `rate_limited` within a minute.
const MAX_REJECTIONS: u32 = 1000;

/// The settings that limit the frames of a session.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Frames per second.
    pub rate: RateLimit,
    /// `ping` frames per second.
    pub pings: RateLimit,
    /// What is delayed instead of rejected.
    pub read: ReadLimits,
    /// Invalid frames per minute before the session is closed.
    pub bad_frames_per_minute: u32,
}

impl FrameLimits {
    /// The limits that the settings define.
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            rate: config.session_rate(),
            pings: config.ping_rate(),
            read: ReadLimits {
                control_frames_per_second: config.control_frames_per_second.into(),
                bytes_per_second: config.session_bytes_per_second(),
            },
            bad_frames_per_minute: config.bad_frames_per_minute,
        }
    }
}

/// A token bucket: `burst` frames at once after a pause, `per_second` on average.
#[derive(Debug)]
pub struct FrameRate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    /// When `tokens` was last updated.
    updated: Instant,
}

impl FrameRate {
    /// A full bucket.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        Self {
            per_second: f64::from(limit.per_second),
            burst: f64::from(limit.burst),
            tokens: f64::from(limit.burst),
            updated: now,
        }
    }

    /// Counts a frame. `Some`: it exceeds the limit, and the next frame is accepted after this number of milliseconds.
    pub fn check(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
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

/// Counts frames that were rejected with `rate_limited`: up to 1000 within 60 seconds are tolerated, with a resolution of a
/// second.
#[derive(Debug, Default)]
pub struct Rejections(Option<Box<Seconds>>);

/// Rejections in each of the last 60 seconds; allocated on the first rejection, which most sessions never have.
#[derive(Debug)]
struct Seconds {
    started: Instant,
    /// The second of the last rejection.
    last: u64,
    counts: [u16; SECONDS as usize],
    sum: u32,
}

const SECONDS: u64 = MINUTE.as_secs();

impl Rejections {
    /// Counts one. True: the limit is exceeded.
    pub fn exceed(&mut self, now: Instant) -> bool {
        let seconds = self.0.get_or_insert_with(|| {
            Box::new(Seconds {
                started: now,
                last: 0,
                counts: [0; SECONDS as usize],
                sum: 0,
            })
        });
        let second = now.saturating_duration_since(seconds.started).as_secs();
        for elapsed in (seconds.last + 1..=second).take(SECONDS as usize) {
            let count = &mut seconds.counts[(elapsed % SECONDS) as usize];
            seconds.sum -= u32::from(std::mem::take(count));
        }
        seconds.last = second.max(seconds.last);
        if seconds.sum >= MAX_REJECTIONS {
            return true;
        }
        seconds.counts[(seconds.last % SECONDS) as usize] += 1;
        seconds.sum += 1;
        false
    }
}

/// Counts invalid frames: `allowed` within 60 seconds are tolerated.
#[derive(Debug)]
pub struct BadFrames {
    allowed: usize,
    seen: VecDeque<Instant>,
}

impl BadFrames {
    /// Tolerates `per_minute` invalid frames.
    pub fn new(per_minute: u32) -> Self {
        Self {
            allowed: per_minute as usize,
            seen: VecDeque::new(),
        }
    }

    /// Counts one. True: the limit is exceeded.
    pub fn exceed(&mut self, now: Instant) -> bool {
        while self
            .seen
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE)
        {
            self.seen.pop_front();
        }
        self.seen.push_back(now);
        self.seen.len() > self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_accepted_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = FrameRate::new(
            RateLimit {
                per_second: 50,
                burst: 100,
            },
            start,
        );
        for _ in 0..100 {
            assert_eq!(rate.check(start), None);
        }
        assert_eq!(rate.check(start), Some(20));
        assert_eq!(rate.check(start + Duration::from_millis(20)), None);
        let later = start + Duration::from_secs(100);
        for _ in 0..100 {
            assert_eq!(rate.check(later), None);
        }
        assert!(rate.check(later).is_some());
    }

    #[test]
    fn a_thousand_rejections_within_any_minute_are_tolerated() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rejections = Rejections::default();
        for _ in 0..500 {
            assert!(!rejections.exceed(at(0)));
        }
        for _ in 0..500 {
            assert!(!rejections.exceed(at(59_000)));
        }
        assert!(rejections.exceed(at(59_999)));
        // The first half is older than a minute, the second is not.
        for _ in 0..500 {
            assert!(!rejections.exceed(at(60_000)));
        }
        assert!(rejections.exceed(at(118_999)));
        for n in 0..100_000 {
            assert!(!rejections.exceed(at(200_000 + 60 * n)), "{n}");
        }
        for _ in 0..1000 {
            assert!(!rejections.exceed(at(1_000_000_000)));
        }
        assert!(rejections.exceed(at(1_000_000_000)));
    }

    #[test]
    fn bad_frames_are_counted_over_any_sixty_seconds() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut bad = BadFrames::new(3);
        assert!(!bad.exceed(at(0)));
        assert!(!bad.exceed(at(30)));
        assert!(!bad.exceed(at(59)));
        assert!(!bad.exceed(at(60)));
        assert!(bad.exceed(at(61)));
    }
}
