//! What is kept: messages, and one inbox per user (PROTOCOL section 5).
//!
//! A backend has two halves. The [`Store`] belongs to the writer's thread ([`crate::writer`]) and commits batches; its
//! [`Reader`]s belong to threads of their own, so that reading never delays a send. Neither ever sees a socket.

pub mod sqlite;

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its author.
    pub from: Arc<str>,
    /// The user it goes to.
    pub to: Box<str>,
    /// With the conversation, its address.
    pub id: Uuid,
    /// Raw JSON, checked.
    pub content: Box<str>,
    /// The message that this one answers.
    pub reply_to: Option<Uuid>,
}

/// One thing for the store to do. What a batch holds is done in order and committed together.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store a message and append it to the inboxes of both sides.
    Message(NewMessage),
    /// Ask whether two users have a conversation. Writes nothing; it is asked here so that the answer knows of the
    /// messages sent before.
    Contact(Arc<str>, Box<str>),
    /// A device holds its user's inbox up to an entry. Never moves back, never beyond the newest entry.
    Watermark {
        /// The user.
        user: Arc<str>,
        /// The user's device.
        device: Arc<str>,
        /// The entry.
        seq: u64,
    },
}

/// What became of a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is stored.
    Stored {
        /// Its place in the author's inbox.
        from_seq: u64,
        /// Its place in the inbox of the user it goes to; the same as `from_seq` for a message to oneself.
        to_seq: u64,
        /// Milliseconds since 1970-01-01T00:00:00Z.
        sent_at: i64,
        /// It had been stored before: this is the first outcome again.
        duplicate: bool,
    },
    /// The id is taken in this conversation by something else.
    IdConflict,
    /// Whether the two users have a conversation.
    Contact(bool),
    /// The watermark is noted.
    Noted,
}

/// What a session needs to know of its inbox to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The newest entry; 0 while there is none.
    pub head: u64,
    /// The oldest entry that is kept; `head + 1` while there is none.
    pub oldest: u64,
    /// How far this device holds the inbox; for a new device, how far the furthest of its user's does.
    pub received: u64,
}

/// An entry of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: u64,
    /// The message's author.
    pub from: String,
    /// The user it was sent to.
    pub to: String,
    /// The message's id.
    pub id: Uuid,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub sent_at: i64,
    /// The message that it answers.
    pub reply_to: Option<Uuid>,
    /// Raw JSON.
    pub content: String,
}

/// Which entries to read.
#[derive(Clone, Debug)]
pub struct Span {
    /// Whose inbox.
    pub user: Arc<str>,
    /// The first entry wanted.
    pub first: u64,
    /// The last entry wanted.
    pub last: u64,
    /// Stop after about so many bytes of content. At least one entry is read.
    pub bytes: usize,
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// No room, or locked by somebody else for too long: nothing was stored, later it may be.
    Unavailable(String),
    /// Anything else: the outcome is unknown.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(detail) => write!(f, "the store is unavailable: {detail}"),
            Self::Failed(detail) => write!(f, "the store failed: {detail}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The writing half of a backend.
pub trait Store: Send {
    /// Changes when sequence numbers stop meaning what they did: the store was replaced or restored.
    fn epoch(&self) -> Uuid;

    /// Does a batch in order, as of `now` (milliseconds since 1970-01-01T00:00:00Z), commits it durably, and says what
    /// became of each part, in the same order. A part that is refused leaves the others as they are.
    ///
    /// # Errors
    /// [`StoreError`]: no part of the batch is stored, or, if it says `Failed`, the outcome is unknown.
    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError>;

    /// Looks up where a user's device stands. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    fn open_inbox(&mut self, user: &str, device: &str) -> Result<Opened, StoreError>;

    /// A reading half.
    ///
    /// # Errors
    /// [`StoreError`]
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The reading half of a backend.
pub trait Reader: Send {
    /// Reads part of an inbox, in order.
    ///
    /// # Errors
    /// [`StoreError`]
    fn entries(&mut self, span: &Span) -> Result<Vec<Entry>, StoreError>;
}
