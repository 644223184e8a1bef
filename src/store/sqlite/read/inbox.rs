//! Reads inboxes.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Result, params};
use uuid::Uuid;

use super::SqliteReader;
use super::known::Comparison;
use super::row::{OVERHEAD, message_without_content, select_messages, stored_message};
use crate::store::sqlite::epochs::{Epochs, present_generation};
use crate::store::sqlite::kinds;
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::sqlite::retention::kept_entries;
use crate::store::sqlite::rooms::DELETED;
use crate::store::{
    DeviceRef, Entry, EntryKind, ErasedEntry, InboxItem, InboxQuery, InboxRange, InboxState,
    MembershipEntry, MembershipEvent, StoredMessage, UserStatus,
};

/// An upper bound of the bytes that a superseded entry takes in a replay, also in memory.
const SUPERSEDED_BYTES: usize = 64;

/// Messages without their contents, by conversation and number.
type KnownMessages = HashMap<(i64, i64), StoredMessage>;

impl SqliteReader {
    /// Reads the state of inboxes. The newest entry of an inbox may be in the pending log only, which is not flushed for it,
    /// because a session that has nothing to replay does not read its messages.
    pub(super) fn read_inboxes(
        &self,
        queries: &[InboxQuery],
        epochs: &Epochs,
    ) -> Result<Vec<InboxState>> {
        // The log before the tables: messages that move meanwhile are seen in either. Without a store, the views of the
        // tables include the log.
        let heads = match &self.shared {
            Some(shared) if shared.is_pending() => shared.read_heads(),
            _ => Arc::default(),
        };
        // So many more entries may be superseded by changes whose entries have not moved.
        let superseding = self
            .shared
            .as_ref()
            .map_or(0, |shared| shared.superseding());
        // One row, also if there is no such user.
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT u.n, u.floor, (SELECT max(seq) FROM inbox WHERE user = u.n),
                max(d.received), max(CASE WHEN d.device = ?2 THEN d.received END), u.connected, u.superseded,
                u.status, u.last_seen, coalesce(u.generation, ",
            present_generation!(),
            ") FROM users AS u LEFT JOIN devices AS d ON d.user = u.n WHERE u.id = ?1"
        ))?;
        let mut states = Vec::with_capacity(queries.len());
        let mut known = Vec::new();
        for (index, query) in queries.iter().enumerate() {
            let DeviceRef { user, device } = &query.device;
            let (mut state, n, generation) = statement.query_row(params![user, device], |row| {
                let n: Option<i64> = row.get(0)?;
                let trimmed_to = row.get::<_, Option<i64>>(1)?.map_or(0, unsigned);
                let newest: Option<i64> = row.get(2)?;
                let furthest: Option<i64> = row.get(3)?;
                let received: Option<i64> = row.get(4)?;
                let pending = n.and_then(|n| heads.get(&n)).copied().unwrap_or(0);
                let head = newest.map_or(trimmed_to, unsigned).max(pending);
                // Entries beyond the limit count as removed before the sweep has removed them.
                let superseded = row.get::<_, Option<i64>>(6)?.map_or(0, unsigned);
                let kept = kept_entries(self.inbox_limit, superseded.saturating_add(superseding));
                let oldest = trimmed_to.max(head.saturating_sub(kept)) + 1;
                let state = InboxState {
                    head,
                    oldest,
                    received: unsigned(received.or(furthest).unwrap_or(0)),
                    is_known: received.is_some(),
                    has_connected: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
                    status: row
                        .get::<_, Option<i64>>(7)?
                        .map_or_else(UserStatus::default, UserStatus::of_number),
                    last_seen: row.get(8)?,
                    epoch: Uuid::nil(),
                    diverged: false,
                };
                Ok((state, n, row.get(9)?))
            })?;
            if !state.has_connected
                && let Some(shared) = &self.shared
            {
                let known = shared.add_newly_connected(user, generation);
                // With a row, that has the generation.
                state.epoch = epochs.of(if n.is_none() { known } else { generation });
            } else {
                state.epoch = epochs.of(generation);
            }
            if let (Some(user), Some(entry)) = (n, query.known)
                && (state.oldest..=state.head).contains(&entry.seq)
                && entry.epoch.is_none_or(|known| known == state.epoch)
            {
                known.push(Comparison { index, user, entry });
            }
            states.push(state);
        }
        for index in self.diverged(&known)? {
            states[index].diverged = true;
        }
        Ok(states)
    }

    /// Reads a part of an inbox, within a transaction of the caller.
    pub(super) fn read_items(&self, range: &InboxRange) -> Result<Vec<InboxItem>> {
        // The message is joined only where its content is sent.
        let mut statement = self.connection.prepare_cached(select_messages!(
            "i.seq, i.kind, i.emoji, i.at, b.id, i.conversation, i.message, ",
            "FROM inbox AS i
             LEFT JOIN messages AS m ON i.kind <= 1 AND m.conversation = i.conversation AND m.n = i.message
             LEFT JOIN users AS f ON f.n = m.sender
             LEFT JOIN users AS t ON t.n = m.recipient
             LEFT JOIN users AS b ON b.n = coalesce(i.by, m.sender)
             WHERE i.user = (SELECT n FROM users WHERE id = ?1) AND i.seq BETWEEN ?2 AND ?3 ORDER BY i.seq"
        ))?;
        let mut rows =
            statement.query(params![range.user, signed(range.first), signed(range.last)])?;
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut known = KnownMessages::default();
        while let Some(row) = rows.next()? {
            let seq = unsigned(row.get(0)?);
            let emoji: Option<String> = row.get(2)?;
            let kind = match (row.get(1)?, emoji) {
                (kinds::MESSAGE, _) => EntryKind::Message,
                (kinds::EDITED, _) => EntryKind::Edited,
                (kinds::DELETED, _) => EntryKind::Deleted,
                (kind @ (kinds::JOINED | kinds::LEFT), Some(members)) => {
                    let entry = MembershipEntry {
                        seq,
                        room: self.room_name(row.get(5)?)?,
                        user: row.get(4)?,
                        event: if kind == kinds::JOINED {
                            MembershipEvent::Joined
                        } else {
                            MembershipEvent::Left
                        },
                        members: members.parse().unwrap_or_default(),
                        room_deleted: members == DELETED,
                        at: row.get(3)?,
                    };
                    items.push(InboxItem::Membership(Box::new(entry)));
                    bytes += OVERHEAD;
                    if bytes >= range.bytes {
                        break;
                    }
                    continue;
                }
                (kinds::ERASED, Some(text)) => {
                    let (renamed_to, user_hash) = text.split_once(' ').unwrap_or_default();
                    items.push(InboxItem::Erased(Box::new(ErasedEntry {
                        seq,
                        renamed_to: renamed_to.to_owned(),
                        user_hash: user_hash.to_owned(),
                        at: row.get(3)?,
                    })));
                    bytes += OVERHEAD;
                    if bytes >= range.bytes {
                        break;
                    }
                    continue;
                }
                (kind @ (kinds::REACTED | kinds::UNREACTED), Some(emoji)) => EntryKind::Reacted {
                    emoji,
                    removed: kind == kinds::UNREACTED,
                },
                _ => {
                    items.push(InboxItem::Superseded(seq));
                    bytes += SUPERSEDED_BYTES;
                    if bytes >= range.bytes {
                        break;
                    }
                    continue;
                }
            };
            let message = match kind {
                EntryKind::Message | EntryKind::Edited => stored_message(row, 7)?,
                EntryKind::Deleted | EntryKind::Reacted { .. } => {
                    self.without_content(&mut known, row.get(5)?, row.get(6)?)?
                }
            };
            bytes += message.content.len() + OVERHEAD;
            items.push(InboxItem::Entry(Box::new(Entry {
                seq,
                kind,
                at: row.get(3)?,
                actor: row.get(4)?,
                message,
            })));
            if bytes >= range.bytes {
                break;
            }
        }
        Ok(items)
    }

    /// A message without its content. Each one is looked up only once for a part of an inbox.
    fn without_content(
        &self,
        known: &mut KnownMessages,
        conversation: i64,
        n: i64,
    ) -> Result<StoredMessage> {
        if let Some(message) = known.get(&(conversation, n)) {
            return Ok(message.clone());
        }
        let message = self
            .connection
            .prepare_cached(
                "SELECT f.id, t.id, m.id, m.sent_at, m.reply_to, m.edited_at, coalesce(m.deleted_at, r.deleted_at),
                    coalesce(r.former, r.name)
                 FROM messages AS m JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient
                    LEFT JOIN rooms AS r ON r.n = -m.conversation
                 WHERE m.conversation = ?1 AND m.n = ?2",
            )?
            .query_row([conversation, n], |row| message_without_content(row, 0))?;
        known.insert((conversation, n), message.clone());
        Ok(message)
    }
}
