//! Replay: reads inbox entries from the store that live pushes have not sent.
//!
//! A replay starts where [`Start::of`] decides when the session is opened, and runs again whenever the head is ahead of the
//! cursor: after a push that found a gap or no room.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::params::SessionQuery;
use crate::delivery::render::{EntryView, write_erased, write_skipped};
use crate::outbox::{Outbox, Status};
use crate::protocol::ServerFrame;
use crate::protocol::server::{Resumed, Truncated, TruncatedReason};
use crate::protocol::types::Integer;
use crate::readers::PendingRead;
use crate::router::Router;
use crate::store::{InboxItem, InboxRange, InboxState};

/// About this many bytes of content are read at a time.
const PAGE_BYTES: usize = 256 * 1024;

/// The start of a session's replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first entry to send.
    pub first: u64,
    /// Why it is not the entry that the client asked for.
    pub truncated: Option<TruncatedReason>,
    /// How it was found.
    pub resumed: Resumed,
}

impl Start {
    /// Where the replay of an inbox starts (PROTOCOL section 5, "Two lifetimes").
    pub fn of(query: &SessionQuery, inbox: &InboxState) -> Self {
        let other_epoch =
            query.since.is_some() && query.epoch.is_some_and(|known| known != inbox.epoch);
        let since = query.since.unwrap_or(inbox.received);
        let (first, truncated) = if other_epoch || since > inbox.head || inbox.diverged {
            (inbox.oldest, Some(TruncatedReason::Reset))
        } else if since + 1 < inbox.oldest {
            (inbox.oldest, Some(TruncatedReason::Retention))
        } else {
            (since + 1, None)
        };
        let resumed = match query.since {
            Some(_) => Resumed::Cursor,
            None if inbox.is_known => Resumed::Device,
            None => Resumed::New,
        };
        Self {
            first,
            truncated,
            resumed,
        }
    }
}

/// The read of the inbox that is under way.
#[derive(Debug, Default)]
pub struct Replay {
    page: Option<PendingRead<Vec<InboxItem>>>,
    /// The last entry of the range that is being read.
    last: u64,
    /// A read has failed: the session ends, and nothing more is read.
    failed: bool,
}

/// Result of [`Replay::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStep {
    /// Nothing could be done.
    Waiting,
    /// Entries were appended, or a read was started.
    Progress,
    /// The inbox cannot be read: the session has to end.
    Failed,
}

impl Replay {
    /// Reads the entries from the cursor to the head, while there is room. With `start` false, only a read that is under way is
    /// finished.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        router: &Router,
        start: bool,
    ) -> ReplayStep {
        if let Some(page) = &mut self.page {
            let Poll::Ready(entries) = Pin::new(page).poll(cx) else {
                return ReplayStep::Waiting;
            };
            self.page = None;
            match entries {
                Ok(Ok(entries)) => send_entries(outbox, &entries, self.last),
                Ok(Err(error)) => {
                    log::error!(user = &**outbox.user(), session:% = outbox.session(); "cannot read an inbox, the session ends: {error}");
                    self.failed = true;
                    return ReplayStep::Failed;
                }
                // The readers have ended: the server shuts down and will close the session.
                Err(_) => self.failed = true,
            }
            return ReplayStep::Progress;
        }
        let Status {
            cursor,
            head,
            unsent,
            ..
        } = outbox.status();
        let has_room = unsent < outbox.limit() / 2;
        if cursor > head || !has_room || self.failed || !start {
            return ReplayStep::Waiting;
        }
        self.last = head;
        self.page = Some(router.read_inbox(InboxRange {
            user: outbox.user().clone(),
            first: cursor,
            // Not beyond the known head: an entry beyond it may be this session's own send, whose ack is not known yet. It
            // would be sent as a message.
            last: head,
            bytes: PAGE_BYTES.min(outbox.limit()),
        }));
        ReplayStep::Progress
    }
}

/// Appends the entries of a page, of which `last` was the last requested.
fn send_entries(outbox: &Outbox, entries: &[InboxItem], last: u64) {
    if entries.is_empty() {
        // Retention has removed all requested entries. If newer ones exist, the next page shows where the replay continues.
        let Status { cursor, head, .. } = outbox.status();
        if head == last && cursor <= last {
            send_truncated(outbox, TruncatedReason::Retention, last + 1);
        }
    }
    for entry in entries {
        // An entry may be before the cursor: a reader can see a commit before the writer delivers it, and the live push of the
        // entry at the cursor then comes before the page. `push_replayed` skips such an entry.
        let seq = entry.seq();
        if seq > outbox.status().cursor {
            // Retention has removed the entries between.
            send_truncated(outbox, TruncatedReason::Retention, seq);
        }
        let has_room = outbox.push_replayed(seq, |out| match entry {
            InboxItem::Entry(entry) => EntryView::of_entry(entry).write(out, seq),
            InboxItem::Membership(entry) => EntryView::of_membership_entry(entry).write(out, seq),
            InboxItem::Erased(entry) => write_erased(out, entry),
            InboxItem::Superseded(_) => write_skipped(out, seq),
        });
        if !has_room {
            break;
        }
    }
}

