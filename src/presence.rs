//! Who is online: the status of users, and when they were last seen (PROTOCOL section 8).
//!
//! An entry exists for each user with a session, also one that is being opened, or whose last session has ended lately. The
//! stored status is read with the inbox of a session, before the session counts: so it is in memory for every user with a session.
//!
//! A [`Presence`] is a cheap handle over `Arc`. Its entries are split into shards; the mutex of a shard is held for one access. While
//! it is held, no lock of the registry or of the contacts is taken.

mod entry;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::entry::{Entry, LastSeen};
use crate::clock::Clock;
use crate::store::UserStatus;

const SHARDS: usize = 64;

type Shard = HashMap<Arc<str>, Entry>;

/// The presence of the users of this node.
#[derive(Clone, Debug)]
pub struct Presence {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Chooses the shard of a user. Seeded at random, so that clients cannot choose user ids of the same shard.
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// The time for which a user stays online after the end of the last session.
    grace: Duration,
    clock: Arc<Clock>,
}

/// The status of a user as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownStatus {
    /// The user has a session.
    Online,
    /// The user has a session and is away.
    Away,
    /// The user has a session and is not to be disturbed.
    Busy,
    /// The user has no session, or hides it.
    Offline,
}

/// The presence of a user as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The status.
    pub status: ShownStatus,
    /// While the user is offline: when the user was last online, if known, in milliseconds since 1970-01-01T00:00:00Z.
    pub last_seen: Option<i64>,
}

/// A session of a user, from before its inbox is read. Dropping it ends the session.
#[derive(Debug)]
pub struct PresentSession {
    presence: Presence,
    user: Arc<str>,
    is_open: bool,
}

/// No user is present.
impl Default for Presence {
    fn default() -> Self {
        Self::new(Duration::ZERO, Arc::new(Clock::new(0)))
    }
}

impl Presence {
    /// Users stay online for `grace` after the end of their last session.
    pub fn new(grace: Duration, clock: Arc<Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                hasher: RandomState::new(),
                shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
                grace,
                clock,
            }),
        }
    }

    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let index = self.shared.hasher.hash_one(user) as usize % SHARDS;
        // Every change leaves a shard consistent, so a panic elsewhere has not damaged it.
        let shard = self.shared.shards[index].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a user has a session and the status `invisible`. Nothing may reveal that such a user is online.
    pub fn is_invisible(&self, user: &str) -> bool {
        let shard = self.shard(user);
        shard
            .get(user)
            .is_some_and(|entry| entry.sessions > 0 && entry.status == Some(UserStatus::Invisible))
    }

    /// What those see of a user to whom the user is visible. Others see the user offline. The time is known only of users with a
    /// session, and for some time after it.
    pub fn shown(&self, user: &str) -> Shown {
        let now = Instant::now();
        let shard = self.shard(user);
        shard
            .get(user)
            .map_or(Shown::OFFLINE, |entry| entry.shown(now, self.shared.grace))
    }

    /// A session of a user is about to be opened. To be called before the stored status is read.
    pub fn register(&self, user: &Arc<str>) -> PresentSession {
        self.shard(user).entry(user.clone()).or_default().opening += 1;
        PresentSession {
            presence: self.clone(),
            user: user.clone(),
            is_open: false,
        }
    }

    /// A user has chosen another status.
    pub fn set_status(&self, user: &str, status: UserStatus) {
        self.change(user, |entry| entry.status = Some(status));
    }

    fn change(&self, user: &str, change: impl FnOnce(&mut Entry)) {
        let (now, at) = (Instant::now(), self.shared.clock.now());
        let mut shard = self.shard(user);
        if let Some(entry) = shard.get_mut(user) {
            entry.change(change, now, at);
            if entry.is_idle()
                && entry
                    .ended_at()
                    .is_none_or(|ended| ended + self.shared.grace <= now)
            {
                shard.remove(user);
            }
        }
    }
}

impl PresentSession {
    /// The session is open, and this was read from the store.
    pub fn open(&mut self, status: UserStatus, last_seen: LastSeen) {
        let was_open = std::mem::replace(&mut self.is_open, true);
        self.presence.change(&self.user, |entry| {
            entry.loaded(status, last_seen);
            if !was_open {
                entry.opening = entry.opening.saturating_sub(1);
                entry.sessions += 1;
            }
        });
    }
}

impl Drop for PresentSession {
    fn drop(&mut self) {
        let is_open = self.is_open;
        self.presence.change(&self.user, |entry| {
            let count = if is_open {
                &mut entry.sessions
            } else {
                &mut entry.opening
            };
            *count = count.saturating_sub(1);
        });
    }
}

impl Shown {
    /// Offline since an unknown time: what strangers see.
    pub const OFFLINE: Self = Self {
        status: ShownStatus::Offline,
        last_seen: None,
    };
}
