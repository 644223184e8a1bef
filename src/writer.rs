//! Group commit: sends from all sessions meet in one bounded queue; one thread takes what is there, commits it in one
//! transaction, and only then hands it on to be acknowledged and delivered. Under load the cost of a commit is shared;
//! alone, a message waits for nobody.
//!
//! A [`Writer`] is a cheap handle over `Arc`. Its mutex guards the queue and is held only to add to it or to swap it out.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::protocol::Time;
use crate::store::{Opened, Outcome, Store, StoreError, Write};

/// Writes that may wait. Beyond it senders are told `overloaded`.
const QUEUE: usize = 8192;
/// Bytes of content that may wait.
const QUEUE_BYTES: usize = 64 << 20;
/// Writes of one transaction: more would make the first of them wait for the last.
const BATCH: usize = 1024;
/// Watermarks that are kept for later when the store does not take them.
const MARKS: usize = 100_000;
/// How long a watermark may wait for a commit to ride along with.
const NOTE_AFTER: Duration = Duration::from_millis(200);

/// A write that was done, with what came with it.
#[derive(Debug)]
pub struct Done<O> {
    /// What was asked.
    pub write: Write,
    /// Who asked.
    pub origin: O,
    /// What became of it.
    pub outcome: Result<Outcome, Failure>,
}

/// Why a write was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was stored; later it may be.
    Overloaded,
    /// The outcome is unknown.
    Internal,
}

type OpenReply = Box<dyn FnOnce(Result<Opened, Failure>) + Send>;

struct Opening {
    /// How many writes had been handed over before: it must know of them all.
    after: u64,
    user: Arc<str>,
    device: Arc<str>,
    reply: OpenReply,
}

struct Queue<O> {
    writes: Vec<(Write, O)>,
    /// Bytes of content in `writes`.
    bytes: usize,
    /// Writes handed over so far, and how many of them have been taken.
    accepted: u64,
    taken: u64,
    openings: Vec<Opening>,
    /// Watermarks, the furthest of each device: they can never be too many, and none is lost for want of room.
    marks: HashMap<(Arc<str>, Arc<str>), u64>,
    /// When the oldest mark is to be written at the latest.
    marks_due: Option<Instant>,
    closed: bool,
}

struct Shared<O> {
    queue: Mutex<Queue<O>>,
    filled: Condvar,
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
        deliver: impl FnMut(Vec<Done<O>>) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                writes: Vec::new(),
                bytes: 0,
                accepted: 0,
                taken: 0,
                openings: Vec::new(),
                marks: HashMap::new(),
                marks_due: None,
                closed: false,
            }),
            filled: Condvar::new(),
        });
        let writer = Self {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let mut thread = Thread {
                    shared,
                    store,
                    deliver,
                };
                while thread.turn() {}
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
        reply: impl FnOnce(Result<Opened, Failure>) + Send + 'static,
    ) {
        let mut queue = self.queue();
        if queue.closed || queue.openings.len() >= QUEUE {
            drop(queue);
            reply(Err(Failure::Overloaded));
            return;
        }
        let after = queue.accepted;
        queue.openings.push(Opening {
            after,
            user,
            device,
            reply: Box::new(reply),
        });
        self.shared.filled.notify_one();
    }

    /// Notes that a device holds its inbox up to `seq`. Written with the next commit, or a little later on its own.
    pub fn received(&self, user: Arc<str>, device: Arc<str>, seq: u64) {
        let mut queue = self.queue();
        queue.mark(user, device, seq);
        self.shared.filled.notify_one();
    }

    /// No more is taken; the thread ends when all that it has is done.
    pub fn close(&self) {
        self.queue().closed = true;
        self.shared.filled.notify_one();
    }
}

impl<O> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, Queue<O>> {
        // Each change leaves the queue whole, so a panic elsewhere has not harmed it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O> Queue<O> {
    fn mark(&mut self, user: Arc<str>, device: Arc<str>, seq: u64) {
        let mark = self.marks.entry((user, device)).or_default();
        *mark = seq.max(*mark);
        self.marks_due
            .get_or_insert_with(|| Instant::now() + NOTE_AFTER);
    }
}

