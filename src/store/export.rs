//! Exports: all messages of a user's conversations, read in pages.

use std::sync::Arc;

use super::inbox::StoredMessage;

/// Selects a page of an export.
#[derive(Clone, Debug)]
pub struct ExportQuery {
    /// The user.
    pub user: Arc<str>,
    /// The end of the page before; `None`: the first page.
    pub after: Option<ExportPosition>,
    /// The maximum number of messages.
    pub limit: usize,
    /// Stop before this many bytes. At least one message is read, unless the page is empty.
    pub bytes: usize,
}

/// A page of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPage {
    /// Messages. Those of one conversation follow each other, oldest first. A page may be empty although there are more.
    pub messages: Vec<StoredMessage>,
    /// Where the next page starts; `None`: there are no more messages.
    pub next: Option<ExportPosition>,
}

/// A position in an export of one user. It stays valid whatever is stored or removed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportPosition {
    /// The number of the user.
    pub(super) user: i64,
    pub(super) part: ExportPart,
    /// The number of the other user, or of the room; 0: before the first one of this part.
    pub(super) place: i64,
    /// The number of the last message that was read there; `None`: all of them were.
    pub(super) message: Option<i64>,
}

/// The parts of an export, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExportPart {
    /// Conversations with users whose numbers are not lower than that of the user.
    WithHigher,
    /// Conversations with users whose numbers are lower.
    WithLower,
    /// Rooms.
    Rooms,
}

impl ExportPosition {
    /// Before the first message of a user.
    pub(super) fn start(user: i64) -> Self {
        Self {
            user,
            part: ExportPart::WithHigher,
            place: 0,
            message: None,
        }
    }
}
