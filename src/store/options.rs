//! How a store is set up, besides its configuration.

use std::fmt;
use std::sync::Arc;

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
