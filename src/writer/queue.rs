//! The queue between the sessions and the thread.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use super::WriteError;
use super::health::Pulse;
use super::watermarks::NOTE_AFTER;
use crate::store::{InboxState, StoreError, Write};

/// By user and device: the furthest entry, and the session that told of it.
pub type Marks = HashMap<(Arc<str>, Arc<str>), (u64, Uuid)>;

pub type Mark = ((Arc<str>, Arc<str>), (u64, Uuid));

pub type OpenReply = Box<dyn FnOnce(Result<InboxState, WriteError>) + Send>;

pub struct Opening {
    /// How many writes had been handed over before: it must know of them all.
    pub after: u64,
    pub user: Arc<str>,
    pub device: Arc<str>,
    pub session: Uuid,
    pub reply: OpenReply,
}

pub struct Queue<O> {
    pub writes: Vec<(Write, O)>,
    /// Bytes of content in `writes`.
    pub bytes: usize,
    /// Writes handed over so far, and how many of them have been taken.
    pub accepted: u64,
    pub taken: u64,
    pub openings: Vec<Opening>,
    /// Readers that wait until all that was committed is settled.
    pub waiting: Vec<SyncSender<Result<(), StoreError>>>,
    /// Watermarks, the furthest of each device: they are no more than devices, and none is lost for want of room.
    pub marks: Marks,
    /// When the oldest mark is to be written at the latest.
    pub marks_due: Option<Instant>,
    pub closed: bool,
    /// The thread has ended: nobody is answered any more.
    pub ended: bool,
}

pub struct Shared<O> {
    pub queue: Mutex<Queue<O>>,
    pub filled: Condvar,
    pub pulse: Pulse,
    /// Something is committed that readers do not see.
    pub unsettled: AtomicBool,
}

impl<O> Shared<O> {
    pub fn lock(&self) -> MutexGuard<'_, Queue<O>> {
        // Each change leaves the queue whole, so a panic elsewhere has not harmed it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O> Queue<O> {
    pub fn mark(&mut self, user: Arc<str>, device: Arc<str>, session: Uuid, seq: u64) {
        let mark = self.marks.entry((user, device)).or_default();
        if seq >= mark.0 {
            *mark = (seq, session);
        }
        self.marks_due
            .get_or_insert_with(|| Instant::now() + NOTE_AFTER);
    }
}

pub fn content_bytes(write: &Write) -> usize {
    match write {
        Write::Message(message) => message.content.len(),
        Write::Edit(_, content) => content.len(),
        _ => 0,
    }
}
