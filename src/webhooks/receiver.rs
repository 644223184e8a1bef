//! The thread of a receiver: takes up events from the store, has them posted, and records how far the receiver has got.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::event::{Event, of_kind};
use super::lanes::{Item, Key, Lanes};
use super::posts::{Post, Posts};
use super::status::{Outcome, ReceiverStatus, State};
use super::store::{EventStore, Unavailable};
use super::wake::Wake;
use crate::clock::Clock;
use crate::config::WebhookEvent;
use crate::store::{EventRef, EventWrite, ReceiverKey, ReceiverState};

/// Events that are read at once.
const PAGE: usize = 512;
/// The shortest time between two looks for new events.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Progress is stored at most so often.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The time is stored so often while posts fail, in milliseconds: after a crash, it is known since when the server did not run.
const STORE_TIME: u64 = 60_000;
/// How often lanes are refilled at most while expired events are dropped, before the thread does something else.
const DROP_ROUNDS: usize = 16;
/// The time until the next look if nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// The shortest time between two log lines about a receiver that fails.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// How long a shutdown waits for posts.
const LAST_POSTS: Duration = Duration::from_secs(2);

/// What the thread waits for.
pub enum Input {
    /// There may be new events in the store.
    Wake,
    /// The status of the answer, or why there is none.
    Posted(Key, Result<u16, String>),
    /// An event about the presence of a user.
    Presence(Arc<str>, WebhookEvent, Event, i64),
    /// Events are to be posted again at once, and also if the receiver was paused.
    Resume,
    /// The server is shutting down.
    Stop,
}

/// What a receiver is made of.
pub struct Parts {
    pub key: ReceiverKey,
    pub status: Arc<ReceiverStatus>,
    pub store: EventStore,
    pub clock: Arc<Clock>,
    pub wake: Arc<Wake>,
    pub inputs: Receiver<Input>,
    pub posts: Posts,
    /// The time after which an event is dropped, in milliseconds.
    pub retry_ms: i64,
}

/// The state of the thread.
pub struct ReceiverThread {
    parts: Parts,
    lanes: Lanes,
    is_paused: bool,
    /// There may be events that were not looked at, and when that is done next.
    has_news: bool,
    look_at: Instant,
    /// What is stored, and when that is done next.
    stored: ReceiverState,
    stored_at: i64,
    store_at: Instant,
    failure_logged: Option<Instant>,
    /// The number of dropped events that was not logged yet, and when that was done last.
    dropped: u64,
    drop_logged: Option<Instant>,
    is_stopping: bool,
}

impl ReceiverThread {
    /// Continues where `stored` was recorded.
    pub fn new(parts: Parts, stored: ReceiverState) -> Self {
        let (now, at) = (Instant::now(), parts.clock.now());
        Self {
            lanes: Lanes::restore(&stored, at),
            parts,
            is_paused: false,
            has_news: true,
            look_at: now,
            stored,
            stored_at: at,
            store_at: now,
            failure_logged: None,
            dropped: 0,
            drop_logged: None,
            is_stopping: false,
        }
    }

