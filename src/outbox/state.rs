//! The state of an outbox behind its mutex.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::time::Instant;

use super::Outbox;
use super::buffer::Buffer;
use super::disconnect::Disconnect;
use super::inbox_cursor::InboxCursor;
use super::wakeup::Wakeup;
use crate::limits::memory::{FREE_PER_SESSION, Reservation};
use crate::protocol::ServerFrame;
use crate::protocol::server::Synced;
use crate::protocol::types::Integer;

/// Number of acknowledgements that may wait behind a replay before the session stops reading its client's frames.
const MAX_PENDING_ACKS: usize = 4096;
/// Number of writes that may wait for the store's reply before the session stops reading its client's frames.
const MAX_PENDING_WRITES: usize = 4096;

/// A snapshot of an outbox for its session's task.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// The next inbox entry to send; `u64::MAX` until the inbox has been opened.
    pub cursor: u64,
    /// The newest known inbox entry.
    pub head: u64,
    /// Bytes that the socket has not accepted.
    pub unsent: usize,
    /// Replies to the client's frames are outstanding.
    pub awaits_replies: bool,
    /// The session must not read more of its client's frames until something has been written or answered.
    pub congested: bool,
    /// Bytes held beyond [`FREE_PER_SESSION`].
    pub reserved: usize,
    /// Frames that were found to be invalid since the last turn of the task began.
    pub invalid: u32,
    /// Text frames appended so far.
    pub texts: u64,
    /// When another thread last wrote for the task, if that was after the task's last write.
    pub last_flush: Option<Instant>,
    /// Another thread wants the session to end.
    pub disconnect: Option<Disconnect>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) reservation: Reservation,
}

/// Access to the state of an outbox. Dropping it updates the memory reservation.
pub(super) struct Locked<'a>(pub(super) MutexGuard<'a, Inner>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) cursor: InboxCursor,
    pub(super) buffer: Buffer,
    /// Bytes of a message that the client has sent in part, and of queries that wait.
    pub(super) incoming: usize,
    /// Writes of this session that the store has not answered.
    pub(super) pending_writes: usize,
    /// Frames that were found to be invalid after the session had passed them on, and that it has not counted.
    pub(super) invalid: u32,
    /// Another thread wants the session to end.
    pub(super) disconnect: Option<Disconnect>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Inner { state, reservation } = &mut *self.0;
        reservation.set(state.memory());
    }
}

/// Wakes the task, after releasing the lock.
pub(super) fn wake(mut state: Locked<'_>) {
    let waker = state.buffer.take_waker();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// Bytes of memory that this session uses.
    pub(super) fn memory(&self) -> usize {
        self.buffer.memory() + self.cursor.pending_memory() + self.incoming
    }

    pub(super) fn status(&self, outbox: &Outbox) -> Status {
        let unsent = self.buffer.unsent();
        let memory = self.memory();
        Status {
            cursor: self.cursor.next().unwrap_or(u64::MAX),
            head: self.cursor.head(),
            unsent,
            awaits_replies: self.pending_writes > 0 || self.cursor.pending_acks() > 0,
            congested: unsent > outbox.limit.min(FREE_PER_SESSION) && unsent > outbox.limit()
                || self.cursor.pending_acks() >= MAX_PENDING_ACKS
                || self.pending_writes >= MAX_PENDING_WRITES
                || memory - self.incoming > FREE_PER_SESSION && outbox.memory.under_pressure(),
            reserved: memory.saturating_sub(FREE_PER_SESSION),
            invalid: self.invalid,
            texts: self.buffer.texts(),
            last_flush: self.buffer.last_flush(),
            disconnect: self.disconnect,
        }
    }

    pub(super) fn wakeup(&mut self, task_needed: bool) -> Wakeup {
        self.buffer.wakeup(task_needed || self.disconnect.is_some())
    }

    /// The task has to read an entry that was not sent, and may have to send a ping after one that was. `flush`: another thread may
    /// write what was sent.
    pub(super) fn entry_wakeup(&mut self, flush: bool) -> Wakeup {
        self.wakeup(!flush || self.buffer.interest().entries)
    }

    /// True if there is room for a live push of `length` bytes.
    pub(super) fn fits(&self, length: usize, outbox: &Outbox) -> bool {
        let unsent = self.buffer.unsent();
        if unsent + length <= FREE_PER_SESSION.min(outbox.limit) {
            return true;
        }
        // A frame larger than the limit is sent when nothing else waits.
        !outbox.memory.is_full() && (unsent == 0 || unsent + length <= outbox.limit())
    }

    pub(super) fn can_send_entry(&self, seq: u64, length: usize, outbox: &Outbox) -> bool {
        !self.buffer.is_closed() && self.cursor.is_at(seq) && self.fits(length, outbox)
    }

    /// The entry at the cursor has been appended.
    pub(super) fn advance(&mut self) {
        self.cursor.advance();
        self.send_synced_if_due();
    }

    pub(super) fn send_synced_if_due(&mut self) {
        if let Some(head) = self.cursor.take_synced() {
            self.buffer
                .append(&ServerFrame::Synced(Synced { seq: Integer(head) }));
        }
    }
}
