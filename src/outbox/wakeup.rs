//! What must happen for sessions after frames were appended to their outboxes. It is collected and done once per session at
//! the end of a batch or a turn, when everything has been appended.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Waker;

use super::Outbox;

thread_local! {
    static DEFERRED: RefCell<WakeupBatch> = RefCell::default();
}

/// The writer of frames that another thread than the session's task appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenBy {
    /// The thread that appends them, if the task waits.
    AppendingThread,
    /// The session's task. For frames to so many sessions that writing them would delay the appending thread.
    Task,
}

/// What must happen so that appended frames are sent.
#[derive(Debug)]
#[must_use]
pub enum Wakeup {
    /// The session's task or another thread will send them.
    Nothing,
    /// The session's task must be woken.
    Wake(Waker),
    /// The current thread must call [`Outbox::flush`].
    Flush,
}

/// Collected wakeups and flushes.
#[derive(Debug, Default)]
pub struct WakeupBatch {
    wakers: Vec<Waker>,
    flushes: Vec<Arc<Outbox>>,
}

impl WakeupBatch {
    /// Adds the wakeup of `outbox`.
    pub fn add(&mut self, outbox: &Arc<Outbox>, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Nothing => {}
            Wakeup::Wake(waker) => self.wakers.push(waker),
            Wakeup::Flush => self.flushes.push(outbox.clone()),
        }
    }

    /// Runs all of them and empties the batch.
    pub fn run(&mut self) {
        for outbox in self.flushes.drain(..) {
            outbox.flush();
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Adds wakeups to those that this worker thread runs at the end of the current session's turn.
pub fn defer_wakeups<R>(add: impl FnOnce(&mut WakeupBatch) -> R) -> R {
    DEFERRED.with_borrow_mut(add)
}

/// Runs the deferred wakeups of this worker thread.
pub fn run_deferred_wakeups() {
    DEFERRED.with_borrow_mut(WakeupBatch::run);
}
