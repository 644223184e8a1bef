//! What operators see of the receivers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::{WebhookEvent, WebhookUrl};
use crate::metrics::{WEBHOOK_EVENTS, WEBHOOK_LAG_MS};

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
    snapshot: Mutex<Snapshot>,
}

impl ReceiverStatus {
    pub(super) fn new(url: &WebhookUrl, events: &[WebhookEvent]) -> Self {
        Self {
            url: url.to_string(),
            events: events.to_vec(),
            snapshot: Mutex::default(),
        }
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

impl Snapshot {
    /// How long the oldest event that was not accepted has waited, in milliseconds.
    pub fn lag(&self, now: i64) -> u64 {
        let waited = self.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
        u64::try_from(waited).unwrap_or(0)
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

    /// Updates the metric of the lag: that of the slowest receiver.
    pub fn measure_lag(&self, now: i64) {
        let lags = self
            .receivers()
            .iter()
            .map(|receiver| receiver.lock().lag(now));
        WEBHOOK_LAG_MS.store(lags.max().unwrap_or(0), Ordering::Relaxed);
    }
}
