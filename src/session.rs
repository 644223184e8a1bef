//! One connection's life: read, parse, route, replay, write, keep alive, close.
//!
//! A session is one task on one worker. Others reach it only through its [`Outbox`].

mod keepalive;
mod queries;
mod rate_limit;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use self::keepalive::{ACK_PING, KeepAlive};
use self::queries::{answer_conversations, answer_failed, answer_history};
use self::rate_limit::{Budget, Rate, Refusals};
use crate::auth::Identity;
use crate::config::{KeepaliveConfig, RateLimit};
use crate::delivery::{View, refuse};
use crate::limits::memory::{FREE_PER_SESSION, PRESSURE_GRACE};
use crate::limits::{Limits, UserKey};
use crate::outbox::disconnect::{
    EXPIRED, OVERLOADED, SLOW_READER, STORE_FAILED, TOO_FAST, TOO_LARGE, TOO_MANY_BAD,
};
use crate::outbox::wakeup;
use crate::outbox::{Disconnect, Interest, Outbox, Status};
use crate::protocol::server::{Heartbeat, Truncated, TruncatedReason};
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, FrameError, Ref, Scanned, ServerFrame, Tape, Timestamp};
use crate::readers::PendingRead;
use crate::registry::Registered;
use crate::router::{Answering, Question, Routed, Router};
use crate::store::{Entry, InboxRange};
use crate::websocket::stream::{self, MessageStream};
use crate::websocket::{Incoming, Opcode, ProtocolError};

/// How long after its last word the server waits for the peer to close.
const LINGER: Duration = Duration::from_secs(2);
/// How long a session that is to end waits for the answers to what its client has sent.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a session that is to end still listens. What had arrived before may be known to the kernel only; this is time
/// enough to be told of it.
const HEAR: Duration = Duration::from_millis(50);
/// Questions that may wait before the session stops reading its client's frames.
const MAX_QUESTIONS: usize = 64;
/// A replay reads about so many bytes at a time.
const PAGE: usize = 256 * 1024;
thread_local! {
    static TAPE: RefCell<Tape> = RefCell::default();
}

/// Says in the log what failed, and to the client that something did.
fn read_failed(outbox: &Outbox, logged: bool, reference: Option<&str>) {
    if logged {
        log::error!("a question could not be answered from the store");
    }
    answer_failed(outbox, reference);
}

/// How a device's inbox counts as received (PROTOCOL section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// By the peer's answer to a ping that was sent after the entries.
    Auto,
    /// By `received` frames only.
    Manual,
}

/// Everything a session is made of.
#[derive(Debug)]
pub struct SessionParams {
    /// How idle and unresponsive connections are detected.
    pub keepalive: KeepaliveConfig,
    /// The rate of the client's frames.
    pub rate: RateLimit,
    /// Invalid frames per minute before the session is closed.
    pub bad_frames_per_minute: u32,
    /// What it owes its client.
    pub outbox: Arc<Outbox>,
    /// What it was let in with. `None`: it is let in only to be refused.
    pub admitted: Option<Auth>,
    /// What makes it a user's session; without it, it echoes.
    pub messaging: Option<UserSession>,
}

/// What a session is let in with.
#[derive(Debug)]
pub struct Auth {
    /// As whom, and until when.
    pub identity: Identity,
    /// Its place among the live sessions, given up when the session ends.
    pub registered: Registered,
}

/// What makes a session a user's.
#[derive(Debug)]
pub struct UserSession {
    /// Where its frames go.
    pub router: Router,
    /// What all sessions of the user may ask together, and the user's key there.
    pub limits: Arc<Limits>,
    /// See `limits`.
    pub key: UserKey,
    /// The user's device.
    pub device: Arc<str>,
    /// How its inbox counts as received.
    pub ack: AckMode,
    /// How far the device is known to hold its inbox.
    pub received: u64,
    /// The first entry that this session is sent: its pongs confirm nothing before it.
    pub replayed_from: u64,
}

