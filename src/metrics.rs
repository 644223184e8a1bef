//! Counters and histograms of the process, which `GET /metrics` and `/monitor` show.
//!
//! They are on the path of every frame, so they are statics with relaxed atomics instead of a registry of a library: `prometheus-client`
//! guards a histogram by a lock, and the `metrics` crate finds a counter through a recorder at each use. A counter that several threads
//! use at the same time has a cell for each of them, so that they do not share a cache line. The writer's thread counts once for each
//! batch. Nothing here allocates or blocks.

mod histogram;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use self::histogram::{Histogram, Recorded};
use crate::protocol::server::AckStatus;
use crate::protocol::{ErrorCode, ServerFrame};

/// Entries and ephemeral messages that were given to sessions.
pub static DELIVERIES: Counter = Counter::new();
/// Errors that answered frames and calls of the HTTP API, by [`ErrorCode`].
pub static ERRORS: [Counter; ErrorCode::ALL.len()] =
    [const { Counter::new() }; ErrorCode::ALL.len()];
/// Messages by [`MessageOutcome`].
pub static MESSAGES: [Counter; MessageOutcome::ALL.len()] =
    [const { Counter::new() }; MessageOutcome::ALL.len()];
/// The time of a commit.
pub static COMMIT: Histogram = Histogram::new();
/// The time from accepting a message until it was given to the sessions of its recipients.
pub static DELIVERY: Histogram = Histogram::new();
/// Attempts to deliver webhook events: delivered, retried, dropped.
pub static WEBHOOK_EVENTS: [Counter; 3] = [const { Counter::new() }; 3];
/// How far webhooks are behind the store, in milliseconds.
pub static WEBHOOK_LAG_MS: AtomicU64 = AtomicU64::new(0);
/// Responses of the operations port, by the place of their status in [`API_STATUSES`].
pub static API_REQUESTS: [Counter; API_STATUSES.len() + 1] =
    [const { Counter::new() }; API_STATUSES.len() + 1];

/// The statuses by which responses are counted; all others together have the last counter.
pub const API_STATUSES: [u16; 15] = [
    101, 200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 426, 429, 500, 503,
];

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It was stored.
    Stored,
    /// It had been stored before.
    Duplicate,
    /// An ephemeral message reached a session of a visible user.
    Relayed,
    /// An ephemeral message reached no session.
    Dropped,
    /// An ephemeral message was forwarded to the sessions of a user who is not visible, if there are any.
    Sent,
}

impl MessageOutcome {
    /// All outcomes.
    pub const ALL: [Self; 5] = [
        Self::Stored,
        Self::Duplicate,
        Self::Relayed,
        Self::Dropped,
        Self::Sent,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Relayed => "relayed",
            Self::Dropped => "dropped",
            Self::Sent => "sent",
        }
    }

    /// Counts messages with this outcome.
    pub fn count(self, messages: u64) {
        MESSAGES[self as usize].add(messages);
    }
}

/// Counts a frame that answers a session, if it is an error or the ack of an ephemeral message. Stored messages are counted where they
/// are committed.
pub fn count_reply(frame: &ServerFrame<'_>) {
    match frame {
        ServerFrame::Error(error) => count_error(error.code),
        ServerFrame::Ack(ack) => count_ack(ack.status),
        _ => {}
    }
}

/// Counts an ephemeral message, by the status in its ack.
pub fn count_ack(status: AckStatus) {
    match status {
        AckStatus::Stored => {}
        AckStatus::Relayed => MessageOutcome::Relayed.count(1),
        AckStatus::Dropped => MessageOutcome::Dropped.count(1),
        AckStatus::Sent => MessageOutcome::Sent.count(1),
    }
}

/// Counts an error.
pub fn count_error(code: ErrorCode) {
    ERRORS[code as usize].add(1);
}

/// Counts a response of the operations port.
pub fn count_response(status: u16) {
    let known = API_STATUSES.iter().position(|known| *known == status);
    API_REQUESTS[known.unwrap_or(API_STATUSES.len())].add(1);
}

/// Threads that can use a counter without sharing a cache line.
const CELLS: usize = 8;

/// A cell of a counter, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// A counter for many threads.
#[derive(Debug)]
pub struct Counter([Cell; CELLS]);

impl Counter {
    /// A counter at 0.
    pub(crate) const fn new() -> Self {
        Self([const { Cell(AtomicU64::new(0)) }; CELLS])
    }

    /// Adds to the counter.
    pub fn add(&self, count: u64) {
        self.0[cell()].0.fetch_add(count, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        let cells = self.0.iter();
        cells.map(|cell| cell.0.load(Ordering::Relaxed)).sum()
    }
}

/// The cell of the current thread.
fn cell() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static CELL: usize = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS;
    }
    CELL.with(|cell| *cell)
}
