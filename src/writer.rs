//! Group commit: sends from all sessions meet in one bounded queue; one thread takes what is there, commits it in one
//! transaction, and only then hands it on to be acknowledged and delivered. Under load the cost of a commit is shared;
//! alone, a message waits for nobody.
//!
//! When a batch is delivered there is time for what nobody waits for, a little of it in each turn: watermarks, and showing
//! the store's readers what was committed.
//!
//! A [`Writer`] is a cheap handle over `Arc`. Its mutex guards the queue and is held only to add to it or to swap it out.

mod health;
mod queue;
mod thread;
mod watermarks;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use uuid::Uuid;

use self::health::Pulse;
use self::queue::{Opening, Queue, Shared, content_bytes};
use self::thread::Thread;
use crate::protocol::Timestamp;
use crate::store::{InboxState, Outcome, Received, Store, StoreError, Write};

/// Writes that may wait. Beyond it senders are told `overloaded`. Some tenths of a second of work: as much as thousands have to say
/// who come back at once.
const QUEUE: usize = 32_768;
/// Bytes of content that may wait.
const QUEUE_BYTES: usize = 64 << 20;
/// With less room than this in it the queue counts as full.
const LONG: usize = 64 << 10;

/// A write that was done, with what came with it.
#[derive(Debug)]
pub struct CompletedWrite<O> {
    /// What was asked.
    pub write: Write,
    /// Who asked.
    pub origin: O,
    /// What became of it.
    pub outcome: Result<Outcome, WriteError>,
}

/// A batch that was committed, or could not be.
#[derive(Debug)]
pub struct Batch<O> {
    /// What was asked, in order.
    pub done: Vec<CompletedWrite<O>>,
    /// Watermarks that have moved and tell others something.
    pub noted: Vec<MarkMoved>,
    /// When it was committed.
    pub at: Timestamp,
}

/// A user's devices hold more than before.
#[derive(Debug)]
pub struct MarkMoved {
    /// The user.
    pub user: Arc<str>,
    /// The session that said so.
    pub session: Uuid,
    /// How far conversations are received now.
    pub received: Vec<Received>,
}

/// Why a write was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Nothing was stored; later it may be.
    Overloaded,
    /// The outcome is unknown.
    Internal,
}

/// What keeps a server from taking writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// As many writes wait as may.
    Full,
    /// The store has failed at its last write, a moment ago.
    Failing,
    /// The store has been at one write for too long.
    Stuck,
    /// There is too little room on the disk.
    NoRoom,
    /// No more is taken.
    Closed,
}

/// The way into the store for everything that changes it.
pub struct Writer<O> {
    shared: Arc<Shared<O>>,
}

impl<O> Clone for Writer<O> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<O> std::fmt::Debug for Writer<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<O: Send + 'static> Writer<O> {
    /// Starts the writer's thread. `deliver` is called on it with each batch, after its commit, and must not wait.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        store: Box<dyn Store>,
        deliver: impl FnMut(Batch<O>) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                writes: Vec::new(),
                bytes: 0,
                accepted: 0,
                taken: 0,
                openings: Vec::new(),
                waiting: Vec::new(),
                marks: HashMap::new(),
                marks_due: None,
                closed: false,
                ended: false,
            }),
            filled: Condvar::new(),
            pulse: Pulse {
                began: Instant::now(),
                writing: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            },
            // An earlier run may have left something.
            unsettled: AtomicBool::new(true),
        });
        let writer = Self {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let _vital = crate::supervise::AbortOnPanic("writer's thread");
                let mut thread = Thread {
                    shared,
                    store,
                    deliver,
                    keep_at: Instant::now(),
                    settle_at: Some(Instant::now()),
                    noting: Vec::new(),
                };
                while thread.turn() {}
                thread.end();
            })?;
        Ok((writer, thread))
    }
}

impl<O> Writer<O> {
    fn queue(&self) -> MutexGuard<'_, Queue<O>> {
        self.shared.lock()
    }

    /// Hands a write over; its outcome comes with the delivery of its batch.
    ///
    /// # Errors
    /// Gives `origin` back when the queue is full or closed: nothing is stored.
    pub fn write(&self, write: Write, origin: O) -> Result<(), O> {
        let bytes = content_bytes(&write);
        let mut queue = self.queue();
        if queue.closed || queue.writes.len() >= QUEUE || queue.bytes + bytes > QUEUE_BYTES {
            return Err(origin);
        }
        queue.bytes += bytes;
        queue.accepted += 1;
        queue.writes.push((write, origin));
        if queue.writes.len() == 1 {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    /// Looks up where a user's device stands, after all that was handed over before, and notes that the device was used.
    pub fn open(
        &self,
        user: Arc<str>,
        device: Arc<str>,
        session: Uuid,
        reply: impl FnOnce(Result<InboxState, WriteError>) + Send + 'static,
    ) {
        let mut queue = self.queue();
        if queue.closed || queue.openings.len() >= QUEUE {
            drop(queue);
            reply(Err(WriteError::Overloaded));
            return;
        }
        let after = queue.accepted;
        queue.openings.push(Opening {
            after,
            user,
            device,
            session,
            reply: Box::new(reply),
        });
        self.shared.filled.notify_one();
    }

    /// Notes that a device holds its inbox up to `seq`. Written with the next commit, or a little later on its own.
    pub fn received(&self, user: Arc<str>, device: Arc<str>, session: Uuid, seq: u64) {
        let mut queue = self.queue();
        queue.mark(user, device, session, seq);
        self.shared.filled.notify_one();
    }

    /// Waits until readers see all that has been committed. Not for the threads of sessions, which must not wait.
    ///
    /// # Errors
    /// [`StoreError`]: they do not.
    pub fn settle(&self) -> Result<(), StoreError> {
        if !self.shared.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        let (tell, told) = sync_channel(1);
        let mut queue = self.queue();
        let gone = |_| StoreError::Failed("the writer has ended".to_owned());
        if queue.ended {
            // And what it could not settle will not be.
            return Err(gone(RecvError));
        }
        queue.waiting.push(tell);
        self.shared.filled.notify_one();
        drop(queue);
        told.recv().map_err(gone)?
    }

    /// Why a write would not be taken now, or would wait for long; `None`: all is well.
    pub fn trouble(&self) -> Option<Unavailable> {
        let queue = self.queue();
        if queue.closed {
            return Some(Unavailable::Closed);
        }
        // A long message is refused before a short one.
        if queue.writes.len() >= QUEUE || queue.bytes + LONG > QUEUE_BYTES {
            return Some(Unavailable::Full);
        }
        drop(queue);
        self.shared.pulse.trouble()
    }

    /// No more is taken; the thread ends when all that it has is done.
    pub fn close(&self) {
        self.queue().closed = true;
        self.shared.filled.notify_one();
    }
}
