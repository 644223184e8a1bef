//! Group commit. Writes of all sessions go through one bounded queue; the writer's thread takes what is queued, commits it in
//! one transaction, and only then hands it to the [`CommitObserver`]s, which acknowledge and deliver it. Under load many
//! writes share the cost of a commit; a single write waits for no other.
//!
//! After each batch the thread does a small part of the work for which no client waits: it commits watermarks, records who is
//! online, and lets the store maintain itself.
//!
//! **Opening an inbox** goes through the writer because of its order, and is read by the reader threads. The rules:
//! 1. A session is registered before it asks for its inbox, so that it is sent every entry that is committed after the read.
//! 2. The state that it gets includes all writes, and all watermarks of devices, that were accepted before it asked. So the
//!    writer hands an opening to the readers only after it has committed these: `queue::Opening::after` counts the writes.
//! 3. The read may also see later commits. Their entries may be pushed to the session before or after it has its state; the
//!    session's cursor drops those that it has already.
//!
//! The openings of a turn are read in jobs of up to 256, so that a thousand sessions that reconnect cost a few round trips to
//! the readers rather than a thousand.
//!
//! A [`Writer`] is a cheap handle over `Arc`. Its mutex guards the queue and is held only to add to it or to swap it out.

mod completed;
mod due;
mod erasing;
mod health;
mod queue;
mod room_notices;
mod thread;

use std::sync::Arc;
use std::thread::JoinHandle;

use uuid::Uuid;

pub use self::completed::{
    CommitObserver, Completed, CompletedBatch, ErasureUpdate, ReceivedUpdate, WriteError,
};
pub use self::health::Unavailable;
pub use self::queue::QueueDepth;

use self::queue::{Opening, Queued, Shared};
use self::thread::Thread;
use crate::clock::Clock;
use crate::readers::Readers;
use crate::store::{DeviceRef, InboxQuery, InboxState, Store, Write};

/// The handle through which everything is written to the store. `R` is the caller's handle for the reply.
pub struct Writer<R> {
    shared: Arc<Shared<R>>,
}

impl<R> Clone for Writer<R> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<R> std::fmt::Debug for Writer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<R: Send + 'static> Writer<R> {
    /// Starts the writer's thread. The observers are called in this order. What is stored has the time of `clock`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        mut store: Box<dyn Store>,
        readers: Readers,
        observers: Vec<Box<dyn CommitObserver<R>>>,
        clock: Arc<Clock>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared::new(store.files()));
        let waking = shared.clone();
        store.set_waker(Arc::new(move || waking.request_maintenance()));
        let writer = Self {
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                let _guard = crate::supervise::AbortOnPanic("writer's thread");
                Thread::new(shared, store, readers, observers, clock).run();
            })?;
        Ok((writer, thread))
    }

    /// Reads the state of an inbox for a new session, after everything that was accepted before. `reply` is called on another thread; it is
    /// dropped if the server is shutting down.
    pub fn open(
        &self,
        query: InboxQuery,
        reply: impl FnOnce(Result<InboxState, WriteError>) + Send + 'static,
    ) {
        let refused = self.shared.add_opening(Opening {
            after: 0,
            query,
            reply: Box::new(reply),
        });
        if let Err(reply) = refused {
            reply(Err(WriteError::Overloaded));
        }
    }
}

impl<R> Writer<R> {
    /// Queues a write; the observers get its outcome with its batch.
    ///
    /// # Errors
    /// Returns `reply_to` if the queue is full or closed: nothing is stored.
    pub fn write(&self, write: Write, reply_to: R) -> Result<(), R> {
        self.shared.add(Queued::Write(write, reply_to))
    }

    /// Queues a notice, which the store does not see: the observers get it after the writes that were accepted before it.
    ///
    /// # Errors
    /// Returns `notice` if the queue is full or closed.
    pub fn notify(&self, notice: R) -> Result<(), R> {
        self.shared.add(Queued::Notice(notice))
    }

    /// Queues a notice of a user to the members of a room, which keeps `bytes` of memory. The observers get it after the writes that
    /// were accepted before it, with the members of the room if the user is one of them at this place among the writes, or if no
    /// user is given.
    ///
    /// # Errors
    /// Returns `notice` if the queue is full or closed.
    pub fn notify_room(
        &self,
        user: Option<Arc<str>>,
        room: Arc<str>,
        bytes: usize,
        notice: R,
    ) -> Result<(), R> {
        self.shared.add(Queued::RoomNotice {
            room,
            user,
            bytes,
            notice,
        })
    }

    /// Records that a device has received its inbox up to `seq`, or that it is in use if `seq` is 0. It is committed within a
    /// fraction of a second.
    pub fn received(&self, device: DeviceRef, session: Uuid, seq: u64) {
        self.shared.add_watermark(device, session, seq);
    }

    /// Records that a user is online for others, or until when the user was. It is committed within a fraction of a second.
    pub fn seen(&self, user: Arc<str>, until: Option<i64>) {
        self.shared.add_seen(user, until);
    }

    /// Why a write would be rejected or would wait for long at the moment; `None`: it would not.
    pub fn unavailable(&self) -> Option<Unavailable> {
        self.shared.unavailable()
    }

    /// How much waits for a commit.
    pub fn queued(&self) -> QueueDepth {
        self.shared.depth()
    }

    /// Whether the files of the store were in their place at the last check. If not, nothing is stored.
    pub fn files_in_place(&self) -> bool {
        self.shared.files.are_in_place()
    }

    /// Rejects everything from now on; the thread ends when everything accepted is done.
    pub fn close(&self) {
        self.shared.close();
    }
}
