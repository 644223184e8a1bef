//! Group commit: sends from all sessions meet in one bounded queue; one thread takes what is there, commits it in one
//! transaction, and only then hands it on to be acknowledged and delivered. Under load the cost of a commit is shared;
//! alone, a message waits for nobody.
//!
//! When a batch is delivered there is time for what nobody waits for, a little of it in each turn: watermarks, and showing
//! the store's readers what was committed.
//!
//! A [`Writer`] is a cheap handle over `Arc`. Its mutex guards the queue and is held only to add to it or to swap it out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::protocol::Timestamp;
use crate::store::{InboxState, Outcome, Received, Store, StoreError, Write};

/// Writes that may wait. Beyond it senders are told `overloaded`. Some tenths of a second of work: as much as thousands have to say
/// who come back at once.
const QUEUE: usize = 32_768;
/// Bytes of content that may wait.
const QUEUE_BYTES: usize = 64 << 20;
/// With less room than this in it the queue counts as full.
const LONG: usize = 64 << 10;
/// Writes of one transaction: more would make the first of them wait for the last.
const BATCH: usize = 1024;
/// Watermarks that are written in one turn, while no client waits for them.
const NOTE: usize = 8;
/// Messages that are settled in one turn, at the least.
const SETTLE: usize = 128;
/// Watermarks that are kept for later when the store does not take them.
const MARKS: usize = 100_000;
/// A write that takes longer has met a store that does not answer.
const STUCK_MS: u64 = 5000;
/// For so long after a failed write the server says that it is not ready.
const FAILING_MS: u64 = 5000;
/// When settling has failed, it is tried again after so long.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// Time between two looks at what is to be removed, and at the least between two steps of it.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_PAUSE: Duration = Duration::from_millis(20);
/// How long a watermark may wait for later ones of its device. A little longer than messages wait to be settled, so that
/// those which it is about mostly are.
const NOTE_AFTER: Duration = Duration::from_millis(200);

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

/// By user and device: the furthest entry, and the session that told of it.
type Marks = HashMap<(Arc<str>, Arc<str>), (u64, Uuid)>;
type Mark = ((Arc<str>, Arc<str>), (u64, Uuid));
type OpenReply = Box<dyn FnOnce(Result<InboxState, WriteError>) + Send>;

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
    /// Readers that wait until all that was committed is settled.
    waiting: Vec<SyncSender<Result<(), StoreError>>>,
    /// Watermarks, the furthest of each device: they are no more than devices, and none is lost for want of room.
    marks: Marks,
    /// When the oldest mark is to be written at the latest.
    marks_due: Option<Instant>,
    closed: bool,
    /// The thread has ended: nobody is answered any more.
    ended: bool,
}

struct Shared<O> {
    queue: Mutex<Queue<O>>,
    filled: Condvar,
    pulse: Pulse,
    /// Something is committed that readers do not see.
    unsettled: AtomicBool,
}

/// How the store does.
struct Pulse {
    began: Instant,
    /// When it has begun the write that it is at, and when it has last failed at one: in milliseconds since `began`, plus one;
    /// 0 stands for none.
    writing: AtomicU64,
    failed: AtomicU64,
}

impl Pulse {
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// Watches over one write.
    fn over<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.writing.store(self.now(), Ordering::Relaxed);
        let written = write();
        self.writing.store(0, Ordering::Relaxed);
        let failed = if written.is_err() { self.now() } else { 0 };
        self.failed.store(failed, Ordering::Relaxed);
        written
    }

    fn trouble(&self) -> Option<Unavailable> {
        let since = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.now().saturating_sub(at)),
        };
        if since(&self.writing).is_some_and(|ms| ms > STUCK_MS) {
            return Some(Unavailable::Stuck);
        }
        // After a while it may be tried again: nobody else would find out that it is well.
        since(&self.failed)
            .is_some_and(|ms| ms < FAILING_MS)
            .then_some(Unavailable::Failing)
    }
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
                let _vital = crate::AbortOnPanic("writer's thread");
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
    /// When it is next to settle what was committed, if there is anything.
    settle_at: Option<Instant>,
    /// Watermarks that are due.
    noting: Vec<Mark>,
}

struct Work<O> {
    writes: Vec<(Write, O)>,
    openings: Vec<Opening>,
    waiting: Vec<SyncSender<Result<(), StoreError>>>,
    /// No more will come.
    closed: bool,
}

impl<O, D: FnMut(Batch<O>)> Thread<O, D> {
    /// One batch. False: there is no more, and there will be none.
    fn turn(&mut self) -> bool {
        let Some(work) = self.wait() else {
            return false;
        };
        let count = work.writes.len();
        if count > 0 {
            self.commit(work.writes);
        }
        // An opening has to know of the watermarks before it.
        self.note(match (work.openings.is_empty(), work.closed) {
            (true, false) => NOTE,
            (true, true) => BATCH,
            (false, _) => usize::MAX,
        });
        self.open(work.openings);
        self.settle(count, work.waiting);
        self.maintain();
        true
    }

