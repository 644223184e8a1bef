//! When the write-ahead log (WAL) is truncated. A checkpoint leaves its frames in the file until later ones overwrite them, and
//! these may have content that was deleted since (PROTOCOL section 10, "Changes").

use std::time::{Duration, Instant};

/// The WAL is truncated when nothing has been written for this time...
const IDLE: Duration = Duration::from_secs(2);
/// ... or for this time, if something was removed; ...
const IDLE_AFTER_REMOVAL: Duration = Duration::from_millis(250);
/// ... and under load, this time after something was removed.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The pause before another attempt, when a reader needs the WAL or the disk is full.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the WAL has frames of the past.
#[derive(Debug)]
pub struct Truncation {
    /// The last write. `None`: the WAL has been truncated since.
    written: Option<Instant>,
    /// When content was removed that the WAL may have.
    removed: Option<Instant>,
    /// A truncation is due, and has been attempted or is being attempted; no other attempt before this time.
    attempted: bool,
    not_before: Instant,
    /// Somebody waits for the truncation.
    requested: bool,
    /// The number of truncations.
    count: i64,
}

impl Default for Truncation {
    fn default() -> Self {
        Self {
            written: None,
            removed: None,
            attempted: false,
            not_before: Instant::now(),
            requested: false,
            count: 0,
        }
    }
}

impl Truncation {
    /// Something was written; `removed`: and content was removed or replaced.
    pub fn written(&mut self, removed: bool) {
        let now = Instant::now();
        self.written = Some(now);
        if removed {
            self.removed.get_or_insert(now);
        }
    }

    /// The WAL is to be truncated as soon as possible.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// When the WAL is to be truncated. `None`: it has nothing of the past.
    pub fn due(&self) -> Option<Instant> {
        let written = self.written?;
        let due = match self.removed {
            _ if self.requested => written,
            None => written + IDLE,
            Some(removed) => (written + IDLE_AFTER_REMOVAL).min(removed + MAX_WAIT),
        };
        Some(due.max(self.not_before))
    }

    /// True if a complete checkpoint is to be followed by a truncation.
    pub fn is_wanted(&self) -> bool {
        self.removed.is_some() || self.attempted || self.requested
    }

    /// An attempt begins: the next one follows after a pause, unless this one succeeds.
    pub fn attempt(&mut self) {
        self.attempted = true;
        self.not_before = Instant::now() + RETRY;
    }

    /// The WAL has been truncated.
    pub fn done(&mut self) {
        self.written = None;
        self.removed = None;
        self.attempted = false;
        self.requested = false;
        self.count += 1;
    }

    /// How often the WAL has been truncated. Nothing is left in it of what was removed before.
    pub fn count(&self) -> i64 {
        self.count
    }
}
