//! What a session owes its client: the meeting point of a session's task with everyone who has something for it.
//!
//! The rule that carries the rest is that the inbox is the truth, and a push is a hint: a session has one cursor, the
//! next `seq` of its user's inbox. A push at the cursor goes out; a push ahead of it only raises the head, and the session
//! reads from the store; a push behind it is dropped.
//!
//! Whoever puts something in is told by a [`Wakeup`] what it takes to get it out. Mostly that is a [`Outbox::flush`] by the
//! same thread, when it has put in all that it had: waking the session's task, on another thread as often as not, costs more
//! than the write itself. The task is woken when there is more to it than writing: a gap, a full socket, an end.
//!
//! An [`Outbox`] is shared as an `Arc`. Its mutex is held for a few copies at a time, never across an await or a write.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use uuid::Uuid;

pub mod disconnect;
pub mod wakeup;

use self::wakeup::Wakeup;
use crate::limits::ip_quota::IpQuota;
use crate::limits::memory::{FREE_PER_SESSION, MemoryBudget, Reservation};
use crate::protocol::server::{Ack, AckStatus, Goodbye, Synced};
use crate::protocol::types::Integer;
use crate::protocol::{MessageId, ServerFrame, Timestamp};
use crate::websocket::stream::SocketWriter;
use crate::websocket::{self, Opcode};

/// A buffer of up to so many bytes stays with its session between two writes, until the line falls quiet.
const SPARE: usize = 1024;
/// Acks that may wait for their place behind a replay before the session stops reading its client's frames.
const MAX_OWED: usize = 4096;
/// Sends that a session may have under way in the store before it stops reading its client's frames.
const MAX_IN_FLIGHT: usize = 4096;

/// Why a session is to end, told to its client as `goodbye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The close code.
    pub code: u16,
    /// For programs.
    pub reason: &'static str,
    /// For people.
    pub detail: &'static str,
    /// Whether to come back, and after how many milliseconds.
    pub reconnect: Option<u64>,
}

/// The sending side of one session.
#[derive(Debug)]
pub struct Outbox {
    session: Uuid,
    user: Arc<str>,
    /// What the client's address may leave with users who have never connected.
    ip_quota: Option<Arc<IpQuota>>,
    /// Unsent bytes beyond which live pushes stop (`--outbox-bytes`).
    limit: usize,
    buffers: Arc<MemoryBudget>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    share: Reservation,
}

/// The state of an outbox. When it is let go, what it holds has been counted.
struct Locked<'a>(MutexGuard<'a, Inner>);

#[derive(Debug, Default)]
struct State {
    /// The session's task, while it waits.
    waker: Option<Waker>,
    /// Others have changed something since the task began to work: it must look again before it waits.
    touched: bool,
    /// What the task wants to be woken for.
    wants: Interest,
    /// How others can write to the peer; `None` where only the task can.
    wire: Option<SocketWriter>,
    /// Somebody is going to flush.
    listed: bool,
    /// Somebody writes just now, without the lock.
    flushing: bool,
    /// The task has met somebody writing, and wants to know when that is done: what it saw of unsent bytes was not all
    /// waiting for the peer.
    awaited: bool,
    /// When others have last written, if that was after the task did.
    spoke: Option<Instant>,
    /// Encoded WebSocket frames that nobody has taken yet.
    bytes: Vec<u8>,
    /// Bytes that the task, or who flushes, has taken and the socket has not.
    writing: usize,
    /// The memory that they are in: most of what was in it may have gone.
    loaded: usize,
    /// The next entry owed; `None` until the inbox has been opened.
    cursor: Option<u64>,
    /// The newest entry known of.
    head: u64,
    /// The head that `welcome` named, until the replay has reached it.
    sync_at: Option<u64>,
    /// Entries beyond the cursor that this session caused, in order.
    owed: VecDeque<OwedAck>,
    /// Bytes that they take.
    owed_bytes: usize,
    /// Bytes of a message that the client has sent in part.
    incoming: usize,
    /// Sends of this session that the store has not answered yet.
    in_flight: usize,
    /// Text frames so far: how the task sees whether the line was quiet.
    texts: u64,
    /// Somebody wants this session to end.
    farewell: Option<Disconnect>,
    /// Nothing may follow: `goodbye` or a close frame is in `bytes`, or the session is gone.
    ended: bool,
    /// The session is gone.
    buried: bool,
}