struct Thread<O, D> {
    shared: Arc<Shared<O>>,
    store: Box<dyn Store>,
    deliver: D,
}

struct Work<O> {
    writes: Vec<(Write, O)>,
    openings: Vec<Opening>,
    marks: HashMap<(Arc<str>, Arc<str>), u64>,
}

impl<O, D: FnMut(Vec<Done<O>>)> Thread<O, D> {
    /// One batch. False: there is no more, and there will be none.
    fn turn(&mut self) -> bool {
        let Some(work) = self.wait() else {
            return false;
        };
        let marks: Vec<Write> = work
            .marks
            .into_iter()
            .map(|((user, device), seq)| Write::Watermark { user, device, seq })
            .collect();
        let batch: Vec<&Write> = work
            .writes
            .iter()
            .map(|(write, _)| write)
            .chain(&marks)
            .collect();
        let outcomes = if batch.is_empty() {
            Ok(Vec::new())
        } else {
            self.store.commit(Time::now().0, &batch)
        };
        let failure = outcomes.as_ref().err().map(|error| {
            log::error!("{error}");
            failure_of(error)
        });
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        let done = work
            .writes
            .into_iter()
            .map(|(write, origin)| Done {
                write,
                origin,
                outcome: outcomes.next().ok_or(failure.unwrap_or(Failure::Internal)),
            })
            .collect();
        if failure.is_some() {
            self.keep(marks);
        }
        (self.deliver)(done);
        self.open(work.openings);
        true
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Option<Work<O>> {
        let mut queue = self.shared.lock();
        loop {
            let due = queue.marks_due;
            let now = due.map(|_| Instant::now());
            if !queue.writes.is_empty() || !queue.openings.is_empty() || due <= now && due.is_some()
            {
                break;
            }
            if queue.closed {
                if queue.marks.is_empty() {
                    return None;
                }
                break;
            }
            queue = if let (Some(due), Some(now)) = (due, now) {
                let wait = due.saturating_duration_since(now);
                let waited = self.shared.filled.wait_timeout(queue, wait);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = self.shared.filled.wait(queue);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
        let take = queue.writes.len().min(BATCH);
        let rest = queue.writes.split_off(take);
        let writes = std::mem::replace(&mut queue.writes, rest);
        queue.bytes -= writes
            .iter()
            .map(|(write, _)| content_bytes(write))
            .sum::<usize>();
        queue.taken += writes.len() as u64;
        let taken = queue.taken;
        let ready = queue
            .openings
            .partition_point(|opening| opening.after <= taken);
        let later = queue.openings.split_off(ready);
        let openings = std::mem::replace(&mut queue.openings, later);
        queue.marks_due = None;
        Some(Work {
            writes,
            openings,
            marks: std::mem::take(&mut queue.marks),
        })
    }

    /// Puts back watermarks that could not be written. When the server is closing there is no later.
    fn keep(&self, marks: Vec<Write>) {
        let mut queue = self.shared.lock();
        if queue.closed {
            return;
        }
        for mark in marks {
            if queue.marks.len() >= MARKS {
                break;
            }
            if let Write::Watermark { user, device, seq } = mark {
                queue.mark(user, device, seq);
            }
        }
    }

    fn open(&mut self, openings: Vec<Opening>) {
        for opening in openings {
            let opened = self.store.open_inbox(&opening.user, &opening.device);
            if let Ok(opened) = &opened {
                // The device is in use from now on, also if it never receives anything.
                let mut queue = self.shared.lock();
                queue.mark(opening.user, opening.device, opened.received);
            }
            (opening.reply)(opened.map_err(|error| {
                log::error!("{error}");
                failure_of(&error)
            }));
        }
    }
}

fn content_bytes(write: &Write) -> usize {
    match write {
        Write::Message(message) => message.content.len(),
        _ => 0,
    }
}

fn failure_of(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) => Failure::Overloaded,
        StoreError::Failed(_) => Failure::Internal,
    }
}
