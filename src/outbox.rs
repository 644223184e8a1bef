//! The sending side of a session: other threads append frames, the session's task or the appending thread writes them.
//!
//! - [`inbox_cursor`] decides which inbox entries can be sent now. The inbox in the store is authoritative; a push of a new
//!   entry is a hint.
//! - [`buffer`] holds the encoded bytes and decides who writes them.
//! - [`wakeup`] collects what is left to do for many sessions after a batch or a turn: a [`Outbox::flush`] by the thread that
//!   appended, or a wakeup of the task if it has more to do than writing (a gap, a full socket, the end of the session).
//! - [`disconnect`] lists the reasons for which the server ends a session.
//!
//! An [`Outbox`] is shared as an `Arc`. Its mutex is held for a few copies at a time, never across an await or a write.

mod buffer;
pub mod disconnect;
mod inbox_cursor;
pub mod wakeup;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use uuid::Uuid;

use self::buffer::Buffer;
pub use self::disconnect::Disconnect;
use self::inbox_cursor::{InboxCursor, PendingAck};
use self::wakeup::Wakeup;
use crate::limits::ip_quota::IpQuota;
use crate::limits::memory::{FREE_PER_SESSION, MemoryBudget, Reservation};
use crate::protocol::server::{Ack, AckStatus, Goodbye, Synced};
use crate::protocol::types::Integer;
use crate::protocol::{MessageId, ServerFrame, Timestamp};
use crate::websocket::Opcode;
use crate::websocket::socket_writer::SocketWriter;

/// Number of acknowledgements that may wait behind a replay before the session stops reading its client's frames.
const MAX_PENDING_ACKS: usize = 4096;
/// Number of writes that may wait for the store's reply before the session stops reading its client's frames.
const MAX_PENDING_WRITES: usize = 4096;
/// Upper bound of the size of an encoded `ack`.
const ACK_BYTES: usize = 512;

/// The sending side of one session.
#[derive(Debug)]
pub struct Outbox {
    session: Uuid,
    user: Arc<str>,
    /// The quota of the client's address for messages to unknown recipients.
    ip_quota: Option<Arc<IpQuota>>,
    /// Unsent bytes beyond which live pushes stop (`--outbox-bytes`).
    limit: usize,
    memory: Arc<MemoryBudget>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    reservation: Reservation,
}

/// Access to the state of an outbox. Dropping it updates the memory reservation.
struct Locked<'a>(MutexGuard<'a, Inner>);

#[derive(Debug, Default)]
struct State {
    cursor: InboxCursor,
    buffer: Buffer,
    /// Bytes of a message that the client has sent in part.
    incoming: usize,
    /// Writes of this session that the store has not answered.
    pending_writes: usize,
    /// Another thread wants the session to end.
    disconnect: Option<Disconnect>,
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
    /// Text frames appended so far.
    pub texts: u64,
    /// When another thread last wrote for the task, if that was after the task's last write.
    pub last_flush: Option<Instant>,
    /// Another thread wants the session to end.
    pub disconnect: Option<Disconnect>,
}

impl Outbox {
    /// Creates the outbox of a new session. It sends no entries before [`Outbox::open`].
    pub fn new(
        session: Uuid,
        user: Arc<str>,
        limit: usize,
        memory: &Arc<MemoryBudget>,
    ) -> Arc<Self> {
        Self::with_ip_quota(session, user, limit, memory, None)
    }

