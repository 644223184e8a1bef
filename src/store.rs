//! What is kept: messages, and one inbox per user (PROTOCOL section 5).
//!
//! A backend has two halves. The [`Store`] belongs to the writer's thread ([`crate::writer`]) and commits batches; its
//! [`Reader`]s belong to threads of their own, so that reading never delays a send. They see what was committed once it is
//! settled. Neither ever sees a socket.

pub mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    /// The id was made for this message just now: no other can have it.
    pub fresh: bool,
    /// What the sender's address may still leave with users who have never connected; `None`: any number.
    pub ip_quota: Option<Arc<IpQuota>>,
}

/// The address of a message, as one of the two users of its conversation gives it.
#[derive(Clone, Debug)]
pub struct MessageRef {
    /// Who asks.
    pub from: Arc<str>,
    /// The other user of the conversation.
    pub to: Box<str>,
    /// The message.
    pub id: Uuid,
}

/// One thing for the store to do. What a batch holds is done in order and committed together.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store a message and append it to the inboxes of both sides.
    Message(NewMessage),
    /// Replace a message's content (raw JSON, checked), and append the change to both inboxes.
    Edit(MessageRef, Box<str>),
    /// Remove a message's content, and append the change to both inboxes.
    Delete(MessageRef),
    /// Add or remove a reaction, and append the change to both inboxes.
    React {
        /// The message.
        at: MessageRef,
        /// The reaction.
        emoji: Box<str>,
        /// True to remove it.
        remove: bool,
    },
    /// The asker has read the conversation up to a message. Never moves back.
    Read(MessageRef),
    /// Ask whether two users have a conversation. Writes nothing; it is asked here so that the answer knows of the
    /// messages sent before.
    Contact(Arc<str>, Box<str>),
    /// A user takes nothing direct from another one any more, or takes it again. In force for whatever comes behind it.
    Block {
        /// Who blocks.
        by: Arc<str>,
        /// Who is blocked.
        user: Box<str>,
        /// False: takes messages again.
        on: bool,
    },
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message or a change is stored.
    Stored {
        /// Its place in the inbox of the user who caused it. `None`: nothing was to be done, and no entry ever did it.
        from_seq: Option<u64>,
        /// Its place in the other user's inbox; the same as `from_seq` for a message to oneself.
        to_seq: u64,
        /// When it was stored, in milliseconds since 1970-01-01T00:00:00Z.
        at: i64,
        /// It had been stored before: this is the first outcome again, and nothing was appended.
        duplicate: bool,
    },
    /// The id is taken in this conversation by something else.
    IdConflict,
    /// The message is not there, or not there any more.
    UnknownMessage,
    /// Only its author may do this to the message.
    NotAuthor,
    /// The message has as many reactions of this user as one may have.
    TooMany,
    /// Whether the two users have a conversation, and neither blocks the other.
    Contact(bool),
    /// Whether the read mark has moved.
    Marked {
        /// It has.
        moved: bool,
        /// One of the two blocks the other: nobody but the reader is told.
        quiet: bool,
    },
    /// The other user blocks this one: nothing was stored.
    Blocked,
    /// The other user has never connected, and only those who have are written to: nothing was stored.
    UnknownUser,
    /// The sender, or their address, has left as many messages with users who have never connected as they may: nothing was
    /// stored.
    LeftTooMany,
    /// All together have: nothing was stored.
    NoRoom,
    /// A block is in force as asked.
    Set,
    /// The user blocks as many others as one may.
    TooManyBlocks,
    /// The watermark is noted; in these conversations the user has received more than any device of theirs had before.
    Received(Vec<Received>),
}

impl Outcome {
    /// What it is to one who is to be refused: what had been done before stays so, and nothing else counts.
    fn or(self, refusal: Self) -> Self {
        match self {
            Self::Stored {
                duplicate: true, ..
            } => self,
            _ => refusal,
        }
    }
}

/// How far a user has received a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The other user.
    pub with: String,
    /// The newest message received.
    pub id: Uuid,
    /// One of the two blocks the other: the other is not told.
    pub quiet: bool,
}

/// What a session needs to know of its inbox to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxState {
    /// The newest entry; 0 while there is none.
    pub head: u64,
    /// The oldest entry that is kept; `head + 1` while there is none.
    pub oldest: u64,
    /// How far this device holds the inbox; for a new device, how far the furthest of its user's does.
    pub received: u64,
}

