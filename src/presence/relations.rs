//! Changes of who is a contact of whom, for the users who watch each other.
//!
//! A change is recorded on the writer's thread: for a pair in its [`Viewer`], for a group once for each member ([`Regroupings`]).
//! From then on the relation of the pair is not known, and the viewer is told nothing until it has been looked up. The lookups
//! follow in the order of a list of pairs, in batches, one at a time, after openings and beside the queries of users.
//!
//! [`Regroupings`]: crate::contacts::regroupings::Regroupings

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Presence;
use super::notify::Frames;
use super::viewer::{Pair, Viewer};
use super::work::Scan;
use crate::config::PresenceMode;
use crate::outbox::wakeup::WakeupBatch;

/// The number of relations in one lookup.
const LOOKUPS: usize = 256;
/// The number of relations after whose lookup sessions are woken.
const CHUNK: usize = 64;
/// The number of viewers who are looked at while a shard is locked, and in one pass.
const SCANNED: usize = 256;
const SCANNED_IN_PASS: usize = 8192;
/// After a failed lookup, the next one is made after this time.
const RETRY: Duration = Duration::from_secs(1);

impl Presence {
    /// Two users may see each other from now on, or not any more, because of what they have in common.
    pub fn relation_changed(&self, a: &Arc<str>, b: &Arc<str>) {
        if a != b && self.has_relations() {
            self.set_changed(a, b);
            self.set_changed(b, a);
        }
    }

    /// The same for any two of these users.
    pub fn relations_changed_among(&self, users: &[Arc<str>]) {
        if !self.has_relations() {
            return;
        }
        self.shared.regroupings.add(users);
        for user in users {
            let mut shard = self.shard(user);
            if let Some(entry) = shard.get_mut(user)
                && !entry.viewers.is_empty()
                && !std::mem::replace(&mut entry.is_scan_queued, true)
            {
                let scan = Scan {
                    user: user.clone(),
                    after: None,
                };
                self.work().scans.push_back(scan);
                self.shared.has_work.notify_one();
            }
        }
    }

    /// False: no relation matters. A user who begins to watch is counted before the relations are read.
    fn has_relations(&self) -> bool {
        self.shared.mode == PresenceMode::Contacts && self.shared.watches.load(Ordering::SeqCst) > 0
    }

    fn set_changed(&self, user: &Arc<str>, viewer: &Arc<str>) {
        let mut shard = self.shard(user);
        let entry = shard.get_mut(user);
        if let Some(watching) = entry.and_then(|entry| entry.viewers.get_mut(viewer)) {
            watching.set_changed(self.shared.regroupings.next());
            self.queue_lookup(user, viewer, watching);
        }
    }

    /// The relation is to be looked up. The caller holds the lock of the user's shard.
    fn queue_lookup(&self, user: &Arc<str>, viewer: &Arc<str>, watching: &mut Viewer) {
        if !std::mem::replace(&mut watching.is_queued, true) {
            self.work().lookups.push_back(Pair {
                user: user.clone(),
                viewer: viewer.clone(),
            });
            self.shared.has_work.notify_one();
        }
    }

    /// Looks for old relations of users whose groups have changed. What is left is done in a later pass.
    pub(super) fn scan(&self) {
        let mut left = SCANNED_IN_PASS;
        while left > 0 {
            let Some(scan) = self.work().scans.pop_front() else {
                return;
            };
            let (scanned, rest) = self.scan_some(scan);
            left = left.saturating_sub(scanned.max(1));
            if let Some(rest) = rest {
                self.work().scans.push_front(rest);
            }
        }
    }

    /// Looks at some viewers. Returns their number, and what is left.
    fn scan_some(&self, Scan { user, after }: Scan) -> (usize, Option<Scan>) {
        let mut shard = self.shard(&user);
        let Some(entry) = shard.get_mut(&user) else {
            return (0, None);
        };
        if after.is_none() {
            entry.is_scan_queued = false;
        }
        let first = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let viewers = entry.viewers.range_mut::<str, _>((first, Bound::Unbounded));
        let (mut scanned, mut last) = (0, None);
        for (viewer, watching) in viewers.take(SCANNED) {
            scanned += 1;
            last = Some(viewer);
            if *viewer != user && watching.is_old(&self.shared.regroupings, &user, viewer) {
                self.queue_lookup(&user, viewer, watching);
            }
        }
        let after = last.filter(|_| scanned == SCANNED).cloned();
        drop(shard);
        let rest = after.map(|last| Scan {
            user,
            after: Some(last),
        });
        (scanned, rest)
    }

    /// Starts to look up the next relations, unless some are being looked up.
    pub(super) fn look_up(&self) {
        let Some(readers) = self.shared.readers.get() else {
            return;
        };
        let Some(mut pairs) = self.work().take_lookups(Instant::now(), LOOKUPS) else {
            return;
        };
        pairs.retain(|pair| {
            let mut shard = self.shard(&pair.user);
            let entry = shard.get_mut(&pair.user);
            let viewer = entry.and_then(|entry| entry.viewers.get_mut(&pair.viewer));
            viewer.map(|viewer| viewer.is_queued = false).is_some()
        });
        let pairs: Arc<[Pair]> = pairs.into();
        let lookup = Lookup {
            presence: self.clone(),
            pairs: pairs.clone(),
            // After the pairs ceased to be queued: a change before that is read, and after one since then they are queued again.
            at: self.shared.regroupings.now(),
            found: None,
        };
        let users = pairs
            .iter()
            .map(|pair| (pair.user.clone(), pair.viewer.clone()))
            .collect();
        readers.relations(users, move |result| match result {
            Ok(found) => lookup.finish(found),
            Err(error) => log::error!("the store could not look up who sees a user: {error}"),
        });
    }

    /// The relation of a pair was read, or could not be read. `at`: the number of the last change before that.
    fn looked_up(&self, pair: &Pair, found: Option<bool>, at: u64, wakeups: &mut WakeupBatch) {
        let Pair { user, viewer } = pair;
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(user) else {
            return;
        };
        let shown = entry.shown(Instant::now(), self.shared.grace);
        let Some(watching) = entry.viewers.get_mut(viewer) else {
            return;
        };
        let regroupings = &self.shared.regroupings;
        // Until it can be read, the two count as strangers.
        let is_mutual = found.unwrap_or(false);
        if watching.set_mutual(is_mutual, at, regroupings, (user, viewer)) {
            self.notify(pair, watching, shown, &mut Frames::new(user), wakeups);
        }
        if found.is_none() {
            self.queue_lookup(user, viewer, watching);
        }
    }
}

/// A lookup of relations. If it is dropped, they could not be read.
struct Lookup {
    presence: Presence,
    pairs: Arc<[Pair]>,
    at: u64,
    found: Option<Vec<bool>>,
}

impl Lookup {
    fn finish(mut self, found: Vec<bool>) {
        self.found = Some(found);
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let found = self.found.take();
        for (n, pairs) in self.pairs.chunks(CHUNK).enumerate() {
            let mut wakeups = WakeupBatch::default();
            for (m, pair) in pairs.iter().enumerate() {
                let found = found.as_ref().and_then(|found| found.get(n * CHUNK + m));
                let presence = &self.presence;
                presence.looked_up(pair, found.copied(), self.at, &mut wakeups);
            }
            wakeups.run();
        }
        let mut work = self.presence.work();
        work.is_looking_up = false;
        if found.is_none() {
            work.not_before = Some(Instant::now() + RETRY);
        }
        drop(work);
        self.presence.shared.has_work.notify_one();
        self.presence.look_up();
    }
}
