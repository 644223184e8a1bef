//! What is known of one user's presence: a state without a lock or a clock of its own.

use std::time::{Duration, Instant};

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
}

/// The time at which a user was last online; `None`: it is not known.
pub type LastSeen = Option<i64>;

impl Entry {
    /// The status that others see while a session exists. `None`: the user is offline for others.
    fn live(&self) -> Option<ShownStatus> {
        (self.sessions > 0).then_some(())?;
        match self.status.unwrap_or_default() {
            UserStatus::Online => Some(ShownStatus::Online),
            UserStatus::Away => Some(ShownStatus::Away),
            UserStatus::Busy => Some(ShownStatus::Busy),
            UserStatus::Invisible => None,
        }
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

    /// Changes the state with `change`, and notes if the user is not online any more for others, as of `now` and the time `at`.
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
        self.last_seen.get_or_insert(last_seen);
    }

    /// True if nothing refers to the user any more.
    pub fn is_idle(&self) -> bool {
        self.opening == 0 && self.sessions == 0
    }

    /// When the user ceases to be online for others. `None`: a session exists, or none has ended.
    pub fn ended_at(&self) -> Option<Instant> {
        self.ended.map(|(_, at)| at)
    }
}

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
