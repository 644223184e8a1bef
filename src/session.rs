//! One client connection: the task that reads frames, executes them, replays the inbox, writes, and closes.
//!
//! A session is one task on one worker thread. Other threads reach it only through its [`Outbox`]. Each turn of the task does
//! everything that is possible now, in this order: read frames (`frames`), read the inbox (`replay`), answer queries
//! (`queries`), write, check whether the session has ended, and act on timers (`keepalive`). A turn ends early when its
//! [`TurnBudget`] is spent; the rest is done in the next turn, after those of other sessions.
//!
//! [`open`] creates a session after the HTTP upgrade; `Phase` describes how it ends.

mod frames;
mod keepalive;
pub mod open;
mod params;
mod queries;
mod rate_limit;
mod replay;
mod state;

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::params::{AckMode, Auth, SessionParams, SessionQuery, UserSession};
pub use self::rate_limit::FrameLimits;
use self::state::{Phase, SessionState};
use crate::limits::memory::FREE_PER_SESSION;
use crate::metrics::Ended;
use crate::outbox::{Interest, Outbox, Status, wakeup};
use crate::websocket::TurnBudget;
use crate::websocket::stream::{MessageStream, ReadProgress};

/// Steps in one turn.
const STEPS_PER_TURN: usize = 16;

/// How a session ended, for the log.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// How the connection ended.
    pub how: &'static str,
    /// What caused the end: the reason of `goodbye`, a violated rule of RFC 6455, or the client.
    pub reason: &'static str,
}

/// A session and its connection.
struct Session<T> {
    stream: MessageStream<T>,
    state: SessionState,
    /// Bytes of a partly received message and of waiting queries, as last reported to the outbox.
    incoming: usize,
}

/// Runs a session until it has ended.
pub async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    stream: MessageStream<T>,
    params: Box<SessionParams>,
) -> End {
    // Runs also after a panic: other threads may keep the outbox, but it accepts no more frames and releases the socket.
    let _destroy = DestroyOnDrop(params.outbox.clone());
    let mut session = Session {
        stream,
        state: SessionState::new(*params, Instant::now()),
        incoming: 0,
    };
    let how = poll_fn(|cx| session.poll(cx)).await;
    End {
        how,
        reason: session.state.reason,
    }
}

/// Destroys an outbox when the session's task ends.
struct DestroyOnDrop(Arc<Outbox>);

impl Drop for DestroyOnDrop {
    fn drop(&mut self) {
        self.0.destroy();
        // A turn that panicked may have appended frames to other outboxes.
        if std::thread::panicking() {
            wakeup::run_deferred_wakeups();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    /// Runs one turn. `Ready` with how the connection ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let mut now = Instant::now();
        let mut turn = TurnBudget::new(now);
        for _ in 0..STEPS_PER_TURN {
            match self.step(cx, now, &mut turn) {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::End(how) => return Poll::Ready(how),
            }
            now = Instant::now();
            if turn.at(now) {
                break;
            }
        }
        // Wakes the task after the runtime has looked for other events. `wake_by_ref` would run it some sixty times before.
        pin!(tokio::task::yield_now()).poll(cx).map(|()| "-")
    }

    /// Does everything that is possible now, once.
    fn step(&mut self, cx: &mut Context<'_>, now: Instant, turn: &mut TurnBudget) -> Step {
        turn.resume();
        let status = self.state.outbox.start_turn();
        let reserved_before = status.reserved;
        if let Some(disconnect) = status.disconnect {
            self.state.start_draining(disconnect, now);
        }
        self.state.count_invalid(status.invalid, now);
        let congested = status.congested || self.state.queries.is_full();
        let paused = congested || self.state.is_delayed(now);
        if paused {
            // While the server does not read, silence says nothing about the client.
            self.state.keepalive.on_receive(now);
        }
        // In the last phases bytes are read and dropped, which needs no room.
        let reading = if !paused || self.state.is_ending() {
            self.poll_read(cx, now, turn)
        } else {
            Poll::Pending
        };
        self.state.finish_reading(turn.take_used(), now);
        // Frames for other sessions are sent before the replies to this client, and also if its connection is lost.
        wakeup::run_deferred_wakeups();
        let mut progress = match reading {
            Poll::Ready(Ok(more)) => more,
            Poll::Ready(Err(_)) => return Step::End("connection lost"),
            Poll::Pending => false,
        };
        let incoming = self.stream.incomplete_bytes() + self.state.queries.waiting_bytes();
        if self.incoming != incoming {
            self.incoming = incoming;
            self.state.outbox.set_incoming(self.incoming);
        }
        progress |= self.state.poll_deferred(cx);
        progress |= self.state.poll_replay(cx);
        progress |= self.state.poll_queries(cx);
        let ping_waits = self.state.poll_auto_ack(now);
        let interest = Interest {
            entries: self.state.keepalive.auto_ack() && !ping_waits,
            all: congested || self.state.phase != Phase::Open,
        };
        let Ok(written) = self.poll_write(cx, now, interest) else {
            return Step::End("connection lost");
        };
        let status = written.status;
        // Replay, queries or reading may have waited for room only.
        let room_awaited =
            congested || status.cursor <= status.head || self.state.queries.has_waiting();
        progress |= written.changed || written.wrote && room_awaited;
        // Bytes that another thread is writing may be gone in a moment.
        let flushing = status.unsent > 0 && self.stream.unsent() == 0;
        if status.reserved > reserved_before && !flushing && self.state.outbox.memory().is_full() {
            if status.unsent > FREE_PER_SESSION {
                Ended::Overloaded.count(1);
                // The client does not read; a goodbye would wait behind the unsent bytes.
                return Step::End("memory budget used up");
            }
            if self.state.overloaded(now) {
                return Step::Again;
            }
        }
        if let Some(how) = self.ended(cx, now, &status) {
            return Step::End(how);
        }
        progress |= self
            .state
            .poll_timers(cx, now, &status, self.stream.unsent());
        if progress { Step::Again } else { Step::Wait }
    }

    /// Reads and processes messages. `Ready(true)`: there may be more.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        turn: &mut TurnBudget,
    ) -> Poll<std::io::Result<bool>> {
        let Self { stream, state, .. } = self;
        let reading = match state.phase {
            _ if state.peer_closed => return Poll::Pending,
            Phase::Draining { .. } if state.final_read_done => return Poll::Pending,
            Phase::Discarding(_) => stream.poll_discard(cx),
            _ => stream.poll_read(cx, turn, &mut |message| state.on_message(message, now)),
        };
        // Reads until nothing is left: on a busy machine the runtime may not have noticed earlier that bytes had arrived, and one
        // turn does not read all that the kernel holds.
        let is_last =
            matches!(state.phase, Phase::Draining { read_until, .. } if now >= read_until);
        if is_last && !matches!(reading, Poll::Ready(Ok(ReadProgress::More))) {
            state.final_read_done = true;
        }
        let mut more = true;
        match std::task::ready!(reading)? {
            ReadProgress::More => state.keepalive.on_receive(now),
            ReadProgress::Drained => {
                state.keepalive.on_receive(now);
                more = false;
            }
            ReadProgress::End => state.peer_closed = true,
            ReadProgress::ProtocolError(error) => state.on_protocol_error(error),
        }
        Poll::Ready(Ok(more))
    }

