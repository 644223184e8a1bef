//! What the process counts of messages, sessions and requests, which `GET /metrics` and `/monitor` show. [`crate::counters`] has the
//! counters themselves.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::counted;
pub use crate::counters::{Counter, Histogram, Recorded};
use crate::protocol::server::AckStatus;
use crate::protocol::{ContentLabel, ErrorCode, ServerFrame};

/// Entries and ephemeral messages that were given to sessions.
pub static DELIVERIES: Counter = Counter::new();
/// Errors that answered frames and calls of the HTTP API, by [`ErrorCode`].
pub static ERRORS: [Counter; ErrorCode::ALL.len()] =
    [const { Counter::new() }; ErrorCode::ALL.len()];
/// Ephemeral messages, by [`ContentLabel`].
static EPHEMERAL_CONTENTS: [Counter; ContentLabel::COUNT] =
    [const { Counter::new() }; ContentLabel::COUNT];
/// The time of a commit.
pub static COMMIT: Histogram = Histogram::new();
/// The time from accepting a message until it was given to the sessions of its recipients.
pub static DELIVERY: Histogram = Histogram::new();
/// Commits that have failed.
pub static COMMIT_FAILURES: Counter = Counter::new();
/// Sessions that were opened.
pub static SESSIONS_OPENED: Counter = Counter::new();
/// Attempts to deliver webhook events: delivered, retried, dropped.
pub static WEBHOOK_EVENTS: [Counter; 3] = [const { Counter::new() }; 3];
/// Responses of the operations port, by the place of their status in [`API_STATUSES`].
pub static API_REQUESTS: [Counter; API_STATUSES.len() + 1] =
    [const { Counter::new() }; API_STATUSES.len() + 1];
/// Requests to the operations port that are not answered yet.
static API_REQUESTS_IN_PROGRESS: AtomicU64 = AtomicU64::new(0);

/// The statuses by which responses are counted; all others together have the last counter.
pub const API_STATUSES: [u16; 15] = [
    101, 200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 426, 429, 500, 503,
];

/// Contents that were not accepted, by code and [`ContentLabel`]. Without cells, as they are few.
static REJECTED_CONTENTS: [[AtomicU64; ContentLabel::COUNT]; ErrorCode::ALL.len()] =
    [const { [const { AtomicU64::new(0) }; ContentLabel::COUNT] }; ErrorCode::ALL.len()];

counted! {
    /// What became of a message.
    pub enum MessageOutcome in MESSAGES {
        /// It was stored.
        Stored = "stored",
        /// It had been stored before.
        Duplicate = "duplicate",
        /// An ephemeral message reached a session of a visible user.
        Relayed = "relayed",
        /// An ephemeral message reached no session.
        Dropped = "dropped",
        /// An ephemeral message was forwarded to the sessions of a user who is not visible, if there are any.
        Sent = "sent",
    }
}

counted! {
    /// Why a WebSocket request, or a connection, was refused: the codes of the responses.
    pub enum Refusal in REFUSALS {
        /// The request is invalid.
        InvalidRequest = "invalid_request",
        /// The token is missing or not accepted.
        Unauthorized = "unauthorized",
        /// The user, the origin or the host is not allowed.
        Forbidden = "forbidden",
        /// A limit of connections is reached.
        TooManyConnections = "too_many_connections",
        /// The server shuts down.
        Draining = "draining",
        /// The store did not open the inbox, or the key of the token is not known yet.
        Overloaded = "overloaded",
        /// Any other reason.
        Other = "other",
    }
}

impl Refusal {
    /// The one with this code.
    pub fn of(code: &str) -> Self {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == code);
        known.unwrap_or(Self::Other)
    }
}

counted! {
    /// Why the server has ended a session: the reasons of `goodbye`.
    pub enum Ended in ENDED {
        /// The server shuts down.
        Shutdown = "shutdown",
        /// The user has opened more sessions than are allowed.
        TooManySessions = "too_many_sessions",
        /// An operator has closed the session.
        Disconnected = "disconnected",
        /// The token has expired.
        TokenExpired = "token_expired",
        /// The client sent too many invalid frames.
        TooManyBadFrames = "too_many_bad_frames",
        /// The client sent too many frames.
        RateLimited = "rate_limited",
        /// A frame was too large.
        TooLarge = "too_large",
        /// The client did not read.
        SlowReader = "slow_reader",
        /// The inbox could not be read.
        StoreUnavailable = "store_unavailable",
        /// The memory for unsent messages was used up.
        Overloaded = "overloaded",
        /// Any other reason.
        Other = "other",
    }
}

impl Ended {
    /// The one with this reason.
    pub fn of(reason: &str) -> Self {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == reason);
        known.unwrap_or(Self::Other)
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

/// Counts an ephemeral message that was accepted.
pub fn count_ephemeral(content: ContentLabel) {
    EPHEMERAL_CONTENTS[content.index()].add(1);
}

/// Ephemeral messages that were accepted, by content.
pub fn ephemeral_contents() -> impl Iterator<Item = (ContentLabel, u64)> {
    ContentLabel::all().zip(EPHEMERAL_CONTENTS.iter().map(Counter::get))
}

/// Counts a content that was not accepted.
pub fn count_rejected(code: ErrorCode, content: ContentLabel) {
    REJECTED_CONTENTS[code as usize][content.index()].fetch_add(1, Ordering::Relaxed);
}

/// Contents that were not accepted, without the kinds of which there is none.
pub fn rejected_contents() -> impl Iterator<Item = (ErrorCode, ContentLabel, u64)> {
    let codes = ErrorCode::ALL.iter().zip(&REJECTED_CONTENTS);
    let all = codes.flat_map(|(code, counts)| {
        let counts = ContentLabel::all().zip(counts);
        counts.map(|(content, count)| (*code, content, count.load(Ordering::Relaxed)))
    });
    all.filter(|(_, _, count)| *count > 0)
}

/// A request to the operations port that is not answered yet.
#[derive(Debug)]
#[must_use]
pub struct RequestInProgress(());

impl RequestInProgress {
    /// Counts it until it is dropped.
    pub fn start() -> Self {
        API_REQUESTS_IN_PROGRESS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// The number of those that are not answered yet.
    pub fn count() -> u64 {
        API_REQUESTS_IN_PROGRESS.load(Ordering::Relaxed)
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        API_REQUESTS_IN_PROGRESS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a response of the operations port.
pub fn count_response(status: u16) {
    let known = API_STATUSES.iter().position(|known| *known == status);
    API_REQUESTS[known.unwrap_or(API_STATUSES.len())].add(1);
}
