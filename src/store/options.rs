//! How a store is opened.

use std::fmt;
use std::sync::Arc;

use super::events::EventFeed;
use crate::config::{PresenceMode, Quotas, Retention, RoomRules};

/// The settings of a store, and the state of the server that it needs.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long messages and inbox entries are kept.
    pub retention: Retention,
    /// Limits that are enforced at commit.
    pub quotas: Quotas,
    /// Rules of rooms.
    pub rooms: RoomRules,
    /// Who sees what a user has received.
    pub presence: PresenceMode,
    /// The entries that live sessions still need.
    pub live_cursors: LiveCursors,
    /// Called with two users who are not contacts any more.
    pub lost_contacts: ContactObserver,
    /// Keep events. `None`: there are no receivers.
    pub events: Option<EventFeed>,
}

impl StoreOptions {
    /// No quotas, no rooms and no live sessions.
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            quotas: Quotas::default(),
            rooms: RoomRules::default(),
            presence: PresenceMode::default(),
            live_cursors: LiveCursors::default(),
            lost_contacts: ContactObserver::default(),
            events: None,
        }
    }
}

/// What a store needs to know of a user's connected sessions.
///
/// Retention asks for the lowest replay cursor before it trims an inbox to its maximum number of entries, so that a slow but
/// connected client does not lose entries that it has not been sent.
#[derive(Clone)]
pub struct LiveCursors {
    lowest: Arc<Lookup<Option<u64>>>,
    has_session: Arc<Lookup<bool>>,
}

type Lookup<T> = dyn Fn(&str) -> T + Send + Sync;

impl LiveCursors {
    /// Calls these functions, which must not block.
    pub fn new(
        lowest: impl Fn(&str) -> Option<u64> + Send + Sync + 'static,
        has_session: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            lowest: Arc::new(lowest),
            has_session: Arc::new(has_session),
        }
    }

    /// The lowest entry that a connected session of `user` has not been sent; `None` if no session is connected.
    pub fn lowest(&self, user: &str) -> Option<u64> {
        (self.lowest)(user)
    }

    /// True if `user` has a session, also one whose inbox has not been opened yet.
    pub fn has_session(&self, user: &str) -> bool {
        (self.has_session)(user)
    }
}

/// No sessions.
impl Default for LiveCursors {
    fn default() -> Self {
        Self::new(|_| None, |_| false)
    }
}

impl fmt::Debug for LiveCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveCursors")
    }
}

/// Called with two users after retention has removed the last messages of one of them from their conversation.
#[derive(Clone)]
pub struct ContactObserver(Arc<Observe>);

type Observe = dyn Fn(&str, &str) + Send + Sync;

impl ContactObserver {
    /// Calls `observe` after the commit. It must not block.
    pub fn new(observe: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    /// Reports two users.
    pub fn report(&self, a: &str, b: &str) {
        (self.0)(a, b);
    }
}

/// Ignores the reports.
impl Default for ContactObserver {
    fn default() -> Self {
        Self::new(|_, _| {})
    }
}

impl fmt::Debug for ContactObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactObserver")
    }
}
