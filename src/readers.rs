//! The threads that read from the store, so that a long query delays neither a commit nor the sessions.
//!
//! There are two kinds of jobs. *Short* jobs (the opening of inboxes, a lookup of a conversation) go before *long* ones (the
//! queries of sessions), and one thread runs only short jobs: the other threads may all be busy with long queries or wait for
//! a flush of the pending log, and a new connection must not wait for them.
//!
//! Long jobs belong to users, who take turns (`FairQueue`): whatever the number of a user's sessions, one query of the user
//! runs at a time, and another user's next query waits for at most one query of each user.
//!
//! A [`Readers`] is a cheap handle over `Arc`. Its mutex guards the queues of jobs and is held only to add or to take one. The
//! queues are bounded: each session has at most one opening, one query of its inbox and one query of its client in progress,
//! [`Contacts`](crate::contacts::Contacts) limits the number of its lookups, and [`Presence`](crate::presence::Presence) has one lookup at a
//! time.

mod fair_queue;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::fair_queue::FairQueue;
use crate::store::{
    ConversationsPage, ConversationsQuery, EventReader, ExportPage, ExportQuery, HistoryAnswer,
    HistoryQuery, InboxItem, InboxQuery, InboxRange, InboxState, MembersAnswer, MembersQuery,
    Reader, RoomMembersQuery, RoomsPage, RoomsQuery, StoreError, UserOverview, UserQuery, Watched,
};

/// Takes the turns of operators. No user has this name.
const OPERATORS: &str = "/v1";

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
    /// Wakes a thread that runs all jobs.
    added: Condvar,
    /// Wakes the thread that runs only short jobs.
    short_added: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queues {
    short: VecDeque<Job>,
    long: FairQueue<Job>,
    /// The thread that runs only short jobs waits and has not been notified.
    short_is_idle: bool,
    closed: bool,
}