    /// Writes until nothing is left or the socket accepts no more.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        interest: Interest,
    ) -> std::io::Result<Written> {
        let mut changed = false;
        let mut wrote = false;
        let mut spare = Vec::new();
        let outbox = &self.state.outbox;
        loop {
            let in_hand = self.stream.unsent_and_capacity();
            let taken = outbox.take(cx.waker(), in_hand, interest, spare);
            changed |= taken.changed;
            if in_hand.0 == 0 {
                // Any unsent bytes have waited only since now.
                self.state.keepalive.on_progress(now);
                if taken.bytes.is_empty() {
                    return Ok(Written {
                        changed,
                        wrote,
                        status: taken.status,
                    });
                }
                self.stream.set_out(taken.bytes);
            }
            let written = self.stream.poll_write(cx, &mut wrote)?;
            if wrote {
                self.state.keepalive.on_progress(now);
            }
            if written.is_pending() {
                // Reports the bytes still in hand, and that the task waits for room.
                let interest = Interest {
                    all: true,
                    ..interest
                };
                let taken = outbox.take(
                    cx.waker(),
                    self.stream.unsent_and_capacity(),
                    interest,
                    Vec::new(),
                );
                return Ok(Written {
                    changed: changed | taken.changed,
                    wrote,
                    status: taken.status,
                });
            }
            spare = self.stream.take_buffer();
        }
    }

    /// Returns how the connection ended, if nothing is left to do.
    fn ended(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        status: &Status,
    ) -> Option<&'static str> {
        let peer_closed = self.state.peer_closed;
        let (Phase::Closing(until) | Phase::Discarding(until)) = self.state.phase else {
            return peer_closed.then_some("peer gone");
        };
        // Another thread may be writing the last bytes.
        let in_hand = self.stream.unsent();
        if in_hand > 0 || status.unsent > 0 {
            return (now >= until || peer_closed && in_hand > 0).then_some("closed, unread");
        }
        if let Phase::Discarding(_) = self.state.phase {
            // The client may still be sending; the end of this direction tells it to stop.
            drop(self.stream.poll_shutdown(cx));
        }
        if peer_closed || now >= until {
            drop(self.stream.poll_shutdown(cx));
            return Some("closed");
        }
        None
    }
}

/// Result of [`Session::step`].
enum Step {
    /// More may be possible.
    Again,
    /// The task waits for its waker.
    Wait,
    /// The connection has ended, and how.
    End(&'static str),
}

/// Result of [`Session::poll_write`].
struct Written {
    /// Another thread has changed something since the turn began.
    changed: bool,
    /// The socket accepted bytes.
    wrote: bool,
    status: Status,
}

#[cfg(test)]
mod tests;
