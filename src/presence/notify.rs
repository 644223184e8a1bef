//! Notifies the sessions that watch a user of what they see changed.
//!
//! A notification does not depend on the change: the state that a session sees now is compared with what it was told last. So changes
//! that follow each other are announced together, and a frame for which a slow session has no room is sent later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::watch::Watcher;
use super::{Presence, Shown, ShownStatus};
use crate::config::PresenceMode;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::server::{self, PresenceStatus};
use crate::protocol::{ServerFrame, Timestamp};
use crate::store::Relation;
use crate::websocket;

/// The notifications about one user have at least this distance.
const COALESCE: Duration = Duration::from_secs(1);
/// The distance of two passes.
const PASS: Duration = Duration::from_millis(50);
/// The time between two passes without work.
const IDLE: Duration = Duration::from_secs(3600);
/// The number of watching sessions that are notified while a shard is locked.
const CHUNK: usize = 64;
/// The task writes to so many sessions of one pass itself; the tasks of the others write.
const INLINE_WRITES: usize = 16;
/// The number of relations that are looked up in the store at the same time.
const LOOKUPS: usize = 256;
/// More watching users and groups than these are not kept one by one: the relations to all are looked up.
const MAX_USERS: usize = 256;
const MAX_GROUPS: usize = 4;

type Group = Arc<[Arc<str>]>;

/// What the task has to do.
#[derive(Debug, Default)]
pub struct Work {
    /// Users whose watchers are to be notified, not before a time.
    changed: HashMap<Arc<str>, Instant>,
    /// Users of whom others may be contacts since lately, or not any more.
    relations: HashMap<Arc<str>, Scope>,
    /// Users whose entries are to be looked at.
    scheduled: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
}

/// The watching users whose relation to a user may have changed.
#[derive(Debug, Default)]
struct Scope {
    users: HashSet<Arc<str>>,
    groups: Vec<Group>,
    /// All.
    all: bool,
}

impl Scope {
    fn add_user(&mut self, user: &Arc<str>) {
        self.users.insert(user.clone());
        if self.users.len() > MAX_USERS {
            self.add_all();
        }
    }

    fn add_group(&mut self, group: &Group) {
        self.groups.push(group.clone());
        if self.groups.len() > MAX_GROUPS {
            self.add_all();
        }
    }

    fn add_all(&mut self) {
        *self = Self {
            all: true,
            ..Self::default()
        };
    }
}

/// The groups of a pass, as sets.
#[derive(Default)]
struct Groups(Vec<(Group, HashSet<Arc<str>>)>);

impl Groups {
    fn add(&mut self, group: &Group) {
        if !self.0.iter().any(|(known, _)| Arc::ptr_eq(known, group)) {
            let set = group.iter().cloned().collect();
            self.0.push((group.clone(), set));
        }
    }

    fn contains(&self, group: &Group, user: &str) -> bool {
        let found = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, group));
        found.is_some_and(|(_, set)| set.contains(user))
    }
}

/// Encodes each state of a user once.
struct Frames<'a> {
    user: &'a str,
    encoded: Vec<(Shown, Vec<u8>)>,
    sessions: usize,
}

impl<'a> Frames<'a> {
    fn new(user: &'a str) -> Self {
        Self {
            user,
            encoded: Vec::new(),
            sessions: 0,
        }
    }

    fn of(&mut self, view: Shown) -> &[u8] {
        let known = self.encoded.iter().position(|(known, _)| *known == view);
        let index = known.unwrap_or_else(|| {
            let mut bytes = Vec::new();
            websocket::write_text(&mut bytes, |out| frame(self.user, view, None).write(out));
            self.encoded.push((view, bytes));
            self.encoded.len() - 1
        });
        self.encoded.get(index).map_or(&[], |(_, bytes)| bytes)
    }

    fn written_by(&mut self) -> WrittenBy {
        self.sessions += 1;
        if self.sessions <= INLINE_WRITES {
            WrittenBy::AppendingThread
        } else {
            WrittenBy::Task
        }
    }
}

/// The frame for a session that sees a user so.
pub fn frame<'a>(user: &'a str, view: Shown, reference: Option<&'a str>) -> ServerFrame<'a> {
    ServerFrame::Presence(server::Presence {
        user,
        status: view.status.into(),
        last_seen: view.last_seen.map(Timestamp),
        reference,
    })
}

impl From<ShownStatus> for PresenceStatus {
    fn from(status: ShownStatus) -> Self {
        match status {
            ShownStatus::Online => Self::Online,
            ShownStatus::Away => Self::Away,
            ShownStatus::Busy => Self::Busy,
            ShownStatus::Offline => Self::Offline,
        }
    }
}

impl Presence {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.shared
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a watching session sees of a user.
    pub(super) fn view(&self, user: &str, watcher: &Watcher, shown: Shown) -> Shown {
        let other = watcher.session.user();
        self.seen_by(other, user, watcher.is_mutual.unwrap_or(false), shown)
    }

