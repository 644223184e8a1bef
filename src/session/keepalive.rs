//! What a session knows of its line, and when it has to look at it next.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::{AckMode, UserSession};
use crate::outbox::Status;

/// At most one ping a second for the sake of `ack=auto`.
pub const ACK_PING: Duration = Duration::from_secs(1);

/// What is known of the line.
pub struct KeepAlive {
    pub timer: Pin<Box<Sleep>>,
    /// When the timer is set to go off.
    pub armed: Instant,
    /// The peer gave a sign of life.
    pub heard: Instant,
    /// A text frame went out, and how many had by then.
    pub spoke: Instant,
    pub texts: u64,
    /// The socket took bytes, or had none to take.
    pub moved: Instant,
    /// Since when the session holds more than every session may.
    pub beyond: Option<Instant>,
    /// The last ping, and the entry that it confirms if it is under way.
    pub pinged: Instant,
    pub ping_of: Option<u64>,
    /// The newest entry that the peer has confirmed by a pong.
    pub confirmed: u64,
    /// Whether there is ever anything to confirm.
    pub asks: bool,
}

impl KeepAlive {
    pub fn new(now: Instant, messaging: Option<&UserSession>) -> Self {
        // With `ack=manual`, and for an echo, there is never anything to confirm.
        let confirmed = match messaging {
            Some(m) if m.ack == AckMode::Auto => m.received.max(m.replayed_from.saturating_sub(1)),
            _ => u64::MAX,
        };
        Self {
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            armed: now,
            heard: now,
            spoke: now,
            texts: 0,
            moved: now,
            beyond: None,
            pinged: now.checked_sub(ACK_PING).unwrap_or(now),
            ping_of: None,
            confirmed,
            asks: confirmed != u64::MAX,
        }
    }

    /// Whether entries have gone out that nothing has confirmed, and no ping is under way to ask.
    pub fn wants_ack_ping(&self, status: &Status) -> bool {
        self.ping_of.is_none() && status.cursor.saturating_sub(1) > self.confirmed
    }

    /// Waits for `next`. The timer is only moved when it would come too late; a timer that comes early costs one look.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, now: Instant, next: Instant) -> bool {
        if next < self.armed || now >= self.armed {
            self.armed = next;
            self.timer.as_mut().reset(next.into());
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}