    fn commit(&mut self, writes: Vec<(Write, O)>) {
        let at = Timestamp::now();
        let batch: Vec<&Write> = writes.iter().map(|(write, _)| write).collect();
        let store = &mut self.store;
        let outcomes = self.shared.pulse.over(|| store.commit(at.0, &batch));
        let failure = outcomes.as_ref().err().map(|error| {
            log::error!("the store: {error}");
            failure_of(error)
        });
        // Before anybody hears of it: whoever does may ask a reader.
        self.unsettled();
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        let done = writes
            .into_iter()
            .map(|(write, origin)| CompletedWrite {
                write,
                origin,
                outcome: outcomes
                    .next()
                    .ok_or(failure.unwrap_or(WriteError::Internal)),
            })
            .collect();
        (self.deliver)(Batch {
            done,
            noted: Vec::new(),
            at,
        });
    }

    /// Writes watermarks that are due, up to `limit` of them.
    fn note(&mut self, limit: usize) {
        let take = self.noting.len().min(limit);
        if take == 0 {
            return;
        }
        let from = self.noting.len() - take;
        let (sessions, marks): (Vec<Uuid>, Vec<Write>) = self
            .noting
            .drain(from..)
            .map(|((user, device), (seq, session))| {
                (session, Write::Watermark { user, device, seq })
            })
            .unzip();
        let at = Timestamp::now();
        let batch: Vec<&Write> = marks.iter().collect();
        let store = &mut self.store;
        match self.shared.pulse.over(|| store.commit(at.0, &batch)) {
            Ok(outcomes) => {
                let noted = noted(sessions, marks, outcomes.into_iter());
                (self.deliver)(Batch {
                    done: Vec::new(),
                    noted,
                    at,
                });
            }
            Err(error) => {
                log::error!("the store: {error}");
                self.put_back(&sessions, &marks);
            }
        }
    }

    /// Notes that something may be committed that readers do not see.
    fn unsettled(&mut self) {
        self.shared.unsettled.store(true, Ordering::Release);
        self.settle_at.get_or_insert_with(Instant::now);
    }

    /// Shows readers what was committed: all of it if any wait, or else about as much as comes in, when it is time.
    fn settle(&mut self, count: usize, waiting: Vec<SyncSender<Result<(), StoreError>>>) {
        let all = !waiting.is_empty();
        if !all && self.settle_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let settled = self.store.settle(SETTLE.max(count + count / 4), all);
        if let Ok(next) = &settled {
            self.settle_at = *next;
            if next.is_none() {
                self.shared.unsettled.store(false, Ordering::Release);
            }
        } else {
            self.settle_at = Some(Instant::now() + SETTLE_AGAIN);
        }
        let error = settled.err().map(|error| {
            log::error!("showing readers what was committed: {error}");
            error.to_string()
        });
        for tell in waiting {
            // It may have given up.
            let _ = tell.send(error.clone().map_or(Ok(()), |e| Err(StoreError::Failed(e))));
        }
    }

    /// The last turn is done.
    fn end(&mut self) {
        let mut queue = self.shared.lock();
        queue.ended = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.settle_at = Some(Instant::now());
        let settled = self.store.settle(usize::MAX, true);
        match &settled {
            Ok(_) => self.shared.unsettled.store(false, Ordering::Release),
            Err(error) => log::error!("showing readers what was committed: {error}"),
        }
        for tell in waiting {
            let failed = |e: &StoreError| Err(StoreError::Failed(e.to_string()));
            let _ = tell.send(settled.as_ref().err().map_or(Ok(()), failed));
        }
    }

    /// Lets the store remove what is too old, a little at a time.
    fn maintain(&mut self) {
        let now = Instant::now();
        if now < self.keep_at {
            return;
        }
        let pause = match self.store.maintain(Timestamp::now().0) {
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
    fn wait(&mut self) -> Option<Work<O>> {
        let mut queue = self.shared.lock();
        let now = loop {
            let now = Instant::now();
            let due = [queue.marks_due, self.settle_at]
                .into_iter()
                .flatten()
                .fold(self.keep_at, Instant::min);
            let asked =
                !queue.writes.is_empty() || !queue.openings.is_empty() || !queue.waiting.is_empty();
            if asked || !self.noting.is_empty() || due <= now {
                break now;
            }
            if queue.closed {
                if queue.marks.is_empty() {
                    return None;
                }
                break now;
            }
            let wait = due.saturating_duration_since(now);
            let waited = self.shared.filled.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
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
        // Not while there are others, so that each device has one here at the most.
        let due = self.noting.is_empty() && queue.marks_due.is_some_and(|due| due <= now);
        if due || queue.closed || !openings.is_empty() {
            queue.marks_due = None;
            self.noting.extend(std::mem::take(&mut queue.marks));
        }
        Some(Work {
            writes,
            openings,
            waiting: std::mem::take(&mut queue.waiting),
            closed: queue.closed,
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
) -> Vec<MarkMoved> {
    let mut noted = Vec::new();
    for ((session, mark), outcome) in sessions.into_iter().zip(marks).zip(outcomes) {
        if let (Write::Watermark { user, .. }, Outcome::Received(received)) = (mark, outcome)
            && !received.is_empty()
        {
            noted.push(MarkMoved {
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

fn failure_of(error: &StoreError) -> WriteError {
    match error {
        StoreError::Unavailable(_) => WriteError::Overloaded,
        StoreError::Failed(_) => WriteError::Internal,
    }
}
