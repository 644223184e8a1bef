//! How a store is set up: how long things are kept, and how much users may ask.

use std::fmt;
use std::sync::Arc;

/// How long things are kept (PROTOCOL section 5, "Two lifetimes").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    /// Entries of an inbox are kept for so many milliseconds,
    pub inbox_ms: i64,
    /// and at most so many of them.
    pub inbox_limit: u64,
    /// Messages are kept for so many milliseconds, but never shorter than the entries that show them; `None`: for ever.
    pub history_ms: Option<i64>,
}

/// Which entry a user's slowest live session is owed next, if the user has one: what a store asks before it removes entries
/// for their number.
#[derive(Clone)]
pub struct LiveCursors(Arc<AskOwed>);

type AskOwed = dyn Fn(&str) -> Option<u64> + Send + Sync;

impl LiveCursors {
    /// Asks `ask`, which must not wait.
    pub fn new(ask: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// The next entry owed to any live session of `user`.
    pub fn ask(&self, user: &str) -> Option<u64> {
        (self.0)(user)
    }
}

impl Default for LiveCursors {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for LiveCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owed")
    }
}

/// What users may ask of a store. Nothing is bounded by default but what is bounded everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Users that one user may block.
    pub blocks: u64,
    /// Whether users are written to only once they have connected.
    pub known_only: bool,
    /// Messages to users who have never connected: in all, and of one sender.
    pub unclaimed: u64,
    /// See `unclaimed`.
    pub unclaimed_of_one: u64,
}

impl Quotas {
    /// Whether messages to users who have never connected are bounded, and so counted.
    pub fn counts_unclaimed(&self) -> bool {
        self.unclaimed.min(self.unclaimed_of_one) < u64::MAX
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            blocks: u64::MAX,
            known_only: false,
            unclaimed: u64::MAX,
            unclaimed_of_one: u64::MAX,
        }
    }
}
