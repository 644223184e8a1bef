//! Compares what clients know of their inboxes with the entries that the store has.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Result, params};

use super::SqliteReader;
use crate::store::KnownEntry;
use crate::store::sqlite::kinds::{EDITED, SUPERSEDED};
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending;

/// An entry that a client knows, of a range that the inbox keeps.
pub(super) struct Comparison {
    /// The index of the query.
    pub index: usize,
    /// The user of the inbox.
    pub user: i64,
    pub entry: KnownEntry,
}

/// An entry as it is stored, with the times of its message.
struct Stored {
    /// `None`: the message of a superseded change has expired.
    id: Option<[u8; 16]>,
    at: i64,
    kind: i64,
    conversation: i64,
    message: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
}

impl SqliteReader {
    /// Returns the indexes of those whose stored entry is another one. Runs in a transaction of the caller, so that an entry is
    /// seen either in its table or in the pending log.
    pub(super) fn diverged(&self, known: &[Comparison]) -> Result<Vec<usize>> {
        let mut diverged = Vec::new();
        let mut pending: HashMap<_, Vec<&Comparison>> = HashMap::new();
        for comparison in known {
            let Comparison { index, user, entry } = comparison;
            match self.stored(*user, entry.seq)? {
                Some(stored) if self.is_same(&stored, *user, entry)? => {}
                Some(_) => diverged.push(*index),
                None => pending
                    .entry((*user, entry.seq))
                    .or_default()
                    .push(comparison),
            }
        }
        if pending.is_empty() {
            return Ok(diverged);
        }
        // The log is read once for all of them, and not flushed: openings must not wait for the writer.
        pending::each_record(&self.connection, |record| {
            for key in record.entries() {
                // A message in the log has not been changed: a change moves it to its table first.
                let waiting = pending.get(&key).into_iter().flatten();
                diverged.extend(waiting.filter_map(|Comparison { index, entry, .. }| {
                    let other_id = entry.id.is_some_and(|id| id.as_bytes() != record.id);
                    let other_time = entry.at.is_some_and(|at| at != record.sent_at);
                    (other_id || other_time).then_some(*index)
                }));
            }
        })?;
        Ok(diverged)
    }

    fn stored(&self, user: i64, seq: u64) -> Result<Option<Stored>> {
        self.connection
            .prepare_cached(
                "SELECT m.id, i.at, i.kind, i.conversation, i.message, m.edited_at, m.deleted_at
                 FROM inbox AS i LEFT JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
                 WHERE i.user = ?1 AND i.seq = ?2",
            )?
            .query_row(params![user, signed(seq)], |row| {
                Ok(Stored {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    kind: row.get(2)?,
                    conversation: row.get(3)?,
                    message: row.get(4)?,
                    edited_at: row.get(5)?,
                    deleted_at: row.get(6)?,
                })
            })
            .optional()
    }

    /// True if the client may know this entry: the message is the same, and the time is one that a session may have been sent
    /// for it.
    fn is_same(&self, stored: &Stored, user: i64, known: &KnownEntry) -> Result<bool> {
        if let (Some(known), Some(stored)) = (known.id, stored.id)
            && *known.as_bytes() != stored
        {
            return Ok(false);
        }
        let Some(at) = known.at else {
            return Ok(true);
        };
        // The replay shows an entry of a deleted message as `deleted`.
        if at == stored.at || Some(at) == stored.deleted_at {
            return Ok(true);
        }
        // A server that did not mark superseded edits has replayed them with the time of the last one, which was any of those
        // that follow in this inbox.
        Ok(stored.kind == SUPERSEDED
            && (Some(at) == stored.edited_at
                || self.has_later_change(stored, user, known.seq, at)?))
    }

    /// Examines the rest of the inbox, which has a limit. A client of the present version does not need it.
    fn has_later_change(&self, stored: &Stored, user: i64, seq: u64, at: i64) -> Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM inbox WHERE user = ?1 AND seq > ?2 AND conversation = ?3 AND message = ?4 AND at = ?5
                    AND kind IN (?6, ?7) LIMIT 1",
            )?
            .exists(params![
                user,
                signed(seq),
                stored.conversation,
                stored.message,
                at,
                EDITED,
                SUPERSEDED
            ])
    }
}
