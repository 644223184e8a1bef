//! The users who watch another user.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Shown;
use crate::contacts::regroupings::Regroupings;
use crate::outbox::Outbox;

/// A user who watches another one with at least one session, and what is known of the relation of the two.
///
/// The numbers are those of [`Regroupings`]: what was read at one of them is old if a later change concerns the two users.
#[derive(Debug)]
pub struct Viewer {
    /// The two users are contacts; `None`: that is to be read.
    is_mutual: Option<bool>,
    /// When `is_mutual` was read, or when the user began to watch.
    since: u64,
    /// The last change that concerned only these two users.
    changed: u64,
    /// The relation waits for a lookup.
    pub is_queued: bool,
    /// When the sessions are notified again.
    pub due: Option<Instant>,
    /// The sessions. They are few: the sessions of a user are limited.
    pub sessions: Vec<Watcher>,
}

/// A session that watches a user.
#[derive(Debug)]
pub struct Watcher {
    /// The session.
    pub session: Arc<Outbox>,
    /// What the session was told last; `None`: its `watch` is not answered yet.
    pub sent: Option<Shown>,
}

/// Two users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The user who is watched.
    pub user: Arc<str>,
    /// The user who watches.
    pub viewer: Arc<str>,
}

impl Viewer {
    /// A user who begins to watch.
    pub fn new(now: u64) -> Self {
        Self {
            is_mutual: None,
            since: now,
            changed: now,
            is_queued: false,
            due: None,
            sessions: Vec::with_capacity(1),
        }
    }

    /// The relation may have changed with this number. It is not known until it has been read again.
    pub fn set_changed(&mut self, at: u64) {
        self.is_mutual = None;
        self.changed = at;
    }

    /// True if the relation must be read again because of a group with both users.
    pub fn is_old(&self, regroupings: &Regroupings, user: &str, viewer: &str) -> bool {
        regroupings.concern(user, viewer, self.since)
    }

    /// Whether the two users are contacts. `None`: it is not known until it has been read.
    pub fn is_mutual(&self, regroupings: &Regroupings, user: &str, viewer: &str) -> Option<bool> {
        let is_mutual = self.is_mutual?;
        (!self.is_old(regroupings, user, viewer)).then_some(is_mutual)
    }

    /// The relation was read. `at`: the number of the last change before that. False: it has changed since.
    pub fn set_mutual(
        &mut self,
        is_mutual: bool,
        at: u64,
        regroupings: &Regroupings,
        (user, viewer): (&str, &str),
    ) -> bool {
        if self.changed > at || regroupings.concern(user, viewer, at) {
            return false;
        }
        self.is_mutual = Some(is_mutual);
        self.since = at;
        true
    }

    /// The session with this id.
    pub fn watcher(&mut self, session: Uuid) -> Option<&mut Watcher> {
        let mut sessions = self.sessions.iter_mut();
        sessions.find(|watcher| watcher.session.session() == session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_is_unknown_after_a_change_until_it_has_been_read_again() {
        let regroupings = Regroupings::default();
        let group: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut viewer = Viewer::new(regroupings.now());
        let known = |viewer: &Viewer| viewer.is_mutual(&regroupings, "a", "b");
        let set = |viewer: &mut Viewer, at| viewer.set_mutual(true, at, &regroupings, ("a", "b"));
        assert_eq!(known(&viewer), None);
        assert!(set(&mut viewer, regroupings.now()));
        assert_eq!(known(&viewer), Some(true));
        let before = regroupings.now();
        regroupings.add(&group);
        assert_eq!(known(&viewer), None);
        assert!(!set(&mut viewer, before), "it was read before the change");
        assert_eq!(known(&viewer), None);
        assert!(set(&mut viewer, regroupings.now()));
        assert_eq!(known(&viewer), Some(true));
        let before = regroupings.now();
        viewer.set_changed(regroupings.next());
        assert!(!set(&mut viewer, before), "it was read before the change");
        assert_eq!(known(&viewer), None);
        assert!(set(&mut viewer, regroupings.now()));
        assert_eq!(known(&viewer), Some(true));
    }
}
