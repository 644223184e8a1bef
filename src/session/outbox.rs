//! What a session owes its client: the meeting point of a session's task with everyone who has something for it.
//!
//! The rule that carries the rest is that the inbox is the truth, and a push is a hint: a session has one cursor, the
//! next `seq` of its user's inbox. A push at the cursor goes out; a push ahead of it only raises the head, and the session
//! reads from the store; a push behind it is dropped.
//!
//! An [`Outbox`] is shared as an `Arc`. Its mutex is held for a few copies at a time, never across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use uuid::Uuid;

use crate::protocol::ids::Integer;
use crate::protocol::server::{Ack, AckStatus, Goodbye, Synced};
use crate::protocol::{MessageId, ServerFrame, Time};
use crate::ws::{self, Opcode};

/// Acks that may wait for their place behind a replay before the session stops reading its client's frames.
const MAX_OWED: usize = 4096;
/// Sends that a session may have under way in the store before it stops reading its client's frames.
const MAX_IN_FLIGHT: usize = 4096;

/// Why a session is to end, told to its client as `goodbye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
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
    /// Unsent bytes beyond which live pushes stop (`--outbox-bytes`).
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The session's task, while it waits.
    waker: Option<Waker>,
    /// Others have changed something since the task began to work: it must look again before it waits.
    touched: bool,
    /// Encoded WebSocket frames that the task has not taken yet.
    bytes: Vec<u8>,
    /// Bytes that the task has taken and the socket has not.
    writing: usize,
    /// The next entry owed; `None` until the inbox has been opened.
    cursor: Option<u64>,
    /// The newest entry known of.
    head: u64,
    /// The head that `welcome` named, until the replay has reached it.
    sync_at: Option<u64>,
    /// Entries beyond the cursor that this session caused, in order.
    owed: VecDeque<OwedAck>,
    /// Sends of this session that the store has not answered yet.
    in_flight: usize,
    /// Text frames so far: how the task sees whether the line was quiet.
    texts: u64,
    /// Somebody wants this session to end.
    farewell: Option<Farewell>,
    /// Nothing may follow: `goodbye` or a close frame is in `bytes`, or the session is gone.
    ended: bool,
}

/// An ack that waits for its place.
#[derive(Debug)]
struct OwedAck {
    seq: u64,
    id: MessageId,
    at: Time,
    reference: Option<Box<str>>,
}

/// What a session's task learns when it looks into its outbox.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
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
    /// Text frames so far.
    pub texts: u64,
    /// Somebody wants this session to end.
    pub farewell: Option<Farewell>,
}

