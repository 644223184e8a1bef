//! A memory budget for the unsent bytes and incomplete messages of all connections (PROTOCOL section 8).
//!
//! Each session may use [`FREE_PER_SESSION`] bytes that are not counted. Small frames therefore do not access the shared counter, and
//! they still reach clients that read while others use up the whole budget. Bytes beyond that are counted:
//!
//! - *Under pressure*, above three quarters of the budget, no session gets more than its free bytes: new messages are not buffered but
//!   read from the store later, replies are shortened, and a session that holds more than its free bytes for [`PRESSURE_GRACE`] is
//!   closed.
//! - When the budget is *full*, a session that needs more than its free bytes is closed at once. Its messages are in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes that each session may use without being counted.
pub const FREE_PER_SESSION: usize = 8 * 1024;
/// How long a session may hold more than its free bytes under pressure.
pub const PRESSURE_GRACE: Duration = Duration::from_secs(5);

/// The memory that all connections share.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

/// The part of the budget that one connection uses.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    held: usize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// A reservation of 0 bytes.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: self.clone(),
            held: 0,
        }
    }

    /// Number of reserved bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The size of the budget.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether more than three quarters of the budget are reserved.
    pub fn under_pressure(&self) -> bool {
        self.used() > self.limit / 4 * 3
    }

    /// Whether the whole budget is reserved.
    pub fn is_full(&self) -> bool {
        self.used() > self.limit
    }
}

impl Reservation {
    /// The budget of this reservation.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Reserves the bytes beyond [`FREE_PER_SESSION`] of a connection that holds `bytes` bytes in total. Always succeeds.
    pub fn set(&mut self, bytes: usize) {
        let held = bytes.saturating_sub(FREE_PER_SESSION);
        if held > self.held {
            self.budget
                .used
                .fetch_add(held - self.held, Ordering::Relaxed);
        } else if held < self.held {
            self.budget
                .used
                .fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }

    /// Number of reserved bytes.
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
    fn bytes_beyond_the_free_ones_are_counted_and_released() {
        let budget = MemoryBudget::new(100);
        let mut one = budget.reservation();
        let mut two = budget.reservation();
        one.set(FREE_PER_SESSION);
        two.set(FREE_PER_SESSION + 75);
        assert_eq!((one.held(), two.held(), budget.used()), (0, 75, 75));
        assert!(!budget.under_pressure());
        one.set(FREE_PER_SESSION + 25);
        assert!(budget.under_pressure() && !budget.is_full());
        one.set(FREE_PER_SESSION + 26);
        assert!(budget.is_full());
        two.set(3);
        assert!(!budget.under_pressure());
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}
