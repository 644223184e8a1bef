//! The users that a session watches.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use uuid::Uuid;

use super::notify::frame;
use super::{Presence, Shown};
use crate::outbox::Outbox;
use crate::store::Watched;

/// The number of users that a session may watch (PROTOCOL section 12).
const MAX_WATCHED: usize = 1000;

/// A session that watches a user.
#[derive(Debug)]
pub struct Watcher {
    /// The session.
    pub session: Arc<Outbox>,
    /// The two users are contacts; `None`: that is being read.
    pub is_mutual: Option<bool>,
    /// What the session was told last; `None`: its `watch` is not answered yet.
    pub sent: Option<Shown>,
}

/// The users that a session watches. Dropping it ends the notifications.
#[derive(Debug)]
pub struct Watches {
    presence: Presence,
    session: Arc<Outbox>,
    users: HashSet<Arc<str>>,
}

impl Watches {
    /// Nobody is watched yet.
    pub fn new(presence: Presence, session: Arc<Outbox>) -> Self {
        Self {
            presence,
            session,
            users: HashSet::new(),
        }
    }

    /// Starts to watch users. What happens from now on is noticed, but the session is told nothing of a user before
    /// [`Watches::answer`]. Returns those who were not watched before. `None`: they would be too many; nothing has changed.
    pub fn start(&mut self, users: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
        let mut added: Vec<Arc<str>> = Vec::new();
        for user in users.iter().filter(|user| !self.users.contains(*user)) {
            if !added.contains(user) {
                added.push(user.clone());
            }
        }
        if self.users.len() + added.len() > MAX_WATCHED {
            return None;
        }
        for user in &added {
            self.users.insert(user.clone());
            let mut shard = self.presence.shard(user);
            let entry = shard.entry(user.clone()).or_default();
            entry.watchers.insert(
                self.session.session(),
                Watcher {
                    session: self.session.clone(),
                    is_mutual: None,
                    sent: None,
                },
            );
        }
        let watches = &self.presence.shared.watches;
        watches.fetch_add(added.len(), Ordering::AcqRel);
        Some(added)
    }

    /// Tells the session the presence of a user whom it watches, as of now.
    pub fn answer(&self, user: &str, found: Watched, reference: Option<&str>) {
        let now = Instant::now();
        let mut shard = self.presence.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        entry.loaded_last_seen(found.last_seen);
        let shown = entry.shown(now, self.presence.shared.grace);
        let Some(watcher) = entry.watcher(self.session.session()) else {
            return;
        };
        // What was noticed since is newer than what was read.
        watcher.is_mutual.get_or_insert(found.is_mutual);
        let view = self.presence.view(user, watcher, shown);
        watcher.sent = Some(view);
        self.session.send(&frame(user, view, reference));
    }

    /// Ends the notifications about users.
    pub fn stop(&mut self, users: &[Arc<str>]) {
        for user in users {
            if self.users.remove(user) {
                self.presence.unwatch(user, self.session.session());
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for user in std::mem::take(&mut self.users) {
            self.presence.unwatch(&user, self.session.session());
        }
    }
}

impl Presence {
    fn unwatch(&self, user: &Arc<str>, session: Uuid) {
        self.shared.watches.fetch_sub(1, Ordering::AcqRel);
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        entry.watchers.remove(&session);
        self.keep_or_remove(&mut shard, user, Instant::now());
    }
}