/// Sends `truncated` and continues at entry `oldest`.
fn send_truncated(outbox: &Outbox, reason: TruncatedReason, oldest: u64) {
    outbox.send(&ServerFrame::Truncated(Truncated {
        reason,
        oldest_seq: Integer(oldest),
    }));
    outbox.skip_to(oldest);
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::outbox::wakeup::WrittenBy;
    use crate::protocol::Timestamp;
    use crate::session::AckMode;
    use crate::store::{
        Conversation, Entry, EntryKind, KnownEntry, MembershipKind, StoredMessage, UserStatus,
    };

    const EPOCH: Uuid = Uuid::from_u128(1);
    /// Entries 11 to 20 are stored; the device has received 15.
    const INBOX: InboxState = InboxState {
        head: 20,
        oldest: 11,
        received: 15,
        is_known: true,
        has_connected: true,
        status: UserStatus::Online,
        last_seen: None,
        epoch: EPOCH,
        diverged: false,
    };

    fn query(since: Option<u64>, epoch: Option<Uuid>) -> SessionQuery {
        SessionQuery {
            device: "d".into(),
            since,
            epoch,
            since_id: None,
            since_at: None,
            ack: AckMode::Auto,
            rooms: Vec::new(),
            membership: MembershipKind::Lasting,
        }
    }

    fn start(since: Option<u64>, epoch: Option<Uuid>) -> (u64, Option<TruncatedReason>) {
        let start = Start::of(&query(since, epoch), &INBOX);
        (start.first, start.truncated)
    }

    fn entry(seq: u64) -> InboxItem {
        InboxItem::Entry(Box::new(Entry {
            seq,
            kind: EntryKind::Message,
            actor: "other".into(),
            at: 0,
            message: StoredMessage {
                from: "other".into(),
                to: Conversation::Direct("u".into()),
                id: Uuid::nil(),
                sent_at: 0,
                reply_to: None,
                edited_at: None,
                deleted_at: None,
                content: "\"hi\"".into(),
                reactions: Vec::new(),
            },
        }))
    }

    #[test]
    fn a_page_that_comes_after_the_live_push_of_its_entry_sends_nothing() {
        let memory = crate::limits::memory::MemoryBudget::new(1 << 20);
        let outbox = Outbox::new(Uuid::nil(), "u".into(), 1 << 20, &memory);
        outbox.open(20, 20);
        drop(outbox.push_entry(20, b"entry 20", WrittenBy::FanOutThread));
        let before = outbox.status();
        send_entries(&outbox, &[], 20);
        send_entries(&outbox, &[entry(20)], 20);
        let after = outbox.status();
        assert_eq!((before.cursor, after.cursor), (21, 21));
        assert_eq!(before.unsent, after.unsent);
    }

    #[test]
    fn a_replay_starts_after_since_or_after_the_received_mark() {
        assert_eq!(start(None, None), (16, None));
        assert_eq!(start(Some(12), Some(EPOCH)), (13, None));
        assert_eq!(start(Some(10), None), (11, None));
        assert_eq!(start(Some(20), None), (21, None));
    }

    #[test]
    fn a_session_knows_how_its_start_was_found() {
        let resumed = |since, is_known| {
            let inbox = InboxState { is_known, ..INBOX };
            Start::of(&query(since, None), &inbox).resumed
        };
        assert_eq!(resumed(Some(12), true), Resumed::Cursor);
        assert_eq!(resumed(Some(21), false), Resumed::Cursor);
        assert_eq!(resumed(None, true), Resumed::Device);
        assert_eq!(resumed(None, false), Resumed::New);
    }

    #[test]
    fn a_replay_from_a_removed_entry_starts_at_the_oldest() {
        let retention = Some(TruncatedReason::Retention);
        assert_eq!(start(Some(9), None), (11, retention));
        assert_eq!(start(Some(0), Some(EPOCH)), (11, retention));
    }

    #[test]
    fn a_position_of_another_store_resets_the_replay() {
        let reset = Some(TruncatedReason::Reset);
        assert_eq!(start(Some(21), None), (11, reset));
        assert_eq!(start(Some(12), Some(Uuid::nil())), (11, reset));
        assert_eq!(start(None, Some(Uuid::nil())), (16, None));
    }

    #[test]
    fn a_log_with_another_entry_at_the_cursor_resets_the_replay() {
        let diverged = InboxState {
            diverged: true,
            ..INBOX
        };
        let start = Start::of(&query(Some(20), Some(EPOCH)), &diverged);
        assert_eq!(
            (start.first, start.truncated),
            (11, Some(TruncatedReason::Reset))
        );
    }

    #[test]
    fn an_entry_is_compared_only_if_the_client_knows_it() {
        let known = |since, epoch, since_id, since_at| {
            let query = SessionQuery {
                since_id,
                since_at,
                ..query(since, epoch)
            };
            query.known_entry()
        };
        let (id, at) = (Some(Uuid::from_u128(7)), Some(Timestamp(5)));
        let entry = KnownEntry {
            seq: 12,
            id,
            at: Some(5),
            epoch: None,
        };
        assert_eq!(known(Some(12), None, id, at), Some(entry));
        let in_epoch = KnownEntry {
            epoch: Some(EPOCH),
            ..entry
        };
        assert_eq!(known(Some(12), Some(EPOCH), id, at), Some(in_epoch));
        let without_time = KnownEntry { at: None, ..entry };
        assert_eq!(known(Some(12), None, id, None), Some(without_time));
        // The last time that a frame can have stands for all later ones.
        let last = Some(Timestamp(i64::MAX));
        assert_eq!(known(Some(12), None, id, last), Some(without_time));
        assert_eq!(known(Some(12), None, None, last), None);
        assert_eq!(known(Some(12), None, None, None), None);
        assert_eq!(known(Some(0), None, id, at), None);
        assert_eq!(known(None, None, id, at), None);
    }
}
