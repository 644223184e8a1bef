//! Rooms: memberships, and frames for the members that are not stored.

use std::sync::Arc;

use super::{Command, CommandError, PartReply, Router};
use crate::delivery::{ReplyTo, RoomSignal, SignalSource, Signalled};
use crate::protocol::client::ClientFrame;
use crate::protocol::{FrameError, Ref, Target};
use crate::store::{MembershipKind, Write};
use crate::writer::WriteError;

pub(super) fn join(user: &Arc<str>, room: &str, kind: MembershipKind) -> Write {
    Write::Join {
        user: user.clone(),
        room: room.into(),
        kind,
    }
}

pub(super) fn leave(user: &Arc<str>, room: &str, kind: MembershipKind) -> Write {
    Write::Leave {
        user: user.clone(),
        room: room.into(),
        kind,
    }
}

impl Router {
    /// Rejects frames about rooms if there are none.
    pub(super) fn check_rooms(&self, frame: &ClientFrame<'_>) -> Result<(), FrameError> {
        if self.has_rooms {
            return Ok(());
        }
        let target = match frame {
            ClientFrame::Join(_) | ClientFrame::Leave(_) | ClientFrame::Members(_) => {
                return Err(FrameError::unknown_room("room"));
            }
            ClientFrame::Message(frame) => frame.target(),
            ClientFrame::Edit(frame) => frame.target(),
            ClientFrame::Delete(frame) => frame.target(),
            ClientFrame::React(frame) => frame.target(),
            ClientFrame::Read(frame) => frame.target(),
            ClientFrame::Typing(frame) => frame.target(),
            ClientFrame::History(frame) => frame.target(),
            _ => return Ok(()),
        };
        match target {
            Target::User(_) => Ok(()),
            Target::Room(_) => Err(FrameError::unknown_room("target_room")),
        }
    }

    /// Queues a frame for the members of a room that is not stored, so that it follows the frames that were sent before it.
    pub(super) fn signal(
        &self,
        room: &str,
        kind: Signalled,
        reference: Option<&Ref<'_>>,
        command: &Command<'_>,
    ) -> Result<(), CommandError> {
        let from = command.source.outbox();
        from.add_pending_write();
        let signal = RoomSignal {
            from: SignalSource::Session(from.clone()),
            room: room.into(),
            reference: reference.map(|reference| reference.as_str().into()),
            kind,
        };
        self.queue_signal(signal)
            .inspect_err(|_| from.cancel_pending_write())
    }

    /// Queues a frame for the members of a room that is not stored.
    pub(super) fn queue_signal(&self, signal: RoomSignal) -> Result<(), CommandError> {
        let from = &signal.from;
        let member = from.as_member().then(|| from.user().clone());
        let (room, bytes) = (signal.room.clone(), signal.kind.bytes());
        self.writer
            .notify_room(member, room, bytes, ReplyTo::RoomSignal(signal))
            .map_err(|_| CommandError::from(WriteError::Overloaded))
    }

    /// Joins a room on behalf of a user. The outcome is sent to `reply` together with `number`.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn join(
        &self,
        user: &Arc<str>,
        room: &str,
        kind: MembershipKind,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        let write = join(user, room, kind);
        self.submit_for_part(write, None, reply)
    }

    /// As [`Router::join`], but leaves the room.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn leave(
        &self,
        user: &Arc<str>,
        room: &str,
        kind: MembershipKind,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        let write = leave(user, room, kind);
        self.submit_for_part(write, None, reply)
    }
}
