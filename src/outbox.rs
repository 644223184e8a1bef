//! The sending side of a session: other threads append frames, the session's task or the appending thread writes them.
//!
//! - `inbox_cursor` decides which inbox entries can be sent now. The inbox in the store is authoritative; a push of a new
//!   entry is a hint.
//! - `buffer` holds the encoded bytes and decides who writes them.
//! - [`wakeup`] collects what is left to do for many sessions after a batch or a turn: a [`Outbox::flush`] by the thread that
//!   appended, or a wakeup of the task if it has more to do than writing (a gap, a full socket, the end of the session).
//! - [`disconnect`] lists the reasons for which the server ends a session.
//!
//! An [`Outbox`] is shared as an `Arc`. Its mutex is held for a few copies at a time, never across an await or a write.

mod buffer;
pub mod disconnect;
mod inbox_cursor;
mod session_info;
mod state;
pub mod wakeup;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use uuid::Uuid;

pub use self::disconnect::Disconnect;
pub use self::inbox_cursor::Acked;
use self::inbox_cursor::PendingAck;
pub use self::session_info::SessionInfo;
pub use self::state::Status;
use self::state::{Inner, Locked, State, wake};
use self::wakeup::{Wakeup, WrittenBy};
use crate::limits::memory::{FREE_PER_SESSION, MemoryBudget};
use crate::metrics::{self, DELIVERIES};
use crate::protocol::server::Goodbye;
use crate::protocol::types::Integer;
use crate::protocol::{ServerFrame, Timestamp};
use crate::websocket::Opcode;
use crate::websocket::socket_writer::SocketWriter;

/// Upper bound of the size of an encoded `ack`.
const ACK_BYTES: usize = 512;
/// Writes of one [`Outbox::flush`]. Other threads may append as fast as the socket accepts; the session's task continues then.
const WRITES_PER_FLUSH: usize = 16;

/// The sending side of one session.
#[derive(Debug)]
pub struct Outbox {
    session: Uuid,
    user: Arc<str>,
    /// Unsent bytes beyond which live pushes stop (`--outbox-bytes`).
    limit: usize,
    memory: Arc<MemoryBudget>,
    /// Absent for a connection that is not a session of a user.
    info: OnceLock<Box<SessionInfo>>,
    inner: Mutex<Inner>,
}

/// The events for which a session's task wants to be woken, besides gaps in the inbox and the end of the session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest {
    /// A new entry: the task sends a ping after it.
    pub entries: bool,
    /// Every change: the task waits for replies, or for bytes to be written.
    pub all: bool,
}

/// Result of [`Outbox::take`].
#[derive(Debug)]
pub struct TakenBytes {
    /// Bytes to write next.
    pub bytes: Vec<u8>,
    /// Another thread has changed something since the turn began.
    pub changed: bool,
    /// The status after taking.
    pub status: Status,
}

