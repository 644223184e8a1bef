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
    /// Report that the device is in use.
    ReportUse,
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
    /// The interval at which the device is reported to be in use, and when that is due; `None`: it has acknowledged nothing.
    use_interval: Duration,
    report_use_at: Option<Instant>,
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
                let received = user.received.unwrap_or(0);
                received.max(user.replay_start.saturating_sub(1))
            }),
            auto_ack: auto.is_some(),
            echo: user.is_none(),
            use_interval: user.map_or(Duration::MAX, |user| user.use_interval),
            report_use_at: user
                .filter(|user| user.received.is_some())
                .and_then(|user| now.checked_add(user.use_interval)),
        }
    }

    /// The device was reported to be in use.
    pub fn on_use(&mut self, now: Instant) {
        self.report_use_at = now.checked_add(self.use_interval);
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
        if self.report_use_at.is_some_and(|at| now >= at) {
            return Action::ReportUse;
        }
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
        for at in [self.expires, self.report_use_at].into_iter().flatten() {
            next = next.min(at);
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: u64 = 30;
    const PING: u64 = 25;
    const STALL: u64 = 60;

    /// Runs `test` with the timers of an echo connection, and the time at which they start. Without a user there are no
    /// heartbeats.
    fn with_timers(expires: Option<Duration>, test: impl FnOnce(KeepAlive, Instant)) {
        actix_rt::System::new().block_on(async {
            let config = KeepaliveConfig {
                heartbeat_seconds: HEARTBEAT,
                ping_seconds: PING,
                stall_seconds: STALL,
            };
            let start = Instant::now();
            let expires = expires.map(|expires| start + expires);
            let mut timers = KeepAlive::new(&config, start, expires, None);
            timers.on_ping(0, start);
            test(timers, start);
        });
    }

    fn status(reserved: usize) -> Status {
        Status {
            cursor: 1,
            head: 0,
            unsent: 0,
            awaits_replies: false,
            congested: false,
            reserved,
            invalid: 0,
            texts: 0,
            last_flush: None,
            disconnect: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_idle_client_is_pinged_and_lost_after_two_heartbeats_without_an_answer() {
        with_timers(None, |mut timers, start| {
            let mut at = |time, status: &Status| timers.next_action(time, status, 0, || false);
            let idle = status(0);
            assert_eq!(at(start, &idle), Action::Wait(start + seconds(PING)));
            assert_eq!(at(start + seconds(PING), &idle), Action::Ping);
            assert_eq!(at(start + seconds(2 * HEARTBEAT), &idle), Action::Lost);
        });
    }

    #[test]
    fn a_user_session_that_is_idle_gets_heartbeats() {
        with_timers(None, |mut timers, start| {
            timers.echo = false;
            let now = start + seconds(HEARTBEAT);
            timers.on_ping(0, now);
            let mut next = || timers.next_action(now, &status(0), 0, || false);
            assert_eq!(next(), Action::Heartbeat);
            assert_eq!(next(), Action::Wait(now + seconds(PING)));
        });
    }

    #[test]
    fn a_client_that_does_not_read_must_make_progress_instead_of_answering() {
        with_timers(None, |mut timers, start| {
            let last = start + seconds(50);
            timers.on_progress(last);
            timers.on_ping(0, last);
            let mut at = |time| timers.next_action(time, &status(0), 1, || false);
            let stalled = last + seconds(STALL);
            assert_eq!(at(last + seconds(1)), Action::Wait(last + seconds(PING)));
            assert_eq!(at(stalled), Action::Disconnect(SLOW_READER));
        });
    }

    #[test]
    fn an_expired_token_ends_the_session() {
        with_timers(Some(seconds(10)), |mut timers, start| {
            let mut at = |time| timers.next_action(time, &status(0), 0, || false);
            assert_eq!(at(start), Action::Wait(start + seconds(10)));
            assert_eq!(at(start + seconds(10)), Action::Drain(EXPIRED));
        });
    }

    #[test]
    fn memory_beyond_the_free_part_ends_the_session_only_under_lasting_pressure() {
        with_timers(None, |mut timers, start| {
            let mut at = |time, reserved, pressure| {
                let action = timers.next_action(time, &status(reserved), 0, || pressure);
                action == Action::Overloaded
            };
            let after = |grace: u32| start + grace * PRESSURE_GRACE;
            assert!(!at(start, 1, true));
            assert!(at(after(1), 1, true));
            assert!(!at(after(1), 1, false), "no pressure");
            assert!(!at(after(2), 0, true), "released in the meantime");
            assert!(!at(after(2), 1, true), "the time starts again");
        });
    }

    #[test]
    fn a_pong_confirms_only_the_ping_that_is_outstanding() {
        with_timers(None, |mut timers, start| {
            timers.on_ping(7, start);
            assert_eq!(timers.on_pong(&8_u64.to_be_bytes()), None);
            assert_eq!(timers.on_pong(b"7"), None);
            assert_eq!(timers.on_pong(&7_u64.to_be_bytes()), Some(7));
            assert_eq!(timers.on_pong(&7_u64.to_be_bytes()), None);
        });
    }
}
