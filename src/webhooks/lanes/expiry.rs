//! When events are dropped: when they could have been posted for some time, and the receiver has not accepted them. If the receiver
//! accepts events of other conversations, an event that waits behind others is posted once before it is dropped, because it need not fail
//! like those.
//!
//! Only the time counts in which the server runs. So times in which it did not run since posts fail are remembered, also across
//! restarts. A machine that was suspended, and a clock that was set ahead, look the same: the lanes are observed every second, unless
//! there are none.

use super::{Key, Lanes, State};

/// The server did not run if it has observed its lanes this long ago, in milliseconds.
const GAP: i64 = 60_000;
/// The maximum number of stops that are remembered. Beyond it, the shortest time between two of them does not count either.
const MAX_STOPS: usize = 64;

/// A time in which the server did not run: its beginning and its end, in milliseconds since 1970-01-01T00:00:00Z.
pub type Stop = (i64, i64);

/// Measures how long the server has run.
#[derive(Debug, Default)]
pub struct RunTime {
    /// In the order of time.
    stops: Vec<Stop>,
    /// When it was last observed to run.
    observed_at: Option<i64>,
}

impl RunTime {
    /// After these stops, and another one that has ended at the time `now`. `from`: when it has begun; `None`: that does not matter.
    pub fn after_stop(stops: Vec<Stop>, from: Option<i64>, now: i64) -> Self {
        let mut times = Self {
            stops,
            observed_at: Some(now),
        };
        if let Some(from) = from {
            times.add((from, now));
        }
        times
    }

    /// The stops, as far as they matter.
    pub fn stops(&self) -> &[Stop] {
        &self.stops
    }

    /// The server runs at the time `now`. What was before the time `since` does not matter; `None`: before `now`.
    fn observe(&mut self, now: i64, since: Option<i64>) {
        if let Some(before) = self.observed_at.replace(now)
            && now.saturating_sub(before) > GAP
        {
            self.add((before, now));
        }
        self.stops
            .retain(|(_, end)| since.is_some_and(|since| *end > since));
    }

    fn add(&mut self, (from, to): Stop) {
        if from >= to {
            return;
        }
        self.stops.push((from, to));
        if self.stops.len() <= MAX_STOPS {
            return;
        }
        let between = |n: &usize| self.stops[n + 1].0.saturating_sub(self.stops[*n].1);
        if let Some(n) = (0..self.stops.len() - 1).min_by_key(between) {
            let (_, to) = self.stops.remove(n + 1);
            self.stops[n].1 = to;
        }
    }

    /// For how long the server has run between two times.
    fn between(&self, from: i64, to: i64) -> i64 {
        let stopped = |(start, end): &Stop| (*end.min(&to)).saturating_sub(*start.max(&from));
        let stopped: i64 = self.stops.iter().map(|stop| stopped(stop).max(0)).sum();
        to.saturating_sub(from).saturating_sub(stopped)
    }
}

impl Lanes {
    /// Since when posts of some lane, or all posts, fail.
    pub(super) fn first_failure(&self) -> Option<i64> {
        let lanes = self.by_key.values().filter_map(|lane| lane.failing_since);
        lanes.chain(self.failing_since).min()
    }

    /// The server runs at the time `now`. To be called every second while there are lanes.
    pub fn observe(&mut self, now: i64) {
        // If the clock was set back, it has failed from now on.
        let lanes = self.by_key.values_mut();
        let failures = lanes.filter_map(|lane| lane.failing_since.as_mut());
        for since in failures.chain(self.failing_since.as_mut()) {
            *since = (*since).min(now);
        }
        let since = self.first_failure();
        self.run_time.observe(now, since);
    }

    /// True if the first event of a lane is to be dropped at the time `now`: for `limit` ms it could have been posted, and the receiver
    /// has not accepted it, or anything. While the server did not run, it could not. An event that was not posted, because the receiver
    /// has accepted others but not those before it in the lane, has twice as long.
    pub(super) fn is_expired(&self, key: &Key, now: i64, limit: i64) -> bool {
        let Some(lane) = self.by_key.get(key) else {
            return false;
        };
        let Some(item) = lane.items.front() else {
            return false;
        };
        // A later time than now is wrong.
        let at = Some(item.at()).filter(|at| *at <= now);
        let has_waited = |since: Option<i64>, limit: i64| {
            let from = since.map(|since| at.map_or(since, |at| at.max(since)));
            from.is_some_and(|from| self.run_time.between(from, now) >= limit)
        };
        let own_limit = if lane.is_tried {
            limit
        } else {
            limit.saturating_mul(2)
        };
        has_waited(self.failing_since, limit) || has_waited(lane.failing_since, own_limit)
    }

    /// The lanes that wait for the end of a pause, or are ready, whose first event is to be dropped.
    pub(super) fn expired(&self, now: i64, limit: i64) -> Vec<Key> {
        let keys = self.by_key.iter().filter(|(key, lane)| {
            matches!(lane.state, State::Waiting(_) | State::Ready)
                && self.is_expired(key, now, limit)
        });
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// Drops the events that have expired, as far as lanes keep them: refill the lanes and call it again until it drops none. A lane
    /// with further events waits as long as before, unless the receiver accepts others. Returns the number of events.
    pub fn drop_expired(&mut self, now: i64, limit: i64) -> u64 {
        let mut count = 0;
        for key in self.expired(now, limit) {
            while self.is_expired(&key, now, limit)
                && let Some(lane) = self.by_key.get_mut(&key)
            {
                lane.items.pop_front();
                lane.is_tried = false;
                count += 1;
            }
            let accepts_none = |since| self.run_time.between(since, now) >= limit;
            if !self.failing_since.is_some_and(accepts_none) {
                self.end_pause(&key);
            }
            self.end_if_empty(&key);
        }
        count
    }

    /// The next event of the lane is posted at once.
    fn end_pause(&mut self, key: &Key) {
        if let Some(lane) = self.by_key.get_mut(key) {
            lane.failures = 0;
            if let State::Waiting(_) = lane.state {
                lane.state = State::Ready;
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Events of a lane that is not being posted were dropped.
    fn end_if_empty(&mut self, key: &Key) {
        let Some(lane) = self.by_key.get_mut(key) else {
            return;
        };
        if !lane.items.is_empty() {
            return;
        }
        let pause = match lane.state {
            State::Waiting(until) => Some(until),
            _ => None,
        };
        if pause.is_none() {
            self.ready.retain(|ready| ready != key);
        }
        if lane.rest.is_some() {
            lane.state = State::Empty(pause);
            self.empty.push(key.clone());
        } else {
            // An entry in `waiting` has no lane any more.
            self.users -= usize::from(matches!(key, Key::User(_)));
            self.by_key.remove(key);
        }
    }
}
