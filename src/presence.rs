//! Who is online: the status of users, when they were last seen, and which sessions watch them (PROTOCOL section 12).
//!
//! An entry exists for each user with a session, also one that is being opened, or whose last session has ended lately, or who is
//! watched. The stored status is read with the inbox of a session, before the session counts: so it is in memory for every user with
//! a session. The time at which a user was last online is read for those who are watched.
//!
//! A [`Presence`] is a cheap handle over `Arc`. Its entries are split into shards; the mutex of a shard is held for one access, or
//! while some of the sessions that watch a user are notified. While it is held, no lock of the registry is taken.
//!
//! What is stored ([`Write::Seen`](crate::store::Write::Seen)) is queued under the lock of the user's shard, so that it has the order
//! of the changes.

mod entry;
mod notify;
mod relations;
#[cfg(test)]
mod tests;
mod viewer;
mod watch;
mod work;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use tokio::sync::Notify;

use self::entry::{Entry, LastSeen, Transition};
pub use self::watch::{StartedWatch, WatchError, Watches};
use self::work::Work;
use crate::blocks::Blocks;
use crate::clock::Clock;
use crate::config::{PresenceConfig, PresenceMode};
use crate::contacts::regroupings::Regroupings;
use crate::readers::Readers;
use crate::store::UserStatus;

const SHARDS: usize = 64;
/// The memory for one user whom a session watches. The users whom all sessions watch may use as much as `--buffer-bytes`.
pub const BYTES_PER_WATCH: usize = 1 << 10;
/// An entry is kept for this time after the user was online, at least: meanwhile the store records it.
const RECORDED_AFTER: Duration = Duration::from_secs(5);

type Shard = HashMap<Arc<str>, Entry, RandomState>;
/// Stores that a user is online for others, or until when the user was.
type Recorder = Box<dyn Fn(&Arc<str>, Option<i64>) + Send + Sync>;
/// Is told what contacts see of a user who has come online or is not online any more, and when that was noticed.
type Observer = Box<dyn Fn(&Arc<str>, Shown, i64) + Send + Sync>;

/// The presence of the users of this node.
#[derive(Clone, Debug)]
pub struct Presence {
    shared: Arc<Shared>,
}

struct Shared {
    /// Chooses the shard of a user. Seeded at random, so that clients cannot choose user ids of the same shard.
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// Who sees whom.
    mode: PresenceMode,
    /// The time for which a user stays online after the end of the last session.
    grace: Duration,
    clock: Arc<Clock>,
    blocks: Arc<Blocks>,
    /// The changes of who is a contact of whom.
    regroupings: Regroupings,
    readers: OnceLock<Readers>,
    recorder: OnceLock<Recorder>,
    observer: OnceLock<Observer>,
    /// The number of entries of invisible users.
    invisible: AtomicUsize,
    /// The number of users that sessions watch, each counted for each session.
    watches: AtomicUsize,
    max_watches: usize,
    work: Mutex<Work>,
    /// Notified when there is work that may be due.
    has_work: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
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
        let clock = Arc::new(Clock::new(0));
        let config = PresenceConfig::default();
        Self::new(&config, clock, Arc::default(), usize::MAX)
    }
}