    /// Runs until the server shuts down.
    pub fn run(mut self) {
        let mut stop_at = None;
        loop {
            let now = Instant::now();
            if self.is_stopping {
                let stop_at = *stop_at.get_or_insert(now + LAST_POSTS);
                if self.parts.posts.in_flight() == 0 || now >= stop_at {
                    break;
                }
            } else if let Err(error) = self.turn(now) {
                match error {
                    Unavailable::Closed => return,
                    Unavailable::Failed(error) => self.store_failed(&error, now),
                }
            }
            let until = if self.is_stopping {
                stop_at.unwrap_or(now)
            } else {
                self.next(now)
            };
            match self
                .parts
                .inputs
                .recv_timeout(until.saturating_duration_since(now))
            {
                Ok(input) => self.on_input(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
            }
            while let Ok(input) = self.parts.inputs.try_recv() {
                self.on_input(input);
            }
        }
        // With the time of the end.
        if let Err(error) = self.store_progress(true) {
            // Events are posted again after the next start.
            log::warn!(url = self.parts.status.url; "the progress of a webhook could not be stored: {error}");
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Wake => self.has_news = true,
            Input::Posted(key, result) => {
                self.parts.posts.finished();
                self.posted(&key, result);
            }
            Input::Presence(user, kind, event, at) => {
                if self.parts.status.events.contains(&kind)
                    && !self.lanes.add_live(&user, event, at)
                {
                    self.parts.status.count(Outcome::Dropped, 1);
                }
            }
            Input::Resume => {
                self.is_paused = false;
                self.lanes.retry_now();
            }
            Input::Stop => self.is_stopping = true,
        }
    }

    /// The result of a post.
    fn posted(&mut self, key: &Key, result: Result<u16, String>) {
        let at = self.parts.clock.now();
        let error = match result {
            Ok(200..=299) => {
                self.lanes.done(key, true);
                self.parts.status.count(Outcome::Delivered, 1);
                self.parts.status.lock().last_delivered = Some(at);
                return;
            }
            Ok(410) => {
                self.pause(key, at);
                return;
            }
            Ok(status) => format!("the receiver answered {status}"),
            Err(error) => error,
        };
        self.parts.status.count(Outcome::Retried, 1);
        let now = Instant::now();
        self.lanes.failed(key, at, now, random());
        if self
            .failure_logged
            .is_none_or(|logged| now >= logged + LOG_PAUSE)
        {
            self.failure_logged = Some(now);
            log::warn!(url = self.parts.status.url; "a webhook has failed and is posted again: {error}");
        }
        self.parts.status.lock().last_error = Some((at, error));
    }

    /// The receiver wants no more events.
    fn pause(&mut self, key: &Key, at: i64) {
        self.parts.status.count(Outcome::Retried, 1);
        self.lanes.fails(at);
        self.lanes.put_back(key.clone());
        let error = "the receiver answered 410";
        if !self.is_paused {
            self.is_paused = true;
            log::error!(url = self.parts.status.url; "{error}: nothing more is posted to it until SIGHUP or a restart");
        }
        self.parts.status.lock().last_error = Some((at, error.to_owned()));
    }

    /// Does what is due, and shows the state also if the store has failed.
    fn turn(&mut self, now: Instant) -> Result<(), Unavailable> {
        let done = self.do_due(now);
        self.update_status();
        done
    }

    fn do_due(&mut self, now: Instant) -> Result<(), Unavailable> {
        self.lanes.end_pauses(now);
        self.refill()?;
        if self.can_look() && now >= self.look_at {
            self.look()?;
            self.look_at = Instant::now() + LOOK_PAUSE;
        }
        if !self.is_paused {
            self.post()?;
        }
        if now >= self.store_at {
            self.store_at = now + STORE_PAUSE;
            let done = self.drop_expired(now);
            self.log_dropped(now);
            done?;
            self.store_progress(false)?;
        }
        Ok(())
    }

    fn can_look(&self) -> bool {
        self.has_news && !self.lanes.is_full()
    }

    fn is_wanted(&self) -> impl Fn(&EventRef) -> bool + use<> {
        let status = self.parts.status.clone();
        move |event| status.events.contains(&of_kind(event.kind))
    }

    /// Reads the next events of lanes that have kept none.
    fn refill(&mut self) -> Result<(), Unavailable> {
        let mut places = self.lanes.take_empty();
        let end = self.lanes.position();
        while let Some((conversation, first)) = places.pop() {
            let read = self
                .parts
                .store
                .read(move |reader| reader.events_of(conversation, first..end, Lanes::REFILL));
            match read {
                Ok(events) => {
                    let is_wanted = self.is_wanted();
                    self.lanes.refill(conversation, &events, is_wanted);
                }
                Err(error) => {
                    let rest = places.iter().map(|(conversation, _)| *conversation);
                    self.lanes.not_refilled(rest.chain([conversation]));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes up new events.
    fn look(&mut self) -> Result<(), Unavailable> {
        self.parts.wake.taken();
        let first = self.lanes.position();
        let events = self
            .parts
            .store
            .read(move |reader| reader.events(first, PAGE))?;
        let is_wanted = self.is_wanted();
        let has_room = self.lanes.take_up(&events, is_wanted);
        self.has_news = !has_room || events.len() >= PAGE;
        Ok(())
    }

    /// Drops the events that could have been posted for the whole time, if the receiver fails.
    fn drop_expired(&mut self, now: Instant) -> Result<(), Unavailable> {
        self.lanes.observe(self.parts.clock.now());
        // While the clock may be wrong, nothing expires.
        let Some(at) = self.parts.clock.expiry_now() else {
            return Ok(());
        };
        let limit = self.parts.retry_ms;
        for _ in 0..DROP_ROUNDS {
            let count = self.lanes.drop_expired(at, limit);
            if count == 0 {
                return Ok(());
            }
            self.parts.status.count(Outcome::Dropped, count);
            self.dropped += count;
            self.refill()?;
        }
        // There may be more: as soon as possible.
        self.store_at = now;
        Ok(())
    }

    fn log_dropped(&mut self, now: Instant) {
        let is_due = |logged| now >= logged + LOG_PAUSE;
        if self.dropped > 0 && self.drop_logged.is_none_or(is_due) {
            let events = std::mem::take(&mut self.dropped);
            self.drop_logged = Some(now);
            log::error!(url = self.parts.status.url, events = events; "events were dropped, because the webhook has not accepted them within the time for retries");
        }
    }

    /// Has ready events posted.
    fn post(&mut self) -> Result<(), Unavailable> {
        while self.parts.posts.free() > 0 && self.lanes.has_ready() {
            let (mut stored, mut taken) = (Vec::new(), Vec::new());
            while stored.len() < self.parts.posts.free()
                && let Some((key, item)) = self.lanes.take_ready()
            {
                match item {
                    Item::Stored(event) => {
                        stored.push(event);
                        taken.push(key);
                    }
                    Item::Live(event, _) => self.parts.posts.add(Post { key, event }),
                }
            }
            if stored.is_empty() {
                continue;
            }
            let read = self
                .parts
                .store
                .read(move |reader| reader.event_data(&stored));
            let found = match read {
                Ok(found) => found,
                Err(error) => {
                    taken
                        .into_iter()
                        .rev()
                        .for_each(|key| self.lanes.put_back(key));
                    return Err(error);
                }
            };
            for (key, data) in taken.into_iter().zip(found) {
                match data.as_ref().map(Event::of_stored) {
                    Some(Some(event)) => self.parts.posts.add(Post {
                        key,
                        event: Arc::new(event),
                    }),
                    Some(None) => self.lanes.done(&key, false),
                    // Retention has removed it.
                    None => {
                        self.lanes.done(&key, false);
                        self.parts.status.count(Outcome::Dropped, 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Stores what has changed. The time alone is stored if it `is_last`, or from time to time.
    fn store_progress(&mut self, is_last: bool) -> Result<(), Unavailable> {
        let now = self.parts.clock.now();
        let is_old = is_last || now.abs_diff(self.stored_at) >= STORE_TIME;
        let at = if is_old { now } else { self.stored_at };
        if self.lanes.state(at) == self.stored {
            return Ok(());
        }
        let state = self.lanes.state(now);
        let write = EventWrite::Progress(self.parts.key, state.clone());
        self.parts.store.write(write)?;
        (self.stored, self.stored_at) = (state, now);
        Ok(())
    }

    fn update_status(&mut self) {
        let mut snapshot = self.parts.status.lock();
        snapshot.state = match (self.is_paused, self.lanes.is_failing()) {
            (true, _) => State::Paused,
            (false, true) => State::Failing,
            (false, false) => State::Active,
        };
        snapshot.oldest = self.lanes.oldest();
        snapshot.in_flight = self.parts.posts.in_flight();
    }

    /// When there is something to do, unless something happens before.
    fn next(&self, now: Instant) -> Instant {
        let mut next = now + IDLE;
        if self.lanes.len() > 0 || self.lanes.position() != self.stored.position {
            // Progress and expiry.
            next = next.min(self.store_at.max(now + LOOK_PAUSE));
        }
        if self.can_look() {
            next = next.min(self.look_at);
        }
        if let Some(pause) = self.lanes.next_pause().filter(|_| !self.is_paused) {
            next = next.min(pause);
        }
        next
    }

    fn store_failed(&mut self, error: &str, now: Instant) {
        self.has_news = true;
        self.look_at = now + STORE_PAUSE;
        self.store_at = now + STORE_PAUSE;
        if self
            .failure_logged
            .is_none_or(|logged| now >= logged + LOG_PAUSE)
        {
            self.failure_logged = Some(now);
            log::error!(url = self.parts.status.url; "events for a webhook cannot be read or recorded at the moment: {error}");
        }
    }
}

/// A number from 0 to 1.
fn random() -> f64 {
    let bits = (Uuid::new_v4().as_u128() >> 64) as u32;
    f64::from(bits) / f64::from(u32::MAX)
}