/// What a session's task wants to be woken for, besides gaps and ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest {
    /// A new entry: it has a ping to send behind it.
    pub entries: bool,
    /// Anything: it waits for answers to come, or for bytes to go.
    pub all: bool,
}

/// An ack that waits for its place.
#[derive(Debug)]
struct OwedAck {
    seq: u64,
    id: MessageId,
    at: Timestamp,
    reference: Option<Box<str>>,
}

impl OwedAck {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.reference.as_ref().map_or(0, |text| text.len())
    }
}

/// What a session's task gets when it is about to wait.
#[derive(Debug)]
pub struct TakenBytes {
    /// What it is to write.
    pub bytes: Vec<u8>,
    /// Others have changed something meanwhile.
    pub touched: bool,
    /// What it learns besides.
    pub glance: Status,
}

/// What a session's task learns when it looks into its outbox.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// The next entry owed.
    pub cursor: u64,
    /// The newest entry known of.
    pub head: u64,
    /// Bytes not yet on the socket.
    pub unsent: usize,
    /// Acks and answers still to come for what the client has sent.
    pub unanswered: bool,
    /// Whether the client should be heard no further until something has moved.
    pub congested: bool,
    /// Bytes held beyond those that every session may hold.
    pub beyond: usize,
    /// Text frames so far.
    pub texts: u64,
    /// When others have last written for the task, if that was after it wrote itself.
    pub spoke: Option<Instant>,
    /// Somebody wants this session to end.
    pub farewell: Option<Disconnect>,
}

impl Outbox {
    /// An outbox for a new session, which holds everything back until [`Outbox::open`].
    pub fn new(
        session: Uuid,
        user: Arc<str>,
        limit: usize,
        buffers: &Arc<MemoryBudget>,
    ) -> Arc<Self> {
        Self::with_ip_quota(session, user, limit, buffers, None)
    }

