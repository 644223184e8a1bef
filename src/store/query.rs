//! What is read from a store, and how much of it.

use std::sync::Arc;

use uuid::Uuid;

use super::model::StoredMessage;

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
