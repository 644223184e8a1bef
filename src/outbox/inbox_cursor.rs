//! The order in which a session sends its user's inbox.
//!
//! A session has one cursor: the next `seq` of the inbox to send. A live push at the cursor is sent directly. A push ahead of
//! the cursor only raises the known head, and the session reads the entries between from the store. A push behind the cursor
//! is dropped. This rule gives order without loss and without duplicates for fast and slow readers, at connect and on resume.
//!
//! An acknowledgement of the session's own send is this session's form of the entry, so it has the place of the entry. If
//! the cursor has not reached that place yet, the acknowledgement waits in [`InboxCursor::defer_ack`].
//!
//! This module has no lock, no bytes and no socket, so that the order is tested alone.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::protocol::server::{Ack, AckStatus};
use crate::protocol::types::Integer;
use crate::protocol::{MessageId, ServerFrame, Timestamp};

/// The subject of an acknowledgement.
#[derive(Clone, Debug)]
pub enum Acked {
    /// A message, or a change of one.
    Message(MessageId),
    /// A room that the user has joined or left.
    Room(Arc<str>),
}

impl Acked {
    /// The acknowledgement of a frame that was stored.
    pub fn stored<'a>(
        &'a self,
        seq: Option<u64>,
        sent_at: Timestamp,
        duplicate: Option<bool>,
        reference: Option<&'a str>,
    ) -> ServerFrame<'a> {
        let (id, room) = match self {
            Self::Message(id) => (Some(*id), None),
            Self::Room(room) => (None, Some(&**room)),
        };
        ServerFrame::Ack(Ack {
            id,
            room,
            seq: seq.map(Integer),
            status: AckStatus::Stored,
            sent_at,
            duplicate,
            reference,
        })
    }
}

/// An acknowledgement whose entry the cursor has not reached.
#[derive(Debug)]
pub struct PendingAck {
    /// The entry that the send became.
    pub seq: u64,
    /// The subject of the send.
    pub subject: Acked,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The session's user is the recipient too: the entry follows the acknowledgement.
    pub to_oneself: bool,
    /// The `ref` of the client's frame.
    pub reference: Option<Box<str>>,
}

impl PendingAck {
    /// The acknowledgement, as a duplicate if its entry is not in its place.
    pub fn frame(&self, duplicate: Option<bool>) -> ServerFrame<'_> {
        self.subject.stored(
            Some(self.seq),
            self.stored_at,
            duplicate,
            self.reference.as_deref(),
        )
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.reference.as_ref().map_or(0, |text| text.len())
    }
}

/// The position of a session in its user's inbox.
#[derive(Debug, Default)]
pub struct InboxCursor {
    /// The next entry to send; `None` until the inbox has been opened.
    next: Option<u64>,
    /// The newest known entry.
    head: u64,
    /// The head that `welcome` named, until the cursor has passed it and `synced` is due.
    sync_at: Option<u64>,
    /// Acknowledgements of entries at or beyond the cursor, in order of `seq`.
    pending_acks: VecDeque<PendingAck>,
    /// Memory of `pending_acks`.
    pending_memory: usize,
}

impl InboxCursor {
    /// Starts at `first`. `head` is the newest entry, and the one after which `synced` is due.
    pub fn open(&mut self, first: u64, head: u64) {
        self.next = Some(first);
        self.head = self.head.max(head);
        self.sync_at = Some(head);
    }

    /// The next entry to send; `None` until the inbox has been opened.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// The newest known entry.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Notes that entry `seq` exists.
    pub fn raise_head(&mut self, seq: u64) {
        self.head = self.head.max(seq);
    }

    /// True if `seq` is the next entry to send.
    pub fn is_at(&self, seq: u64) -> bool {
        self.next == Some(seq)
    }

    /// True if `seq` was sent or skipped.
    pub fn is_past(&self, seq: u64) -> bool {
        self.next.is_some_and(|next| next > seq)
    }

    /// Moves to the entry after the one that was just sent.
    pub fn advance(&mut self) {
        if let Some(next) = &mut self.next {
            *next += 1;
        }
    }

    /// Moves forward to `oldest`. False if the cursor is already there or beyond, or the inbox has not been opened.
    pub fn skip_to(&mut self, oldest: u64) -> bool {
        let behind = self.next.is_some_and(|next| next < oldest);
        if behind {
            self.next = Some(oldest);
        }
        behind
    }

