//! The queue between the sessions and the writer's thread.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::completed::WriteError;
use super::health::{Health, Unavailable};
use crate::store::{DeviceRef, InboxQuery, InboxState, StoreFiles, Write};

/// The maximum number of queued writes; beyond it senders get `overloaded`. This is some tenths of a second of work, enough
/// for the messages of thousands of clients that reconnect at once.
const MAX_WRITES: usize = 32_768;
/// The maximum number of bytes of content in the queue.
const MAX_BYTES: usize = 64 << 20;
/// With less room than this the queue is reported as full, as a long message may be rejected.
const LONG_MESSAGE: usize = 64 << 10;
/// The maximum number of writes and notices in a batch: in a larger one the first would wait for the last.
const MAX_BATCH: usize = 1024;

/// How long a watermark may wait for later ones of its device. A little longer than messages stay in the pending log, so that
/// the messages that it is about are mostly in their tables.
const WATERMARK_DELAY: Duration = Duration::from_millis(200);

/// By user and device: the newest entry received, and the session that reported it.
type Watermarks = HashMap<(Arc<str>, Arc<str>), (u64, Uuid)>;

/// A watermark: user and device, entry and session.
pub type Watermark = ((Arc<str>, Arc<str>), (u64, Uuid));

/// How long the record that a user is online, or not any more, may wait for a later one of the user. Who reconnects meanwhile costs
/// one record.
const SEEN_DELAY: Duration = Duration::from_millis(300);

/// By user: until when the user was online; `None`: still.
type Seen = HashMap<Arc<str>, Option<i64>>;

/// What is committed without a client that waits for it.
#[derive(Default)]
pub struct DueRecords {
    pub watermarks: Vec<Watermark>,
    pub seen: Vec<(Arc<str>, Option<i64>)>,
}

impl DueRecords {
    fn is_empty(&self) -> bool {
        self.watermarks.is_empty() && self.seen.is_empty()
    }
}

/// Called with the state of an inbox.
pub type OpenReply = Box<dyn FnOnce(Result<InboxState, WriteError>) + Send>;

/// A session that waits for the state of its inbox.
pub struct Opening {
    /// The number of writes that were accepted before it, and that its state must include.
    pub after: u64,
    pub query: InboxQuery,
    pub reply: OpenReply,
}

/// An item of the queue, with the caller's handle for the reply.
pub enum Queued<R> {
    Write(Write, R),
    Notice(R),
    RoomNotice {
        /// Whose members are to be looked up.
        room: Arc<str>,
        /// The user who must be a member, if any.
        user: Option<Arc<str>>,
        /// Bytes that the notice keeps in memory.
        bytes: usize,
        notice: R,
    },
}