/// Where a session stands between its first and its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Talking.
    Open,
    /// Asked to end: what the client had sent until `hear_until` is still heard, and answered until `until` at the latest.
    Draining {
        farewell: Disconnect,
        hear_until: Instant,
        until: Instant,
    },
    /// The last word is said; the peer has until this moment to close.
    Closing(Instant),
    /// As `Closing`, but the peer's bytes make no sense any more.
    Discarding(Instant),
}

struct Session<T> {
    link: MessageStream<T>,
    life: SessionState,
    /// What the outbox has been told of a message that has come in part.
    incoming: usize,
}

/// A session without its connection.
struct SessionState {
    parts: SessionParams,
    rate: Rate,
    refusals: Refusals,
    bad: Budget,
    line: KeepAlive,
    stage: Phase,
    /// Part of the inbox that is being read.
    page: Option<PendingRead<Vec<Entry>>>,
    /// The last entry that was asked for.
    page_last: u64,
    /// What the client has asked for and what is being read for it, one at a time: each answer may be large.
    questions: VecDeque<Question>,
    answering: Option<(Option<Box<str>>, Answering)>,
    /// The peer has closed, or gone.
    peer_closed: bool,
    /// When its identity stops to hold.
    expires: Option<Instant>,
    /// What has begun its end.
    reason: &'static str,
}

/// How a session has ended, for the log.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What became of its connection.
    pub how: &'static str,
    /// What its end began with: the reason of `goodbye`, a rule of RFC 6455 that was broken, or the client.
    pub reason: &'static str,
}

/// Runs a session to its end.
pub async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    link: MessageStream<T>,
    parts: SessionParams,
) -> End {
    // Also when this ends in a panic: whoever holds the outbox still is to put nothing into it, and nobody the socket.
    let _buried = DestroyOnDrop(parts.outbox.clone());
    let now = Instant::now();
    let mut session = Session {
        link,
        incoming: 0,
        life: SessionState {
            rate: Rate::new(parts.rate, now),
            refusals: Refusals::default(),
            bad: Budget::new(parts.bad_frames_per_minute),
            line: KeepAlive::new(now, parts.messaging.as_ref()),
            // One that is let in only to be refused has heard its goodbye already.
            stage: if parts.admitted.is_some() {
                Phase::Open
            } else {
                Phase::Closing(now + LINGER)
            },
            page: None,
            page_last: 0,
            questions: VecDeque::new(),
            answering: None,
            peer_closed: false,
            expires: parts
                .admitted
                .as_ref()
                .and_then(|admitted| now.checked_add(admitted.identity.holds_for()?)),
            reason: "-",
            parts,
        },
    };
    let Session { link, life, .. } = &mut session;
    if let Err(violation) = link.decode_early(&mut |incoming| life.hear(incoming, now)) {
        life.violated(violation);
    }
    let how = poll_fn(|cx| session.poll(cx)).await;
    End {
        how,
        reason: session.life.reason,
    }
}

/// Buries an outbox when it is dropped.
struct DestroyOnDrop(Arc<Outbox>);