    /// What `viewer` sees of a user.
    fn seen_by(&self, viewer: &str, user: &str, is_mutual: bool, shown: Shown) -> Shown {
        let blocks = &self.shared.blocks;
        let relation = Relation {
            is_self: viewer == user,
            is_mutual,
            has_block: blocks.contains(user, viewer) || blocks.contains(viewer, user),
        };
        // With `off` users see not even their own presence: they see it as others do.
        let mode = self.shared.mode;
        if mode != PresenceMode::Off && relation.is_visible(mode) {
            shown
        } else {
            Shown::OFFLINE
        }
    }

    /// What a member of a small room sees of another one.
    pub fn shown_to_member(&self, viewer: &str, user: &str) -> PresenceStatus {
        let shown = self.shown(user);
        self.seen_by(viewer, user, true, shown).status.into()
    }

    /// The watchers of a user are to be notified. The caller holds the lock of the user's shard.
    pub(super) fn mark_changed(&self, user: &Arc<str>, notified_at: Option<Instant>) {
        let now = Instant::now();
        let due = notified_at.map_or(now, |at| at + COALESCE);
        self.work().changed.insert(user.clone(), due);
        self.shared.has_work.notify_one();
    }

    /// The entry of a user is to be looked at. The caller holds the lock of the user's shard.
    pub(super) fn schedule(&self, user: &Arc<str>, at: Instant) {
        let mut work = self.work();
        let is_first = work.scheduled.peek().is_none_or(|first| at < first.0.0);
        work.scheduled.push(Reverse((at, user.clone())));
        drop(work);
        if is_first {
            self.shared.has_work.notify_one();
        }
    }

    /// Two users may see each other from now on, or not any more, because of what they have in common.
    pub fn relation_changed(&self, a: &Arc<str>, b: &Arc<str>) {
        if a != b {
            self.add_relations(a, |scope| scope.add_user(b));
            self.add_relations(b, |scope| scope.add_user(a));
        }
    }

    /// The same for any two of these users.
    pub fn relations_changed_among(&self, users: &Group) {
        for user in users.iter() {
            self.add_relations(user, |scope| scope.add_group(users));
        }
    }

    fn add_relations(&self, user: &Arc<str>, add: impl FnOnce(&mut Scope)) {
        let is_relevant = self.shared.mode == PresenceMode::Contacts;
        if !is_relevant || self.shared.watches.load(Ordering::Acquire) == 0 {
            return;
        }
        let shard = self.shard(user);
        if shard
            .get(user)
            .is_some_and(|entry| !entry.watchers.is_empty())
        {
            add(self.work().relations.entry(user.clone()).or_default());
            self.shared.has_work.notify_one();
        }
    }

    /// One of two users blocks the other, or does not any more: their sessions are notified at once.
    pub fn block_changed(&self, a: &str, b: &str, wakeups: &mut WakeupBatch) {
        if self.shared.watches.load(Ordering::Acquire) > 0 {
            self.update(a, b, None, wakeups);
            self.update(b, a, None, wakeups);
        }
    }

    /// Notifies the sessions of `viewer` that watch `user`, after their relation was looked up, if `is_mutual` is known.
    fn update(&self, user: &str, viewer: &str, is_mutual: Option<bool>, wakeups: &mut WakeupBatch) {
        let mut shard = self.shard(user);
        let Some((key, _)) = shard.get_key_value(user) else {
            return;
        };
        let key = key.clone();
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        let shown = entry.shown(Instant::now(), self.shared.grace);
        let mut frames = Frames::new(user);
        let watchers = entry.watchers.values_mut();
        let mut all_sent = true;
        for watcher in watchers.filter(|watcher| &**watcher.session.user() == viewer) {
            if is_mutual.is_some() {
                watcher.is_mutual = is_mutual;
            }
            all_sent &= self.push(watcher, shown, &mut frames, wakeups);
        }
        if !all_sent {
            self.mark_changed(&key, Some(Instant::now()));
        }
    }

    /// Notifies a session if it sees another state than it was told. False: it has no room.
    fn push(
        &self,
        watcher: &mut Watcher,
        shown: Shown,
        frames: &mut Frames<'_>,
        wakeups: &mut WakeupBatch,
    ) -> bool {
        let Some(told) = watcher.sent else {
            return true;
        };
        let view = self.view(frames.user, watcher, shown);
        if view == told {
            return true;
        }
        let by = frames.written_by();
        let (sent, wakeup) = watcher.session.push_ephemeral(frames.of(view), by);
        wakeups.add(&watcher.session, wakeup);
        if sent {
            watcher.sent = Some(view);
        }
        sent
    }