impl<R> Queued<R> {
    /// Bytes of content.
    fn bytes(&self) -> usize {
        match self {
            Self::Write(Write::Message(message), _) => message.content.len(),
            Self::Write(Write::Edit(_, content) | Write::Repeat(_, content, _), _) => content.len(),
            Self::RoomNotice { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    fn into_reply(self) -> R {
        match self {
            Self::Write(_, reply_to)
            | Self::Notice(reply_to)
            | Self::RoomNotice {
                notice: reply_to, ..
            } => reply_to,
        }
    }
}

/// The work of one turn of the thread.
pub struct Turn<R> {
    pub items: Vec<Queued<R>>,
    /// When the first of `items` was accepted.
    pub since: Option<Instant>,
    pub openings: Vec<Opening>,
    /// The store asks for maintenance.
    pub maintenance: bool,
    /// Nothing more is accepted.
    pub closed: bool,
}

/// How much waits for the writer's thread.
#[derive(Clone, Copy, Debug)]
pub struct QueueDepth {
    /// Writes and notices.
    pub writes: usize,
    /// Bytes of their contents.
    pub bytes: usize,
    /// Sessions whose inboxes are to be opened.
    pub openings: usize,
}

pub struct Shared<R> {
    queue: Mutex<Queue<R>>,
    filled: Condvar,
    pub health: Health,
    /// The files of the store.
    pub files: Arc<StoreFiles>,
}

struct Queue<R> {
    items: Vec<Queued<R>>,
    /// When the first of `items` was added.
    since: Option<Instant>,
    /// Bytes of content in `items`.
    bytes: usize,
    /// The numbers of items that were accepted and taken so far.
    accepted: u64,
    taken: u64,
    openings: Vec<Opening>,
    maintenance: bool,
    /// The newest watermark of each device. There are no more than devices, so none is rejected.
    watermarks: Watermarks,
    /// When the oldest watermark is due.
    watermarks_due: Option<Instant>,
    /// The newest record of each user, and when the oldest is due.
    seen: Seen,
    seen_due: Option<Instant>,
    closed: bool,
}

impl<R> Shared<R> {
    pub fn new(files: Arc<StoreFiles>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                items: Vec::new(),
                since: None,
                bytes: 0,
                accepted: 0,
                taken: 0,
                openings: Vec::new(),
                maintenance: false,
                watermarks: HashMap::new(),
                watermarks_due: None,
                seen: HashMap::new(),
                seen_due: None,
                closed: false,
            }),
            filled: Condvar::new(),
            health: Health::default(),
            files,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        // Every change leaves the queue consistent, so a panic elsewhere does no harm.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, item: Queued<R>) -> Result<(), R> {
        let bytes = item.bytes();
        let mut queue = self.lock();
        if queue.closed || queue.items.len() >= MAX_WRITES || queue.bytes + bytes > MAX_BYTES {
            return Err(item.into_reply());
        }
        queue.bytes += bytes;
        queue.accepted += 1;
        queue.items.push(item);
        if queue.items.len() == 1 {
            queue.since = Some(Instant::now());
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Adds an opening. Returns its reply if it cannot be added.
    pub fn add_opening(&self, mut opening: Opening) -> Result<(), OpenReply> {
        let mut queue = self.lock();
        if queue.closed || queue.openings.len() >= MAX_WRITES {
            return Err(opening.reply);
        }
        opening.after = queue.accepted;
        queue.openings.push(opening);
        self.filled.notify_one();
        Ok(())
    }

    /// Adds a watermark. The thread is woken only if it does not know yet when to commit the first of them.
    pub fn add_watermark(&self, device: DeviceRef, session: Uuid, seq: u64) {
        let mut queue = self.lock();
        let was_due = queue.watermarks_due.is_some();
        queue.add_watermark((device.user, device.device), (seq, session));
        if !was_due && queue.watermarks_due.is_some() {
            self.filled.notify_one();
        }
    }

    /// Puts watermarks back that could not be committed, up to a number of them in total. After `close` they are dropped.
    pub fn put_back(&self, watermarks: impl Iterator<Item = Watermark>, max: usize) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        for (device, value) in watermarks {
            if queue.watermarks.len() >= max {
                break;
            }
            queue.add_watermark(device, value);
        }
    }

    /// Adds a record of when a user was online.
    pub fn add_seen(&self, user: Arc<str>, until: Option<i64>) {
        let mut queue = self.lock();
        queue.seen.insert(user, until);
        if queue.seen_due.is_none() {
            queue.seen_due = Some(Instant::now() + SEEN_DELAY);
            self.filled.notify_one();
        }
    }

    /// Puts records back that could not be committed, up to a number of them in total, unless there are later ones.
    pub fn put_back_seen(&self, seen: impl Iterator<Item = (Arc<str>, Option<i64>)>, max: usize) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        for (user, until) in seen {
            if queue.seen.len() >= max {
                break;
            }
            queue.seen.entry(user).or_insert(until);
        }
        queue
            .seen_due
            .get_or_insert_with(|| Instant::now() + SEEN_DELAY);
    }

    /// Drops the watermarks and records of a user.
    pub fn forget_user(&self, user: &str) {
        let mut queue = self.lock();
        queue.watermarks.retain(|(name, _), _| **name != *user);
        queue.seen.remove(user);
    }

    pub fn request_maintenance(&self) {
        self.lock().maintenance = true;
        self.filled.notify_one();
    }

    /// How much waits.
    pub fn depth(&self) -> QueueDepth {
        let queue = self.lock();
        QueueDepth {
            writes: queue.items.len(),
            bytes: queue.bytes,
            openings: queue.openings.len(),
        }
    }

    pub fn unavailable(&self) -> Option<Unavailable> {
        let queue = self.lock();
        if queue.closed {
            return Some(Unavailable::Closed);
        }
        if !self.files.are_in_place() {
            return Some(Unavailable::Displaced);
        }
        if queue.items.len() >= MAX_WRITES || queue.bytes + LONG_MESSAGE > MAX_BYTES {
            return Some(Unavailable::Full);
        }
        drop(queue);
        self.health.unavailable()
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for work, at most until `maintain_at`. Records that are due are moved to `due`. `None`: everything is done
    /// and nothing more is accepted.
    pub fn take(&self, maintain_at: Instant, due: &mut DueRecords) -> Option<Turn<R>> {
        let mut queue = self.lock();
        let now = loop {
            let now = Instant::now();
            let records_due = [queue.watermarks_due, queue.seen_due];
            let next = records_due
                .into_iter()
                .flatten()
                .fold(maintain_at, Instant::min);
            let is_filled =
                !queue.items.is_empty() || !queue.openings.is_empty() || queue.maintenance;
            if is_filled || !due.is_empty() || next <= now {
                break now;
            }
            if queue.closed {
                if queue.watermarks.is_empty() && queue.seen.is_empty() {
                    return None;
                }
                break now;
            }
            let wait = next.saturating_duration_since(now);
            let waited = self.filled.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        Some(queue.take(now, due))
    }
}

impl<R> Queue<R> {
    fn add_watermark(&mut self, device: (Arc<str>, Arc<str>), (seq, session): (u64, Uuid)) {
        let watermark = self.watermarks.entry(device).or_default();
        if seq >= watermark.0 {
            *watermark = (seq, session);
        }
        self.watermarks_due
            .get_or_insert_with(|| Instant::now() + WATERMARK_DELAY);
    }

    fn take(&mut self, now: Instant, due: &mut DueRecords) -> Turn<R> {
        let count = self.items.len().min(MAX_BATCH);
        let rest = self.items.split_off(count);
        let items = std::mem::replace(&mut self.items, rest);
        // What stays was added later, but the batches are so large only under a load by which the difference is small.
        let since = self.since.take();
        self.since = if self.items.is_empty() { None } else { since };
        self.bytes -= items.iter().map(Queued::bytes).sum::<usize>();
        self.taken += items.len() as u64;
        let taken = self.taken;
        let ready = self
            .openings
            .partition_point(|opening| opening.after <= taken);
        let later = self.openings.split_off(ready);
        let openings = std::mem::replace(&mut self.openings, later);
        // Not while others are due, so that each device has at most one among them. But an opening must see all.
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let are_due = due.watermarks.is_empty() && is_due(self.watermarks_due);
        if are_due || self.closed || !openings.is_empty() {
            self.watermarks_due = None;
            due.watermarks.extend(std::mem::take(&mut self.watermarks));
        }
        if self.closed || due.seen.is_empty() && is_due(self.seen_due) {
            self.seen_due = None;
            due.seen.extend(std::mem::take(&mut self.seen));
        }
        Turn {
            items,
            since,
            openings,
            maintenance: std::mem::take(&mut self.maintenance),
            closed: self.closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_added_watermark_wakes_the_thread() {
        let shared = Arc::new(Shared::<()>::new(Arc::default()));
        let waiting = shared.clone();
        let (taken, due) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let maintain_at = Instant::now() + Duration::from_secs(3600);
            let mut due = DueRecords::default();
            while due.is_empty() && waiting.take(maintain_at, &mut due).is_some() {}
            taken.send(due.watermarks.len()).expect("the test waits");
        });
        // Whether or not the thread waits already, the watermark must be taken when it is due.
        std::thread::sleep(Duration::from_millis(50));
        let device = DeviceRef {
            user: "u".into(),
            device: "d".into(),
        };
        shared.add_watermark(device, Uuid::nil(), 1);
        assert_eq!(due.recv_timeout(Duration::from_secs(20)), Ok(1));
        thread.join().expect("the thread ends");
    }
}
