//! What must happen for sessions after frames were appended to their outboxes. It is collected and done once per session at
//! the end of a batch or a turn, when everything has been appended.

use std::cell::RefCell;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::thread;

use super::Outbox;

thread_local! {
    static DEFERRED: RefCell<WakeupBatch> = RefCell::default();
}

/// The writer of frames that another thread than the session's task appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenBy {
    /// The thread that appends them, if the task waits.
    AppendingThread,
    /// A thread that does nothing else, if the task waits. For frames to so many sessions that writing them would delay the appending
    /// thread, and waking their tasks would delay other sessions of the workers.
    FanOutThread,
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
    /// The fan-out thread must call it.
    FanOut,
}

impl Wakeup {
    /// The same with a flush by this thread.
    pub(super) fn written_by(self, by: WrittenBy) -> Self {
        match (self, by) {
            (Self::Flush, WrittenBy::FanOutThread) => Self::FanOut,
            (wakeup, _) => wakeup,
        }
    }
}

/// The fan-out thread lets other threads run after so many flushes.
const FLUSHES_PER_TURN: usize = 8;

/// The sessions that the fan-out thread flushes. The thread starts when it is first needed; `None`: it could not be started.
static FAN_OUT: LazyLock<Option<Sender<Vec<Arc<Outbox>>>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel();
    let started = thread::Builder::new()
        .name("fan-out".into())
        .spawn(move || flush_all(&receiver));
    match started {
        Ok(_) => Some(sender),
        Err(error) => {
            log::warn!("the fan-out thread could not be started: {error}");
            None
        }
    }
});

/// Each session is in the channel at most once: until it is flushed, no other flush of it is requested.
fn flush_all(batches: &Receiver<Vec<Arc<Outbox>>>) {
    for batch in batches {
        for sessions in batch.chunks(FLUSHES_PER_TURN) {
            for outbox in sessions {
                outbox.flush();
            }
            // The other threads have work that clients wait for, and may otherwise wait for the end of a time slice.
            thread::yield_now();
        }
    }
}

/// Collected wakeups and flushes.
#[derive(Debug, Default)]
pub struct WakeupBatch {
    wakers: Vec<Waker>,
    flushes: Vec<Arc<Outbox>>,
    fan_out: Vec<Arc<Outbox>>,
}

impl WakeupBatch {
    /// Adds the wakeup of `outbox`.
    pub fn add(&mut self, outbox: &Arc<Outbox>, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Nothing => {}
            Wakeup::Wake(waker) => self.wakers.push(waker),
            Wakeup::Flush => self.flushes.push(outbox.clone()),
            Wakeup::FanOut => self.fan_out.push(outbox.clone()),
        }
    }

    /// Runs all of them and empties the batch.
    pub fn run(&mut self) {
        for outbox in self.flushes.drain(..) {
            outbox.flush();
        }
        self.wakers.drain(..).for_each(Waker::wake);
        if !self.fan_out.is_empty() {
            let sessions = std::mem::take(&mut self.fan_out);
            let rest = match &*FAN_OUT {
                Some(thread) => thread.send(sessions).err().map(|error| error.0),
                None => Some(sessions),
            };
            for outbox in rest.iter().flatten() {
                outbox.flush();
            }
        }
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
