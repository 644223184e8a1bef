//! Deletes rooms step by step. The steps go through the writer's queue, so that they take turns with the writes of sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Ingest;
use crate::delivery::CommandError;
use crate::logging::LogLimit;
use crate::protocol::{ErrorCode, FrameError};
use crate::store::{Outcome, RoomDeletionId, RoomDeletionStep, Write};
use crate::writer::WriteError;

/// When a step was not stored, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// What the deletion of a room has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedRoom {
    /// The number of memberships that have ended.
    pub members: u64,
    /// The number of messages that were deleted.
    pub messages: u64,
}

/// A deletion in progress.
struct Deletion {
    ingest: Ingest,
    done: DeletedRoom,
    failures: LogLimit,
}

impl Ingest {
    /// Deletes a room, and waits until all of its messages are deleted. The deletion goes on if the caller stops waiting, and after a
    /// restart of the server.
    ///
    /// # Errors
    /// [`CommandError`]: the room does not exist, or nothing was stored.
    pub async fn delete_room(&self, room: &Arc<str>) -> Result<DeletedRoom, CommandError> {
        let (mut deletion, room) = (Deletion::new(self.clone()), room.clone());
        // Nobody else continues it before the next start.
        let task = tokio::spawn(async move {
            let first = Write::DeleteRoom { room: room.clone() };
            let first = deletion.ingest.delete(first).await?;
            deletion.count(&first);
            deletion.finish(first.id).await;
            let DeletedRoom { members, messages } = deletion.done;
            log::info!(room = &*room, members, messages; "room deleted by an API call");
            Ok(deletion.done)
        });
        task.await
            .unwrap_or_else(|_| Err(WriteError::Internal.into()))
    }

    /// Finishes the deletions that a former run of the server has left.
    pub async fn finish_deletions(self, left: Vec<RoomDeletionId>) {
        for id in left {
            let mut deletion = Deletion::new(self.clone());
            deletion.finish(id).await;
            let DeletedRoom { members, messages } = deletion.done;
            log::info!(members, messages; "the deletion of a room that a former run has begun is finished");
        }
    }

    /// Runs one step.
    async fn delete(&self, step: Write) -> Result<Box<RoomDeletionStep>, CommandError> {
        match self.router.administer(step).await? {
            Outcome::RoomDeletion(step) => Ok(step),
            Outcome::UnknownRoom => Err(FrameError::no_such_room("room").into()),
            _ => Err(WriteError::Internal.into()),
        }
    }
}

impl Deletion {
    fn new(ingest: Ingest) -> Self {
        Self {
            ingest,
            done: DeletedRoom::default(),
            failures: LogLimit::default(),
        }
    }

    /// Runs the steps that are left.
    async fn finish(&mut self, id: RoomDeletionId) {
        loop {
            match self.ingest.delete(Write::ContinueDeletion(id)).await {
                Ok(step) => {
                    self.count(&step);
                    if !step.more {
                        return;
                    }
                }
                // The last step was stored, although its outcome was unknown.
                Err(rejected) if rejected.error.code == ErrorCode::UnknownRoom => return,
                Err(rejected) => {
                    if self.failures.allows(Instant::now()) {
                        log::warn!(
                            "a step of the deletion of a room failed and is tried again: {}",
                            rejected.error
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn count(&mut self, step: &RoomDeletionStep) {
        self.done.members += step.members.len() as u64;
        self.done.messages += step.messages;
    }
}
