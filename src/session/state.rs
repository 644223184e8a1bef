//! The state of a session without its connection, and the phases in which it ends.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::keepalive::{Action, KeepAlive};
use super::params::{Auth, SessionParams, UserSession};
use super::queries::Queries;
use super::rate_limit::{BadFrames, FrameRate, Rejections};
use super::replay::{Replay, ReplayStep};
use crate::limits::read_rate::{ReadRate, SharedReadRate};
use crate::metrics::Ended;
use crate::outbox::disconnect::{OVERLOADED, STORE_FAILED, TOO_LARGE};
use crate::outbox::{Disconnect, Outbox, Status};
use crate::protocol::server::Heartbeat;
use crate::protocol::{ServerFrame, Timestamp};
use crate::router::DeferredAck;
use crate::websocket::ProtocolError;

/// After its last frame the server waits this long for the client to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// When draining, the session waits this long for replies to frames that the client has sent.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// When draining, keep reading for this long: frames that the client sent before the shutdown may still be in the kernel's
/// receive buffer.
pub(super) const DRAIN_READ: Duration = Duration::from_millis(50);
/// When draining, read at most about this many bytes: more than the kernel's receive buffer usually holds (6 MiB), so that what arrived
/// before is read, and a client that goes on sending gets no more answers.
pub(super) const DRAIN_BYTES: usize = 8 << 20;

/// The life cycle of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Frames are processed in both directions.
    Open,
    /// The session will end with `disconnect`: frames are processed until `read_until`, and from then on until the socket has
    /// no more. They and replies to them are awaited until `until` at the latest.
    Draining {
        disconnect: Disconnect,
        read_until: Instant,
        until: Instant,
    },
    /// The last frame is appended. The client has until this time to close the connection; its frames are ignored.
    Closing(Instant),
    /// As `Closing`, but the client's bytes are not decoded any more.
    Discarding(Instant),
}

/// A session without its connection.
pub(super) struct SessionState {
    pub(super) outbox: Arc<Outbox>,
    pub(super) user: Option<UserSession>,
    pub(super) phase: Phase,
    pub(super) rate: FrameRate,
    pub(super) ping_rate: FrameRate,
    pub(super) read_rate: ReadRate,
    pub(super) shared_read_rate: Option<Arc<SharedReadRate>>,
    /// The reply that the next frame waits for.
    pub(super) deferred: Option<Box<DeferredAck>>,
    /// Nothing is read before this time, because the client has sent too much.
    pub(super) delayed_until: Option<Instant>,
    /// The server's time at the first frame since the last [`SessionState::finish_reading`]: the frames that are read together have
    /// the same time.
    pub(super) time: Option<Timestamp>,
    /// Frames since the last [`SessionState::finish_reading`] that count for `read_rate` only.
    pub(super) control_frames: u32,
    /// The newest entry that the client has reported as received since then; 0 if none.
    pub(super) reported: u64,
    pub(super) rejections: Rejections,
    pub(super) bad_frames: BadFrames,
    pub(super) keepalive: KeepAlive,
    pub(super) replay: Replay,
    pub(super) queries: Queries,
    /// The draining phase has read everything that had arrived when its time to read was over.
    pub(super) final_read_done: bool,
    /// Bytes that were read in the draining phase.
    pub(super) drained_bytes: usize,
    /// The client has closed the connection, or the connection is lost.
    pub(super) peer_closed: bool,
    /// See [`super::End::reason`].
    pub(super) reason: &'static str,
    /// Keeps the session registered. Last: what the end of the session does to the user is done while it is registered.
    pub(super) _auth: Option<Auth>,
}

impl SessionState {
    pub(super) fn new(params: SessionParams, now: Instant) -> Self {
        let SessionParams {
            keepalive,
            limits,
            read_rate: shared_read_rate,
            outbox,
            auth,
            user,
        } = params;
        // The outbox of a rejected connection ends with a close frame.
        let phase = match auth {
            Some(_) => Phase::Open,
            None => Phase::Closing(now + CLOSE_TIMEOUT),
        };
        let valid_for = auth.as_ref().and_then(|auth| auth.identity.expires_in());
        Self {
            phase,
            rate: FrameRate::new(limits.rate, now),
            ping_rate: FrameRate::new(limits.pings, now),
            read_rate: ReadRate::new(limits.read, now),
            shared_read_rate,
            deferred: None,
            delayed_until: None,
            time: None,
            control_frames: 0,
            reported: 0,
            rejections: Rejections::default(),
            bad_frames: BadFrames::new(limits.bad_frames_per_minute),
            keepalive: KeepAlive::new(
                &keepalive,
                now,
                valid_for.and_then(|valid_for| now.checked_add(valid_for)),
                user.as_ref(),
            ),
            replay: Replay::default(),
            queries: Queries::default(),
            final_read_done: false,
            drained_bytes: 0,
            peer_closed: false,
            reason: "-",
            outbox,
            _auth: auth,
            user,
        }
    }

    /// True while nothing is read, because the next frame waits for a reply or the client has sent too much.
    pub(super) fn is_delayed(&self, now: Instant) -> bool {
        // A session that ends answers what it has received.
        let too_much = || self.delayed_until.is_some_and(|until| now < until);
        self.deferred.is_some() || self.phase == Phase::Open && too_much()
    }

    /// Sends the reply that the next frame waits for. True: something was done.
    pub(super) fn poll_deferred(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(ack) = &mut self.deferred else {
            return false;
        };
        let Poll::Ready(ack) = ack.poll(cx) else {
            return false;
        };
        self.outbox.send(&ack);
        self.deferred = None;
        true
    }