impl Drop for DestroyOnDrop {
    fn drop(&mut self) {
        self.0.destroy();
        // What a turn that did not come to its end has put into others' outboxes.
        if std::thread::panicking() {
            wakeup::run_deferred_wakeups();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    /// Does all that can be done now. `Ready` says why the session has ended, for the log.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        // Bounded, so that one session cannot keep a worker to itself; the waker brings it back.
        for _ in 0..16 {
            let now = Instant::now();
            let mut progress = false;
            let status = self.life.parts.outbox.start_turn();
            let held = status.reserved;
            if let Some(farewell) = status.disconnect {
                self.life.asked_to_end(farewell, now);
            }
            let congested = status.congested || self.life.questions.len() >= MAX_QUESTIONS;
            if congested {
                // While the server does not listen, silence says nothing of the peer.
                self.life.line.heard = now;
            }
            // What comes while it ends is thrown away, and takes no room.
            let ending = matches!(self.life.stage, Phase::Closing(_) | Phase::Discarding(_));
            let reading = if !congested || ending {
                self.poll_read(cx, now)
            } else {
                Poll::Pending
            };
            // What this client has sent to others goes out before its own answers, and also when it is gone.
            wakeup::run_deferred_wakeups();
            match reading {
                Poll::Ready(Ok(more)) => progress = more,
                Poll::Ready(Err(_)) => return Poll::Ready("connection lost"),
                Poll::Pending => {}
            }
            if self.incoming != self.link.incomplete_bytes() {
                self.incoming = self.link.incomplete_bytes();
                self.life.parts.outbox.set_incoming(self.incoming);
            }
            progress |= self.life.poll_replay(cx);
            progress |= self.life.poll_answers(cx);
            let asked = self.life.keep_watermark(now);
            let wants = Interest {
                entries: !asked && self.life.line.asks,
                all: congested || self.life.stage != Phase::Open,
            };
            let status = match self.poll_write(cx, now, wants) {
                Ok((moved, wrote, status)) => {
                    // Room may have been all that something waited for.
                    let waiting = congested
                        || status.cursor <= status.head
                        || !self.life.questions.is_empty();
                    progress |= moved || wrote && waiting;
                    status
                }
                Err(_) => return Poll::Ready("connection lost"),
            };
            // What somebody else is writing just now may be gone in a moment.
            let elsewhere = status.unsent > 0 && self.link.unsent() == 0;
            if status.reserved > held && !elsewhere && self.life.parts.outbox.memory().full() {
                if status.unsent > FREE_PER_SESSION {
                    // It does not read what it has; a goodbye would wait behind that.
                    return Poll::Ready("no memory left for it");
                }
                if self.life.crowded(now) {
                    continue;
                }
            }
            if let Some(why) = self.ended(cx, now, &status) {
                return Poll::Ready(why);
            }
            progress |= self.life.poll_timer(cx, now, &status, self.link.unsent());
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready` with whether there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<bool>> {
        let Self { link, life, .. } = self;
        let reading = match life.stage {
            _ if life.peer_closed => return Poll::Pending,
            Phase::Draining { hear_until, .. } if now >= hear_until => return Poll::Pending,
            Phase::Discarding(_) => link.poll_discard(cx),
            _ => link.poll_read(cx, &mut |incoming| life.hear(incoming, now)),
        };
        let mut more = true;
        match std::task::ready!(reading)? {
            stream::ReadProgress::More => life.line.heard = now,
            stream::ReadProgress::Drained => {
                life.line.heard = now;
                more = false;
            }
            stream::ReadProgress::End => life.peer_closed = true,
            stream::ReadProgress::ProtocolError(violation) => life.violated(violation),
        }
        Poll::Ready(Ok(more))
    }

    /// Writes until there is nothing left, or the socket takes no more. Says whether others have changed something
    /// meanwhile, whether anything was written, and how things stand.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        wants: Interest,
    ) -> std::io::Result<(bool, bool, Status)> {
        let mut touched = false;
        let mut wrote = false;
        let mut spare = Vec::new();
        loop {
            let hand = self.link.unsent_and_capacity();
            let taken = (self.life.parts.outbox).take(cx.waker(), hand, wants, spare);
            touched |= taken.changed;
            if hand.0 == 0 {
                // Whatever waits has begun to wait now.
                self.life.line.moved = now;
                if taken.bytes.is_empty() {
                    return Ok((touched, wrote, taken.status));
                }
                self.link.set_out(taken.bytes);
            }
            let done = self.link.poll_write(cx, &mut wrote)?;
            if wrote {
                self.life.line.moved = now;
            }
            if done.is_pending() {
                // Tells the outbox how much is still in hand, and that room is what the task waits for.
                let (outbox, wants) = (&self.life.parts.outbox, Interest { all: true, ..wants });
                let taken = outbox.take(
                    cx.waker(),
                    self.link.unsent_and_capacity(),
                    wants,
                    Vec::new(),
                );
                return Ok((touched | taken.changed, wrote, taken.status));
            }
            spare = self.link.take_buffer();
        }
    }

    /// Whether there is nothing left to do, and why.
    fn ended(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        status: &Status,
    ) -> Option<&'static str> {
        // Others may be writing the last bytes just now.
        let flushed = self.link.unsent() == 0 && status.unsent == 0;
        let (Phase::Closing(until) | Phase::Discarding(until)) = self.life.stage else {
            if self.life.peer_closed {
                return Some("peer gone");
            }
            return None;
        };
        if !flushed {
            let full = self.link.unsent() > 0;
            return (now >= until || self.life.peer_closed && full).then_some("closed, unread");
        }
        let shut = if let Phase::Discarding(_) = self.life.stage {
            // The peer may be sending still; the end of our side tells it to stop.
            drop(self.link.poll_shutdown(cx));
            self.life.peer_closed
        } else {
            self.life.peer_closed
        };
        if shut || now >= until {
            drop(self.link.poll_shutdown(cx));
            return Some("closed");
        }
        None
    }
}

impl SessionState {
    fn hear(&mut self, incoming: Incoming<'_>, now: Instant) {
        match incoming {
            Incoming::Close(code) => {
                self.peer_closed = true;
                self.say_last(|outbox| outbox.close(code), "client", now);
            }
            _ if matches!(self.stage, Phase::Closing(_) | Phase::Discarding(_)) => {}
            Incoming::Text(text) if self.parts.messaging.is_some() => self.hear_text(text, now),
            Incoming::Binary(_) if self.parts.messaging.is_some() => self.hear_binary(now),
            Incoming::Text(text) => self.parts.outbox.echo(Opcode::Text, text.as_bytes()),
            Incoming::Binary(bytes) => self.parts.outbox.echo(Opcode::Binary, bytes),
            Incoming::Ping(payload) => self.parts.outbox.pong(payload),
            Incoming::Pong(payload) => self.hear_pong(payload),
        }
    }

    fn hear_text(&mut self, text: &str, now: Instant) {
        TAPE.with_borrow_mut(|tape| {
            let scanned = Scanned::new(tape, text);
            let reference = || scanned.reference();
            if !scanned.is_type("ping")
                && !scanned.is_type("received")
                && !self.within_rate(now, reference)
            {
                return;
            }
            match (scanned.parse(), &self.parts.messaging) {
                (Ok(frame), Some(messaging)) => {
                    match messaging.router.route(&frame, &self.parts.outbox) {
                        Routed::Received(seq) => self.received(seq),
                        Routed::Ask(question) => self.ask(question, now),
                        Routed::Done => {}
                    }
                }
                (Ok(_), None) => {}
                (Err(refused), _) => self.refuse(&refused, reference().as_ref(), now),
            }
        });
    }

    fn hear_binary(&mut self, now: Instant) {
        if self.within_rate(now, || None) {
            let refused = FrameError::new(
                ErrorCode::BinaryUnsupported,
                "expected a text message, found a binary one",
            );
            self.refuse(&refused, None, now);
        }
    }

    /// Whether a frame may pass; if not, its client is told (PROTOCOL section 10, "Bad frames").
    fn within_rate<'a>(
        &mut self,
        now: Instant,
        reference: impl FnOnce() -> Option<Ref<'a>>,
    ) -> bool {
        let own = self.rate.judge(now);
        let wait = own.or_else(|| {
            let messaging = self.parts.messaging.as_ref()?;
            messaging.limits.frame(messaging.key).err()
        });
        if let Some(wait) = wait {
            let reference = reference();
            self.slow_down(wait, reference.as_ref().map(Ref::as_str), now);
        }
        wait.is_none()
    }

    /// Refuses a frame for coming too soon; who does not mind that is sent away.
    fn slow_down(&mut self, wait: u64, reference: Option<&str>, now: Instant) {
        let refused = FrameError::new(
            ErrorCode::RateLimited,
            "too many frames; this one was not processed",
        );
        refuse(&self.parts.outbox, &refused, reference, Some(wait));
        if self.refusals.spend(now) {
            self.goodbye(&TOO_FAST, now);
        }
    }

    /// Takes up a question, unless the user asks too many.
    fn ask(&mut self, question: Question, now: Instant) {
        let limits = self.parts.messaging.as_ref();
        match limits.map(|messaging| messaging.limits.query(messaging.key)) {
            Some(Err(wait)) => self.slow_down(wait, question.reference(), now),
            _ => self.questions.push_back(question),
        }
    }

    fn refuse(&mut self, refused: &FrameError, reference: Option<&Ref<'_>>, now: Instant) {
        refuse(
            &self.parts.outbox,
            refused,
            reference.map(Ref::as_str),
            None,
        );
        if refused.code.is_bad_frame() && self.bad.spend(now) {
            self.goodbye(&TOO_MANY_BAD, now);
        }
    }

    fn hear_pong(&mut self, payload: &[u8]) {
        let Ok(seq) = payload.try_into().map(u64::from_be_bytes) else {
            return;
        };
        if self.line.ping_of != Some(seq) {
            return;
        }
        self.line.ping_of = None;
        let Some(messaging) = &self.parts.messaging else {
            return;
        };
        // `since` moves no watermark: what this session was not sent, its pong does not confirm.
        if messaging.ack == AckMode::Auto && seq >= messaging.replayed_from {
            self.line.confirmed = self.line.confirmed.max(seq);
            self.received(seq);
        }
    }

    fn received(&mut self, seq: u64) {
        let Some(messaging) = &mut self.parts.messaging else {
            return;
        };
        // Ahead of the log counts as the newest (PROTOCOL section 10).
        let seq = seq.min(self.parts.outbox.status().head);
        if seq > messaging.received {
            messaging.received = seq;
            messaging
                .router
                .received(&self.parts.outbox, &messaging.device, seq);
        }
    }

    fn violated(&mut self, violation: ProtocolError) {
        let now = Instant::now();
        match violation {
            ProtocolError::TooLarge => self.goodbye(&TOO_LARGE, now),
            ProtocolError::Protocol(rule) => self.close(violation, rule, now),
            ProtocolError::InvalidUtf8 => self.close(violation, "no UTF-8", now),
        }
        self.stage = Phase::Discarding(now + LINGER);
    }

    /// Sends the client away, and gives up what has come of a message in part. True: something moved.
    fn crowded(&mut self, now: Instant) -> bool {
        if self.stage != Phase::Open {
            return false;
        }
        self.goodbye(&OVERLOADED, now);
        self.stage = Phase::Discarding(now + LINGER);
        true
    }

    /// Says goodbye and begins to close. An echo's client knows no frames, only the close code.
    fn goodbye(&mut self, farewell: &Disconnect, now: Instant) {
        let echoes = self.parts.messaging.is_none();
        self.say_last(
            |outbox| {
                if echoes {
                    outbox.close(Some(farewell.code));
                } else {
                    outbox.send_goodbye(farewell);
                }
            },
            farewell.reason,
            now,
        );
    }

    fn close(&mut self, violation: ProtocolError, rule: &'static str, now: Instant) {
        self.say_last(
            |outbox| outbox.close(Some(violation.close_code())),
            rule,
            now,
        );
    }

    fn say_last(&mut self, say: impl FnOnce(&Outbox), reason: &'static str, now: Instant) {
        say(&self.parts.outbox);
        if !matches!(self.stage, Phase::Closing(_) | Phase::Discarding(_)) {
            self.stage = Phase::Closing(now + LINGER);
            self.reason = reason;
        }
    }

    fn asked_to_end(&mut self, farewell: Disconnect, now: Instant) {
        if self.stage == Phase::Open {
            self.stage = Phase::Draining {
                farewell,
                hear_until: now + HEAR,
                until: now + DRAIN,
            };
        }
    }

    /// Reads from the store what the pushes have left out, while there is room. True: something moved.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(messaging) = &self.parts.messaging else {
            return false;
        };
        let outbox = &self.parts.outbox;
        if let Some(page) = &mut self.page {
            let Poll::Ready(entries) = Pin::new(page).poll(cx) else {
                return false;
            };
            self.page = None;
            match entries {
                Ok(Ok(entries)) => self.replay(&entries),
                Ok(Err(error)) => {
                    log::error!("reading an inbox: {error}");
                    self.asked_to_end(STORE_FAILED, Instant::now());
                }
                // The readers are gone: the server is going down and will say so.
                Err(_) => {}
            }
            return true;
        }
        let Status {
            cursor,
            head,
            unsent,
            ..
        } = outbox.status();
        let room = unsent < outbox.limit() / 2;
        let ending = matches!(self.stage, Phase::Closing(_) | Phase::Discarding(_));
        if cursor > head || !room || ending {
            return false;
        }
        self.page_last = head;
        self.page = Some(messaging.router.read(InboxRange {
            user: outbox.user().clone(),
            first: cursor,
            // Not beyond the head that this session has been told of: an entry of its own beyond it would be shown as a
            // message before its ack is known here.
            last: head,
            bytes: PAGE.min(outbox.limit()),
        }));
        true
    }

    /// Answers what the client has asked for, one after the other, while there is room. True: something moved.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(messaging) = &self.parts.messaging else {
            return false;
        };
        let outbox = &self.parts.outbox;
        let Some((reference, answering)) = &mut self.answering else {
            if outbox.status().unsent >= outbox.limit() / 2 {
                return false;
            }
            let Some(question) = self.questions.pop_front() else {
                return false;
            };
            self.answering = Some(messaging.router.ask(question, outbox));
            return true;
        };
        let reference = reference.as_deref();
        match answering {
            Answering::History(query, reading) => match Pin::new(reading).poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(Ok(page))) => {
                    answer_history(outbox, query, &page, reference);
                }
                Poll::Ready(failed) => read_failed(outbox, failed.err().is_none(), reference),
            },
            Answering::Conversations(reading) => match Pin::new(reading).poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(Ok(page))) => answer_conversations(outbox, page.as_ref(), reference),
                Poll::Ready(failed) => read_failed(outbox, failed.err().is_none(), reference),
            },
        }
        self.answering = None;
        true
    }

    fn replay(&mut self, entries: &[Entry]) {
        let outbox = &self.parts.outbox;
        let Some(first) = entries.first() else {
            // All that was asked for has been removed from the store meanwhile. What has come since is asked for next, and
            // says where the replay goes on.
            if outbox.status().head == self.page_last {
                self.truncated(TruncatedReason::Retention, self.page_last + 1);
            }
            return;
        };
        debug_assert!(
            first.seq >= outbox.status().cursor,
            "no entry is read twice"
        );
        for entry in entries {
            if entry.seq > outbox.status().cursor {
                // What lay between was removed from the store meanwhile.
                self.truncated(TruncatedReason::Retention, entry.seq);
            }
            let view = View::of_entry(entry);
            let room = self
                .parts
                .outbox
                .push_replayed(entry.seq, |out, own| view.write(out, entry.seq, own));
            if !room {
                break;
            }
        }
    }

    /// Tells the client that entries are not there, and goes on from `oldest`.
    fn truncated(&self, reason: TruncatedReason, oldest: u64) {
        let outbox = &self.parts.outbox;
        outbox.send(&ServerFrame::Truncated(Truncated {
            reason,
            oldest_seq: Integer(oldest),
        }));
        outbox.skip_to(oldest);
    }

    /// With `ack=auto`, asks by a ping whether what was written has arrived. True: something is being asked, or will be
    /// when the timer comes.
    fn keep_watermark(&mut self, now: Instant) -> bool {
        if self.stage != Phase::Open || !self.line.asks {
            return true;
        }
        let wants = self.line.wants_ack_ping(&self.parts.outbox.status());
        if wants && now.saturating_duration_since(self.line.pinged) >= ACK_PING {
            self.ping(now);
        }
        wants || self.line.ping_of.is_some()
    }

    fn ping(&mut self, now: Instant) {
        self.line.ping_of = Some(self.parts.outbox.ping());
        self.line.pinged = now;
    }

    /// Does what is due, and sets the timer for what is due next. True: something moved.
    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        status: &Status,
        unsent: usize,
    ) -> bool {
        if status.texts != self.line.texts {
            self.line.texts = status.texts;
            self.line.spoke = status.last_flush.unwrap_or(now);
        }
        let keepalive = self.parts.keepalive;
        let heartbeat = Duration::from_secs(keepalive.heartbeat_seconds);
        // A peer that answers nothing else must be asked often enough to count as alive.
        let ping = Duration::from_secs(keepalive.ping_seconds).min(heartbeat);
        let mut next;
        match self.stage {
            Phase::Draining {
                farewell,
                hear_until,
                until,
            } => {
                let asked = self.answering.is_some() || !self.questions.is_empty();
                if now >= until || now >= hear_until && !status.awaits_replies && !asked {
                    self.goodbye(&farewell, now);
                    return true;
                }
                next = if now < hear_until { hear_until } else { until };
            }
            Phase::Closing(until) | Phase::Discarding(until) => next = until,
            Phase::Open => {
                if self.expires.is_some_and(|expires| now >= expires) {
                    self.asked_to_end(EXPIRED, now);
                    return true;
                }
                let since = (status.reserved > 0).then(|| self.line.beyond.unwrap_or(now));
                self.line.beyond = since;
                if since.is_some_and(|since| now >= since + PRESSURE_GRACE)
                    && self.parts.outbox.memory().under_pressure()
                {
                    return self.crowded(now);
                }
                if unsent > 0 {
                    // A peer that does not read cannot answer a ping either: it is judged by whether bytes move.
                    next = self.line.moved + Duration::from_secs(keepalive.stall_seconds);
                    if now >= next {
                        self.goodbye(&SLOW_READER, now);
                        return true;
                    }
                    self.line.heard = self.line.heard.max(self.line.moved);
                } else {
                    next = self.line.heard + 2 * heartbeat;
                    if now >= next {
                        self.peer_closed = true;
                        return true;
                    }
                }
                if now >= self.line.pinged + ping {
                    self.ping(now);
                    return true;
                }
                if self.parts.messaging.is_none() {
                    self.line.spoke = now;
                } else if now >= self.line.spoke + heartbeat {
                    self.line.spoke = now;
                    self.parts.outbox.shrink();
                    self.parts.outbox.send(&ServerFrame::Heartbeat(Heartbeat {
                        timestamp: Timestamp::now(),
                    }));
                    return true;
                }
                next = next
                    .min(self.line.pinged + ping)
                    .min(self.line.spoke + heartbeat);
                next = self.expires.map_or(next, |expires| next.min(expires));
                if self.line.wants_ack_ping(status) {
                    next = next.min(self.line.pinged + ACK_PING);
                }
            }
        }
        self.line.poll_until(cx, now, next)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::ReadBuf;
    use uuid::Uuid;

    use super::*;
    use crate::auth::Verifier;
    use crate::limits::memory::MemoryBudget;
    use crate::registry::Registry;

    /// A socket whose first byte finds a mistake in the server.
    struct Mine {
        _socket: Arc<()>,
    }

    impl AsyncRead for Mine {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            panic!("a mistake in the server")
        }
    }

    impl AsyncWrite for Mine {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_panic_ends_its_own_session_and_leaves_nothing_behind() {
        actix_rt::System::new().block_on(async {
            let registry = Arc::new(Registry::default());
            let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20));
            let (registered, _) = registry.register(&outbox, 1);
            outbox.open(1, 0);
            let identity = Verifier::Open.identify(Some("u"), None).await;
            let parts = SessionParams {
                keepalive: KeepaliveConfig::default(),
                rate: crate::config::LimitsConfig::default().session_rate(),
                bad_frames_per_minute: 20,
                outbox: outbox.clone(),
                admitted: Some(Auth {
                    identity: identity.expect("everybody is let in"),
                    registered,
                }),
                messaging: None,
            };
            let socket = Arc::new(());
            let link = {
                let io = Mine {
                    _socket: socket.clone(),
                };
                MessageStream::new(io, 1024, Vec::new(), Vec::new())
            };
            let ended = actix_rt::spawn(run(link, parts)).await;
            assert!(ended.expect_err("it has failed").is_panic());
            assert!(registry.all().is_empty(), "nobody looks for it any more");
            assert!(!outbox.push_ephemeral(b"x").0, "it takes nothing any more");
            assert_eq!(Arc::strong_count(&socket), 1, "the socket is closed");
            // The worker goes on.
            actix_rt::spawn(async {}).await.expect("another task runs");
        });
    }
}