    /// As [`Outbox::new`], for a session whose client's address may leave so much with users who have never connected.
    pub fn with_ip_quota(
        session: Uuid,
        user: Arc<str>,
        limit: usize,
        buffers: &Arc<MemoryBudget>,
        ip_quota: Option<Arc<IpQuota>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            user,
            ip_quota,
            limit,
            buffers: buffers.clone(),
            inner: Mutex::new(Inner {
                state: State::default(),
                share: buffers.share(),
            }),
        })
    }

    /// The session's id.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// The user whose session this is.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// What the client's address may leave with users who have never connected; `None`: any number of messages.
    pub fn ip_quota(&self) -> Option<&Arc<IpQuota>> {
        self.ip_quota.as_ref()
    }

    fn lock(&self) -> Locked<'_> {
        // Each change leaves the state whole, so a panic elsewhere has not harmed it.
        Locked(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Unsent bytes that this session may have now.
    pub fn limit(&self) -> usize {
        self.at_most(self.limit)
    }

    /// So many bytes, or no more than every session may hold while memory is scarce.
    pub fn at_most(&self, bytes: usize) -> usize {
        if self.buffers.under_pressure() {
            bytes.min(FREE_PER_SESSION)
        } else {
            bytes
        }
    }

    /// What all sessions share.
    pub fn buffers(&self) -> &MemoryBudget {
        &self.buffers
    }

    /// Counts the bytes of a message that the client has sent in part.
    pub fn hold(&self, incoming: usize) {
        self.lock().incoming = incoming;
    }

    /// Has the task look at how things stand, if the session holds more than its own.
    pub fn recheck(&self) {
        let state = self.lock();
        if state.0.share.held() > 0 {
            wake(state);
        }
    }

    /// Starts the replay: `first` is the first entry owed, `head` the newest there is.
    pub fn open(&self, first: u64, head: u64) {
        let mut state = self.lock();
        state.cursor = Some(first);
        state.head = state.head.max(head);
        state.sync_at = Some(head);
        state.sync_if_reached();
    }

    /// Skips to `oldest`, because what lies before is not kept any more. Acks that had their place there come now, as the
    /// repeated acks that they are to a cursor which has moved on.
    pub fn skip_to(&self, oldest: u64) {
        let mut state = self.lock();
        if state.cursor.is_none_or(|cursor| cursor >= oldest) {
            return;
        }
        state.cursor = Some(oldest);
        while let Some(owed) = state.owed_before(oldest) {
            state.append(&ServerFrame::Ack(Ack {
                id: owed.id,
                seq: Some(Integer(owed.seq)),
                status: AckStatus::Stored,
                sent_at: owed.at,
                duplicate: Some(true),
                reference: owed.reference.as_deref(),
            }));
        }
        state.sync_if_reached();
    }

    /// The next entry owed; `None` until the inbox has been opened.
    pub fn cursor(&self) -> Option<u64> {
        self.lock().cursor
    }

    /// Offers an entry of the inbox, as an encoded WebSocket frame.
    pub fn push_entry(&self, seq: u64, frame: &[u8]) -> Wakeup {
        let mut state = self.lock();
        state.head = state.head.max(seq);
        let taken = state.takes(seq, frame.len(), self);
        if taken {
            state.bytes.extend_from_slice(frame);
            state.texts += 1;
            state.advance();
        }
        let news = state.wants.entries || !taken;
        state.call(news)
    }

    /// Offers the entry that this session's own send became: the ack of `id`, stored at `at`. For a message to oneself
    /// `message` follows it.
    pub fn push_own(
        &self,
        seq: u64,
        (id, at): (MessageId, Timestamp),
        reference: Option<Box<str>>,
        message: Option<&[u8]>,
    ) -> Wakeup {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.head = state.head.max(seq);
        let taken = state.takes(seq, 512 + message.map_or(0, <[u8]>::len), self);
        if taken {
            state.append(&ServerFrame::Ack(Ack {
                id,
                seq: Some(Integer(seq)),
                status: AckStatus::Stored,
                sent_at: at,
                duplicate: None,
                reference: reference.as_deref(),
            }));
            state.bytes.extend_from_slice(message.unwrap_or_default());
            state.texts += u64::from(message.is_some());
            state.advance();
        } else if !state.ended && state.cursor.is_none_or(|cursor| seq >= cursor) {
            state.owe(OwedAck {
                seq,
                id,
                at,
                reference,
            });
        }
        let news = state.wants.entries || !taken;
        state.call(news)
    }

    /// Appends a frame. For the session's own task, which sends it when it has done what it is at.
    pub fn say(&self, frame: &ServerFrame<'_>) {
        self.lock().append(frame);
    }

    /// Appends the answer to a send that became no entry of its own, if there is one.
    pub fn answer(&self, frame: Option<&ServerFrame<'_>>) -> Wakeup {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(frame) = frame {
            state.append(frame);
        }
        state.call(false)
    }

    /// Offers something that is not kept: it is dropped when the client is slow. Says whether it was taken.
    pub fn push_ephemeral(&self, frame: &[u8]) -> (bool, Wakeup) {
        let mut state = self.lock();
        let taken = !state.ended && state.cursor.is_some() && state.fits(frame.len(), self);
        if taken {
            state.bytes.extend_from_slice(frame);
            state.texts += 1;
        }
        (taken, state.call(false))
    }

    /// Counts a send that the store will answer.
    pub fn sent(&self) {
        self.lock().in_flight += 1;
    }

    /// Uncounts a send that the store did not take.
    pub fn unsent(&self) {
        let mut state = self.lock();
        state.touched = true;
        state.in_flight = state.in_flight.saturating_sub(1);
    }

    /// Asks the session to end. The first reason stays.
    pub fn dismiss(&self, farewell: Disconnect) {
        let mut state = self.lock();
        state.farewell.get_or_insert(farewell);
        wake(state);
    }

    /// Appends an entry that was read from the store, if it is the one owed. `write` gets the `ref` if the entry is this
    /// session's own: it is then its ack. Says whether there is room for more.
    pub fn replay(&self, seq: u64, write: impl FnOnce(&mut Vec<u8>, Option<Option<&str>>)) -> bool {
        let mut state = self.lock();
        if !state.ended && state.cursor == Some(seq) {
            let owed = state.owed_before(seq + 1);
            let own = owed.as_ref().map(|owed| owed.reference.as_deref());
            write(&mut state.bytes, own);
            state.texts += 1;
            state.advance();
        }
        state.bytes.len() + state.writing < self.limit()
    }

    /// Lets others write to the peer, when the task has nothing in hand.
    pub fn attach(&self, wire: Option<SocketWriter>) {
        self.lock().wire = wire;
    }

    /// Writes what there is, unless the task is at work, which will, or somebody else writes, who goes on until nothing is
    /// left. What the socket does not take is left to the task.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.listed = false;
        while !state.bytes.is_empty()
            && !state.flushing
            && state.writing == 0
            && state.waker.is_some()
            && let Some(wire) = state.wire.clone()
        {
            let mut bytes = std::mem::take(&mut state.bytes);
            state.flushing = true;
            state.writing = bytes.len();
            state.loaded = bytes.capacity();
            drop(state);
            let sent = wire.write(&bytes);
            let now = Instant::now();
            state = self.lock();
            state.flushed(sent, now);
            if sent < bytes.len() {
                state.awaited = false;
                if !state.buried {
                    bytes.drain(..sent);
                    bytes.append(&mut state.bytes);
                    state.bytes = bytes;
                }
                return wake(state);
            }
            if std::mem::take(&mut state.awaited) {
                return wake(state);
            }
            state.reuse(bytes);
        }
    }

    /// Takes what is to be written next, and leaves `waker` to be called for what the task `wants`. `writing` is what the
    /// task still has in hand, in `loaded` bytes of memory, `spare` a buffer that it needs no more. Says whether others have
    /// changed something since [`Outbox::begin`], when nobody could be called.
    pub fn take(
        &self,
        waker: &Waker,
        (writing, loaded): (usize, usize),
        wants: Interest,
        spare: Vec<u8>,
    ) -> TakenBytes {
        let mut state = self.lock();
        match &mut state.waker {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        state.wants = wants;
        let touched = std::mem::take(&mut state.touched);
        let mut bytes = Vec::new();
        if writing > 0 {
            state.writing = writing;
            state.loaded = loaded;
        } else if state.flushing {
            state.awaited = true;
        } else {
            bytes = std::mem::take(&mut state.bytes);
            state.writing = bytes.len();
            state.loaded = 0;
            if !bytes.is_empty() {
                state.loaded = bytes.capacity();
                state.spoke = None;
            }
            state.reuse(spare);
        }
        TakenBytes {
            bytes,
            touched,
            glance: state.glance(self),
        }
    }

    /// Gives back what a quiet line does not need.
    pub fn shrink(&self) {
        let mut state = self.lock();
        state.bytes.shrink_to_fit();
    }

    /// Moves what is to be written behind `out`, without waiting for more.
    pub fn take_into(&self, out: &mut Vec<u8>) {
        let mut state = self.lock();
        out.append(&mut state.bytes);
        state.bytes = Vec::new();
        state.writing = out.len();
        state.loaded = out.capacity();
    }

    /// What there is to know, without taking anything.
    pub fn glance(&self) -> Status {
        self.lock().glance(self)
    }

    /// As [`Outbox::glance`], for the task when it begins to work: what it now adds itself need not call it. It calls
    /// [`Outbox::take`] before it waits again.
    pub fn begin(&self) -> Status {
        let mut state = self.lock();
        state.waker = None;
        state.touched = false;
        state.glance(self)
    }

    /// Appends a ping that carries the newest entry written before it (RFC 6455 section 5.5.2), and says which that is.
    pub fn ping(&self) -> u64 {
        let mut state = self.lock();
        let seq = state.cursor.unwrap_or(1).saturating_sub(1);
        if !state.ended {
            websocket::write_frame(&mut state.bytes, Opcode::Ping, &seq.to_be_bytes());
        }
        seq
    }

    /// Appends a pong.
    pub fn pong(&self, payload: &[u8]) {
        let mut state = self.lock();
        if !state.ended {
            websocket::write_frame(&mut state.bytes, Opcode::Pong, payload);
        }
    }

    /// Appends a message as an echo.
    pub fn echo(&self, opcode: Opcode, payload: &[u8]) {
        let mut state = self.lock();
        if !state.ended {
            websocket::write_frame(&mut state.bytes, opcode, payload);
        }
    }

    /// Says goodbye and closes. Nothing follows.
    pub fn say_goodbye(&self, farewell: &Disconnect) {
        self.say_goodbye_with(farewell, farewell.detail);
    }

    /// As [`Outbox::say_goodbye`], in other words.
    pub fn say_goodbye_with(&self, farewell: &Disconnect, detail: &str) {
        let mut state = self.lock();
        state.append(&ServerFrame::Goodbye(Goodbye {
            code: Integer(u64::from(farewell.code)),
            reason: farewell.reason,
            detail,
            reconnect: farewell.reconnect.is_some(),
            retry_after_ms: farewell.reconnect.filter(|ms| *ms > 0).map(Integer),
        }));
        state.close(Some(farewell.code));
    }

    /// Closes without a word (RFC 6455 section 5.5.1). Nothing follows.
    pub fn close(&self, code: Option<u16>) {
        self.lock().close(code);
    }

    /// The session is gone: nothing is taken any more, and nothing held.
    pub fn destroy(&self) {
        let mut state = self.lock();
        *state = State {
            ended: true,
            buried: true,
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
        let Inner { state, share } = &mut *self.0;
        share.set(state.held());
    }
}

/// Wakes the task, without the lock.
fn wake(mut state: Locked<'_>) {
    state.touched = true;
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// What it takes to get out what was just put in. `news`: the task has something to do about it.
    fn call(&mut self, news: bool) -> Wakeup {
        if self.waker.is_none() {
            // The task is at work, or has not begun: it looks again before it waits.
            self.touched = true;
            return Wakeup::Nothing;
        }
        if news || self.wants.all || self.farewell.is_some() {
            self.touched = true;
            return self.waker.take().map_or(Wakeup::Nothing, Wakeup::Wake);
        }
        if self.bytes.is_empty() || self.writing > 0 || self.listed {
            return Wakeup::Nothing;
        }
        if self.wire.is_none() {
            return self.waker.take().map_or(Wakeup::Nothing, Wakeup::Wake);
        }
        self.listed = true;
        Wakeup::Flush
    }

    /// Somebody has written for the task.
    fn flushed(&mut self, sent: usize, now: Instant) {
        self.flushing = false;
        self.writing = 0;
        self.loaded = 0;
        if sent > 0 {
            self.spoke = Some(now);
        }
        // A task at work may have seen these bytes as waiting, and put off what needs room.
        if self.waker.is_none() {
            self.touched = true;
        }
    }

    /// Keeps a small buffer for the next frames.
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.bytes.capacity() == 0 && buffer.capacity() <= SPARE {
            buffer.clear();
            self.bytes = buffer;
        }
    }

    /// Bytes that this session has the server keep in memory.
    fn held(&self) -> usize {
        self.bytes.capacity() + self.loaded + self.owed_bytes + self.incoming
    }

    fn glance(&self, outbox: &Outbox) -> Status {
        let unsent = self.bytes.len() + self.writing;
        let beyond = self.held().saturating_sub(FREE_PER_SESSION);
        Status {
            cursor: self.cursor.unwrap_or(u64::MAX),
            head: self.head,
            unsent,
            unanswered: self.in_flight > 0 || !self.owed.is_empty(),
            congested: unsent > outbox.limit.min(FREE_PER_SESSION) && unsent > outbox.limit()
                || self.owed.len() >= MAX_OWED
                || self.in_flight >= MAX_IN_FLIGHT
                || self.held() - self.incoming > FREE_PER_SESSION
                    && outbox.buffers.under_pressure(),
            beyond,
            texts: self.texts,
            spoke: self.spoke,
            farewell: self.farewell,
        }
    }

    /// The first ack that waits, if its place is before `seq`.
    fn owed_before(&mut self, seq: u64) -> Option<OwedAck> {
        if self.owed.front()?.seq >= seq {
            return None;
        }
        let owed = self.owed.pop_front()?;
        self.owed_bytes -= owed.bytes();
        Some(owed)
    }

    fn owe(&mut self, owed: OwedAck) {
        self.owed_bytes += owed.bytes();
        self.owed.push_back(owed);
    }

    fn fits(&self, length: usize, outbox: &Outbox) -> bool {
        let unsent = self.bytes.len() + self.writing;
        if unsent + length <= FREE_PER_SESSION.min(outbox.limit) {
            return true;
        }
        // What is larger than the limit goes when nothing else is waiting.
        !outbox.buffers.full() && (unsent == 0 || unsent + length <= outbox.limit())
    }

    fn takes(&self, seq: u64, length: usize, outbox: &Outbox) -> bool {
        !self.ended && self.cursor == Some(seq) && self.fits(length, outbox)
    }

    fn advance(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            *cursor += 1;
        }
        self.sync_if_reached();
    }

    fn sync_if_reached(&mut self) {
        if let (Some(head), Some(cursor)) = (self.sync_at, self.cursor)
            && cursor > head
        {
            self.sync_at = None;
            self.append(&ServerFrame::Synced(Synced { seq: Integer(head) }));
        }
    }

    fn append(&mut self, frame: &ServerFrame<'_>) {
        if !self.ended {
            websocket::write_text(&mut self.bytes, |out| frame.write(out));
            self.texts += 1;
        }
    }

    fn close(&mut self, code: Option<u16>) {
        if !self.ended {
            websocket::write_close(&mut self.bytes, code);
            self.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAREWELL: Disconnect = Disconnect {
        code: 1012,
        reason: "shutdown",
        detail: "",
        reconnect: None,
    };

    #[test]
    fn what_others_change_while_the_task_works_is_not_missed() {
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20));
        let take = |writing| {
            let taken = outbox.take(
                Waker::noop(),
                (writing, writing),
                Interest::default(),
                Vec::new(),
            );
            taken.touched
        };
        outbox.begin();
        outbox.dismiss(FAREWELL);
        assert!(take(0), "a dismissal between begin and take");
        assert!(outbox.begin().farewell.is_some());
        assert!(!take(0), "it is seen now");
        outbox.sent();
        outbox.begin();
        assert!(matches!(outbox.answer(None), Wakeup::Nothing));
        assert!(take(10), "an answer that has no bytes");
    }

    #[test]
    fn what_others_write_while_the_task_works_is_not_missed() {
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20));
        // As `flush` leaves it when it has written what it took.
        outbox.lock().flushing = true;
        outbox.lock().writing = 900;
        assert_eq!(outbox.begin().unsent, 900);
        {
            let mut state = outbox.lock();
            state.flushed(900, Instant::now());
        }
        let taken = outbox.take(Waker::noop(), (0, 0), Interest::default(), Vec::new());
        assert!(taken.touched, "there is room now");
    }

    #[test]
    fn what_is_nearly_written_counts_for_all_the_memory_that_it_is_in() {
        let buffers = MemoryBudget::new(1 << 20);
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1 << 20, &buffers);
        outbox.echo(Opcode::Binary, &vec![0; 100_000]);
        let take = |hand| outbox.take(Waker::noop(), hand, Interest::default(), Vec::new());
        let bytes = take((0, 0)).bytes;
        assert_eq!(buffers.used(), bytes.capacity() - FREE_PER_SESSION);
        let glance = take((1, bytes.capacity())).glance;
        assert_eq!(buffers.used(), bytes.capacity() - FREE_PER_SESSION);
        assert_eq!((glance.unsent, glance.beyond), (1, buffers.used()));
        take((0, 0));
        assert_eq!(buffers.used(), 0);
    }

    #[test]
    fn who_puts_something_in_is_told_how_it_gets_out() {
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20));
        let wait = |wants| {
            outbox.begin();
            while !outbox
                .take(Waker::noop(), (0, 0), wants, Vec::new())
                .bytes
                .is_empty()
            {}
        };
        let push = |seq| outbox.push_entry(seq, b"frame");
        outbox.open(1, 0);
        assert!(matches!(push(1), Wakeup::Nothing), "the task has not begun");
        wait(Interest::default());
        assert!(matches!(push(2), Wakeup::Wake(_)), "nobody else can write");
        wait(Interest::default());
        assert!(matches!(push(4), Wakeup::Wake(_)), "a gap");
        wait(Interest::default());
        assert!(
            matches!(outbox.answer(None), Wakeup::Nothing),
            "nothing to do"
        );
        wait(Interest {
            all: true,
            entries: false,
        });
        assert!(matches!(outbox.answer(None), Wakeup::Wake(_)), "it asked");
    }
}