    /// Notifies sessions, and removes entries that are not used any more, for as long as the server runs.
    pub async fn run(self) {
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        loop {
            let next = self.pass(&lookups);
            tokio::select! {
                () = self.shared.has_work.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
            tokio::time::sleep(PASS).await;
        }
    }

    /// Does what is due. Returns when more is.
    fn pass(&self, lookups: &Arc<Semaphore>) -> Instant {
        let now = Instant::now();
        for (at, user) in self.take_scheduled(now) {
            self.look_at(&user, at, now);
        }
        for user in self.take_changed(now) {
            self.notify_watchers(&user, now);
        }
        let has_more = self.look_up_relations(lookups);
        let work = self.work();
        let changed = work.changed.values().copied();
        let scheduled = work.scheduled.peek().map(|first| first.0.0);
        let more = has_more.then_some(now + PASS);
        changed
            .chain(scheduled)
            .chain(more)
            .fold(now + IDLE, Instant::min)
    }

    fn take_scheduled(&self, now: Instant) -> Vec<(Instant, Arc<str>)> {
        let mut work = self.work();
        let mut due = Vec::new();
        while work.scheduled.peek().is_some_and(|first| first.0.0 <= now) {
            due.extend(work.scheduled.pop().map(|Reverse(item)| item));
        }
        due
    }

    fn take_changed(&self, now: Instant) -> Vec<Arc<str>> {
        let mut work = self.work();
        let due = work.changed.extract_if(|_, at| *at <= now);
        due.map(|(user, _)| user).collect()
    }

    /// Notifies all sessions that watch a user.
    fn notify_watchers(&self, user: &Arc<str>, now: Instant) {
        let sessions: Vec<_> = {
            let mut shard = self.shard(user);
            let Some(entry) = shard.get_mut(user) else {
                return;
            };
            entry.notified_at = Some(now);
            entry.watchers.keys().copied().collect()
        };
        let mut frames = Frames::new(user);
        for sessions in sessions.chunks(CHUNK) {
            let mut wakeups = WakeupBatch::default();
            let mut shard = self.shard(user);
            let Some(entry) = shard.get_mut(user) else {
                return;
            };
            let shown = entry.shown(Instant::now(), self.shared.grace);
            let mut all_sent = true;
            for session in sessions {
                if let Some(watcher) = entry.watcher(*session) {
                    all_sent &= self.push(watcher, shown, &mut frames, &mut wakeups);
                }
            }
            if !all_sent {
                self.mark_changed(user, Some(now));
            }
            drop(shard);
            wakeups.run();
        }
    }

    /// Looks up relations that may have changed. True: some wait for a later pass.
    fn look_up_relations(&self, lookups: &Arc<Semaphore>) -> bool {
        let relations = std::mem::take(&mut self.work().relations);
        let mut groups = Groups::default();
        let mut has_more = false;
        for (user, scope) in relations {
            scope.groups.iter().for_each(|group| groups.add(group));
            let is_meant = |viewer: &str| {
                scope.all
                    || scope.users.contains(viewer)
                    || scope
                        .groups
                        .iter()
                        .any(|group| groups.contains(group, viewer))
            };
            for viewer in self.viewers(&user, is_meant) {
                if !self.look_up_relation(&user, &viewer, lookups) {
                    has_more = true;
                    let mut work = self.work();
                    work.relations
                        .entry(user.clone())
                        .or_default()
                        .add_user(&viewer);
                }
            }
        }
        has_more
    }

    /// The users of the sessions that watch a user.
    fn viewers(&self, user: &Arc<str>, is_meant: impl Fn(&str) -> bool) -> HashSet<Arc<str>> {
        let shard = self.shard(user);
        let entry = shard.get(user);
        let watchers = entry.into_iter().flat_map(|entry| entry.watchers.values());
        let viewers = watchers.map(|watcher| watcher.session.user());
        viewers
            .filter(|viewer| is_meant(viewer) && *viewer != user)
            .cloned()
            .collect()
    }

    /// Looks up the relation of two users, and notifies the sessions of `viewer`. False: too many are being looked up.
    fn look_up_relation(
        &self,
        user: &Arc<str>,
        viewer: &Arc<str>,
        lookups: &Arc<Semaphore>,
    ) -> bool {
        let contacts = &self.shared.contacts;
        if let Some(is_mutual) = contacts.are_contacts(user, viewer) {
            let mut wakeups = WakeupBatch::default();
            self.update(user, viewer, Some(is_mutual), &mut wakeups);
            wakeups.run();
            return true;
        }
        let Ok(permit) = lookups.clone().try_acquire_owned() else {
            return false;
        };
        let (presence, watched, watching) = (self.clone(), user.clone(), viewer.clone());
        contacts.ask(user, viewer, move |is_mutual| {
            drop(permit);
            let mut wakeups = WakeupBatch::default();
            presence.update(&watched, &watching, Some(is_mutual), &mut wakeups);
            wakeups.run();
            // The relation may have changed again during the lookup. Then the result is not cached.
            if presence.shared.contacts.are_contacts(&watched, &watching) != Some(is_mutual) {
                presence.relation_changed(&watched, &watching);
            }
        });
        true
    }
}
