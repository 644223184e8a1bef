//! Stored events: messages and changes of memberships in the order in which receivers get them, and how far each receiver has got.
//!
//! A store keeps an event from its commit until all receivers have it. Without receivers it keeps none.

use std::fmt;
use std::sync::Arc;

use super::inbox::StoredMessage;
use super::rooms::MembershipEntry;
use super::traits::StoreError;

/// Identifies a receiver of events, or something else that reads them in order.
pub type ReceiverKey = [u8; 32];

/// What a store keeps as events, and what it tells of new ones.
#[derive(Clone)]
pub struct EventFeed {
    /// Keep messages.
    pub messages: bool,
    /// Keep changes of memberships.
    pub memberships: bool,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl EventFeed {
    /// Calls `wake` when there may be new events. It must not block.
    pub fn new(messages: bool, memberships: bool, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            messages,
            memberships,
            wake: Arc::new(wake),
        }
    }

    /// There may be new events.
    pub fn wake(&self) {
        (self.wake)();
    }
}

impl fmt::Debug for EventFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFeed").finish_non_exhaustive()
    }
}

/// The kind of a stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A message was stored.
    Message,
    /// Users have not received a message in time.
    Waiting,
    /// A user has joined a room.
    Joined,
    /// A user has left a room.
    Left,
}

/// The place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Its number. Later events have higher numbers.
    pub id: i64,
    /// The conversation.
    pub conversation: i64,
    /// The kind.
    pub kind: EventKind,
    /// When it happened, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: i64,
}

/// An event with what it is about, as of now.
#[derive(Clone, Debug)]
pub struct EventData {
    /// Its place.
    pub event: EventRef,
    /// The same for the same event only, also if the store was rolled back in the meantime and numbers are used again.
    pub identity: [u8; 16],
    /// What it is about.
    pub subject: EventSubject,
}

/// What an event is about.
#[derive(Clone, Debug)]
pub enum EventSubject {
    /// A message, without reactions.
    Message(StoredMessage),
    /// A message, and users who have not received it in time.
    Waiting(StoredMessage, Vec<String>),
    /// A membership.
    Membership(MembershipEntry),
}

/// A message that users have not received in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// The conversation.
    pub conversation: i64,
    /// The number of the message.
    pub message: i64,
    /// The numbers of the users.
    pub users: Vec<i64>,
}

/// Messages that users have not received in time, among those from a position on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingMessages {
    /// The messages.
    pub messages: Vec<WaitingMessage>,
    /// The position from which on was looked.
    pub first: i64,
    /// The position after the events that were looked at.
    pub position: i64,
    /// The first event that was not looked at, and its time; `None`: there is none.
    pub next: Option<(i64, i64)>,
}

/// How far a receiver has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverState {
    /// Events from here on were not looked at.
    pub position: i64,
    /// The lowest event that is still needed, at most `position`.
    pub needed: i64,
    /// What else the receiver has to remember, in a form of its own.
    pub memory: String,
}

/// A change of what is stored about events.
#[derive(Clone, Debug)]
pub enum EventWrite {
    /// These are all receivers. A new one begins with the next event; others are forgotten.
    Receivers(Vec<ReceiverKey>),
    /// A receiver has got so far.
    Progress(ReceiverKey, ReceiverState),
    /// Adds events about messages that users have not received, which the reader with this key has found up to the position. Does
    /// nothing if it has another position than when it looked: a repeated write adds nothing twice.
    Waiting(ReceiverKey, WaitingMessages),
}

/// Reads events. A store that keeps none has nothing to implement.
pub trait EventReader {
    /// Has all events that are committed become visible.
    ///
    /// # Errors
    /// [`StoreError`]
    fn flush_events(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// All receivers.
    ///
    /// # Errors
    /// [`StoreError`]
    fn receivers(&mut self) -> Result<Vec<ReceiverKey>, StoreError> {
        Ok(Vec::new())
    }

    /// How far a receiver has got. `None`: there is no such receiver.
    ///
    /// # Errors
    /// [`StoreError`]
    fn receiver(&mut self, _: &ReceiverKey) -> Result<Option<ReceiverState>, StoreError> {
        Ok(None)
    }

    /// The events with the lowest numbers from `first` on, at most `limit`. An event may become visible a moment after its commit, but
    /// not after a later one has.
    ///
    /// # Errors
    /// [`StoreError`]
    fn events(&mut self, _first: i64, _limit: usize) -> Result<Vec<EventRef>, StoreError> {
        Ok(Vec::new())
    }

    /// The same for the events of a conversation whose numbers are in a range.
    ///
    /// # Errors
    /// [`StoreError`]
    fn events_of(
        &mut self,
        _conversation: i64,
        _range: std::ops::Range<i64>,
        _limit: usize,
    ) -> Result<Vec<EventRef>, StoreError> {
        Ok(Vec::new())
    }

    /// What these events are about, in the same order. `None`: retention has removed it.
    ///
    /// # Errors
    /// [`StoreError`]
    fn event_data(&mut self, events: &[EventRef]) -> Result<Vec<Option<EventData>>, StoreError> {
        Ok(vec![None; events.len()])
    }

    /// Finds messages that users have not received: among those of the events from `first` on which are not later than `until`, or
    /// have a number up to `forced`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn waiting(
        &mut self,
        first: i64,
        _until: i64,
        _forced: i64,
    ) -> Result<WaitingMessages, StoreError> {
        Ok(WaitingMessages {
            first,
            position: first,
            ..WaitingMessages::default()
        })
    }
}
