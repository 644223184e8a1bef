//! What is kept: messages, and one inbox per user (PROTOCOL section 5).
//!
//! A backend has two halves. The [`Store`] belongs to the writer's thread ([`crate::writer`]) and commits batches; its
//! [`Reader`]s belong to threads of their own, so that reading never delays a send. They see what was committed once it is
//! settled. Neither ever sees a socket.

mod model;
mod options;
mod query;
mod recipients;
pub mod sqlite;
mod traits;

pub use self::model::{
    Conversation, Entry, EntryKind, InboxState, MessageRef, NewMessage, Outcome, Received,
    StoredMessage, Write,
};
pub use self::options::LiveCursors;
pub use self::query::{
    ConversationItem, ConversationsPage, ConversationsQuery, HistoryAnswer, HistoryPage,
    HistoryPosition, HistoryQuery, InboxRange,
};
pub use self::recipients::{Recipient, Recipients};
pub use self::traits::{Reader, Store, StoreError};
pub use crate::config::{Quotas, Retention};
