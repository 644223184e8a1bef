//! Moves messages from the log to their tables.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, params};

use super::encoding::damaged;
use super::index::{PendingLog, Selection};
use super::record::Record;
use crate::store::sqlite::listed;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::{signed, unsigned};

/// Rows are removed from the table once this many of them are no longer needed.
const REMOVE_ROWS: i64 = 64;

/// For users that have been looked up: the newest inbox entry that retention has removed.
pub type TrimmedTo = HashMap<i64, u64>;

impl PendingLog {
    /// Inserts the selected messages into their tables, and removes rows of the log that are no longer needed. Runs in a
    /// transaction of the caller, and changes nothing in memory: see [`PendingLog::finish`].
    pub fn flush(
        &self,
        connection: &Connection,
        selection: &Selection,
        trimmed_to: &mut TrimmedTo,
    ) -> rusqlite::Result<()> {
        let mut count = 0;
        let mut tables = Tables::new(connection, trimmed_to, true)?;
        for (conversation, take) in &selection.conversations {
            let Some(pending) = self.conversations.get(conversation) else {
                continue;
            };
            count += take;
            for (row, offset) in pending.messages.iter().take(*take) {
                let row = &self.rows[self.index_of(*row)];
                let record =
                    Record::read(&mut &row.bytes[*offset as usize..]).ok_or_else(damaged)?;
                tables.insert(&record)?;
            }
        }
        if count == self.messages {
            connection.execute("DELETE FROM pending", ())?;
        } else if self.first_row - self.removed_to >= REMOVE_ROWS {
            connection
                .prepare_cached("DELETE FROM pending WHERE n < ?1")?
                .execute([self.first_row])?;
        }
        Ok(())
    }

    /// Updates the index after the transaction of [`PendingLog::flush`]: `done` if it was committed, otherwise it was rolled
    /// back.
    pub fn finish(&mut self, selection: &Selection, done: bool) {
        if done && self.first_row - self.removed_to >= REMOVE_ROWS {
            self.removed_to = self.first_row;
        }
        for (conversation, take) in selection.conversations.iter().rev() {
            let Some(pending) = self.conversations.get_mut(conversation) else {
                continue;
            };
            let queued = (*conversation, pending.generation);
            if !done {
                if selection.dequeued {
                    self.order.push_front(queued);
                }
                continue;
            }
            for (number, offset) in pending.messages.drain(..*take) {
                let row = &mut self.rows[unsigned(number - self.first_row) as usize];
                row.pending -= 1;
                if let Some(record) = Record::read(&mut &row.bytes[offset as usize..]) {
                    self.ids.remove(&(*conversation, *record.id));
                }
            }
            self.messages -= take;
            if pending.messages.is_empty() {
                self.forget_conversation(*conversation);
            } else if selection.dequeued {
                self.order.push_front(queued);
            }
        }
        while let Some(row) = self.rows.front().filter(|row| row.pending == 0) {
            self.bytes -= row.bytes.len();
            self.rows.pop_front();
            self.first_row += 1;
        }
        if self.messages == 0 {
            *self = Self::default();
        }
    }

    fn forget_conversation(&mut self, conversation: i64) {
        let pending = self.conversations.remove(&conversation);
        for user in pending.iter().flat_map(|pending| &pending.users) {
            if let Some(conversations) = self.by_user.get_mut(user) {
                conversations.retain(|other| *other != conversation);
                if conversations.is_empty() {
                    self.by_user.remove(user);
                }
            }
        }
    }
}

/// Inserts messages into their tables, and their entries into the inboxes that still keep them.
pub struct Tables<'a> {
    connection: &'a Connection,
    message: CachedStatement<'a>,
    entry: CachedStatement<'a>,
    trimmed_to: &'a mut TrimmedTo,
    /// The tables are those of the file, not temporary ones.
    is_file: bool,
}

impl<'a> Tables<'a> {
    pub fn new(
        connection: &'a Connection,
        trimmed_to: &'a mut TrimmedTo,
        is_file: bool,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            message: connection.prepare_cached(
                "INSERT INTO messages
                 (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, reply_to, content,
                    low_count, high_count, behind, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING",
            )?,
            entry: connection.prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO NOTHING",
            )?,
            trimmed_to,
            is_file,
        })
    }

    /// Inserts a message. Does nothing if it is there already.
    pub fn insert(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
        let (recipient, recipient_seq) = record.recipient();
        // The temporary tables have all of it.
        let in_row = if self.is_file {
            long_contents::in_row(record.content)
        } else {
            Some(record.content)
        };
        let inserted = self.message.execute(params![
            record.conversation,
            record.n,
            record.id,
            record.sender,
            recipient,
            signed(record.sender_seq),
            signed(recipient_seq),
            record.sent_at,
            record.reply_to,
            in_row,
            record.counts.low,
            record.counts.high,
            record.counts.behind(record.sent_at),
            record.hash,
        ])?;
        if inserted > 0 && in_row.is_none() {
            long_contents::insert(self.connection, record.n, record.content)?;
        }
        if record.sender_seq == 0 && self.is_file {
            // The list is settled from entries, and this message has none.
            listed::list(
                self.connection,
                record.sender,
                record.conversation,
                record.n,
            )?;
        }
        for (user, seq) in record.entries() {
            if seq <= trimmed_to(self.connection, self.trimmed_to, user)? {
                if self.is_file {
                    // The list is settled from entries, and this message has none.
                    listed::list(self.connection, user, record.conversation, record.n)?;
                }
                continue;
            }
            self.entry.execute(params![
                user,
                signed(seq),
                record.sent_at,
                record.conversation,
                record.n,
                (user == record.sender).then_some(user),
            ])?;
        }
        Ok(())
    }
}

fn trimmed_to(connection: &Connection, known: &mut TrimmedTo, user: i64) -> rusqlite::Result<u64> {
    if let Some(seq) = known.get(&user) {
        return Ok(*seq);
    }
    let seq: i64 = connection
        .prepare_cached("SELECT floor FROM users WHERE n = ?1")?
        .query_row([user], |row| row.get(0))?;
    let seq = unsigned(seq);
    known.insert(user, seq);
    Ok(seq)
}