    /// True after the last frame was appended.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Discarding(_))
    }

    /// Reads and sends entries of the inbox. True: something was done.
    pub(super) fn poll_replay(&mut self, cx: &mut Context<'_>) -> bool {
        let start = !self.is_ending();
        let Some(user) = &self.user else {
            return false;
        };
        match self.replay.poll(cx, &self.outbox, &user.router, start) {
            ReplayStep::Waiting => false,
            ReplayStep::Progress => true,
            ReplayStep::Failed => {
                self.start_draining(STORE_FAILED, Instant::now());
                true
            }
        }
    }

    /// Reads and answers queries of the client. True: something was done.
    pub(super) fn poll_queries(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { user, queries, .. } = self;
        let router = user.as_ref().map(|user| &user.router);
        router.is_some_and(|router| queries.poll(cx, &self.outbox, router))
    }

    pub(super) fn on_protocol_error(&mut self, error: ProtocolError) {
        let now = Instant::now();
        let rule = match error {
            ProtocolError::TooLarge => {
                self.send_goodbye(&TOO_LARGE, now);
                self.phase = Phase::Discarding(now + CLOSE_TIMEOUT);
                return;
            }
            ProtocolError::Protocol(rule) => rule,
            ProtocolError::InvalidUtf8 => "invalid UTF-8",
        };
        let code = error.close_code();
        self.send_last(|outbox| outbox.close(Some(code)), rule, now);
        self.phase = Phase::Discarding(now + CLOSE_TIMEOUT);
    }

    /// Ends the session for lack of memory, and drops a partly received message. False if it is ending already.
    pub(super) fn overloaded(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        self.send_goodbye(&OVERLOADED, now);
        self.phase = Phase::Discarding(now + CLOSE_TIMEOUT);
        true
    }

    /// Sends `goodbye` and starts to close. The client of an echo connection gets only the close code.
    pub(super) fn send_goodbye(&mut self, disconnect: &Disconnect, now: Instant) {
        let echo = self.user.is_none();
        if !echo && !self.is_ending() {
            Ended::of(disconnect.reason).count(1);
        }
        self.send_last(
            |outbox| {
                if echo {
                    outbox.close(Some(disconnect.code));
                } else {
                    outbox.send_goodbye(disconnect);
                }
            },
            disconnect.reason,
            now,
        );
    }

    /// Appends the last frame with `send`, and starts to close.
    pub(super) fn send_last(
        &mut self,
        send: impl FnOnce(&Outbox),
        reason: &'static str,
        now: Instant,
    ) {
        send(&self.outbox);
        if !self.is_ending() {
            self.phase = Phase::Closing(now + CLOSE_TIMEOUT);
            self.reason = reason;
        }
    }

    /// Ends the session with `disconnect` after replies to the client's frames.
    pub(super) fn start_draining(&mut self, disconnect: Disconnect, now: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining {
                disconnect,
                read_until: now + DRAIN_READ,
                until: now + DRAIN_TIMEOUT,
            };
        }
    }

    /// Acts on timers that have expired, and sets the timer for the next. True: something was done. `in_hand`: bytes that
    /// the socket has not accepted from the task.
    pub(super) fn poll_timers(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        status: &Status,
        in_hand: usize,
    ) -> bool {
        self.keepalive.on_status(status, now);
        let next = match self.phase {
            Phase::Draining {
                disconnect,
                read_until,
                until,
            } => {
                let replied = self.final_read_done
                    && self.deferred.is_none()
                    && !status.awaits_replies
                    && self.queries.is_idle();
                if now >= until || now >= read_until && replied {
                    self.send_goodbye(&disconnect, now);
                    return true;
                }
                if now < read_until { read_until } else { until }
            }
            Phase::Closing(until) | Phase::Discarding(until) => until,
            Phase::Open => {
                let under_pressure = || self.outbox.memory().under_pressure();
                match self
                    .keepalive
                    .next_action(now, status, in_hand, under_pressure)
                {
                    Action::Wait(next) => match self.delayed_until {
                        Some(until) if now < until => next.min(until),
                        _ => next,
                    },
                    action => return self.act(action, now),
                }
            }
        };
        self.keepalive.poll_until(cx, now, next)
    }

    /// True: something was done.
    fn act(&mut self, action: Action, now: Instant) -> bool {
        match action {
            Action::Wait(_) => return false,
            Action::Drain(disconnect) => self.start_draining(disconnect, now),
            Action::Disconnect(disconnect) => self.send_goodbye(&disconnect, now),
            Action::Overloaded => return self.overloaded(now),
            Action::Lost => self.peer_closed = true,
            Action::Ping => self.send_ping(now),
            Action::ReportUse => {
                self.keepalive.on_use(now);
                self.report_received(0);
            }
            Action::Heartbeat => {
                self.outbox.shrink();
                // Only sessions of users get heartbeats.
                if let Some(user) = &self.user {
                    let timestamp = Timestamp(user.router.clock().now());
                    let heartbeat = Heartbeat { timestamp };
                    self.outbox.send(&ServerFrame::Heartbeat(heartbeat));
                }
            }
        }
        true
    }

    /// With `ack=auto`, asks with a ping whether the client has received the entries that were written. True: no ping is
    /// needed for entries that follow, because one is under way or due later.
    pub(super) fn poll_auto_ack(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Open || !self.keepalive.auto_ack() {
            return true;
        }
        let needed = self.keepalive.needs_ack_ping(&self.outbox.status());
        if needed && now >= self.keepalive.ack_ping_at() {
            self.send_ping(now);
        }
        needed || self.keepalive.ping_pending()
    }

    pub(super) fn send_ping(&mut self, now: Instant) {
        self.keepalive.on_ping(self.outbox.ping(), now);
    }
}