    /// Returns the head that `welcome` named, once, when the cursor has passed it: `synced` is due now.
    pub fn take_synced(&mut self) -> Option<u64> {
        let next = self.next?;
        self.sync_at.take_if(|head| next > *head)
    }

    /// Keeps an acknowledgement until the cursor reaches its entry.
    pub fn defer_ack(&mut self, ack: PendingAck) {
        self.pending_memory += ack.memory();
        self.pending_acks.push_back(ack);
    }

    /// Removes and returns the first deferred acknowledgement, if its entry is before `seq`.
    pub fn pop_ack_before(&mut self, seq: u64) -> Option<PendingAck> {
        if self.pending_acks.front()?.seq >= seq {
            return None;
        }
        let ack = self.pending_acks.pop_front()?;
        self.pending_memory -= ack.memory();
        Some(ack)
    }

    /// Number of deferred acknowledgements.
    pub fn pending_acks(&self) -> usize {
        self.pending_acks.len()
    }

    /// Bytes of memory that they use.
    pub fn pending_memory(&self) -> usize {
        self.pending_memory
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn opened(first: u64, head: u64) -> InboxCursor {
        let mut cursor = InboxCursor::default();
        cursor.open(first, head);
        cursor
    }

    fn ack(seq: u64) -> PendingAck {
        PendingAck {
            seq,
            subject: Acked::Message(MessageId(Uuid::nil())),
            stored_at: Timestamp(0),
            to_oneself: false,
            reference: Some("ref".into()),
        }
    }

    #[test]
    fn only_the_entry_at_the_cursor_can_be_sent() {
        let mut cursor = InboxCursor::default();
        assert!(!cursor.is_at(1), "the inbox has not been opened");
        assert!(!cursor.is_past(1));
        cursor.open(3, 2);
        assert!(cursor.is_at(3) && !cursor.is_at(4) && !cursor.is_at(2));
        assert!(cursor.is_past(2) && !cursor.is_past(3));
        cursor.advance();
        assert!(cursor.is_at(4) && cursor.is_past(3));
    }

    #[test]
    fn a_push_ahead_of_the_cursor_raises_only_the_head() {
        let mut cursor = opened(1, 0);
        cursor.raise_head(7);
        cursor.raise_head(5);
        assert_eq!((cursor.next(), cursor.head()), (Some(1), 7));
    }

    #[test]
    fn a_push_before_the_inbox_is_opened_is_not_lost() {
        let mut cursor = InboxCursor::default();
        cursor.raise_head(6);
        cursor.open(2, 5);
        assert_eq!((cursor.next(), cursor.head()), (Some(2), 6));
    }

    #[test]
    fn synced_is_due_once_behind_the_head_of_welcome() {
        let mut cursor = opened(4, 5);
        assert_eq!(cursor.take_synced(), None);
        cursor.advance();
        cursor.raise_head(9);
        assert_eq!(cursor.take_synced(), None);
        cursor.advance();
        assert_eq!(cursor.take_synced(), Some(5));
        assert_eq!(cursor.take_synced(), None);
        assert_eq!(opened(1, 0).take_synced(), Some(0), "an empty inbox");
    }

    #[test]
    fn the_cursor_skips_forward_only() {
        let mut cursor = InboxCursor::default();
        assert!(!cursor.skip_to(5), "the inbox has not been opened");
        cursor.open(3, 9);
        assert!(cursor.skip_to(5) && cursor.is_at(5));
        assert!(!cursor.skip_to(5) && !cursor.skip_to(4));
        assert!(cursor.skip_to(10));
        assert_eq!(cursor.take_synced(), Some(9));
    }

    #[test]
    fn deferred_acks_come_back_in_order_and_their_memory_is_counted() {
        let mut cursor = opened(1, 9);
        cursor.defer_ack(ack(3));
        cursor.defer_ack(ack(7));
        assert_eq!(cursor.pending_acks(), 2);
        assert_eq!(cursor.pending_memory(), 2 * ack(3).memory());
        assert!(cursor.pop_ack_before(3).is_none());
        assert_eq!(cursor.pop_ack_before(8).map(|ack| ack.seq), Some(3));
        assert_eq!(cursor.pop_ack_before(8).map(|ack| ack.seq), Some(7));
        assert!(cursor.pop_ack_before(8).is_none());
        assert_eq!((cursor.pending_acks(), cursor.pending_memory()), (0, 0));
    }
}
