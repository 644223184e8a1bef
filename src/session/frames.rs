//! Frames from the client: what a session does with each message, and with frames that it rejects.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Instant;

use super::state::{DRAIN_BYTES, Phase, SessionState};
use crate::counters::{Limit, RECEIVED_BYTES};
use crate::delivery::send_error;
use crate::metrics::count_rejected;
use crate::outbox::disconnect::{TOO_FAST, TOO_MANY_BAD};
use crate::protocol::{ErrorCode, FrameError, Parsed, Ref, Scanned, Tape};
use crate::router::{Command, CommandError, Executed, Query, Source};
use crate::store::DeviceRef;
use crate::websocket::{Incoming, Opcode};

thread_local! {
    /// The scanner's memory, shared by the sessions of a worker thread.
    static TAPE: RefCell<Tape> = RefCell::default();
}

impl SessionState {
    /// Processes a WebSocket message from the client. `Break`: the next one must wait.
    pub(super) fn on_message(&mut self, message: Incoming<'_>, now: Instant) -> ControlFlow<()> {
        let has_rate =
            matches!(message, Incoming::Text(_) | Incoming::Binary(_)) && self.user.is_some();
        if !has_rate {
            self.control_frames += 1;
        }
        match message {
            Incoming::Close(code) => {
                self.peer_closed = true;
                self.send_last(|outbox| outbox.close(code), "client", now);
            }
            _ if self.is_ending() => {}
            Incoming::Text(text) if self.user.is_some() => self.on_text(text, now),
            Incoming::Binary(_) if self.user.is_some() => self.on_binary(now),
            Incoming::Text(text) => self.outbox.echo(Opcode::Text, text.as_bytes()),
            Incoming::Binary(bytes) => self.outbox.echo(Opcode::Binary, bytes),
            Incoming::Ping(payload) => self.outbox.pong(payload),
            Incoming::Pong(payload) => self.on_pong(payload),
        }
        if self.deferred.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_text(&mut self, text: &str, now: Instant) {
        self.outbox.count_frame(now);
        TAPE.with_borrow_mut(|tape| {
            let scanned = Scanned::new(tape, text);
            let reference = || scanned.reference();
            let tag = scanned.tag();
            let is_type = |name| tag.is_some_and(|tag| tag.is_text(name));
            if is_type("received") {
                // It has no reply, so it is delayed instead of rejected.
                self.control_frames += 1;
            } else {
                let is_ping = is_type("ping");
                if !self.within_rate(is_ping, now, reference) {
                    self.count_rejected(ErrorCode::RateLimited, &scanned);
                    return;
                }
            }
            let Some(user) = &mut self.user else {
                return;
            };
            match scanned.parse(user.contract.current()) {
                Ok(parsed) => {
                    if let Err(rejected) = self.on_frame(&parsed, now) {
                        let reference = reference();
                        let reference = reference.as_ref().map(Ref::as_str);
                        let retry_after_ms = rejected.retry_after_ms;
                        send_error(&self.outbox, &rejected.error, reference, retry_after_ms);
                        self.count_rejected(rejected.error.code, &scanned);
                        self.count_invalid(rejected.error.code.is_bad_frame().into(), now);
                    }
                }
                Err(error) => {
                    self.reject(&error, reference().as_ref(), now);
                    self.count_rejected(error.code, &scanned);
                }
            }
        });
    }

    /// Counts the content of a rejected frame, if it has one.
    fn count_rejected(&mut self, code: ErrorCode, scanned: &Scanned<'_, '_>) {
        let contract = self.user.as_mut().map(|user| user.contract.current());
        if let Some(content) = contract.and_then(|contract| scanned.content_label(contract)) {
            count_rejected(code, content);
        }
    }

    fn on_frame(&mut self, parsed: &Parsed<'_>, now: Instant) -> Result<(), CommandError> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        let time = *self.time.get_or_insert_with(|| user.router.now());
        let command = Command {
            actor: self.outbox.user(),
            quota: user.quota.as_ref(),
            frame: &parsed.frame,
            invalid_content: parsed.invalid_content.as_deref(),
            source: Source::Session(&self.outbox),
            time,
        };
        match user.router.execute(&command)? {
            Executed::Accepted => {}
            Executed::Reply(reply) => self.outbox.send(&reply),
            Executed::Query(query) => self.on_query(query, now),
            Executed::Deferred(ack) => self.deferred = Some(ack),
            Executed::Received(seq) => self.reported = self.reported.max(seq),
        }
        Ok(())
    }

    fn on_binary(&mut self, now: Instant) {
        if self.within_rate(false, now, || None) {
            let error = FrameError::new(
                ErrorCode::BinaryUnsupported,
                "expected a text message, found a binary one",
            );
            self.reject(&error, None, now);
        }
    }

    /// Queues a query, unless the user sends too many of them.
    fn on_query(&mut self, query: Query, now: Instant) {
        let Some(user) = &self.user else {
            return;
        };
        let users = &user.limits.users;
        let checked = if query.has_rate() {
            users.check_query(user.key)
        } else {
            Ok(())
        };
        match checked {
            Ok(()) => self.queries.push(query),
            Err(retry_after_ms) => {
                Limit::Queries.count(1);
                self.reject_rate(retry_after_ms, query.reference(), now);
            }
        }
    }

    /// With `ack=auto`, a pong confirms the entries that were written before its ping.
    fn on_pong(&mut self, payload: &[u8]) {
        let Some(seq) = self.keepalive.on_pong(payload) else {
            return;
        };
        // A pong confirms only entries that this session has sent: `since` does not move the watermark.
        let confirms = |user: &super::params::UserSession| seq >= user.replay_start;
        if self.keepalive.auto_ack() && self.user.as_ref().is_some_and(confirms) {
            self.keepalive.on_confirmed(seq);
            self.reported = self.reported.max(seq);
        }
    }

    /// Acts on what the frames since the last call have in common: the newest entry that the client has received, and their
    /// cost. `used`: fragments and bytes.
    pub(super) fn finish_reading(&mut self, (fragments, bytes): (u32, usize), now: Instant) {
        self.time = None;
        let seq = std::mem::take(&mut self.reported);
        if seq > 0 {
            self.on_received(seq, now);
        }
        let control_frames = std::mem::take(&mut self.control_frames) + fragments;
        if matches!(self.phase, Phase::Draining { .. }) {
            self.drained_bytes += bytes;
            self.final_read_done |= self.drained_bytes >= DRAIN_BYTES;
        }
        if bytes > 0 {
            RECEIVED_BYTES.add(bytes as u64);
            let shared = self.shared_read_rate.as_ref();
            let shared = shared.and_then(|rate| rate.spend(control_frames, bytes, now));
            self.delayed_until = self.read_rate.spend(control_frames, bytes, now).max(shared);
            if self.delayed_until.is_some() {
                Limit::Reading.count(1);
            }
        }
    }

    /// The device has received all entries up to `seq`.
    fn on_received(&mut self, seq: u64, now: Instant) {
        let Some(user) = &mut self.user else {
            return;
        };
        // Beyond the newest entry counts as the newest (PROTOCOL section 10).
        let seq = seq.min(self.outbox.status().head);
        if seq > user.received.unwrap_or(0) {
            user.received = Some(seq);
            self.keepalive.on_use(now);
            self.report_received(seq);
        }
    }

    /// Reports what the device has acknowledged; 0: only that it is in use.
    pub(super) fn report_received(&self, seq: u64) {
        if let Some(user) = &self.user {
            let device = DeviceRef {
                user: self.outbox.user().clone(),
                device: user.device.clone(),
            };
            user.router.received(device, self.outbox.session(), seq);
        }
    }

    /// Counts a frame, or a `ping`, against the limits of the session and the user. False: the frame was answered with
    /// `rate_limited` (PROTOCOL section 10, "Bad frames").
    fn within_rate<'a>(
        &mut self,
        is_ping: bool,
        now: Instant,
        reference: impl FnOnce() -> Option<Ref<'a>>,
    ) -> bool {
        let (rate, mut limit) = if is_ping {
            (&mut self.ping_rate, Limit::Pings)
        } else {
            (&mut self.rate, Limit::SessionFrames)
        };
        let retry_after_ms = rate.check(now).or_else(|| {
            let user = self.user.as_ref()?;
            let users = &user.limits.users;
            let checked = if is_ping {
                users.check_ping(user.key, now)
            } else {
                limit = Limit::UserFrames;
                users.check_frame(user.key, now)
            };
            checked.err()
        });
        if let Some(retry_after_ms) = retry_after_ms {
            limit.count(1);
            let reference = reference();
            self.reject_rate(retry_after_ms, reference.as_ref().map(Ref::as_str), now);
        }
        retry_after_ms.is_none()
    }

    /// Answers a frame with `rate_limited`. Ends the session of a client that ignores this error.
    fn reject_rate(&mut self, retry_after_ms: u64, reference: Option<&str>, now: Instant) {
        let error = FrameError::new(
            ErrorCode::RateLimited,
            "too many frames; this one was not processed",
        );
        send_error(&self.outbox, &error, reference, Some(retry_after_ms));
        if self.rejections.exceed(now) {
            self.send_goodbye(&TOO_FAST, now);
        }
    }

    /// Answers an invalid frame with `error`.
    fn reject(&mut self, error: &FrameError, reference: Option<&Ref<'_>>, now: Instant) {
        send_error(&self.outbox, error, reference.map(Ref::as_str), None);
        self.count_invalid(error.code.is_bad_frame().into(), now);
    }

    /// Counts invalid frames that were answered with `error`. Ends the session after too many of them.
    pub(super) fn count_invalid(&mut self, frames: u32, now: Instant) {
        for _ in 0..frames {
            if self.bad_frames.exceed(now) && !self.is_ending() {
                self.send_goodbye(&TOO_MANY_BAD, now);
            }
        }
    }
}
