//! Completed batches, and the observers that are called with them.

use std::sync::Arc;

use uuid::Uuid;

use crate::protocol::Timestamp;
use crate::store::{ErasureStep, Outcome, Received, RoomMembers, Write};

/// Is called with each batch, on the writer's thread.
pub trait CommitObserver<R>: Send {
    /// A batch was committed, or has failed. Must not block: the next commit waits for it.
    fn completed(&mut self, batch: &CompletedBatch<R>);
}

/// A batch that was committed, or has failed.
#[derive(Debug)]
pub struct CompletedBatch<R> {
    /// Writes and notices, in the order in which they were accepted.
    pub items: Vec<Completed<R>>,
    /// Users whose devices have received more than before.
    pub received: Vec<ReceivedUpdate>,
    /// Steps of erasures.
    pub erasures: Vec<ErasureUpdate<R>>,
    /// When it was committed.
    pub at: Timestamp,
}

/// A step of an erasure.
#[derive(Debug)]
pub struct ErasureUpdate<R> {
    /// What has happened.
    pub step: ErasureStep,
    /// Where the reply to the write that has begun the erasure goes, with the last step.
    pub reply_to: Option<R>,
}

/// An item of a [`CompletedBatch`]. `R` is the caller's handle for the reply.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all items are writes")]
pub enum Completed<R> {
    /// A write, with its outcome.
    Write {
        /// The operation.
        write: Write,
        /// Where the reply goes.
        reply_to: R,
        /// The result.
        outcome: Result<Outcome, WriteError>,
    },
    /// See [`Writer::notify`](super::Writer::notify).
    Notice(R),
    /// See [`Writer::notify_room`](super::Writer::notify_room).
    RoomNotice {
        /// The notice.
        notice: R,
        /// The members of the room; `None`: the user is not one of them.
        members: Result<Option<RoomMembers>, WriteError>,
    },
}

/// A user's devices have received more of some conversations than before.
#[derive(Debug)]
pub struct ReceivedUpdate {
    /// The user.
    pub user: Arc<str>,
    /// The session that reported it. `None`: only the other users are to be informed.
    pub session: Option<Uuid>,
    /// The conversations.
    pub received: Vec<Received>,
}

/// Why a write was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was stored; a retry may succeed.
    #[error("nothing was stored")]
    Overloaded,
    /// The outcome is unknown.
    #[error("the outcome is unknown")]
    Internal,
}
