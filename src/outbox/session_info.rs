//! What an operator sees of a session.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::protocol::Timestamp;

/// Length of the windows in which frames are counted.
const WINDOW_MS: u64 = 10_000;
/// Bits of a count. A session that sends more within a window is shown with fewer.
const COUNT_BITS: u32 = 20;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

/// What an operator sees of a session.
#[derive(Debug)]
pub struct SessionInfo {
    /// The device, as the client has named it.
    pub device: Arc<str>,
    /// The client's address; `None` if it is unknown.
    pub client_ip: Option<IpAddr>,
    /// When the session was opened.
    pub since: Timestamp,
    opened: Instant,
    /// The number of a window, and the frames in it and in the one before. One word, so that it is read and written at once. Only the
    /// session's task writes it.
    frames: AtomicU64,
}

impl SessionInfo {
    /// A session that is opened now.
    pub fn new(device: Arc<str>, client_ip: Option<IpAddr>, since: Timestamp) -> Self {
        Self {
            device,
            client_ip,
            since,
            opened: Instant::now(),
            frames: AtomicU64::new(0),
        }
    }

    /// Counts a frame of the client. Only for the session's task.
    pub(super) fn count_frame(&self, now: Instant) {
        let (window, _) = self.window(now);
        let (count, previous) = self.counts(window);
        let count = (count + 1).min(MAX_COUNT);
        let packed = (window << (2 * COUNT_BITS)) | (previous << COUNT_BITS) | count;
        self.frames.store(packed, Ordering::Relaxed);
    }

    /// The client's frames per second, over the last 10 to 20 seconds.
    pub fn frames_per_second(&self, now: Instant) -> f64 {
        let (window, part) = self.window(now);
        let (count, previous) = self.counts(window);
        let windows = if window == 0 { part.max(0.1) } else { 1.0 };
        let frames = count as f64 + previous as f64 * (1.0 - part);
        frames * 1000.0 / (WINDOW_MS as f64 * windows)
    }

    /// The number of the window, and how much of it has passed.
    fn window(&self, now: Instant) -> (u64, f64) {
        let ms = now.saturating_duration_since(self.opened).as_millis() as u64;
        let part = (ms % WINDOW_MS) as f64 / WINDOW_MS as f64;
        (ms / WINDOW_MS, part)
    }

    /// The frames in a window so far, and in the one before.
    fn counts(&self, window: u64) -> (u64, u64) {
        let packed = self.frames.load(Ordering::Relaxed);
        let (count, previous) = (packed & MAX_COUNT, (packed >> COUNT_BITS) & MAX_COUNT);
        match window.saturating_sub(packed >> (2 * COUNT_BITS)) {
            0 => (count, previous),
            1 => (0, count),
            _ => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_windows() {
        let info = SessionInfo::new("d".into(), None, Timestamp(0));
        let at = |seconds: u64| info.opened + Duration::from_secs(seconds);
        let assert_rate = |seconds, expected: f64| {
            let rate = info.frames_per_second(at(seconds));
            assert!((rate - expected).abs() < 0.01, "{seconds}: {rate}");
        };
        assert_rate(0, 0.0);
        for _ in 0..50 {
            info.count_frame(at(5));
        }
        assert_rate(5, 10.0);
        assert_rate(10, 5.0);
        assert_rate(15, 2.5);
        for _ in 0..10 {
            info.count_frame(at(15));
        }
        assert_rate(15, 3.5);
        assert_rate(20, 1.0);
        assert_rate(30, 0.0);
    }
}
