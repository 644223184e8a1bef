//! What is known of one user's presence: a state without a lock or a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::viewer::Viewer;
use super::{Shown, ShownStatus};
use crate::store::UserStatus;

/// The presence of a user.
#[derive(Debug, Default)]
pub struct Entry {
    /// Number of sessions that are being opened.
    pub opening: usize,
    /// Number of open sessions.
    pub sessions: usize,
    /// The stored status; `None`: it was not read yet.
    pub status: Option<UserStatus>,
    /// The status that others saw last while the user was online, and when that ended.
    ended: Option<(ShownStatus, Instant)>,
    /// When the user was last online, in milliseconds since 1970-01-01T00:00:00Z; `None`: it was not read yet.
    last_seen: Option<LastSeen>,
    /// The users who watch the user.
    pub viewers: BTreeMap<Arc<str>, Box<Viewer>>,
    /// Some viewers may have an old relation, for which the task has not begun to look.
    pub is_scan_queued: bool,
    /// The observer was told that the user is online.
    pub is_announced: bool,
    /// When the watchers were last notified.
    pub notified_at: Option<Instant>,
    /// When the entry is looked at next.
    pub scheduled: Option<Instant>,
}

/// The time at which a user was last online; `None`: it is not known.
pub type LastSeen = Option<i64>;

/// How a change of an [`Entry`] looks to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Nothing has changed.
    None,
    /// The status has changed.
    Status,
    /// The user has come online.
    Online,
    /// The user is not online any more.
    Offline,
}

impl Entry {
    /// The status that others see while a session exists. `None`: the user is offline for others.
    fn live(&self) -> Option<ShownStatus> {
        if self.sessions == 0 {
            return None;
        }
        match self.status.unwrap_or_default() {
            UserStatus::Online => Some(ShownStatus::Online),
            UserStatus::Away => Some(ShownStatus::Away),
            UserStatus::Busy => Some(ShownStatus::Busy),
            UserStatus::Invisible => None,
        }
    }

    /// True if the user hides being online.
    pub fn is_invisible(&self) -> bool {
        self.status == Some(UserStatus::Invisible)
    }

    /// What others see.
    pub fn shown(&self, now: Instant, grace: Duration) -> Shown {
        let status = self.live().or_else(|| {
            let (status, at) = self.ended?;
            (now < at + grace).then_some(status)
        });
        match status {
            Some(status) => Shown {
                status,
                last_seen: None,
            },
            None => Shown {
                status: ShownStatus::Offline,
                last_seen: self.last_seen.flatten(),
            },
        }
    }

    /// Changes the state with `change`. If the user is not online any more for others, that is so as of `now` and the time `at`.
    pub fn change(&mut self, change: impl FnOnce(&mut Self), now: Instant, at: i64) -> Transition {
        let before = self.live();
        change(self);
        match (before, self.live()) {
            (None, Some(_)) => {
                self.ended = None;
                Transition::Online
            }
            (Some(status), None) => {
                self.ended = Some((status, now));
                self.last_seen = Some(Some(at));
                Transition::Offline
            }
            (before, after) if before == after => Transition::None,
            _ => Transition::Status,
        }
    }

    /// The stored state was read. What has happened since is newer.
    pub fn loaded(&mut self, status: UserStatus, last_seen: LastSeen) {
        self.status.get_or_insert(status);
        self.loaded_last_seen(last_seen);
    }

    /// The stored time was read. What has happened since is newer.
    pub fn loaded_last_seen(&mut self, last_seen: LastSeen) {
        self.last_seen.get_or_insert(last_seen);
    }

    /// The user was erased, and has no session: nothing is known.
    pub fn forget(&mut self) {
        self.status = None;
        self.ended = None;
        self.last_seen = Some(None);
    }

    /// True if no session of the user exists, and none watches the user.
    pub fn is_unused(&self) -> bool {
        self.opening == 0 && self.sessions == 0 && self.viewers.is_empty()
    }

    /// When the user ceased to have a session that others see. `None`: there is one, or none was seen since the entry exists.
    pub fn ended_at(&self) -> Option<Instant> {
        self.ended.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn shown(status: ShownStatus) -> Shown {
        Shown {
            status,
            last_seen: None,
        }
    }

    fn offline(last_seen: i64) -> Shown {
        Shown {
            status: ShownStatus::Offline,
            last_seen: Some(last_seen),
        }
    }

    #[test]
    fn a_user_is_online_with_a_session_and_for_the_grace_after_it() {
        let start = Instant::now();
        let mut entry = Entry::default();
        entry.loaded(UserStatus::Away, Some(7));
        assert_eq!(entry.shown(start, GRACE), offline(7));
        let open = entry.change(|entry| entry.sessions = 2, start, 10);
        assert_eq!(open, Transition::Online);
        assert_eq!(entry.shown(start, GRACE), shown(ShownStatus::Away));
        let one = entry.change(|entry| entry.sessions = 1, start, 20);
        assert_eq!(one, Transition::None);
        let none = entry.change(|entry| entry.sessions = 0, start, 30);
        assert_eq!(none, Transition::Offline);
        let before = start + GRACE.mul_f64(0.9);
        assert_eq!(entry.shown(before, GRACE), shown(ShownStatus::Away));
        assert_eq!(entry.shown(start + GRACE, GRACE), offline(30));
        assert_eq!(entry.shown(start, Duration::ZERO), offline(30));
    }

    #[test]
    fn an_invisible_user_looks_like_one_whose_last_session_has_ended() {
        let start = Instant::now();
        let mut entry = Entry::default();
        entry.loaded(UserStatus::Busy, None);
        entry.change(|entry| entry.sessions = 1, start, 10);
        let invisible = |entry: &mut Entry| entry.status = Some(UserStatus::Invisible);
        assert_eq!(entry.change(invisible, start, 20), Transition::Offline);
        assert_eq!(entry.shown(start, GRACE), shown(ShownStatus::Busy));
        assert_eq!(entry.shown(start + GRACE, GRACE), offline(20));
        // Sessions that come and go change nothing.
        let later = start + 2 * GRACE;
        for sessions in [2, 0, 1] {
            let change = entry.change(|entry| entry.sessions = sessions, later, 30);
            assert_eq!(change, Transition::None);
            assert_eq!(entry.shown(later, GRACE), offline(20));
        }
        let visible = |entry: &mut Entry| entry.status = Some(UserStatus::Online);
        assert_eq!(entry.change(visible, later, 40), Transition::Online);
        assert_eq!(entry.shown(later, GRACE), shown(ShownStatus::Online));
    }

    #[test]
    fn what_has_happened_is_newer_than_what_was_read() {
        let start = Instant::now();
        let mut entry = Entry::default();
        let changed = |entry: &mut Entry| {
            entry.status = Some(UserStatus::Away);
            entry.sessions = 1;
        };
        entry.change(changed, start, 10);
        entry.loaded(UserStatus::Online, Some(7));
        assert_eq!(entry.shown(start, GRACE), shown(ShownStatus::Away));
        entry.change(|entry| entry.sessions = 0, start, 20);
        entry.loaded_last_seen(Some(8));
        assert_eq!(entry.shown(start + GRACE, GRACE), offline(20));
    }
}