    /// As [`Outbox::new`], with the quota of the client's address for messages to unknown recipients.
    pub fn with_ip_quota(
        session: Uuid,
        user: Arc<str>,
        limit: usize,
        memory: &Arc<MemoryBudget>,
        ip_quota: Option<Arc<IpQuota>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            user,
            ip_quota,
            limit,
            memory: memory.clone(),
            inner: Mutex::new(Inner {
                state: State::default(),
                reservation: memory.share(),
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

    /// The quota of the client's address for messages to unknown recipients; `None`: unlimited.
    pub fn ip_quota(&self) -> Option<&Arc<IpQuota>> {
        self.ip_quota.as_ref()
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

    /// Counts the bytes of a message that the client has sent in part.
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
            state.buffer.append(&ServerFrame::Ack(Ack {
                id: ack.id,
                seq: Some(Integer(ack.seq)),
                status: AckStatus::Stored,
                sent_at: ack.stored_at,
                duplicate: Some(true),
                reference: ack.reference.as_deref(),
            }));
        }
        state.send_synced_if_due();
    }

    /// The next inbox entry to send; `None` until the inbox has been opened.
    pub fn cursor(&self) -> Option<u64> {
        self.lock().cursor.next()
    }

    /// Offers a new inbox entry as an encoded WebSocket frame.
    pub fn push_entry(&self, seq: u64, frame: &[u8]) -> Wakeup {
        let mut state = self.lock();
        state.cursor.raise_head(seq);
        let sent = state.can_send_entry(seq, frame.len(), self);
        if sent {
            state.buffer.append_encoded(frame);
            state.advance();
        }
        state.entry_wakeup(sent)
    }

    /// Offers the inbox entry that this session's own send became: the session gets the `ack` of message `id`, stored at
    /// `stored_at`, in its place. `message` follows the ack if the user wrote to themself.
    pub fn push_ack(
        &self,
        seq: u64,
        (id, stored_at): (MessageId, Timestamp),
        reference: Option<Box<str>>,
        message: Option<&[u8]>,
    ) -> Wakeup {
        let mut state = self.lock();
        state.pending_writes = state.pending_writes.saturating_sub(1);
        state.cursor.raise_head(seq);
        let sent = state.can_send_entry(seq, ACK_BYTES + message.map_or(0, <[u8]>::len), self);
        if sent {
            state.buffer.append(&ServerFrame::Ack(Ack {
                id,
                seq: Some(Integer(seq)),
                status: AckStatus::Stored,
                sent_at: stored_at,
                duplicate: None,
                reference: reference.as_deref(),
            }));
            if let Some(message) = message {
                state.buffer.append_encoded(message);
            }
            state.advance();
        } else if !state.buffer.is_closed() && !state.cursor.is_past(seq) {
            state.cursor.defer_ack(PendingAck {
                seq,
                id,
                stored_at,
                reference,
            });
        }
        state.entry_wakeup(sent)
    }

    /// Appends a frame. Only for the session's own task, which writes it at the end of its turn.
    pub fn send(&self, frame: &ServerFrame<'_>) {
        self.lock().buffer.append(frame);
    }

    /// Ends a pending write that became no entry of this session. Appends `frame`, if the client gets a reply.
    pub fn reply(&self, frame: Option<&ServerFrame<'_>>) -> Wakeup {
        let mut state = self.lock();
        state.pending_writes = state.pending_writes.saturating_sub(1);
        if let Some(frame) = frame {
            state.buffer.append(frame);
        }
        state.wakeup(false)
    }

    /// Offers a frame that is not stored: it is dropped if the client reads too slowly. Returns whether it was appended.
    pub fn push_ephemeral(&self, frame: &[u8]) -> (bool, Wakeup) {
        let mut state = self.lock();
        let sent = !state.buffer.is_closed()
            && state.cursor.next().is_some()
            && state.fits(frame.len(), self);
        if sent {
            state.buffer.append_encoded(frame);
        }
        (sent, state.wakeup(false))
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

    /// Appends an entry that was read from the store, if the cursor is at it. `write` gets the `ref` if the entry is this
    /// session's own send: it is its ack then. Returns whether there is room for more.
    pub fn push_replayed(
        &self,
        seq: u64,
        write: impl FnOnce(&mut Vec<u8>, Option<Option<&str>>),
    ) -> bool {
        let mut state = self.lock();
        if !state.buffer.is_closed() && state.cursor.is_at(seq) {
            let ack = state.cursor.pop_ack_before(seq + 1);
            let own = ack.as_ref().map(|ack| ack.reference.as_deref());
            state.buffer.append_text(|out| write(out, own));
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
        while let Some((socket, bytes)) = state.buffer.start_flush() {
            drop(state);
            let sent = socket.write(&bytes);
            let now = Instant::now();
            state = self.lock();
            if state.buffer.finish_flush(bytes, sent, now) {
                return wake(state);
            }
        }
    }

    /// Takes the bytes that the task writes next, and registers `waker`; see [`Buffer::take`].
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
        state.status(self)
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
fn wake(mut state: Locked<'_>) {
    let waker = state.buffer.take_waker();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// Bytes of memory that this session uses.
    fn memory(&self) -> usize {
        self.buffer.memory() + self.cursor.pending_memory() + self.incoming
    }

    fn status(&self, outbox: &Outbox) -> Status {
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
            texts: self.buffer.texts(),
            last_flush: self.buffer.last_flush(),
            disconnect: self.disconnect,
        }
    }

    fn wakeup(&mut self, task_needed: bool) -> Wakeup {
        self.buffer.wakeup(task_needed || self.disconnect.is_some())
    }

    /// The task has to read an entry that was not sent, and may have to send a ping after one that was.
    fn entry_wakeup(&mut self, sent: bool) -> Wakeup {
        self.wakeup(!sent || self.buffer.interest().entries)
    }

    /// True if there is room for a live push of `length` bytes.
    fn fits(&self, length: usize, outbox: &Outbox) -> bool {
        let unsent = self.buffer.unsent();
        if unsent + length <= FREE_PER_SESSION.min(outbox.limit) {
            return true;
        }
        // A frame larger than the limit is sent when nothing else waits.
        !outbox.memory.full() && (unsent == 0 || unsent + length <= outbox.limit())
    }

    fn can_send_entry(&self, seq: u64, length: usize, outbox: &Outbox) -> bool {
        !self.buffer.is_closed() && self.cursor.is_at(seq) && self.fits(length, outbox)
    }

    /// The entry at the cursor has been appended.
    fn advance(&mut self) {
        self.cursor.advance();
        self.send_synced_if_due();
    }

    fn send_synced_if_due(&mut self) {
        if let Some(head) = self.cursor.take_synced() {
            self.buffer
                .append(&ServerFrame::Synced(Synced { seq: Integer(head) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHUTDOWN: Disconnect = disconnect::SHUTDOWN;

    fn outbox() -> Arc<Outbox> {
        Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20))
    }

    #[test]
    fn a_change_during_the_tasks_turn_is_noticed() {
        let outbox = outbox();
        let take = |writing| {
            let taken = outbox.take(
                Waker::noop(),
                (writing, writing),
                Interest::default(),
                Vec::new(),
            );
            taken.changed
        };
        outbox.start_turn();
        outbox.disconnect(SHUTDOWN);
        assert!(take(0), "disconnect during the turn");
        assert!(outbox.start_turn().disconnect.is_some());
        assert!(!take(0), "the status has shown it");
        outbox.add_pending_write();
        outbox.start_turn();
        assert!(matches!(outbox.reply(None), Wakeup::Nothing));
        assert!(take(10), "a reply without a frame");
    }

    #[test]
    fn memory_counts_the_whole_buffer_until_it_is_released() {
        let memory = MemoryBudget::new(1 << 20);
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1 << 20, &memory);
        outbox.echo(Opcode::Binary, &vec![0; 100_000]);
        let take = |in_hand| outbox.take(Waker::noop(), in_hand, Interest::default(), Vec::new());
        let bytes = take((0, 0)).bytes;
        assert_eq!(memory.used(), bytes.capacity() - FREE_PER_SESSION);
        let status = take((1, bytes.capacity())).status;
        assert_eq!(memory.used(), bytes.capacity() - FREE_PER_SESSION);
        assert_eq!((status.unsent, status.reserved), (1, memory.used()));
        take((0, 0));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_wakeup_of_a_push_depends_on_what_the_task_must_do() {
        let outbox = outbox();
        let wait = |interest| {
            outbox.start_turn();
            while !outbox
                .take(Waker::noop(), (0, 0), interest, Vec::new())
                .bytes
                .is_empty()
            {}
        };
        let push = |seq| outbox.push_entry(seq, b"frame");
        outbox.open(1, 0);
        assert!(
            matches!(push(1), Wakeup::Nothing),
            "the task has not run yet"
        );
        wait(Interest::default());
        assert!(
            matches!(push(2), Wakeup::Wake(_)),
            "only the task can write"
        );
        wait(Interest::default());
        assert!(matches!(push(4), Wakeup::Wake(_)), "a gap");
        wait(Interest::default());
        assert!(
            matches!(outbox.reply(None), Wakeup::Nothing),
            "nothing to do"
        );
        wait(Interest {
            all: true,
            entries: false,
        });
        assert!(
            matches!(outbox.reply(None), Wakeup::Wake(_)),
            "interest in every change"
        );
    }

    #[test]
    fn an_ack_beyond_the_cursor_waits_for_the_replay() {
        let outbox = outbox();
        outbox.open(1, 2);
        outbox.add_pending_write();
        let id = (MessageId(Uuid::nil()), Timestamp(0));
        let _ = outbox.push_ack(3, id, Some("r".into()), None);
        assert_eq!(outbox.status().unsent, 0);
        assert!(outbox.status().awaits_replies);
        for seq in 1..=3 {
            outbox.push_replayed(seq, |out, own| {
                assert_eq!(own, (seq == 3).then_some(Some("r")));
                out.push(b'.');
            });
        }
        let status = outbox.status();
        assert!(!status.awaits_replies && status.cursor == 4);
    }
}
