//! How a store is opened.

use std::fmt;
use std::sync::Arc;

use crate::config::{Quotas, Retention};

/// The settings of a store, and the state of the server that it needs.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long messages and inbox entries are kept.
    pub retention: Retention,
    /// Limits that are enforced at commit.
    pub quotas: Quotas,
    /// The entries that live sessions still need.
    pub live_cursors: LiveCursors,
}

impl StoreOptions {
    /// No quotas and no live sessions.
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            quotas: Quotas::default(),
            live_cursors: LiveCursors::default(),
        }
    }
}

/// Returns the lowest replay cursor among a user's connected sessions. Retention calls it before it trims an inbox to its
/// maximum number of entries, so that a slow but connected client does not lose entries that it has not been sent.
#[derive(Clone)]
pub struct LiveCursors(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<u64> + Send + Sync;

impl LiveCursors {
    /// Calls `lookup`, which must not block.
    pub fn new(lookup: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The lowest entry that a connected session of `user` has not been sent; `None` if no session is connected.
    pub fn lowest(&self, user: &str) -> Option<u64> {
        (self.0)(user)
    }
}

/// No sessions.
impl Default for LiveCursors {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for LiveCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveCursors")
    }
}
