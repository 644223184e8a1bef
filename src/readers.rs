//! The threads that read from the store, so that a long query delays neither a commit nor the sessions.
//!
//! A [`Readers`] is a cheap handle over `Arc`. Its mutex guards the queues of jobs and is held only to add or to take one. The
//! queues are bounded by the number of sessions: each has at most one query of its inbox and one of its client in progress.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::store::{
    ConversationsPage, ConversationsQuery, DeviceRef, Entry, HistoryAnswer, HistoryQuery,
    InboxRange, InboxState, Reader, StoreError,
};

type Job = Box<dyn FnOnce(&mut dyn Reader) + Send>;

/// The result of a query. If the sender is dropped, the server is shutting down.
pub type PendingRead<T> = oneshot::Receiver<Result<T, StoreError>>;

/// The handle through which everything is read from the store.
#[derive(Clone, Default)]
pub struct Readers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    filled: Condvar,
}

#[derive(Default)]
struct Queues {
    /// Short jobs that go before the others: a connection must not wait behind the histories of other users.
    urgent: VecDeque<Job>,
    jobs: VecDeque<Job>,
    /// Jobs that run one at a time, in the order in which they were added.
    ordered: VecDeque<Job>,
    ordered_is_running: bool,
    closed: bool,
}

/// A job that a thread has taken.
enum Taken {
    Job(Job),
    Ordered(Job),
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts a thread for each reader.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(readers: Vec<Box<dyn Reader>>) -> std::io::Result<Self> {
        let handle = Self::default();
        for mut reader in readers {
            let shared = handle.shared.clone();
            std::thread::Builder::new()
                .name("reader".into())
                .spawn(move || {
                    let _guard = crate::supervise::AbortOnPanic("reader's thread");
                    shared.run_jobs(reader.as_mut());
                })?;
        }
        Ok(handle)
    }

    /// Reads the state of several inboxes at once, and calls `done` on the reader's thread. If the server is shutting down,
    /// `done` is dropped instead.
    pub fn open_inboxes(
        &self,
        devices: Vec<DeviceRef>,
        done: impl FnOnce(Result<Vec<InboxState>, StoreError>) + Send + 'static,
    ) {
        self.add(
            |queues| &mut queues.urgent,
            Box::new(move |reader| done(reader.open_inboxes(&devices))),
        );
    }

    /// Looks up whether two users have a conversation, and calls `done` on the reader's thread. These lookups, with their
    /// calls, run one after another in the order in which they were requested.
    pub fn have_conversation(
        &self,
        a: Arc<str>,
        b: Arc<str>,
        done: impl FnOnce(Result<bool, StoreError>) + Send + 'static,
    ) {
        self.add(
            |queues| &mut queues.ordered,
            Box::new(move |reader| done(reader.have_conversation(&a, &b))),
        );
    }

    /// Reads part of an inbox.
    pub fn entries(&self, range: InboxRange) -> PendingRead<Vec<Entry>> {
        self.query(move |reader| reader.entries(&range))
    }

    /// Reads messages of a conversation.
    pub fn history(&self, query: HistoryQuery) -> PendingRead<HistoryAnswer> {
        self.query(move |reader| reader.history(&query))
    }

    /// Reads a user's conversations.
    pub fn conversations(
        &self,
        query: ConversationsQuery,
    ) -> PendingRead<Option<ConversationsPage>> {
        self.query(move |reader| reader.conversations(&query))
    }

    fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> PendingRead<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // The session may have ended.
            if !sender.is_closed() {
                drop(sender.send(read(reader)));
            }
        });
        self.add(|queues| &mut queues.jobs, job);
        receiver
    }

    fn add(&self, queue: impl FnOnce(&mut Queues) -> &mut VecDeque<Job>, job: Job) {
        let mut queues = self.shared.lock();
        if !queues.closed {
            queue(&mut queues).push_back(job);
            self.shared.filled.notify_one();
        }
    }

    /// Ends the threads after the jobs that have been added.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_jobs(&self, reader: &mut dyn Reader) {
        while let Some(taken) = self.take() {
            match taken {
                Taken::Job(job) => job(reader),
                Taken::Ordered(job) => {
                    job(reader);
                    self.lock().ordered_is_running = false;
                    // Another thread may wait for the next ordered job, and this one may take another job.
                    self.filled.notify_one();
                }
            }
        }
    }

    /// Waits for a job. `None`: there will be none.
    fn take(&self) -> Option<Taken> {
        let mut queues = self.lock();
        loop {
            if let Some(job) = queues.urgent.pop_front() {
                return Some(Taken::Job(job));
            }
            if !queues.ordered_is_running
                && let Some(job) = queues.ordered.pop_front()
            {
                queues.ordered_is_running = true;
                return Some(Taken::Ordered(job));
            }
            if let Some(job) = queues.jobs.pop_front() {
                return Some(Taken::Job(job));
            }
            if queues.closed && queues.ordered.is_empty() {
                return None;
            }
            queues = self
                .filled
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
