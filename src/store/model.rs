//! Messages, conversations and inboxes as they are written to and read from a store.

use std::sync::Arc;

use uuid::Uuid;

use crate::limits::ip_quota::IpQuota;

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
    pub(super) fn or(self, refusal: Self) -> Self {
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
