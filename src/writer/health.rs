//! How the store does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Unavailable;
use crate::store::StoreError;

/// A write that takes longer has met a store that does not answer.
const STUCK_MS: u64 = 5000;
/// For so long after a failed write the server says that it is not ready.
const FAILING_MS: u64 = 5000;

/// How the store does.
pub struct Pulse {
    pub began: Instant,
    /// When it has begun the write that it is at, and when it has last failed at one: in milliseconds since `began`, plus one;
    /// 0 stands for none.
    pub writing: AtomicU64,
    pub failed: AtomicU64,
}

impl Pulse {
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// Watches over one write.
    pub fn over<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.writing.store(self.now(), Ordering::Relaxed);
        let written = write();
        self.writing.store(0, Ordering::Relaxed);
        let failed = if written.is_err() { self.now() } else { 0 };
        self.failed.store(failed, Ordering::Relaxed);
        written
    }

    pub fn trouble(&self) -> Option<Unavailable> {
        let since = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.now().saturating_sub(at)),
        };
        if since(&self.writing).is_some_and(|ms| ms > STUCK_MS) {
            return Some(Unavailable::Stuck);
        }
        // After a while it may be tried again: nobody else would find out that it is well.
        since(&self.failed)
            .is_some_and(|ms| ms < FAILING_MS)
            .then_some(Unavailable::Failing)
    }
}
