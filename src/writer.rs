//! Group commit: sends from all sessions meet in one bounded queue; one thread takes what is there, commits it in one
//! transaction, and only then hands it on to be acknowledged and delivered. Under load the cost of a commit is shared;
//! alone, a message waits for nobody.
//!
//! A [`Writer`] is a cheap handle over `Arc`. Its mutex guards the queue and is held only to add to it or to swap it out.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::protocol::Time;
use crate::store::{Opened, Outcome, Received, Store, StoreError, Write};

/// Writes that may wait. Beyond it senders are told `overloaded`.
const QUEUE: usize = 8192;
/// Bytes of content that may wait.
const QUEUE_BYTES: usize = 64 << 20;
/// Writes of one transaction: more would make the first of them wait for the last.
const BATCH: usize = 1024;
/// Watermarks that are kept for later when the store does not take them.
const MARKS: usize = 100_000;
/// Time between two looks at what is to be removed, and at the least between two steps of it.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_PAUSE: Duration = Duration::from_millis(20);
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

/// A batch that was committed, or could not be.
#[derive(Debug)]
pub struct Batch<O> {
    /// What was asked, in order.
    pub done: Vec<Done<O>>,
    /// Watermarks that have moved and tell others something.
    pub noted: Vec<Noted>,
    /// When it was committed.
    pub at: Time,
}

/// A user's devices hold more than before.
#[derive(Debug)]
pub struct Noted {
    /// The user.
    pub user: Arc<str>,
    /// The session that said so.
    pub session: Uuid,
    /// How far conversations are received now.
    pub received: Vec<Received>,
}

/// Why a write was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was stored; later it may be.
    Overloaded,
    /// The outcome is unknown.
    Internal,
}

/// By user and device: the furthest entry, and the session that told of it.
type Marks = HashMap<(Arc<str>, Arc<str>), (u64, Uuid)>;
type OpenReply = Box<dyn FnOnce(Result<Opened, Failure>) + Send>;

struct Opening {
    /// How many writes had been handed over before: it must know of them all.
    after: u64,
    user: Arc<str>,
    device: Arc<str>,
    session: Uuid,
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
    marks: Marks,
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
        deliver: impl FnMut(Batch<O>) + Send + 'static,
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
                let _vital = crate::Vital("writer's thread");
                let mut thread = Thread {
                    shared,
                    store,
                    deliver,
                    keep_at: Instant::now(),
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
        session: Uuid,
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
    fn mark(&mut self, user: Arc<str>, device: Arc<str>, session: Uuid, seq: u64) {
        let mark = self.marks.entry((user, device)).or_default();
        if seq >= mark.0 {
            *mark = (seq, session);
        }
        self.marks_due
            .get_or_insert_with(|| Instant::now() + NOTE_AFTER);
    }
}

struct Thread<O, D> {
    shared: Arc<Shared<O>>,
    store: Box<dyn Store>,
    deliver: D,
    /// When the store is next to remove what is too old.
    keep_at: Instant,
}

struct Work<O> {
    writes: Vec<(Write, O)>,
    openings: Vec<Opening>,
    marks: Marks,
}

impl<O, D: FnMut(Batch<O>)> Thread<O, D> {
    /// One batch. False: there is no more, and there will be none.
    fn turn(&mut self) -> bool {
        let Some(work) = self.wait() else {
            return false;
        };
        let (sessions, marks): (Vec<Uuid>, Vec<Write>) = work
            .marks
            .into_iter()
            .map(|((user, device), (seq, session))| {
                (session, Write::Watermark { user, device, seq })
            })
            .unzip();
        let batch: Vec<&Write> = work
            .writes
            .iter()
            .map(|(write, _)| write)
            .chain(&marks)
            .collect();
        if !batch.is_empty() {
            let at = Time::now();
            let outcomes = self.store.commit(at.0, &batch);
            let failure = outcomes.as_ref().err().map(|error| {
                log::error!("the store: {error}");
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
                self.put_back(&sessions, &marks);
            }
            let noted = noted(sessions, marks, outcomes);
            (self.deliver)(Batch { done, noted, at });
        }
        self.open(work.openings);
        self.maintain();
        true
    }

    /// Lets the store remove what is too old, a little at a time.
    fn maintain(&mut self) {
        let now = Instant::now();
        if now < self.keep_at {
            return;
        }
        let pause = match self.store.maintain(Time::now().0) {
            Ok(true) => KEEP_PAUSE,
            Ok(false) => KEEP_EVERY,
            Err(error) => {
                log::error!("removing what is old: {error}");
                KEEP_EVERY
            }
        };
        self.keep_at = Instant::now() + pause;
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Option<Work<O>> {
        let mut queue = self.shared.lock();
        loop {
            let now = Instant::now();
            let due = queue
                .marks_due
                .map_or(self.keep_at, |due| due.min(self.keep_at));
            if !queue.writes.is_empty() || !queue.openings.is_empty() || due <= now {
                break;
            }
            if queue.closed {
                if queue.marks.is_empty() {
                    return None;
                }
                break;
            }
            let wait = due.saturating_duration_since(now);
            let waited = self.shared.filled.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
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
    fn put_back(&self, sessions: &[Uuid], marks: &[Write]) {
        let mut queue = self.shared.lock();
        if queue.closed {
            return;
        }
        for (session, mark) in sessions.iter().zip(marks) {
            if queue.marks.len() >= MARKS {
                break;
            }
            if let Write::Watermark { user, device, seq } = mark {
                queue.mark(user.clone(), device.clone(), *session, *seq);
            }
        }
    }

    fn open(&mut self, openings: Vec<Opening>) {
        for opening in openings {
            let opened = self.store.open_inbox(&opening.user, &opening.device);
            if let Ok(opened) = &opened {
                // The device is in use from now on, also if it never receives anything.
                let mut queue = self.shared.lock();
                queue.mark(
                    opening.user,
                    opening.device,
                    opening.session,
                    opened.received,
                );
            }
            (opening.reply)(opened.map_err(|error| {
                log::error!("the store: {error}");
                failure_of(&error)
            }));
        }
    }
}

/// The watermarks that tell others something.
fn noted(
    sessions: Vec<Uuid>,
    marks: Vec<Write>,
    outcomes: impl Iterator<Item = Outcome>,
) -> Vec<Noted> {
    let mut noted = Vec::new();
    for ((session, mark), outcome) in sessions.into_iter().zip(marks).zip(outcomes) {
        if let (Write::Watermark { user, .. }, Outcome::Received(received)) = (mark, outcome)
            && !received.is_empty()
        {
            noted.push(Noted {
                user,
                session,
                received,
            });
        }
    }
    noted
}

fn content_bytes(write: &Write) -> usize {
    match write {
        Write::Message(message) => message.content.len(),
        Write::Edit(_, content) => content.len(),
        _ => 0,
    }
}

fn failure_of(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) => Failure::Overloaded,
        StoreError::Failed(_) => Failure::Internal,
    }
}
