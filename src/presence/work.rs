//! What the task that notifies has to do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::viewer::Pair;

/// What the task has to do. Each list is bounded by the number of users who are watched, or of their viewers.
#[derive(Debug, Default)]
pub struct Work {
    /// Users whose watchers are to be notified, not before a time.
    pub changed: HashMap<Arc<str>, Instant>,
    /// Pairs of which the viewer is to be notified, not before a time, in the order of these times.
    pub pairs: VecDeque<(Instant, Pair)>,
    /// Users of whom some viewers may have an old relation.
    pub scans: VecDeque<Scan>,
    /// Pairs whose relation is to be looked up.
    pub lookups: VecDeque<Pair>,
    /// Some are being looked up.
    pub is_looking_up: bool,
    /// A lookup has failed: the next one is made then.
    pub not_before: Option<Instant>,
    /// Users whose entries are to be looked at.
    pub scheduled: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
}

/// The viewers of a user are to be looked at.
#[derive(Debug)]
pub struct Scan {
    /// The user.
    pub user: Arc<str>,
    /// The last viewer who was looked at; `None`: it has not begun.
    pub after: Option<Arc<str>>,
}

impl Work {
    /// Takes the users whose watchers are to be notified now.
    pub fn take_changed(&mut self, now: Instant) -> Vec<Arc<str>> {
        let due = self.changed.extract_if(|_, at| *at <= now);
        due.map(|(user, _)| user).collect()
    }

    /// Takes the entries that are to be looked at now.
    pub fn take_scheduled(&mut self, now: Instant) -> Vec<(Instant, Arc<str>)> {
        let mut due = Vec::new();
        while self.scheduled.peek().is_some_and(|first| first.0.0 <= now) {
            due.extend(self.scheduled.pop().map(|Reverse(item)| item));
        }
        due
    }

    /// Takes at most `max` pairs of which the viewer is to be notified now.
    pub fn take_pairs(&mut self, now: Instant, max: usize) -> Vec<(Instant, Pair)> {
        let due = self.pairs.iter().take(max);
        let due = due.take_while(|(at, _)| *at <= now).count();
        self.pairs.drain(..due).collect()
    }

    /// Takes at most `max` pairs to look up, unless some are being looked up. They must be looked up then.
    pub fn take_lookups(&mut self, now: Instant, max: usize) -> Option<Vec<Pair>> {
        let waits = self.not_before.is_some_and(|at| now < at);
        if self.is_looking_up || waits || self.lookups.is_empty() {
            return None;
        }
        self.is_looking_up = true;
        self.not_before = None;
        let count = self.lookups.len().min(max);
        Some(self.lookups.drain(..count).collect())
    }

    /// When there is something to do, if that is before `latest`.
    pub fn next(&self, now: Instant, latest: Instant) -> Instant {
        let changed = self.changed.values().copied();
        let pairs = self.pairs.front().map(|(at, _)| *at);
        let scheduled = self.scheduled.peek().map(|first| first.0.0);
        let scans = (!self.scans.is_empty()).then_some(now);
        let has_lookups = !self.lookups.is_empty() && !self.is_looking_up;
        let lookups = has_lookups.then(|| self.not_before.unwrap_or(now));
        let others = [pairs, scheduled, scans, lookups].into_iter().flatten();
        changed.chain(others).fold(latest, Instant::min)
    }
}
