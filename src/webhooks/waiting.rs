//! The thread that finds messages which users have not received in time, and adds events about them to the store.
//!
//! What is found and how far was looked are stored together, so each message is reported once, and a restart skips none. After a start,
//! clients have the same time to connect again before a message counts as waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::receiver::Input;
use super::store::{EventStore, Unavailable};
use super::wake::Wake;
use crate::clock::Clock;
use crate::store::{EventWrite, ReceiverKey};

/// The time until the next look if nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// The time until the next attempt if the store has failed.
const RETRY: Duration = Duration::from_secs(1);

/// The state of the thread.
pub struct WaitingThread {
    pub key: ReceiverKey,
    pub store: EventStore,
    pub clock: Arc<Clock>,
    pub wake: Arc<Wake>,
    pub inputs: Receiver<Input>,
    /// The time after which a message waits.
    pub after: Duration,
    /// The first event that was not looked at.
    pub position: i64,
}

impl WaitingThread {
    /// Runs until the server shuts down.
    pub fn run(mut self) {
        let mut look_at = Instant::now() + self.after;
        // The first message that was not due, and since when it is known: also if the clock of the machine is set back, it is due at last.
        let mut next: Option<(i64, Instant)> = None;
        loop {
            let wait = look_at.saturating_duration_since(Instant::now());
            match self.inputs.recv_timeout(wait) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(_) => {
                    if next.is_none() {
                        // What was stored just now is due then at the earliest.
                        look_at = look_at.min(Instant::now() + self.after);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.wake.taken();
            let now = Instant::now();
            let forced = next.filter(|(_, since)| now >= *since + self.after);
            match self.look(forced.map_or(0, |(id, _)| id)) {
                Ok(None) => (next, look_at) = (None, now + IDLE),
                Ok(Some((id, at))) => {
                    let since = next.filter(|(known, _)| *known == id);
                    let since = since.map_or(now, |(_, since)| since);
                    next = Some((id, since));
                    let due = self.remaining(at).min(self.after);
                    look_at = now + due.max(Duration::from_millis(1));
                }
                Err(Unavailable::Closed) => return,
                Err(Unavailable::Failed(error)) => {
                    log::error!(
                        "messages that wait for webhooks cannot be looked for at the moment: {error}"
                    );
                    look_at = now + RETRY;
                }
            }
        }
    }

    /// The time until a message of the time `at` is due.
    fn remaining(&self, at: i64) -> Duration {
        let due = at.saturating_add(self.after_ms());
        let left = due.saturating_sub(self.clock.now());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    fn after_ms(&self) -> i64 {
        i64::try_from(self.after.as_millis()).unwrap_or(i64::MAX)
    }

    /// Looks at the events that are due. Returns the next one.
    fn look(&mut self, forced: i64) -> Result<Option<(i64, i64)>, Unavailable> {
        let (first, until) = (self.position, self.clock.now() - self.after_ms());
        let found = self
            .store
            .read(move |reader| reader.waiting(first, until, forced))?;
        let (position, next) = (found.position, found.next);
        if position != first {
            self.store.write(EventWrite::Waiting(self.key, found))?;
            let key = self.key;
            let stored = self.store.read(move |reader| reader.receiver(&key))?;
            self.position = stored.map_or(position, |state| state.position);
            if self.position != position {
                // An earlier write was committed after all, and this one has changed nothing.
                return Ok(Some((self.position, until)));
            }
        }
        Ok(next)
    }
}
