//! What operators see of the receivers.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::wake::Wake;
use crate::config::{WebhookEvent, WebhookUrl};
use crate::metrics::WEBHOOK_EVENTS;

/// A receiver whose thread looks for new events within this time has no lag by them, in milliseconds.
const LOOKS_SOON: i64 = 1000;

/// Whether a receiver accepts events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The last post was accepted, or there was none.
    #[default]
    Active,
    /// No post was accepted since the last failure.
    Failing,
    /// The receiver has answered 410: nothing is posted until SIGHUP or a restart.
    Paused,
}

impl State {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failing => "failing",
            Self::Paused => "paused",
        }
    }
}

/// What has become of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has accepted the event.
    Delivered,
    /// It is posted again later.
    Retried,
    /// The event is given up.
    Dropped,
}

/// A receiver at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether it accepts events.
    pub state: State,
    /// The time of the oldest event that it has not accepted, in milliseconds since 1970-01-01T00:00:00Z.
    pub oldest: Option<i64>,
    /// The number of events that are being posted.
    pub in_flight: usize,
    /// Numbers of events that were accepted, of posts that were not, and of events that were dropped, since the server started.
    pub delivered: u64,
    /// See `delivered`.
    pub retried: u64,
    /// See `delivered`.
    pub dropped: u64,
    /// When an event was last accepted.
    pub last_delivered: Option<i64>,
    /// When and why a post has last failed.
    pub last_error: Option<(i64, String)>,
}

/// A receiver.
#[derive(Debug)]
pub struct ReceiverStatus {
    /// The URL without user, password and query.
    pub url: String,
    /// The events that it gets.
    pub events: Vec<WebhookEvent>,
    wake: Arc<Wake>,
    snapshot: Mutex<Snapshot>,
}

impl ReceiverStatus {
    pub(super) fn new(url: &WebhookUrl, events: &[WebhookEvent], wake: Arc<Wake>) -> Self {
        Self {
            url: url.to_string(),
            events: events.to_vec(),
            wake,
            snapshot: Mutex::default(),
        }
    }

    /// How long the oldest event that was not accepted has waited, in milliseconds: also if the receiver's thread could not look for it.
    pub fn lag(&self, now: i64) -> u64 {
        let told_at = self.wake.told_at();
        let not_looked_for = told_at.filter(|at| now.saturating_sub(*at) > LOOKS_SOON);
        let oldest = self.lock().oldest.into_iter().chain(not_looked_for).min();
        let waited = oldest.map_or(0, |oldest| now.saturating_sub(oldest));
        u64::try_from(waited).unwrap_or(0)
    }

    /// The receiver now.
    pub fn now(&self) -> Snapshot {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts events.
    pub(super) fn count(&self, outcome: Outcome, events: u64) {
        WEBHOOK_EVENTS[outcome as usize].add(events);
        let mut snapshot = self.lock();
        match outcome {
            Outcome::Delivered => snapshot.delivered += events,
            Outcome::Retried => snapshot.retried += events,
            Outcome::Dropped => snapshot.dropped += events,
        }
    }
}

/// All receivers. There are none before they are started.
#[derive(Debug, Default)]
pub struct Statuses(OnceLock<Vec<Arc<ReceiverStatus>>>);

impl Statuses {
    pub(super) fn set(&self, receivers: Vec<Arc<ReceiverStatus>>) {
        // Once, at the start.
        drop(self.0.set(receivers));
    }

    /// The receivers in the order of the setting.
    pub fn receivers(&self) -> &[Arc<ReceiverStatus>] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// The lag of the slowest receiver, in milliseconds.
    pub fn lag(&self, now: i64) -> u64 {
        let lags = self.receivers().iter().map(|receiver| receiver.lag(now));
        lags.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::clock::Clock;
    use crate::webhooks::wake::Wakes;

    #[test]
    fn events_that_a_thread_does_not_look_for_are_late() {
        let (sender, _inputs) = channel();
        let wake = Wake::new(Arc::new(Clock::new(0)), sender);
        let url = "https://example.org/".parse().expect("a URL");
        let status = ReceiverStatus::new(&url, &[], wake.clone());
        let (statuses, wakes) = (Statuses::default(), Wakes::default());
        statuses.set(vec![Arc::new(status)]);
        wakes.set(vec![wake.clone()]);
        assert_eq!(statuses.lag(i64::MAX), 0);
        wakes.wake();
        let told_at = wake.told_at().expect("it was told");
        assert_eq!(statuses.lag(told_at + LOOKS_SOON), 0);
        assert_eq!(statuses.lag(told_at + 5000), 5000);
        // An event that fails may be older, or not.
        statuses.receivers()[0].lock().oldest = Some(told_at + 1000);
        assert_eq!(statuses.lag(told_at + 5000), 5000);
        wake.taken();
        assert_eq!(statuses.lag(told_at + 5000), 4000);
    }
}
