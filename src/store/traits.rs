//! The two halves of a backend.

use std::fmt;
use std::time::Instant;

use uuid::Uuid;

use super::Quotas;
use super::model::{Entry, InboxState, Outcome, Write};
use super::options::LiveCursors;
use super::query::{
    ConversationsPage, ConversationsQuery, HistoryAnswer, HistoryQuery, InboxRange,
};

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

    /// Reads messages of a conversation.
    ///
    /// # Errors
    /// [`StoreError`]
    fn history(&mut self, query: &HistoryQuery) -> Result<HistoryAnswer, StoreError>;

    /// Reads a user's conversations. `None`: the cursor is none that this user was given.
    ///
    /// # Errors
    /// [`StoreError`]
    fn conversations(
        &mut self,
        query: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>, StoreError>;
}
