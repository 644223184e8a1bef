//! Which events of a receiver are posted next: a state without a thread, a connection or a store of its own.
//!
//! A *lane* has the events of one conversation, or those about the presence of one user, which are posted in order. Only its first event
//! is posted; if that fails, the lane waits and other lanes go on. Events are taken up in the order of their numbers up to `position`. A
//! lane keeps a few of the events that follow its first one; if there are more, they are read again when it is their turn. So a receiver
//! needs little memory, however many events wait for one that does not answer.

mod expiry;
mod memory;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::expiry::RunTime;
use super::event::Event;
use crate::store::EventRef;

/// The maximum number of lanes of conversations. With as many, no further events are taken up until a lane is empty.
const MAX_LANES: usize = 1024;
/// The maximum number of events that a lane keeps.
const MAX_KEPT: usize = 64;
/// The maximum number of lanes of users, and of events that each has. Presence is not stored: what does not fit is dropped.
const MAX_USERS: usize = 10_000;
const MAX_LIVE: usize = 16;
/// The pause after the first failure, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What has an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A conversation, by its number in the store.
    Conversation(i64),
    /// The presence of a user.
    User(Arc<str>),
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is read when it is posted.
    Stored(EventRef),
    /// It is not stored, and happened at this time.
    Live(Arc<Event>, i64),
}

impl Item {
    /// When it happened.
    pub fn at(&self) -> i64 {
        match self {
            Self::Stored(event) => event.at,
            Self::Live(_, at) => *at,
        }
    }
}

#[derive(Debug)]
struct Lane {
    items: VecDeque<Item>,
    /// Events from this number on, up to `position`, are not in `items`. `None`: all are.
    rest: Option<i64>,
    failures: u32,
    /// Since when posts of this lane fail.
    failing_since: Option<i64>,
    /// A post of its first event has failed.
    is_tried: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is in `ready`.
    Ready,
    /// It is in `waiting` with this time.
    Waiting(Instant),
    /// Its first event is being posted.
    Posting,
    /// It is in `empty`: its next events must be read. If it waits, it is in `waiting` with this time.
    Empty(Option<Instant>),
}

/// The lanes of a receiver.
#[derive(Debug, Default)]
pub struct Lanes {
    by_key: HashMap<Key, Lane>,
    ready: VecDeque<Key>,
    waiting: BinaryHeap<Reverse<(Instant, Key)>>,
    empty: Vec<Key>,
    users: usize,
    /// Events from here on were not taken up.
    position: i64,
    /// The time of the event at `position`, if there was no lane for it.
    not_taken_up: Option<i64>,
    /// Since when no post has succeeded. `None`: the last one has.
    failing_since: Option<i64>,
    run_time: RunTime,
}

impl Lanes {
    /// The first event that is to be taken up.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Takes up events in order; `is_wanted` selects those that are posted. False: it has stopped, because there are too many lanes.
    pub fn take_up(&mut self, events: &[EventRef], is_wanted: impl Fn(&EventRef) -> bool) -> bool {
        for event in events {
            if is_wanted(event) && !self.add_stored(*event) {
                self.not_taken_up = Some(event.at);
                return false;
            }
            self.position = event.id + 1;
        }
        self.not_taken_up = None;
        true
    }

    fn add_stored(&mut self, event: EventRef) -> bool {
        let key = Key::Conversation(event.conversation);
        if let Some(lane) = self.by_key.get_mut(&key) {
            if lane.rest.is_none() && lane.items.len() < MAX_KEPT {
                lane.items.push_back(Item::Stored(event));
            } else {
                lane.rest = lane.rest.or(Some(event.id));
            }
            return true;
        }
        if self.is_full() {
            return false;
        }
        self.add_lane(key, Item::Stored(event));
        true
    }

    /// True if there are as many lanes of conversations as possible.
    pub fn is_full(&self) -> bool {
        self.by_key.len() - self.users >= MAX_LANES
    }

    /// Adds an event that is not stored. False: there are too many, and it is dropped.
    pub fn add_live(&mut self, user: &Arc<str>, event: Event, at: i64) -> bool {
        let item = Item::Live(Arc::new(event), at);
        let key = Key::User(user.clone());
        if let Some(lane) = self.by_key.get_mut(&key) {
            let has_room = lane.items.len() < MAX_LIVE;
            if has_room {
                lane.items.push_back(item);
            }
            return has_room;
        }
        if self.users >= MAX_USERS {
            return false;
        }
        self.users += 1;
        self.add_lane(key, item);
        true
    }

    fn add_lane(&mut self, key: Key, item: Item) {
        self.ready.push_back(key.clone());
        let lane = Lane {
            items: [item].into(),
            rest: None,
            failures: 0,
            failing_since: None,
            is_tried: false,
            state: State::Ready,
        };
        self.by_key.insert(key, lane);
    }

    /// The lanes whose next events must be read: the conversation, and the number from which on. Pass them to [`Lanes::refill`].
    pub fn take_empty(&mut self) -> Vec<(i64, i64)> {
        let keys = std::mem::take(&mut self.empty);
        let place = |key: &Key| match key {
            Key::Conversation(conversation) => {
                let lane = self.by_key.get(key)?;
                Some((*conversation, lane.rest?))
            }
            Key::User(_) => None,
        };
        keys.iter().filter_map(place).collect()
    }

    /// The number of events that a lane is refilled with at most.
    pub const REFILL: usize = MAX_KEPT;