impl Outbox {
    /// An outbox for a new session, which holds everything back until [`Outbox::open`].
    pub fn new(session: Uuid, user: Arc<str>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            session,
            user,
            limit,
            state: Mutex::default(),
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change leaves the state whole, so a panic elsewhere has not harmed it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub fn push_entry(&self, seq: u64, frame: &[u8]) -> Option<Waker> {
        let mut state = self.lock();
        state.touched = true;
        state.head = state.head.max(seq);
        if state.takes(seq, frame.len(), self.limit) {
            state.bytes.extend_from_slice(frame);
            state.texts += 1;
            state.advance();
        }
        state.waker.take()
    }

    /// Offers the entry that this session's own send became: the ack of `id`, stored at `at`. For a message to oneself
    /// `message` follows it.
    pub fn push_own(
        &self,
        seq: u64,
        (id, at): (MessageId, Time),
        reference: Option<Box<str>>,
        message: Option<&[u8]>,
    ) -> Option<Waker> {
        let mut state = self.lock();
        state.touched = true;
        state.in_flight = state.in_flight.saturating_sub(1);
        state.head = state.head.max(seq);
        if state.takes(seq, 512 + message.map_or(0, <[u8]>::len), self.limit) {
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
            state.owed.push_back(OwedAck {
                seq,
                id,
                at,
                reference,
            });
        }
        state.waker.take()
    }

    /// Appends a frame, for the session's own task to send.
    pub fn say(&self, frame: &ServerFrame<'_>) {
        self.lock().append(frame);
    }

    /// Appends a direct reply to one of the client's frames.
    pub fn reply(&self, frame: &ServerFrame<'_>) -> Option<Waker> {
        let mut state = self.lock();
        state.append(frame);
        state.waker.take()
    }

    /// Appends the answer to a send that became no entry of its own, if there is one.
    pub fn answer(&self, frame: Option<&ServerFrame<'_>>) -> Option<Waker> {
        let mut state = self.lock();
        state.touched = true;
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(frame) = frame {
            state.append(frame);
        }
        state.waker.take()
    }

    /// Offers something that is not kept: it is dropped when the client is slow. Says whether it was taken.
    pub fn push_ephemeral(&self, frame: &[u8]) -> (bool, Option<Waker>) {
        let mut state = self.lock();
        state.touched = true;
        let taken = !state.ended && state.cursor.is_some() && state.fits(frame.len(), self.limit);
        if taken {
            state.bytes.extend_from_slice(frame);
            state.texts += 1;
        }
        (taken, state.waker.take())
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
    pub fn dismiss(&self, farewell: Farewell) {
        let waker = {
            let mut state = self.lock();
            state.touched = true;
            state.farewell.get_or_insert(farewell);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
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
        state.bytes.len() + state.writing < self.limit
    }

    /// Takes what is to be written next, and leaves `waker` to be called when there is more. `writing` is what the task
    /// still has in hand. Says whether others have changed something since [`Outbox::begin`], when nobody could be called.
    pub fn take(&self, waker: &Waker, writing: usize) -> (Vec<u8>, bool) {
        let mut state = self.lock();
        match &mut state.waker {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        let touched = std::mem::take(&mut state.touched);
        if writing > 0 {
            state.writing = writing;
            return (Vec::new(), touched);
        }
        let bytes = std::mem::take(&mut state.bytes);
        state.writing = bytes.len();
        (bytes, touched)
    }

    /// Moves what is to be written behind `out`, without waiting for more.
    pub fn take_into(&self, out: &mut Vec<u8>) {
        let mut state = self.lock();
        out.append(&mut state.bytes);
        state.bytes = Vec::new();
        state.writing = out.len();
    }

    /// What there is to know, without taking anything.
    pub fn glance(&self) -> Glance {
        self.lock().glance(self.limit)
    }

    /// As [`Outbox::glance`], for the task when it begins to work: what it now adds itself need not call it. It calls
    /// [`Outbox::take`] before it waits again.
    pub fn begin(&self) -> Glance {
        let mut state = self.lock();
        state.waker = None;
        state.touched = false;
        state.glance(self.limit)
    }

    /// Appends a ping that carries the newest entry written before it (RFC 6455 section 5.5.2), and says which that is.
    pub fn ping(&self) -> u64 {
        let mut state = self.lock();
        let seq = state.cursor.unwrap_or(1).saturating_sub(1);
        if !state.ended {
            ws::write_frame(&mut state.bytes, Opcode::Ping, &seq.to_be_bytes());
        }
        seq
    }

    /// Appends a pong.
    pub fn pong(&self, payload: &[u8]) {
        let mut state = self.lock();
        if !state.ended {
            ws::write_frame(&mut state.bytes, Opcode::Pong, payload);
        }
    }

    /// Appends a message as an echo.
    pub fn echo(&self, opcode: Opcode, payload: &[u8]) {
        let mut state = self.lock();
        if !state.ended {
            ws::write_frame(&mut state.bytes, opcode, payload);
        }
    }

    /// Says goodbye and closes. Nothing follows.
    pub fn say_goodbye(&self, farewell: &Farewell) {
        self.say_goodbye_with(farewell, farewell.detail);
    }

    /// As [`Outbox::say_goodbye`], in other words.
    pub fn say_goodbye_with(&self, farewell: &Farewell, detail: &str) {
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
    pub fn bury(&self) {
        let mut state = self.lock();
        *state = State {
            ended: true,
            ..State::default()
        };
    }
}

impl State {
    fn glance(&self, limit: usize) -> Glance {
        let unsent = self.bytes.len() + self.writing;
        Glance {
            cursor: self.cursor.unwrap_or(u64::MAX),
            head: self.head,
            unsent,
            unanswered: self.in_flight > 0 || !self.owed.is_empty(),
            congested: unsent > limit
                || self.owed.len() >= MAX_OWED
                || self.in_flight >= MAX_IN_FLIGHT,
            texts: self.texts,
            farewell: self.farewell,
        }
    }

    /// The first ack that waits, if its place is before `seq`.
    fn owed_before(&mut self, seq: u64) -> Option<OwedAck> {
        if self.owed.front()?.seq < seq {
            self.owed.pop_front()
        } else {
            None
        }
    }

    fn fits(&self, length: usize, limit: usize) -> bool {
        let unsent = self.bytes.len() + self.writing;
        // What is larger than the limit goes when nothing else is waiting.
        unsent == 0 || unsent + length <= limit
    }

    fn takes(&self, seq: u64, length: usize, limit: usize) -> bool {
        !self.ended && self.cursor == Some(seq) && self.fits(length, limit)
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
            ws::write_text(&mut self.bytes, |out| frame.write(out));
            self.texts += 1;
        }
    }

    fn close(&mut self, code: Option<u16>) {
        if !self.ended {
            ws::write_close(&mut self.bytes, code);
            self.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAREWELL: Farewell = Farewell {
        code: 1012,
        reason: "shutdown",
        detail: "",
        reconnect: None,
    };

    #[test]
    fn what_others_change_while_the_task_works_is_not_missed() {
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024);
        outbox.begin();
        outbox.dismiss(FAREWELL);
        assert!(
            outbox.take(Waker::noop(), 0).1,
            "a dismissal between begin and take"
        );
        assert!(outbox.begin().farewell.is_some());
        assert!(!outbox.take(Waker::noop(), 0).1, "it is seen now");
        outbox.sent();
        outbox.begin();
        outbox.answer(None);
        assert!(
            outbox.take(Waker::noop(), 10).1,
            "an answer that has no bytes"
        );
    }
}