impl Outbox {
    /// Creates the outbox of a new session. It sends no entries before [`Outbox::open`].
    pub fn new(
        session: Uuid,
        user: Arc<str>,
        limit: usize,
        memory: &Arc<MemoryBudget>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            user,
            limit,
            memory: memory.clone(),
            info: OnceLock::new(),
            inner: Mutex::new(Inner {
                state: State::default(),
                reservation: memory.reservation(),
            }),
        })
    }

    /// The id of the session.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// The user of the session.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// Sets what operators see of the session. Only the first call has an effect.
    pub fn set_info(&self, info: SessionInfo) {
        let _ = self.info.set(Box::new(info));
    }

    /// What operators see of the session.
    pub fn info(&self) -> Option<&SessionInfo> {
        self.info.get().map(|info| &**info)
    }

    /// Counts a frame of the client. Only for the session's own task.
    pub fn count_frame(&self, now: Instant) {
        if let Some(info) = self.info() {
            info.count_frame(now);
        }
    }

    fn lock(&self) -> Locked<'_> {
        // Every change leaves the state consistent, so a panic elsewhere has not damaged it.
        Locked(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Unsent bytes that this session may have now.
    pub fn limit(&self) -> usize {
        self.cap(self.limit)
    }

    /// Reduces `bytes` to [`FREE_PER_SESSION`] while memory is under pressure.
    pub fn cap(&self, bytes: usize) -> usize {
        if self.memory.under_pressure() {
            bytes.min(FREE_PER_SESSION)
        } else {
            bytes
        }
    }

    /// The memory budget that all sessions share.
    pub fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    /// Counts the bytes of a message that the client has sent in part, and of its queries that wait.
    pub fn set_incoming(&self, bytes: usize) {
        self.lock().incoming = bytes;
    }

    /// Wakes the task if the session holds more than [`FREE_PER_SESSION`], so that it checks its memory again.
    pub fn recheck(&self) {
        let state = self.lock();
        if state.0.reservation.held() > 0 {
            wake(state);
        }
    }

    /// Starts the replay of the inbox at entry `first`. `head` is the newest entry.
    pub fn open(&self, first: u64, head: u64) {
        let mut state = self.lock();
        state.cursor.open(first, head);
        state.send_synced_if_due();
    }

    /// Moves the cursor to `oldest`, because earlier entries are no longer stored. Acknowledgements of skipped entries are
    /// sent as duplicates: the cursor has passed their place.
    pub fn skip_to(&self, oldest: u64) {
        let mut state = self.lock();
        if !state.cursor.skip_to(oldest) {
            return;
        }
        while let Some(ack) = state.cursor.pop_ack_before(oldest) {
            state.buffer.append(&ack.frame(Some(true)));
        }
        state.send_synced_if_due();
    }

    /// The next inbox entry to send; `None` until the inbox has been opened.
    pub fn cursor(&self) -> Option<u64> {
        self.lock().cursor.next()
    }

    /// Offers a new inbox entry as an encoded WebSocket frame.
    pub fn push_entry(&self, seq: u64, frame: &[u8], by: WrittenBy) -> Wakeup {
        let mut state = self.lock();
        state.cursor.raise_head(seq);
        let sent = state.can_send_entry(seq, frame.len(), self);
        if sent {
            state.buffer.append_encoded(frame);
            state.advance();
            DELIVERIES.add(1);
        }
        state.entry_wakeup(sent).written_by(by)
    }

    /// The inbox has a new entry, which the session reads from the store.
    pub fn note_entry(&self, seq: u64) -> Wakeup {
        let mut state = self.lock();
        state.cursor.raise_head(seq);
        state.entry_wakeup(false)
    }

    /// Offers the inbox entry that this session's own send became: the session gets the `ack` of `subject`, stored at
    /// `stored_at`, in its place. `message` follows the ack if the user wrote to themself.
    pub fn push_ack(
        &self,
        seq: u64,
        (subject, stored_at): (Acked, Timestamp),
        reference: Option<&str>,
        message: Option<&[u8]>,
    ) -> Wakeup {
        let mut state = self.lock();
        state.pending_writes = state.pending_writes.saturating_sub(1);
        state.cursor.raise_head(seq);
        let sent = state.can_send_entry(seq, ACK_BYTES + message.map_or(0, <[u8]>::len), self);
        if sent {
            state
                .buffer
                .append(&subject.stored(Some(seq), stored_at, None, reference));
            if let Some(message) = message {
                state.buffer.append_encoded(message);
            }
            state.advance();
        } else if !state.buffer.is_closed() && !state.cursor.is_past(seq) {
            state.cursor.defer_ack(PendingAck {
                seq,
                subject,
                stored_at,
                to_oneself: message.is_some(),
                reference: reference.map(Into::into),
            });
        }
        state.entry_wakeup(sent)
    }

    /// Appends a frame. Only for the session's own task, which writes it at the end of its turn.
    pub fn send(&self, frame: &ServerFrame<'_>) {
        metrics::count_reply(frame);
        self.lock().buffer.append(frame);
    }

    /// Ends a pending write that became no entry of this session. Appends `frame`, if the client gets a reply.
    pub fn reply(&self, frame: Option<&ServerFrame<'_>>) -> Wakeup {
        if let Some(frame) = frame {
            metrics::count_reply(frame);
        }
        let mut state = self.lock();
        state.pending_writes = state.pending_writes.saturating_sub(1);
        if let Some(frame) = frame {
            state.buffer.append(frame);
        }
        state.wakeup(false)
    }

    /// As [`Outbox::reply`], for a frame that counts as invalid: the task is woken to count it.
    pub fn reply_to_invalid(&self, frame: &ServerFrame<'_>) -> Wakeup {
        metrics::count_reply(frame);
        let mut state = self.lock();
        state.pending_writes = state.pending_writes.saturating_sub(1);
        state.invalid += 1;
        state.buffer.append(frame);
        state.wakeup(true)
    }

    /// Offers a frame that is not stored: it is dropped if the client reads too slowly. Returns whether it was appended.
    pub fn push_ephemeral(&self, frame: &[u8], by: WrittenBy) -> (bool, Wakeup) {
        let mut state = self.lock();
        let sent = !state.buffer.is_closed()
            && state.cursor.next().is_some()
            && state.fits(frame.len(), self);
        if sent {
            state.buffer.append_encoded(frame);
        }
        (sent, state.wakeup(false).written_by(by))
    }

    /// Counts a write that the store will answer with [`Outbox::reply`] or [`Outbox::push_ack`].
    pub fn add_pending_write(&self) {
        self.lock().pending_writes += 1;
    }

    /// Takes back [`Outbox::add_pending_write`]: the write was not accepted.
    pub fn cancel_pending_write(&self) {
        let mut state = self.lock();
        state.buffer.mark_changed();
        state.pending_writes = state.pending_writes.saturating_sub(1);
    }

    /// Asks the session to end. The first reason is kept.
    pub fn disconnect(&self, disconnect: Disconnect) {
        let mut state = self.lock();
        state.disconnect.get_or_insert(disconnect);
        wake(state);
    }

    /// Appends an entry that was read from the store, if the cursor is at it. If the entry is this session's own send, the
    /// session gets the ack in its place; if the user wrote to themself, the entry follows. Returns whether there is room for
    /// more.
    pub fn push_replayed(&self, seq: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        if !state.buffer.is_closed() && state.cursor.is_at(seq) {
            let ack = state.cursor.pop_ack_before(seq + 1);
            if let Some(ack) = &ack {
                state.buffer.append(&ack.frame(None));
            }
            if ack.is_none_or(|ack| ack.to_oneself) {
                state.buffer.append_text(write);
                DELIVERIES.add(1);
            }
            state.advance();
        }
        state.buffer.unsent() < self.limit()
    }

    /// Lets other threads write to the socket while the task waits.
    pub fn set_socket(&self, socket: Option<SocketWriter>) {
        self.lock().buffer.set_socket(socket);
    }

    /// Writes the appended bytes to the socket. Does nothing if the task runs and will write them, or another thread
    /// writes already and continues until nothing is left. Bytes that the socket does not accept are left to the task.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.buffer.clear_flush_request();
        for _ in 0..WRITES_PER_FLUSH {
            let Some((socket, bytes)) = state.buffer.start_flush() else {
                return;
            };
            drop(state);
            let sent = socket.write(&bytes);
            let now = Instant::now();
            state = self.lock();
            if state.buffer.finish_flush(bytes, sent, now) {
                return wake(state);
            }
        }
        wake(state);
    }

    /// Takes the bytes that the task writes next, and registers `waker`; see `Buffer::take`.
    pub fn take(
        &self,
        waker: &Waker,
        in_hand: (usize, usize),
        interest: Interest,
        spare: Vec<u8>,
    ) -> TakenBytes {
        let mut state = self.lock();
        let (bytes, changed) = state.buffer.take(waker, in_hand, interest, spare);
        TakenBytes {
            bytes,
            changed,
            status: state.status(self),
        }
    }

    /// Releases memory that an idle session does not need.
    pub fn shrink(&self) {
        self.lock().buffer.shrink();
    }

    /// Moves the bytes to write to the end of `out`, which the task writes first.
    pub fn take_into(&self, out: &mut Vec<u8>) {
        self.lock().buffer.take_into(out);
    }

    /// The current status.
    pub fn status(&self) -> Status {
        self.lock().status(self)
    }

    /// Begins a turn of the task: until [`Outbox::take`], other threads need not wake it.
    pub fn start_turn(&self) -> Status {
        let mut state = self.lock();
        state.buffer.start_turn();
        let status = state.status(self);
        state.invalid = 0;
        status
    }

    /// Appends a ping whose payload is the newest entry sent before it (RFC 6455 section 5.5.2), and returns that entry.
    pub fn ping(&self) -> u64 {
        let mut state = self.lock();
        let seq = state.cursor.next().unwrap_or(1).saturating_sub(1);
        state.buffer.append_frame(Opcode::Ping, &seq.to_be_bytes());
        seq
    }

    /// Appends a pong.
    pub fn pong(&self, payload: &[u8]) {
        self.lock().buffer.append_frame(Opcode::Pong, payload);
    }

    /// Appends a copy of a client's message (`/echo`).
    pub fn echo(&self, opcode: Opcode, payload: &[u8]) {
        self.lock().buffer.append_frame(opcode, payload);
    }

    /// Appends `goodbye` and a close frame. Nothing follows.
    pub fn send_goodbye(&self, disconnect: &Disconnect) {
        self.send_goodbye_with(disconnect, disconnect.detail);
    }

    /// As [`Outbox::send_goodbye`], with another detail.
    pub fn send_goodbye_with(&self, disconnect: &Disconnect, detail: &str) {
        let mut state = self.lock();
        state.buffer.append(&ServerFrame::Goodbye(Goodbye {
            code: Integer(u64::from(disconnect.code)),
            reason: disconnect.reason,
            detail,
            reconnect: disconnect.reconnect.is_some(),
            retry_after_ms: disconnect.reconnect.filter(|ms| *ms > 0).map(Integer),
        }));
        state.buffer.close(Some(disconnect.code));
    }

    /// Appends a close frame without `goodbye` (RFC 6455 section 5.5.1). Nothing follows.
    pub fn close(&self, code: Option<u16>) {
        self.lock().buffer.close(code);
    }

    /// Ends the outbox with its session: it releases its memory and accepts nothing more.
    pub fn destroy(&self) {
        let mut state = self.lock();
        state.buffer.destroy();
        *state = State {
            buffer: std::mem::take(&mut state.buffer),
            ..State::default()
        };
    }
}

#[cfg(test)]
mod tests;