/// What an entry of an inbox is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A message.
    Message,
    /// A message's content was replaced.
    Edited,
    /// A message's content was removed.
    Deleted,
    /// A reaction was added, or removed.
    Reacted {
        /// The reaction.
        emoji: String,
        /// It was removed.
        removed: bool,
    },
}

/// An entry of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: u64,
    /// What it is about.
    pub kind: EntryKind,
    /// Who caused it.
    pub by: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, like the times of the message.
    pub at: i64,
    /// The message as it is now, without its reactions.
    pub message: StoredMessage,
}

/// A message as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its author.
    pub from: String,
    /// The user it was sent to.
    pub to: String,
    /// With the conversation, its address.
    pub id: Uuid,
    /// When it was stored.
    pub sent_at: i64,
    /// The message that it answers.
    pub reply_to: Option<Uuid>,
    /// When its content was last replaced.
    pub edited_at: Option<i64>,
    /// When its content was removed.
    pub deleted_at: Option<i64>,
    /// Raw JSON; empty when it was removed.
    pub content: String,
    /// Reactions, each with the users whose it is, in the order in which they came.
    pub reactions: Vec<(String, Vec<String>)>,
}

/// Which messages of a conversation to read.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Who asks.
    pub user: Arc<str>,
    /// The other user.
    pub with: Box<str>,
    /// From where, and which way; `None`: the newest.
    pub anchor: Option<HistoryPosition>,
    /// How many at the most.
    pub limit: usize,
    /// Older ones are not shown (milliseconds since 1970-01-01T00:00:00Z).
    pub not_before: i64,
    /// Stop before so many bytes. At least one message is read.
    pub bytes: usize,
}

/// From where history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPosition {
    /// Messages before this one, the nearest first of all.
    Before(Uuid),
    /// Messages after this one.
    After(Uuid),
}

/// Part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub messages: Vec<StoredMessage>,
    /// Whether there are more in the direction that was asked for.
    pub more: bool,
}

/// Which of a user's conversations to read.
#[derive(Clone, Debug)]
pub struct ConversationsQuery {
    /// Whose.
    pub user: Arc<str>,
    /// How many at the most.
    pub limit: usize,
    /// Where to go on, as the answer before said: behind the conversation whose newest message this was.
    pub cursor: Option<Uuid>,
    /// Those whose newest message is older are not shown.
    pub not_before: i64,
    /// Stop before so many bytes. At least one conversation is read.
    pub bytes: usize,
}

/// A conversation as one of its users sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationItem {
    /// The other user.
    pub with: String,
    /// The newest message.
    pub last: StoredMessage,
    /// The other's messages after the read mark, deleted ones not counted.
    pub unread: u64,
    /// The user has read up to this message.
    pub my_read: Option<Uuid>,
    /// The other user has read up to this message.
    pub their_read: Option<Uuid>,
    /// The other user has received up to this message.
    pub their_received: Option<Uuid>,
}

/// Part of a user's conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationsPage {
    /// Newest first.
    pub items: Vec<ConversationItem>,
    /// Where to go on; `None` on the last page.
    pub cursor: Option<Uuid>,
}

/// How long things are kept (PROTOCOL section 5, "Two lifetimes").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    /// Entries of an inbox are kept for so many milliseconds,
    pub inbox_ms: i64,
    /// and at most so many of them.
    pub inbox_limit: u64,
    /// Messages are kept for so many milliseconds, but never shorter than the entries that show them; `None`: for ever.
    pub history_ms: Option<i64>,
}

/// Which entries to read.
#[derive(Clone, Debug)]
pub struct InboxRange {
    /// Whose inbox.
    pub user: Arc<str>,
    /// The first entry wanted.
    pub first: u64,
    /// The last entry wanted.
    pub last: u64,
    /// Stop after about so many bytes of content. At least one entry is read.
    pub bytes: usize,
}

/// Which entry a user's slowest live session is owed next, if the user has one: what a store asks before it removes entries
/// for their number.
#[derive(Clone)]
pub struct LiveCursors(Arc<AskOwed>);

type AskOwed = dyn Fn(&str) -> Option<u64> + Send + Sync;

impl LiveCursors {
    /// Asks `ask`, which must not wait.
    pub fn new(ask: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// The next entry owed to any live session of `user`.
    pub fn ask(&self, user: &str) -> Option<u64> {
        (self.0)(user)
    }
}

impl Default for LiveCursors {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for LiveCursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owed")
    }
}

