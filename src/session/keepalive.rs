//! Timers of an open session: token expiry, memory pressure, a client that does not read or does not answer, pings and
//! heartbeats.
//!
//! [`KeepAlive::next_action`] decides from times alone and does no I/O.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::params::{AckMode, UserSession};
use crate::config::KeepaliveConfig;
use crate::limits::memory::PRESSURE_GRACE;
use crate::outbox::disconnect::{EXPIRED, SLOW_READER};
use crate::outbox::{Disconnect, Status};

/// Minimum time between a ping and a further one that only confirms entries (`ack=auto`).
const ACK_PING: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Wait(Instant),
    /// End the session after replies to the client's frames.
    Drain(Disconnect),
    /// End the session now.
    Disconnect(Disconnect),
    /// End the session: it holds too much memory for too long.
    Overloaded,
    /// The client does not answer: treat the connection as closed.
    Lost,
    /// Send a ping.
    Ping,
    /// Send a heartbeat.
    Heartbeat,
}

/// What is known about the connection, and the timer for the next look at it.
pub struct KeepAlive {
    /// Idle time after which a heartbeat is sent.
    heartbeat: Duration,
    /// Time between pings.
    ping: Duration,
    /// Time without progress after which a client counts as not reading.
    stall: Duration,
    timer: Pin<Box<Sleep>>,
    /// When `timer` is set to fire.
    timer_at: Instant,
    /// When the token expires; `None`: never.
    expires: Option<Instant>,
    /// When bytes last came from the client.
    last_recv: Instant,
    /// When a text frame was last appended or written.
    last_text_sent: Instant,
    /// Number of text frames at that time.
    texts: u64,
    /// When the socket last accepted bytes, or had none to accept.
    last_progress: Instant,
    /// Since when the session holds more than [`FREE_PER_SESSION`](crate::limits::memory::FREE_PER_SESSION).
    over_free_since: Option<Instant>,
    last_ping: Instant,
    /// The payload of the last ping while its pong is outstanding: the newest entry written before it.
    ping_seq: Option<u64>,
    /// The newest entry that a pong has confirmed.
    confirmed: u64,
    /// `ack=auto`: pongs confirm entries.
    auto_ack: bool,
    /// No heartbeats: an echo connection.
    echo: bool,
}

impl KeepAlive {
    /// The timers of a session that starts now and whose token is valid until `expires`.
    pub fn new(
        config: &KeepaliveConfig,
        now: Instant,
        expires: Option<Instant>,
        user: Option<&UserSession>,
    ) -> Self {
        let heartbeat = Duration::from_secs(config.heartbeat_seconds);
        let auto = user.filter(|user| user.ack == AckMode::Auto);
        Self {
            heartbeat,
            // A client that answers only pings must be asked often enough to count as alive.
            ping: Duration::from_secs(config.ping_seconds).min(heartbeat),
            stall: Duration::from_secs(config.stall_seconds),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            timer_at: now,
            expires,
            last_recv: now,
            last_text_sent: now,
            texts: 0,
            last_progress: now,
            over_free_since: None,
            last_ping: now.checked_sub(ACK_PING).unwrap_or(now),
            ping_seq: None,
            confirmed: auto.map_or(u64::MAX, |user| {
                user.received.max(user.replay_start.saturating_sub(1))
            }),
            auto_ack: auto.is_some(),
            echo: user.is_none(),
        }
    }

    /// Bytes came from the client.
    pub fn on_receive(&mut self, now: Instant) {
        self.last_recv = now;
    }

    /// The socket accepted bytes, or there are none to accept.
    pub fn on_progress(&mut self, now: Instant) {
        self.last_progress = now;
    }

    /// Takes over what the outbox knows.
    pub fn on_status(&mut self, status: &Status, now: Instant) {
        if status.texts != self.texts {
            self.texts = status.texts;
            self.last_text_sent = status.last_flush.unwrap_or(now);
        }
    }

    /// A ping was appended whose payload is the entry `seq`.
    pub fn on_ping(&mut self, seq: u64, now: Instant) {
        self.ping_seq = Some(seq);
        self.last_ping = now;
    }

    /// A pong came. Returns the entry of its ping, if that is the one outstanding.
    pub fn on_pong(&mut self, payload: &[u8]) -> Option<u64> {
        let seq = payload.try_into().map(u64::from_be_bytes).ok()?;
        self.ping_seq.take_if(|expected| *expected == seq)
    }

    /// The client has received all entries up to `seq`.
    pub fn on_confirmed(&mut self, seq: u64) {
        self.confirmed = self.confirmed.max(seq);
    }

    /// True with `ack=auto`.
    pub fn auto_ack(&self) -> bool {
        self.auto_ack
    }

    /// True while the pong to the last ping is outstanding.
    pub fn ping_pending(&self) -> bool {
        self.ping_seq.is_some()
    }

    /// True if entries were sent that no pong has confirmed, and no ping is under way.
    pub fn needs_ack_ping(&self, status: &Status) -> bool {
        self.ping_seq.is_none() && status.cursor.saturating_sub(1) > self.confirmed
    }

    /// When a ping that only confirms entries may be sent.
    pub fn ack_ping_at(&self) -> Instant {
        self.last_ping + ACK_PING
    }

    /// Decides what is due. `in_hand`: bytes that the socket has not accepted from the task.
    pub fn next_action(
        &mut self,
        now: Instant,
        status: &Status,
        in_hand: usize,
        under_pressure: impl FnOnce() -> bool,
    ) -> Action {
        if self.expires.is_some_and(|expires| now >= expires) {
            return Action::Drain(EXPIRED);
        }
        if self.over_free_too_long(status, now) && under_pressure() {
            return Action::Overloaded;
        }
        let responsive_until = if in_hand > 0 {
            // A client that does not read cannot answer a ping: it must make progress instead.
            let until = self.last_progress + self.stall;
            if now >= until {
                return Action::Disconnect(SLOW_READER);
            }
            self.last_recv = self.last_recv.max(self.last_progress);
            until
        } else {
            let until = self.last_recv + 2 * self.heartbeat;
            if now >= until {
                return Action::Lost;
            }
            until
        };
        let ping_at = self.last_ping + self.ping;
        if now >= ping_at {
            return Action::Ping;
        }
        if self.echo {
            self.last_text_sent = now;
        } else if now >= self.last_text_sent + self.heartbeat {
            self.last_text_sent = now;
            return Action::Heartbeat;
        }
        let mut next = responsive_until
            .min(ping_at)
            .min(self.last_text_sent + self.heartbeat);
        if let Some(expires) = self.expires {
            next = next.min(expires);
        }
        if self.needs_ack_ping(status) {
            next = next.min(self.ack_ping_at());
        }
        Action::Wait(next)
    }

    /// True if the session has held more than its free memory for [`PRESSURE_GRACE`].
    fn over_free_too_long(&mut self, status: &Status, now: Instant) -> bool {
        self.over_free_since = (status.reserved > 0).then(|| self.over_free_since.unwrap_or(now));
        self.over_free_since
            .is_some_and(|since| now >= since + PRESSURE_GRACE)
    }

    /// Waits until `next`; true if that time has come. The timer is reset only if it would fire too late; one that fires
    /// early costs a turn.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, now: Instant, next: Instant) -> bool {
        if next < self.timer_at || now >= self.timer_at {
            self.timer_at = next;
            self.timer.as_mut().reset(next.into());
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}
