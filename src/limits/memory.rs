//! How many bytes wait in memory for all peers together: unsent, or of messages that have come in part (PROTOCOL section 8).
//!
//! Each session has a little of its own that is not counted, so that small frames cost no look at what is shared, and go
//! to those who read even when others hold all the rest. What goes beyond it is counted here:
//!
//! - When it gets *scarce*, at three quarters, nobody is given more than their own: pushes stop and are read from the store
//!   later, pages and answers are cut shorter, and who holds more than their own for [`PRESSURE_GRACE`] has to go.
//! - When it is *full*, who needs more than their own has to go at once. What lasts is in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes that each session may hold uncounted.
pub const FREE_PER_SESSION: usize = 8 * 1024;
/// How long somebody may hold more than their own while it is scarce.
pub const PRESSURE_GRACE: Duration = Duration::from_secs(5);

/// What all sessions share.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

/// What one session has of it.
#[derive(Debug)]
pub struct Reservation {
    of: Arc<MemoryBudget>,
    held: usize,
}

impl MemoryBudget {
    /// Room for so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// A session's share, of nothing yet.
    pub fn share(self: &Arc<Self>) -> Reservation {
        Reservation {
            of: self.clone(),
            held: 0,
        }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Nobody is to be given more than their own.
    pub fn under_pressure(&self) -> bool {
        self.used() > self.limit / 4 * 3
    }

    /// Nobody can have more than their own.
    pub fn full(&self) -> bool {
        self.used() > self.limit
    }
}

impl Reservation {
    /// What it is a share of.
    pub fn of(&self) -> &Arc<MemoryBudget> {
        &self.of
    }

    /// Counts a session that holds so many bytes in all.
    pub fn set(&mut self, bytes: usize) {
        let held = bytes.saturating_sub(FREE_PER_SESSION);
        if held > self.held {
            self.of.used.fetch_add(held - self.held, Ordering::Relaxed);
        } else if held < self.held {
            self.of.used.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }

    /// Bytes beyond the session's own.
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_each_ones_own_is_counted_and_given_back() {
        let buffers = MemoryBudget::new(100);
        let mut one = buffers.share();
        let mut two = buffers.share();
        one.set(FREE_PER_SESSION);
        two.set(FREE_PER_SESSION + 75);
        assert_eq!((one.held(), two.held(), buffers.used()), (0, 75, 75));
        assert!(!buffers.under_pressure());
        one.set(FREE_PER_SESSION + 25);
        assert!(buffers.under_pressure() && !buffers.full());
        one.set(FREE_PER_SESSION + 26);
        assert!(buffers.full());
        two.set(3);
        assert!(!buffers.under_pressure());
        drop(one);
        assert_eq!(buffers.used(), 0);
    }
}
