//! Reads inboxes.

use std::sync::Arc;

use rusqlite::{Result, params};

use super::SqliteReader;
use super::known::Comparison;
use super::row::{OVERHEAD, select_messages, stored_message};
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::{DeviceRef, Entry, EntryKind, InboxQuery, InboxRange, InboxState};

impl SqliteReader {
    /// Reads the state of inboxes. The newest entry of an inbox may be in the pending log only, which is not flushed for it,
    /// because a session that has nothing to replay does not read its messages.
    pub(super) fn read_inboxes(&self, queries: &[InboxQuery]) -> Result<Vec<InboxState>> {
        // The log before the tables: messages that move meanwhile are seen in either. Without a store, the views of the
        // tables include the log.
        let heads = match &self.shared {
            Some(shared) if shared.is_pending() => shared.read_heads(),
            _ => Arc::default(),
        };
        // One row, also if there is no such user.
        let mut statement = self.connection.prepare_cached(
            "SELECT u.n, u.floor, (SELECT max(seq) FROM inbox WHERE user = u.n),
                max(d.received), max(CASE WHEN d.device = ?2 THEN d.received END), u.connected
             FROM users AS u LEFT JOIN devices AS d ON d.user = u.n WHERE u.id = ?1",
        )?;
        let mut states = Vec::with_capacity(queries.len());
        let mut known = Vec::new();
        for (index, query) in queries.iter().enumerate() {
            let DeviceRef { user, device } = &query.device;
            let (state, n) = statement.query_row(params![user, device], |row| {
                let n: Option<i64> = row.get(0)?;
                let trimmed_to = row.get::<_, Option<i64>>(1)?.map_or(0, unsigned);
                let newest: Option<i64> = row.get(2)?;
                let furthest: Option<i64> = row.get(3)?;
                let received: Option<i64> = row.get(4)?;
                let pending = n.and_then(|n| heads.get(&n)).copied().unwrap_or(0);
                let head = newest.map_or(trimmed_to, unsigned).max(pending);
                // Entries beyond the limit count as removed before the sweep has removed them.
                let oldest = trimmed_to.max(head.saturating_sub(self.inbox_limit)) + 1;
                let state = InboxState {
                    head,
                    oldest,
                    received: unsigned(received.or(furthest).unwrap_or(0)),
                    is_known: received.is_some(),
                    has_connected: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
                    diverged: false,
                };
                Ok((state, n))
            })?;
            if !state.has_connected
                && let Some(shared) = &self.shared
            {
                shared.add_newly_connected(user);
            }
            if let (Some(user), Some(entry)) = (n, query.known)
                && (state.oldest..=state.head).contains(&entry.seq)
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

    pub(super) fn read_entries(&self, range: &InboxRange) -> Result<Vec<Entry>> {
        let mut statement = self.connection.prepare_cached(select_messages!(
            "i.seq, i.kind, i.emoji, i.at, b.id, ",
            "FROM inbox AS i
             JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
             JOIN users AS f ON f.n = m.sender
             JOIN users AS t ON t.n = m.recipient
             JOIN users AS b ON b.n = coalesce(i.by, m.sender)
             WHERE i.user = (SELECT n FROM users WHERE id = ?1) AND i.seq BETWEEN ?2 AND ?3 ORDER BY i.seq"
        ))?;
        let mut rows =
            statement.query(params![range.user, signed(range.first), signed(range.last)])?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let emoji: Option<String> = row.get(2)?;
            let entry = Entry {
                seq: unsigned(row.get(0)?),
                kind: match (row.get(1)?, emoji) {
                    (1, _) => EntryKind::Edited,
                    (2, _) => EntryKind::Deleted,
                    (kind @ (3 | 4), Some(emoji)) => EntryKind::Reacted {
                        emoji,
                        removed: kind == 4,
                    },
                    _ => EntryKind::Message,
                },
                at: row.get(3)?,
                actor: row.get(4)?,
                message: stored_message(row, 5)?,
            };
            bytes += entry.message.content.len() + OVERHEAD;
            entries.push(entry);
            if bytes >= range.bytes {
                break;
            }
        }
        Ok(entries)
    }
}
