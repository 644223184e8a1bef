//! Notifies the sessions that watch a user of what they see changed.
//!
//! A notification does not depend on the change: the state that a session sees now is compared with what it was told last. So changes
//! that follow each other are announced together, and a frame for which a slow session has no room is sent later.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::viewer::{Pair, Viewer};
use super::work::Work;
use super::{Presence, Shown, ShownStatus};
use crate::config::PresenceMode;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::server::{self, PresenceStatus};
use crate::protocol::{ServerFrame, Timestamp};
use crate::store::Relation;
use crate::websocket;

/// The notifications about one user have at least this distance. A change by `unblock`, and a frame for which a session had no room, wait
/// so long.
const COALESCE: Duration = Duration::from_secs(1);
/// The distance of two passes.
const PASS: Duration = Duration::from_millis(50);
/// The time between two passes without work.
const IDLE: Duration = Duration::from_secs(3600);
/// The number of watching sessions that are notified while a shard is locked.
const CHUNK: usize = 64;
/// The number of pairs that are notified in one pass.
const PAIRS: usize = 4096;
/// The task writes to so many sessions of one pass itself; another thread writes to the others.
const INLINE_WRITES: usize = 16;

/// Encodes each state of a user once.
pub(super) struct Frames<'a> {
    user: &'a str,
    encoded: Vec<(Shown, Vec<u8>)>,
    sessions: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(user: &'a str) -> Self {
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
            WrittenBy::FanOutThread
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
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.shared
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a user sees of another one. `None`: it depends on whether the two are contacts, which has to be read first.
    pub(super) fn seen_by(
        &self,
        viewer: &str,
        user: &str,
        is_mutual: Option<bool>,
        shown: Shown,
    ) -> Option<Shown> {
        let (blocks, mode) = (&self.shared.blocks, self.shared.mode);
        let has_block = blocks.contains(user, viewer) || blocks.contains(viewer, user);
        let is_visible = |is_mutual| {
            let relation = Relation {
                is_self: viewer == user,
                is_mutual,
                has_block,
            };
            // With `off` users see not even their own presence: they see it as others do.
            mode != PresenceMode::Off && relation.is_visible(mode)
        };
        let is_visible = match is_mutual {
            Some(is_mutual) => is_visible(is_mutual),
            None => Some(is_visible(false)).filter(|without| *without == is_visible(true))?,
        };
        Some(if is_visible { shown } else { Shown::OFFLINE })
    }

    /// What a member of a small room sees of another one.
    pub fn shown_to_member(&self, viewer: &str, user: &str) -> PresenceStatus {
        let shown = self.shown(user);
        let seen = self.seen_by(viewer, user, Some(true), shown);
        seen.unwrap_or(Shown::OFFLINE).status.into()
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

    /// One of two users blocks the other, or does not any more. After a block, their sessions are notified at once; after its end, in
    /// a later pass.
    pub fn block_changed(
        &self,
        a: &Arc<str>,
        b: &Arc<str>,
        is_blocked: bool,
        wakeups: &mut WakeupBatch,
    ) {
        for (user, viewer) in [(a, b), (b, a)] {
            let pair = Pair {
                user: user.clone(),
                viewer: viewer.clone(),
            };
            self.with_viewer(&pair, |watching, shown| {
                if is_blocked {
                    self.notify(&pair, watching, shown, &mut Frames::new(user), wakeups);
                } else {
                    self.notify_later(&pair, watching);
                }
            });
        }
    }

    /// Calls `act` with a user who watches another one, and what is shown of that one, while the shard is locked.
    fn with_viewer(&self, pair: &Pair, act: impl FnOnce(&mut Viewer, Shown)) {
        let mut shard = self.shard(&pair.user);
        if let Some(entry) = shard.get_mut(&pair.user) {
            let shown = entry.shown(Instant::now(), self.shared.grace);
            if let Some(watching) = entry.viewers.get_mut(&pair.viewer) {
                act(watching, shown);
            }
        }
    }

    /// Notifies the sessions of a viewer that see another state than they were told. The caller holds the lock of the user's shard.
    pub(super) fn notify(
        &self,
        pair: &Pair,
        watching: &mut Viewer,
        shown: Shown,
        frames: &mut Frames<'_>,
        wakeups: &mut WakeupBatch,
    ) {
        let Pair { user, viewer } = pair;
        let is_mutual = watching.is_mutual(&self.shared.regroupings, user, viewer);
        // After the lookup the sessions are notified.
        let Some(view) = self.seen_by(viewer, user, is_mutual, shown) else {
            return;
        };
        let mut all_sent = true;
        for watcher in &mut watching.sessions {
            if watcher.sent.is_none_or(|told| told == view) {
                continue;
            }
            let by = frames.written_by();
            let (sent, wakeup) = watcher.session.push_ephemeral(frames.of(view), by);
            wakeups.add(&watcher.session, wakeup);
            if sent {
                watcher.sent = Some(view);
            }
            all_sent &= sent;
        }
        if !all_sent {
            self.notify_later(pair, watching);
        }
    }

    /// Notifies the sessions of a viewer in a later pass. The caller holds the lock of the user's shard.
    fn notify_later(&self, pair: &Pair, watching: &mut Viewer) {
        if watching.due.is_none() {
            let at = Instant::now() + COALESCE;
            watching.due = Some(at);
            self.work().pairs.push_back((at, pair.clone()));
            self.shared.has_work.notify_one();
        }
    }

    /// Notifies sessions, and removes entries that are not used any more, for as long as the server runs.
    pub async fn run(self) {
        loop {
            let next = self.pass();
            tokio::select! {
                () = self.shared.has_work.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
            tokio::time::sleep(PASS).await;
        }
    }

    /// Does what is due. Returns when more is.
    pub(super) fn pass(&self) -> Instant {
        let now = Instant::now();
        let scheduled = self.work().take_scheduled(now);
        for (at, user) in scheduled {
            self.look_at(&user, at, now);
        }
        let changed = self.work().take_changed(now);
        for user in changed {
            self.notify_viewers(&user, now);
        }
        let pairs = self.work().take_pairs(now, PAIRS);
        self.notify_pairs(&pairs);
        self.scan();
        self.look_up();
        self.work().next(now, now + IDLE)
    }

    /// Notifies all sessions that watch a user.
    fn notify_viewers(&self, user: &Arc<str>, now: Instant) {
        let mut frames = Frames::new(user);
        let mut last: Option<Arc<str>> = None;
        loop {
            let mut wakeups = WakeupBatch::default();
            let mut shard = self.shard(user);
            let Some(entry) = shard.get_mut(user) else {
                return;
            };
            entry.notified_at = Some(now);
            let shown = entry.shown(Instant::now(), self.shared.grace);
            let after = last.take();
            let first = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let viewers = entry.viewers.range_mut::<str, _>((first, Bound::Unbounded));
            let mut sessions = 0;
            for (viewer, watching) in viewers {
                let pair = Pair {
                    user: user.clone(),
                    viewer: viewer.clone(),
                };
                self.notify(&pair, watching, shown, &mut frames, &mut wakeups);
                sessions += watching.sessions.len();
                if sessions >= CHUNK {
                    last = Some(pair.viewer);
                    break;
                }
            }
            drop(shard);
            wakeups.run();
            if last.is_none() {
                return;
            }
        }
    }

    /// Notifies the viewers of pairs.
    fn notify_pairs(&self, pairs: &[(Instant, Pair)]) {
        for pairs in pairs.chunks(CHUNK) {
            let mut wakeups = WakeupBatch::default();
            for (at, pair) in pairs {
                self.with_viewer(pair, |watching, shown| {
                    // Otherwise another viewer with this name began to watch later, who has a time of its own.
                    if watching.due == Some(*at) {
                        watching.due = None;
                        let mut frames = Frames::new(&pair.user);
                        self.notify(pair, watching, shown, &mut frames, &mut wakeups);
                    }
                });
            }
            wakeups.run();
        }
    }
}
