//! What is left to do for sessions after something was put into their outboxes, done once for each of them when all that
//! one turn or one batch has for them is there.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Waker;

use super::Outbox;

thread_local! {
    static DEFERRED: RefCell<WakeupBatch> = RefCell::default();
}

/// What it takes to get out what was put into an outbox.
#[derive(Debug)]
#[must_use]
pub enum Wakeup {
    /// The session's task, or somebody else, sees to it already.
    Nothing,
    /// The session's task has to do something.
    Wake(Waker),
    /// It is to be written: [`Outbox::flush`].
    Flush,
}

/// Calls that are collected.
#[derive(Debug, Default)]
pub struct WakeupBatch {
    wakers: Vec<Waker>,
    flushes: Vec<Arc<Outbox>>,
}

impl WakeupBatch {
    /// Adds what `outbox` needs.
    pub fn add(&mut self, outbox: &Arc<Outbox>, call: Wakeup) {
        match call {
            Wakeup::Nothing => {}
            Wakeup::Wake(waker) => self.wakers.push(waker),
            Wakeup::Flush => self.flushes.push(outbox.clone()),
        }
    }

    /// Does them all.
    pub fn run(&mut self) {
        for outbox in self.flushes.drain(..) {
            outbox.flush();
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Lets `add` add to what this thread does at the end of a session's turn. Only for what sessions do in their turns.
pub fn defer_wakeups<R>(add: impl FnOnce(&mut WakeupBatch) -> R) -> R {
    DEFERRED.with_borrow_mut(add)
}

/// Does what was left for the end of the turn.
pub fn run_deferred_wakeups() {
    DEFERRED.with_borrow_mut(WakeupBatch::run);
}
