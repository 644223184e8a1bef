//! Storage of messages and of one inbox per user (PROTOCOL section 5).
//!
//! A store has two halves. The [`Store`] belongs to the writer's thread ([`crate::writer`]) and commits batches; its
//! [`Reader`]s belong to threads of their own ([`crate::readers`]), so that reading never delays a commit. A reader sees
//! everything that was committed before it is called. Neither half knows of sessions.
//!
//! To add a store, implement both traits and add it to `tests/store`.

mod content;
mod erasure;
mod events;
mod export;
mod files;
mod inbox;
mod log_header;
mod model;
mod name_hash;
mod options;
mod overview;
mod query;
mod recipients;
mod rooms;
pub mod sqlite;
mod traits;
mod user_status;
mod visibility;

pub use self::content::{Content, ContentHash, ContentHasher};
pub use self::erasure::{Erased, ErasedEntry, ErasureStep};
pub use self::events::{
    EventData, EventFeed, EventKind, EventReader, EventRef, EventSubject, EventWrite, ReceiverKey,
    ReceiverState, WaitingMessage, WaitingMessages,
};
pub use self::export::{ExportPage, ExportPosition, ExportQuery};
pub use self::files::{FileId, FileRole, StoreFiles};
pub use self::inbox::{Entry, EntryKind, InboxItem, InboxState, StoredMessage};
pub use self::model::{
    Authority, Conversation, MessageRef, NewMessage, Outcome, Received, RecipientQuota, Repeated,
    Write,
};
pub use self::name_hash::{NameHash, NameHasher};
pub use self::options::{ContactObserver, LiveCursors, StoreOptions};
pub use self::overview::{
    RoomItem, RoomMembersQuery, RoomsPage, RoomsQuery, UserOverview, UserQuery,
};
pub use self::query::{
    ConversationItem, ConversationsPage, ConversationsQuery, DeviceRef, HistoryAnswer, HistoryPage,
    HistoryPosition, HistoryQuery, InboxQuery, InboxRange, KnownEntry, Watched,
};
pub use self::recipients::{Recipient, Recipients};
pub use self::rooms::{
    MemberItem, MembersAnswer, MembersPage, MembersQuery, MembershipEntry, MembershipEvent,
    MembershipKind, RoomDeletionId, RoomDeletionStep, RoomMembers,
};
pub use self::traits::{Reader, Store, StoreError, StoredTimes, Waker};
pub use self::user_status::UserStatus;
pub use self::visibility::{ReceivedView, Relation};
pub use crate::config::{PresenceMode, Quotas, Retention, RoomHistory, RoomMode, RoomRules};