/// What users may ask of a store. Nothing is bounded by default but what is bounded everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Users that one user may block.
    pub blocks: u64,
    /// Whether users are written to only once they have connected.
    pub known_only: bool,
    /// Messages to users who have never connected: in all, and of one sender.
    pub unclaimed: u64,
    /// See `unclaimed`.
    pub unclaimed_of_one: u64,
}

impl Quotas {
    /// Whether messages to users who have never connected are bounded, and so counted.
    pub fn counts_unclaimed(&self) -> bool {
        self.unclaimed.min(self.unclaimed_of_one) < u64::MAX
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            blocks: u64::MAX,
            known_only: false,
            unclaimed: u64::MAX,
            unclaimed_of_one: u64::MAX,
        }
    }
}

/// How many messages one address may leave with users who have never connected. It fills up again within a day.
#[derive(Debug)]
pub struct IpQuota {
    most: u64,
    spent: AtomicU64,
}

impl IpQuota {
    /// A full one.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            spent: AtomicU64::new(0),
        }
    }

    /// Whether there is nothing left in it.
    pub fn is_empty(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= self.most
    }

    /// Takes one out.
    pub fn spend(&self) {
        self.spent.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts in what comes back in minute `minute` of a day. True: it is full.
    pub fn fill(&self, minute: u64) -> bool {
        const DAY: u64 = 24 * 60;
        let by = |minute: u64| self.most.saturating_mul(minute) / DAY;
        let back = by(minute % DAY + 1) - by(minute % DAY);
        let fill = |spent: u64| Some(spent.saturating_sub(back));
        let before = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill);
        before.is_ok_and(|before| before <= back)
    }
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
            Self::Unavailable(detail) | Self::Failed(detail) => f.write_str(detail),
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

    /// Shows the [`Reader`]s what was committed. With `all` they see everything afterwards; without, this does about as much
    /// as is worth doing now: `limit` messages of what has waited long enough. Gives when to come back, if anything is left.
    ///
    /// # Errors
    /// [`StoreError`]: what is left stays committed, and readers do not see it yet.
    fn settle(&mut self, limit: usize, all: bool) -> Result<Option<Instant>, StoreError>;

    /// Looks up where a user's device stands.
    ///
    /// # Errors
    /// [`StoreError`]
    fn open_inbox(&mut self, user: &str, device: &str) -> Result<InboxState, StoreError>;

    /// Removes a little of what is older than it is to be kept, and gives disk space back. True: there is more to do now.
    ///
    /// # Errors
    /// [`StoreError`]
    fn maintain(&mut self, now: i64) -> Result<bool, StoreError>;

    /// Shows `each` every block in force: who blocks, and whom.
    ///
    /// # Errors
    /// [`StoreError`]
    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError>;

    /// From now on entries that are still owed to a live session are spared, within reason, when they are too many.
    fn spare(&mut self, owed: LiveCursors);

    /// From now on users may ask so much.
    fn limit(&mut self, quotas: Quotas);

    /// A reading half.
    ///
    /// # Errors
    /// [`StoreError`]
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The reading half of a backend.
pub trait Reader: Send {
    /// With `unsettled`, shows from now on also what was committed before this call and is not settled, however slowly: what
    /// could not be settled can still be read. Without, nothing more than what is settled.
    ///
    /// # Errors
    /// [`StoreError`]
    fn include_pending(&mut self, unsettled: bool) -> Result<(), StoreError>;

    /// Reads part of an inbox, in order.
    ///
    /// # Errors
    /// [`StoreError`]
    fn entries(&mut self, span: &InboxRange) -> Result<Vec<Entry>, StoreError>;

    /// Reads messages of a conversation. `None`: the anchor is no message of it.
    ///
    /// # Errors
    /// [`StoreError`]
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError>;

    /// Reads a user's conversations. `None`: the cursor is none that this user was given.
    ///
    /// # Errors
    /// [`StoreError`]
    fn conversations(
        &mut self,
        query: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::IpQuota;

    #[test]
    fn a_purse_is_full_again_after_a_day() {
        for most in [1, 3, 1000, 100_000] {
            let ip_quota = IpQuota::new(most);
            (0..most).for_each(|_| ip_quota.spend());
            assert!(ip_quota.is_empty());
            for minute in 500..500 + 1440 {
                assert!(
                    !ip_quota.fill(minute) || minute == 500 + 1439 || most < 1440,
                    "{most}"
                );
            }
            assert!(ip_quota.fill(0), "{most}");
        }
    }
}