/// The jobs that a thread runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    All,
    Short,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts a thread for each of `readers`, and one for `short`, which runs only short jobs.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(readers: Vec<Box<dyn Reader>>, short: Box<dyn Reader>) -> std::io::Result<Self> {
        let handle = Self::default();
        let all = readers.into_iter().map(|reader| (reader, Kind::All));
        for (mut reader, kind) in all.chain([(short, Kind::Short)]) {
            let shared = handle.shared.clone();
            let thread = std::thread::Builder::new()
                .name("reader".into())
                .spawn(move || {
                    let _guard = crate::supervise::AbortOnPanic("reader's thread");
                    let mut finished = None;
                    while let Some((user, job)) = shared.take(kind, finished) {
                        job(reader.as_mut());
                        finished = user;
                    }
                })?;
            handle.shared.threads().push(thread);
        }
        Ok(handle)
    }

    /// Reads the state of several inboxes at once, and calls `done` on the reader's thread. If the server is shutting down,
    /// `done` is dropped instead.
    pub fn open_inboxes(
        &self,
        queries: Vec<InboxQuery>,
        done: impl FnOnce(Result<Vec<InboxState>, StoreError>) + Send + 'static,
    ) {
        self.add_short(Box::new(move |reader| done(reader.open_inboxes(&queries))));
    }

    /// Looks up whether two users are contacts ([`Reader::is_mutual`]), and calls `done` on the reader's thread. If the server is shutting
    /// down, `done` is dropped instead.
    pub fn are_contacts(
        &self,
        a: Arc<str>,
        b: Arc<str>,
        done: impl FnOnce(Result<bool, StoreError>) + Send + 'static,
    ) {
        self.add_short(Box::new(move |reader| {
            done(reader.is_mutual(&a, &b));
        }));
    }

    /// Looks up whether the users of each of some pairs are contacts, and calls `done` on the reader's thread. Such lookups are long
    /// jobs of one user: they run one after the other, and take turns with the queries of users. If the server is shutting down, `done`
    /// is dropped instead.
    pub fn relations(
        &self,
        pairs: Vec<(Arc<str>, Arc<str>)>,
        done: impl FnOnce(Result<Vec<bool>, StoreError>) + Send + 'static,
    ) {
        // Not the id of a user.
        let turn = "".into();
        self.add_long(
            turn,
            Box::new(move |reader| {
                let found = pairs.iter().map(|(a, b)| reader.is_mutual(a, b));
                done(found.collect());
            }),
        );
    }

    /// Reads part of an inbox.
    pub fn entries(&self, range: InboxRange) -> PendingRead<Vec<InboxItem>> {
        self.query(range.user.clone(), move |reader| reader.entries(&range))
    }

    /// Reads messages of a conversation.
    pub fn history(&self, query: HistoryQuery) -> PendingRead<HistoryAnswer> {
        self.query(query.user.clone(), move |reader| reader.history(&query))
    }

    /// Reads a user's conversations.
    pub fn conversations(
        &self,
        query: ConversationsQuery,
    ) -> PendingRead<Option<ConversationsPage>> {
        self.query(query.user.clone(), move |reader| {
            reader.conversations(&query)
        })
    }

    /// Reads members of a room.
    pub fn members(&self, query: MembersQuery) -> PendingRead<MembersAnswer> {
        self.query(query.user.clone(), move |reader| reader.members(&query))
    }

    /// Reads about users whom `viewer` watches.
    pub fn watched(&self, viewer: Arc<str>, users: Arc<[Arc<str>]>) -> PendingRead<Vec<Watched>> {
        self.query(viewer.clone(), move |reader| {
            reader.watched(&viewer, &users)
        })
    }

    /// Reads until when the tokens of a user are revoked. It is a short job: a handshake waits for it.
    pub fn revoked_until(&self, user: Arc<str>) -> PendingRead<Option<i64>> {
        let (sender, receiver) = oneshot::channel();
        self.add_short(Box::new(move |reader| {
            // The client may have disconnected.
            drop(sender.send(reader.revoked_until(&user)));
        }));
        receiver
    }

    /// Reads what is known of a user.
    pub fn user_overview(&self, query: UserQuery) -> PendingRead<Option<UserOverview>> {
        self.query(query.user.clone(), move |reader| {
            reader.user_overview(&query)
        })
    }

    /// Reads rooms. All operators together have the turns of one user, here and in the next three.
    pub fn rooms(&self, query: RoomsQuery) -> PendingRead<RoomsPage> {
        self.query(OPERATORS.into(), move |reader| reader.rooms(&query))
    }

    /// Reads members of a room for an operator.
    pub fn room_members(&self, query: RoomMembersQuery) -> PendingRead<MembersAnswer> {
        self.query(OPERATORS.into(), move |reader| reader.room_members(&query))
    }

    /// Reads messages of a room for an operator.
    pub fn room_history(&self, query: HistoryQuery) -> PendingRead<HistoryAnswer> {
        self.query(OPERATORS.into(), move |reader| reader.room_history(&query))
    }

    /// Reads a page of all messages of a user for an operator.
    pub fn export(&self, query: ExportQuery) -> PendingRead<Option<ExportPage>> {
        self.query(OPERATORS.into(), move |reader| reader.export(&query))
    }

    /// Runs a job that reads events. Such jobs run one after the other, and take turns with the queries of users. If the server is
    /// shutting down, the job is dropped instead.
    pub fn events(&self, read: impl FnOnce(&mut dyn EventReader) + Send + 'static) {
        // Not the id of a user.
        let turn = "*".into();
        self.add_long(turn, Box::new(move |reader| read(reader)));
    }

    fn query<T: Send + 'static>(
        &self,
        user: Arc<str>,
        read: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> PendingRead<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // The session may have ended.
            if !sender.is_closed() {
                drop(sender.send(read(reader)));
            }
        });
        self.add_long(user, job);
        receiver
    }

    fn add_long(&self, user: Arc<str>, job: Job) {
        let mut queues = self.shared.lock();
        if queues.closed {
            // The job may hold what adds another one when it is dropped.
            drop(queues);
            drop(job);
        } else if queues.long.push(user, job) {
            self.shared.added.notify_one();
        }
    }

    fn add_short(&self, job: Job) {
        let mut queues = self.shared.lock();
        if queues.closed {
            return;
        }
        queues.short.push_back(job);
        if std::mem::take(&mut queues.short_is_idle) {
            self.shared.short_added.notify_one();
        } else {
            self.shared.added.notify_one();
        }
    }

    /// The numbers of short and of long jobs that wait for a thread.
    pub fn queued(&self) -> (usize, usize) {
        let queues = self.shared.lock();
        (queues.short.len(), queues.long.waiting())
    }

    /// Ends the threads after the jobs that have been added, and waits for their end, so that nothing reads the store when it
    /// is closed.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.added.notify_all();
        self.shared.short_added.notify_all();
        let threads = std::mem::take(&mut *self.shared.threads());
        for thread in threads {
            // A panic has ended the process.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job, after a long one of the user `finished` has run. Returns the user of a long job with it. `None`: there
    /// will be none.
    fn take(&self, kind: Kind, finished: Option<Arc<str>>) -> Option<(Option<Arc<str>>, Job)> {
        let mut queues = self.lock();
        if finished.is_some_and(|user| queues.long.finish(user)) {
            // This thread may take a short job instead.
            self.added.notify_one();
        }
        loop {
            if let Some(job) = queues.short.pop_front() {
                return Some((None, job));
            }
            if kind == Kind::All
                && let Some((user, job)) = queues.long.take()
            {
                return Some((Some(user), job));
            }
            if queues.closed {
                return None;
            }
            let added = match kind {
                Kind::All => &self.added,
                Kind::Short => {
                    queues.short_is_idle = true;
                    &self.short_added
                }
            };
            queues = added.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests;