    /// Adds the events of a conversation from the number on, which were read up to [`Lanes::position`], at most [`Lanes::REFILL`].
    pub fn refill(
        &mut self,
        conversation: i64,
        events: &[EventRef],
        is_wanted: impl Fn(&EventRef) -> bool,
    ) {
        let key = Key::Conversation(conversation);
        let Some(lane) = self.by_key.get_mut(&key) else {
            return;
        };
        let last = events.last().filter(|_| events.len() >= MAX_KEPT);
        lane.rest = last.map(|last| last.id + 1);
        let wanted = events.iter().filter(|event| is_wanted(event));
        lane.items.extend(wanted.map(|event| Item::Stored(*event)));
        match (lane.items.is_empty(), lane.rest) {
            (false, _) => {
                if let State::Empty(Some(until)) = lane.state {
                    lane.state = State::Waiting(until);
                } else {
                    lane.state = State::Ready;
                    self.ready.push_back(key);
                }
            }
            (true, Some(_)) => self.empty.push(key),
            (true, None) => drop(self.by_key.remove(&key)),
        }
    }

    /// The events of these lanes could not be read: they are still to be refilled.
    pub fn not_refilled(&mut self, conversations: impl Iterator<Item = i64>) {
        self.empty.extend(conversations.map(Key::Conversation));
    }

    /// Makes the lanes ready whose pause is over.
    pub fn end_pauses(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|first| first.0.0 <= now) {
            let Some(Reverse((at, key))) = self.waiting.pop() else {
                return;
            };
            let Some(lane) = self.by_key.get_mut(&key) else {
                continue;
            };
            if lane.state == State::Waiting(at) {
                lane.state = State::Ready;
                self.ready.push_back(key);
            } else if lane.state == State::Empty(Some(at)) {
                lane.state = State::Empty(None);
            }
        }
    }

    /// When the next pause is over.
    pub fn next_pause(&self) -> Option<Instant> {
        self.waiting.peek().map(|first| first.0.0)
    }

    /// All lanes that wait are ready now, and a later failure counts as the first.
    pub fn retry_now(&mut self) {
        self.waiting.clear();
        for (key, lane) in &mut self.by_key {
            lane.failures = 0;
            match lane.state {
                State::Waiting(_) => {
                    lane.state = State::Ready;
                    self.ready.push_back(key.clone());
                }
                State::Empty(_) => lane.state = State::Empty(None),
                State::Ready | State::Posting => {}
            }
        }
    }

    /// Takes a ready lane, whose first event is to be posted. Call [`Lanes::done`], [`Lanes::failed`] or [`Lanes::put_back`] afterwards.
    pub fn take_ready(&mut self) -> Option<(Key, Item)> {
        let key = self.ready.pop_front()?;
        let lane = self.by_key.get_mut(&key)?;
        lane.state = State::Posting;
        let item = lane.items.front()?.clone();
        Some((key, item))
    }

    /// True if there are lanes to take.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The lane is ready again.
    pub fn put_back(&mut self, key: Key) {
        if let Some(lane) = self.by_key.get_mut(&key) {
            lane.state = State::Ready;
            self.ready.push_front(key);
        }
    }

    /// The first event of the lane is done: it was accepted, or is dropped.
    pub fn done(&mut self, key: &Key, is_accepted: bool) {
        if is_accepted {
            self.failing_since = None;
        }
        let Some(lane) = self.by_key.get_mut(key) else {
            return;
        };
        lane.items.pop_front();
        lane.is_tried = false;
        if is_accepted {
            lane.failures = 0;
            lane.failing_since = None;
        }
        if !lane.items.is_empty() {
            lane.state = State::Ready;
            self.ready.push_back(key.clone());
        } else if lane.rest.is_some() {
            lane.state = State::Empty(None);
            self.empty.push(key.clone());
        } else {
            self.users -= usize::from(matches!(key, Key::User(_)));
            self.by_key.remove(key);
        }
    }

    /// The first event of the lane was not accepted. `random`: a number from 0 to 1.
    pub fn failed(&mut self, key: &Key, at: i64, now: Instant, random: f64) {
        self.fails(at);
        let Some(lane) = self.by_key.get_mut(key) else {
            return;
        };
        lane.failing_since = lane.failing_since.or(Some(at));
        lane.is_tried = true;
        let until = now + pause(lane.failures, random);
        lane.failures = lane.failures.saturating_add(1);
        lane.state = State::Waiting(until);
        self.waiting.push(Reverse((until, key.clone())));
    }

    /// The receiver accepts nothing.
    pub fn fails(&mut self, at: i64) {
        self.failing_since = self.failing_since.or(Some(at));
    }

    /// The time of the oldest event that is not accepted, also of one that could not be taken up.
    pub fn oldest(&self) -> Option<i64> {
        let first = |lane: &Lane| match lane.items.front() {
            Some(item) => Some(item.at()),
            // It was not read yet. It is not later than this.
            None => lane.failing_since,
        };
        let lanes = self.by_key.values().filter_map(first);
        lanes.chain(self.not_taken_up).min()
    }

    /// No post has succeeded since the last failure.
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// The number of lanes.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}

impl Lane {
    /// The first stored event.
    fn first(&self) -> Option<i64> {
        match self.items.front() {
            Some(Item::Stored(event)) => Some(event.id),
            Some(Item::Live(..)) => None,
            None => self.rest,
        }
    }
}

/// The pause after a failure that follows `failures` others.
fn pause(failures: u32, random: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16));
    let jitter = 0.8 + 0.4 * random;
    let pause = doubled.min(LONGEST_PAUSE).mul_f64(jitter);
    pause.clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
