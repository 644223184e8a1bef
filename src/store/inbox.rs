//! Inboxes as they are read from a store.

use uuid::Uuid;

use super::erasure::ErasedEntry;
use super::model::Conversation;
use super::rooms::MembershipEntry;
use super::user_status::UserStatus;

/// The state of an inbox when a session starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxState {
    /// The newest entry; 0 if there is none.
    pub head: u64,
    /// The oldest entry that is kept; `head + 1` if there is none.
    pub oldest: u64,
    /// The newest entry that this device has received; for a device without a stored position, the newest that any device of the
    /// user has.
    pub received: u64,
    /// The device has a stored position.
    pub is_known: bool,
    /// It is stored that a session of the user has been opened.
    pub has_connected: bool,
    /// The user's status.
    pub status: UserStatus,
    /// When the user was last online for others; `None`: it is not known.
    pub last_seen: Option<i64>,
    /// The epoch of the user's inbox.
    pub epoch: Uuid,
    /// The entry that the client knows ([`KnownEntry`](super::KnownEntry)) is kept and is another one.
    pub diverged: bool,
}

/// The event that an inbox entry records. A later edit or deletion of the message supersedes an edit; a later change by the same
/// user supersedes a reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A message.
    Message,
    /// A message's content was replaced.
    Edited,
    /// A message's content was removed.
    Deleted,
    /// A reaction was added or removed.
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
    /// Its number in the inbox.
    pub seq: u64,
    /// The event.
    pub kind: EntryKind,
    /// The user who caused it.
    pub actor: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, like the times of the message.
    pub at: i64,
    /// The message in its present state, without its reactions. The content is read only for a message and an edit.
    pub message: StoredMessage,
}

/// An item of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxItem {
    /// An entry.
    Entry(Box<Entry>),
    /// A user has joined or left a room.
    Membership(Box<MembershipEntry>),
    /// Another user was erased.
    Erased(Box<ErasedEntry>),
    /// The number of an entry whose change was superseded. Clients get nothing else of it.
    Superseded(u64),
}

impl InboxItem {
    /// Its number in the inbox.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.seq,
            Self::Membership(entry) => entry.seq,
            Self::Erased(entry) => entry.seq,
            Self::Superseded(seq) => *seq,
        }
    }
}

/// A message in its present state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The author.
    pub from: String,
    /// The conversation, as the author addressed it.
    pub to: Conversation,
    /// Identifies the message within its conversation.
    pub id: Uuid,
    /// When it was stored.
    pub sent_at: i64,
    /// The message that it replies to.
    pub reply_to: Option<Uuid>,
    /// When its content was last replaced.
    pub edited_at: Option<i64>,
    /// When its content was removed.
    pub deleted_at: Option<i64>,
    /// Raw JSON; empty if it was removed.
    pub content: String,
    /// Reactions in the order in which they were added, each with its users.
    pub reactions: Vec<(String, Vec<String>)>,
}
