//! Whether the store accepts writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::store::StoreError;

/// A commit that takes longer counts as stuck.
const STUCK_MS: u64 = 5000;
/// For this time after a failed commit the server reports that it is not ready.
const FAILING_MS: u64 = 5000;

/// Why the server does not accept writes at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue is full.
    Full,
    /// The last commit has failed, a moment ago.
    Failing,
    /// A commit takes too long.
    Stuck,
    /// There is too little space on the disk.
    NoRoom,
    /// A file of the store has been removed, moved or replaced.
    Displaced,
    /// The server is shutting down.
    Closed,
}

/// Watches the commits. Written by the writer's thread, read by any thread.
pub struct Health {
    started: Instant,
    /// When the present commit has begun, and when the last one has failed: in milliseconds since `started`, plus one; 0 if
    /// there is none.
    committing_since: AtomicU64,
    failed_at: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            committing_since: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
        }
    }
}

impl Health {
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    /// Runs a commit.
    pub fn watch<T>(
        &self,
        commit: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.committing_since.store(self.now(), Ordering::Relaxed);
        let result = commit();
        self.committing_since.store(0, Ordering::Relaxed);
        let failed_at = if result.is_err() { self.now() } else { 0 };
        self.failed_at.store(failed_at, Ordering::Relaxed);
        result
    }

    pub fn unavailable(&self) -> Option<Unavailable> {
        let elapsed = |since: &AtomicU64| match since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(self.now().saturating_sub(since)),
        };
        if elapsed(&self.committing_since).is_some_and(|ms| ms > STUCK_MS) {
            return Some(Unavailable::Stuck);
        }
        // Not for longer: only a new write shows that the store works again.
        elapsed(&self.failed_at)
            .is_some_and(|ms| ms < FAILING_MS)
            .then_some(Unavailable::Failing)
    }
}
