//! The users that a session watches.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::notify::frame;
use super::viewer::{Viewer, Watcher};
use super::{Presence, Shown};
use crate::outbox::Outbox;
use crate::store::Watched;

/// The number of users that a session may watch (PROTOCOL section 12).
const MAX_WATCHED: usize = 1000;

/// Why users cannot be watched. None of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// The session would watch too many users.
    Session,
    /// All sessions together would.
    Server,
}

/// Users whom a session has begun to watch.
#[derive(Debug)]
pub struct StartedWatch {
    /// The users.
    pub users: Arc<[Arc<str>]>,
    /// Those who were not watched before.
    pub added: Vec<Arc<str>>,
    /// The number of the last change of relations before they are read.
    at: u64,
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
    /// [`Watches::answer`], for which they are to be read after this.
    ///
    /// # Errors
    /// They would be too many; nothing has changed.
    pub fn start(&mut self, users: Arc<[Arc<str>]>) -> Result<StartedWatch, WatchError> {
        let mut added: Vec<Arc<str>> = Vec::new();
        for user in users.iter().filter(|user| !self.users.contains(*user)) {
            if !added.contains(user) {
                added.push(user.clone());
            }
        }
        if self.users.len() + added.len() > MAX_WATCHED {
            return Err(WatchError::Session);
        }
        let parts = &self.presence.shared;
        // Counted before anything is read, so that no change of a relation is missed.
        let before = parts.watches.fetch_add(added.len(), Ordering::SeqCst);
        if before.saturating_add(added.len()) > parts.max_watches && !added.is_empty() {
            parts.watches.fetch_sub(added.len(), Ordering::SeqCst);
            return Err(WatchError::Server);
        }
        for user in &added {
            self.users.insert(user.clone());
            let mut shard = self.presence.shard(user);
            let entry = shard.entry(user.clone()).or_default();
            let viewer = entry.viewers.entry(self.session.user().clone());
            // The number is that of a moment at which the shard is locked: the lists of later changes have this viewer.
            let viewer = viewer.or_insert_with(|| Box::new(Viewer::new(parts.regroupings.now())));
            viewer.sessions.push(Watcher {
                session: self.session.clone(),
                sent: None,
            });
        }
        Ok(StartedWatch {
            users,
            added,
            at: parts.regroupings.now(),
        })
    }

    /// Tells the session the presence of the users whom it watches, as of now.
    pub fn answer(&self, started: &StartedWatch, found: Vec<Watched>, reference: Option<&str>) {
        for (user, found) in started.users.iter().zip(found) {
            self.answer_one(user, started.at, found, reference);
        }
    }

    fn answer_one(&self, user: &Arc<str>, at: u64, found: Watched, reference: Option<&str>) {
        let now = Instant::now();
        let parts = &self.presence.shared;
        let name = self.session.user();
        let mut shard = self.presence.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        entry.loaded_last_seen(found.last_seen);
        let shown = entry.shown(now, parts.grace);
        let Some(viewer) = entry.viewers.get_mut(name) else {
            return;
        };
        let regroupings = &parts.regroupings;
        if viewer.is_mutual(regroupings, user, name).is_none() {
            // If the relation has changed since it was read, it is looked up, and the session is notified then.
            viewer.set_mutual(found.is_mutual, at, regroupings, (user, name));
        }
        let is_mutual = viewer.is_mutual(regroupings, user, name);
        let Some(watcher) = viewer.watcher(self.session.session()) else {
            return;
        };
        let view = self.presence.seen_by(name, user, is_mutual, shown);
        let view = view.unwrap_or(Shown::OFFLINE);
        watcher.sent = Some(view);
        self.session.send(&frame(user, view, reference));
    }

    /// Ends the notifications about users.
    pub fn stop(&mut self, users: &[Arc<str>]) {
        for user in users {
            if self.users.remove(user) {
                self.presence.unwatch(user, &self.session);
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for user in std::mem::take(&mut self.users) {
            self.presence.unwatch(&user, &self.session);
        }
    }
}

impl Presence {
    fn unwatch(&self, user: &Arc<str>, session: &Outbox) {
        let mut shard = self.shard(user);
        if let Some(entry) = shard.get_mut(user) {
            if let Some(viewer) = entry.viewers.get_mut(session.user()) {
                let id = session.session();
                viewer
                    .sessions
                    .retain(|other| other.session.session() != id);
                if viewer.sessions.is_empty() {
                    entry.viewers.remove(session.user());
                }
            }
            self.keep_or_remove(&mut shard, user, Instant::now());
        }
        drop(shard);
        self.shared.watches.fetch_sub(1, Ordering::SeqCst);
    }
}
