//! Queries and their results.

use std::sync::Arc;

use uuid::Uuid;

use super::inbox::StoredMessage;
use super::model::Conversation;

/// A device of a user.
#[derive(Clone, Debug)]
pub struct DeviceRef {
    /// The user.
    pub user: Arc<str>,
    /// The device.
    pub device: Arc<str>,
}

/// Asks for the state of a device's inbox.
#[derive(Clone, Debug)]
pub struct InboxQuery {
    /// The device.
    pub device: DeviceRef,
    /// What the client knows of the entry at its cursor; `None`: nothing that can be compared.
    pub known: Option<KnownEntry>,
}

impl From<DeviceRef> for InboxQuery {
    fn from(device: DeviceRef) -> Self {
        Self {
            device,
            known: None,
        }
    }
}

/// What a client knows of an entry of its inbox. If the store's entry of this number is another one, the log was rolled back and
/// has continued since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownEntry {
    /// The number of the entry.
    pub seq: u64,
    /// The message that the entry is about.
    pub id: Option<Uuid>,
    /// The time of the entry as the client was told, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: Option<i64>,
    /// The epoch in which the client was told. It is not compared in another one. `None`: the client does not say.
    pub epoch: Option<Uuid>,
}

/// A range of inbox entries to read.
#[derive(Clone, Debug)]
pub struct InboxRange {
    /// The user of the inbox.
    pub user: Arc<str>,
    /// The first entry.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// Stop after about this many bytes of content. At least one entry is read.
    pub bytes: usize,
}

/// Selects messages of a conversation.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// The user who asks.
    pub user: Arc<str>,
    /// The conversation.
    pub conversation: Conversation,
    /// Where to start, and the direction; `None`: the newest messages.
    pub position: Option<HistoryPosition>,
    /// The maximum number of messages.
    pub limit: usize,
    /// The oldest messages are left out up to the first one that is not older (milliseconds since 1970-01-01T00:00:00Z).
    pub not_before: Option<i64>,
    /// Stop before this many bytes. At least one message is read.
    pub bytes: usize,
}

/// A position in a history, and the direction in which it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPosition {
    /// The messages just before this one.
    Before(Uuid),
    /// The messages just after this one.
    After(Uuid),
}

/// The answer to a [`HistoryQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryAnswer {
    /// Messages.
    Page(HistoryPage),
    /// The query's position is not a message of this conversation.
    UnknownMessage,
    /// The user is not a member of the room, or there is no such room.
    NotMember,
    /// There are no rooms.
    UnknownRoom,
}

/// Part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Messages, oldest first.
    pub messages: Vec<StoredMessage>,
    /// True if there are more messages in the requested direction.
    pub more: bool,
}

/// What a store knows about a user whom another one watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The two users are contacts ([`Reader::is_mutual`](super::Reader::is_mutual)). False if that does not decide whether they see each
    /// other.
    pub is_mutual: bool,
    /// When the user was last online for others, in milliseconds since 1970-01-01T00:00:00Z; `None`: it is not known.
    pub last_seen: Option<i64>,
}

/// Selects conversations of a user.
#[derive(Clone, Debug)]
pub struct ConversationsQuery {
    /// The user.
    pub user: Arc<str>,
    /// The maximum number of conversations.
    pub limit: usize,
    /// The cursor of the previous page: continue after it.
    pub cursor: Option<Uuid>,
    /// Conversations in which all messages are older are left out.
    pub not_before: Option<i64>,
    /// Stop before this many bytes. At least one conversation is read.
    pub bytes: usize,
}

/// A conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationItem {
    /// The conversation, as this member addresses it.
    pub conversation: Conversation,
    /// The newest message; `None` in a room that shows none.
    pub last: Option<StoredMessage>,
    /// The number of members of a room.
    pub members: Option<u64>,
    /// The number of messages of others after the read mark, without deleted and hidden ones; in a room after the last join, and
    /// at most 1000.
    pub unread: u64,
    /// The user has read up to this message.
    pub my_read: Option<Uuid>,
    /// In a direct conversation: the other user has read up to this message.
    pub their_read: Option<Uuid>,
    /// In a direct conversation: the other user has received up to this message.
    pub their_received: Option<Uuid>,
}

/// Part of a user's list of conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationsPage {
    /// Conversations, newest first.
    pub items: Vec<ConversationItem>,
    /// Where the next page starts; `None` on the last page.
    pub cursor: Option<Uuid>,
}
