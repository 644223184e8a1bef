//! Tells the threads that there may be new events. The store does so after each commit, so it must cost next to nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use super::receiver::Input;
use crate::clock::Clock;

/// [`Wake::told_at`] if the thread has looked since it was told.
const NOT_TOLD: i64 = i64::MIN;

/// Wakes one thread.
#[derive(Debug)]
pub struct Wake {
    /// When the thread was told, in milliseconds since 1970-01-01T00:00:00Z.
    told_at: AtomicI64,
    clock: Arc<Clock>,
    sender: Sender<Input>,
}

impl Wake {
    pub fn new(clock: Arc<Clock>, sender: Sender<Input>) -> Arc<Self> {
        Arc::new(Self {
            told_at: AtomicI64::new(NOT_TOLD),
            clock,
            sender,
        })
    }

    /// For the thread: it was told, and will look.
    pub fn taken(&self) {
        self.told_at.store(NOT_TOLD, Ordering::Release);
    }

    /// Since when the thread has not looked although it was told. There may be no event that it wants.
    pub fn told_at(&self) -> Option<i64> {
        Some(self.told_at.load(Ordering::Relaxed)).filter(|at| *at != NOT_TOLD)
    }

    fn wake(&self) {
        if self.told_at.load(Ordering::Relaxed) == NOT_TOLD
            && self.told_at.swap(self.clock.now(), Ordering::AcqRel) == NOT_TOLD
        {
            let _ = self.sender.send(Input::Wake);
        }
    }
}

/// Wakes all threads, once they have been started.
#[derive(Clone, Debug, Default)]
pub struct Wakes(Arc<OnceLock<Vec<Arc<Wake>>>>);

impl Wakes {
    /// The threads were started.
    pub fn set(&self, threads: Vec<Arc<Wake>>) {
        drop(self.0.set(threads));
    }

    /// There may be new events.
    pub fn wake(&self) {
        for thread in self.0.get().into_iter().flatten() {
            thread.wake();
        }
    }
}