impl Presence {
    /// Nobody is present. `config` tells who sees whom, and how long users stay online after the end of their last session. All sessions
    /// together watch at most `max_watches` users, each counted for each session.
    pub fn new(
        config: &PresenceConfig,
        clock: Arc<Clock>,
        blocks: Arc<Blocks>,
        max_watches: usize,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                hasher: RandomState::new(),
                shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
                mode: config.presence,
                grace: Duration::from_secs(config.presence_grace_seconds),
                clock,
                blocks,
                regroupings: Regroupings::default(),
                readers: OnceLock::new(),
                recorder: OnceLock::new(),
                observer: OnceLock::new(),
                invisible: AtomicUsize::new(0),
                watches: AtomicUsize::new(0),
                max_watches,
                work: Mutex::default(),
                has_work: Notify::new(),
            }),
        }
    }

    /// Sets what stores when users were online. Without it, nothing is stored.
    pub fn set_recorder(&self, record: impl Fn(&Arc<str>, Option<i64>) + Send + Sync + 'static) {
        drop(self.shared.recorder.set(Box::new(record)));
    }

    /// Sets what is told of users who come online for their contacts, and of those who are not online any more. It is called under the
    /// lock of a shard, and must not block.
    pub fn set_observer(&self, observe: impl Fn(&Arc<str>, Shown, i64) + Send + Sync + 'static) {
        drop(self.shared.observer.set(Box::new(observe)));
    }

    /// Sets the readers that look up who is a contact of whom. Without them, a changed relation stays unknown.
    pub fn set_readers(&self, readers: Readers) {
        drop(self.shared.readers.set(readers));
    }

    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let index = self.shared.hasher.hash_one(user) as usize % SHARDS;
        // Every change leaves a shard consistent, so a panic elsewhere has not damaged it.
        let shard = self.shared.shards[index].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a user has the status `invisible`. Nothing may reveal that such a user is online. It is known of each user with a
    /// session.
    pub fn is_invisible(&self, user: &str) -> bool {
        // Mostly there are none. A caller that has found a session finds it counted: the status is known before the session opens.
        self.shared.invisible.load(Ordering::Acquire) > 0
            && self.shard(user).get(user).is_some_and(Entry::is_invisible)
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

    /// A user has chosen another status, which was stored at `at`.
    pub fn set_status(&self, user: &Arc<str>, status: UserStatus, at: i64) {
        self.change(user, |entry| entry.status = Some(status), at);
    }

    /// A user without sessions was erased: nothing is known of a user with this name.
    pub fn forget(&self, user: &Arc<str>) {
        let now = Instant::now();
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        if entry.is_invisible() {
            self.shared.invisible.fetch_sub(1, Ordering::AcqRel);
        }
        entry.forget();
        self.announce(user, entry, now, self.shared.clock.now());
        if !entry.viewers.is_empty() {
            self.mark_changed(user, entry.notified_at);
        }
        self.keep_or_remove(&mut shard, user, now);
    }

    fn change(&self, user: &Arc<str>, change: impl FnOnce(&mut Entry), at: i64) {
        let now = Instant::now();
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        let was_invisible = entry.is_invisible();
        let transition = entry.change(change, now, at);
        match (was_invisible, entry.is_invisible()) {
            (false, true) => drop(self.shared.invisible.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.shared.invisible.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        let recorder = self.shared.recorder.get();
        match (transition, recorder) {
            (Transition::Online, Some(record)) => record(user, None),
            (Transition::Offline, Some(record)) => record(user, Some(at)),
            _ => {}
        }
        self.announce(user, entry, now, at);
        if transition != Transition::None && !entry.viewers.is_empty() {
            self.mark_changed(user, entry.notified_at);
        }
        self.keep_or_remove(&mut shard, user, now);
    }

    /// Tells the observer if contacts see the user online now and have not before, or the other way round.
    fn announce(&self, user: &Arc<str>, entry: &mut Entry, now: Instant, at: i64) {
        let Some(observe) = self.shared.observer.get() else {
            return;
        };
        let shown = entry.shown(now, self.shared.grace);
        let is_online = shown.status != ShownStatus::Offline;
        if self.shared.mode != PresenceMode::Off && is_online != entry.is_announced {
            entry.is_announced = is_online;
            observe(user, shown, at);
        }
    }

    /// Removes the entry of a user if it is not used any more, or schedules the next look at it.
    fn keep_or_remove(&self, shard: &mut Shard, user: &Arc<str>, now: Instant) {
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        let grace = self.shared.grace;
        let ends = entry.ended_at().map(|at| at + grace);
        let removable = entry.ended_at().map(|at| at + grace.max(RECORDED_AFTER));
        let next = match ends {
            Some(at) if at > now => Some(at),
            _ if !entry.is_unused() => None,
            _ => match removable.filter(|at| *at > now) {
                None => {
                    if entry.is_invisible() {
                        self.shared.invisible.fetch_sub(1, Ordering::AcqRel);
                    }
                    shard.remove(user);
                    return;
                }
                at => at,
            },
        };
        if let Some(at) = next
            && entry.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            entry.scheduled = Some(at);
            self.schedule(user, at);
        }
    }

    /// Looks at an entry as scheduled: the grace of its user may have ended.
    fn look_at(&self, user: &Arc<str>, scheduled: Instant, now: Instant) {
        let mut shard = self.shard(user);
        if let Some(entry) = shard.get_mut(user) {
            entry.scheduled = entry.scheduled.filter(|at| *at != scheduled);
            self.announce(user, entry, now, self.shared.clock.now());
            let has_ended = |at: Instant| at + self.shared.grace <= now;
            if !entry.viewers.is_empty() && entry.ended_at().is_some_and(has_ended) {
                self.mark_changed(user, entry.notified_at);
            }
        }
        self.keep_or_remove(&mut shard, user, now);
    }
}

impl PresentSession {
    /// The session is open, and this was read from the store.
    pub fn open(&mut self, status: UserStatus, last_seen: LastSeen) {
        let was_open = std::mem::replace(&mut self.is_open, true);
        self.change(|entry| {
            entry.loaded(status, last_seen);
            if !was_open {
                entry.opening = entry.opening.saturating_sub(1);
                entry.sessions += 1;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let at = self.presence.shared.clock.now();
        self.presence.change(&self.user, change, at);
    }
}

impl Drop for PresentSession {
    fn drop(&mut self) {
        let is_open = self.is_open;
        self.change(|entry| {
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
