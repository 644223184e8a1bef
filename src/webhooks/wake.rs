//! Tells the threads that there may be new events. The store does so after each commit, so it must cost next to nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use super::receiver::Input;

/// Wakes one thread.
#[derive(Debug)]
pub struct Wake {
    /// The thread has been told, and has not looked since.
    is_told: AtomicBool,
    sender: Sender<Input>,
}

impl Wake {
    pub fn new(sender: Sender<Input>) -> Arc<Self> {
        Arc::new(Self {
            is_told: AtomicBool::new(false),
            sender,
        })
    }

    /// For the thread: it was told, and will look.
    pub fn taken(&self) {
        self.is_told.store(false, Ordering::Release);
    }

    fn wake(&self) {
        if !self.is_told.load(Ordering::Relaxed) && !self.is_told.swap(true, Ordering::AcqRel) {
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
