//! The threads that read from the store, so that a long read delays neither a send nor a worker.
//!
//! A [`Readers`] is a cheap handle over `Arc`. Its mutex guards the queue of jobs. Each session has at most two reads under
//! way, one of its inbox and one that its client asked for, so the queue is bounded by the sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::store::{
    ConversationsPage, ConversationsQuery, Entry, HistoryAnswer, HistoryQuery, InboxRange, Reader,
    StoreError,
};

type Job = Box<dyn FnOnce(&mut Settled) + Send>;
/// A reader, and how to have it see what was committed.
struct Settled {
    reader: Box<dyn Reader>,
    settle: Box<dyn Fn() -> Result<(), StoreError> + Send>,
}

impl Settled {
    fn ready(&mut self) -> Result<&mut dyn Reader, StoreError> {
        // A full disk is a reason why nothing can be settled, and none why nothing could be read.
        let unsettled = (self.settle)().is_err();
        self.reader.include_pending(unsettled)?;
        Ok(self.reader.as_mut())
    }
}

/// What a read will give. A dropped sender means that the server is going down.
pub type PendingRead<T> = oneshot::Receiver<Result<T, StoreError>>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// The way into the store for everything that only reads.
#[derive(Clone, Default)]
pub struct Readers {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts a thread for each reader. `settle` is called before each read, and waits until readers see all that was
    /// committed before it.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        readers: Vec<Box<dyn Reader>>,
        settle: impl Fn() -> Result<(), StoreError> + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let reads = Self::default();
        for reader in readers {
            let mut reader = Settled {
                reader,
                settle: Box::new(settle.clone()),
            };
            let shared = reads.shared.clone();
            std::thread::Builder::new()
                .name("reader".into())
                .spawn(move || {
                    let _vital = crate::supervise::AbortOnPanic("reader's thread");
                    while let Some(job) = shared.next() {
                        job(&mut reader);
                    }
                })?;
        }
        Ok(reads)
    }

    /// Reads part of an inbox.
    pub fn entries(&self, span: InboxRange) -> PendingRead<Vec<Entry>> {
        self.run(move |reader| reader.ready()?.entries(&span))
    }

    /// Reads messages of a conversation.
    pub fn history(&self, query: HistoryQuery) -> PendingRead<HistoryAnswer> {
        self.run(move |reader| reader.ready()?.history(&query))
    }

    /// Reads a user's conversations.
    pub fn conversations(
        &self,
        query: ConversationsQuery,
    ) -> PendingRead<Option<ConversationsPage>> {
        self.run(move |reader| reader.ready()?.conversations(&query))
    }

    fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Settled) -> Result<T, StoreError> + Send + 'static,
    ) -> PendingRead<T> {
        let (send, receive) = oneshot::channel();
        let mut queue = self
            .shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !queue.closed {
            queue.jobs.push_back(Box::new(move |reader| {
                // The session that asked may be gone.
                if !send.is_closed() {
                    drop(send.send(read(reader)));
                }
            }));
            self.shared.filled.notify_one();
        }
        receive
    }

    /// Ends the threads once they have done what they have.
    pub fn close(&self) {
        let mut queue = self
            .shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
