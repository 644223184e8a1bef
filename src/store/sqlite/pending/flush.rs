//! Moves messages from the log to their tables.

use std::collections::{HashMap, VecDeque};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::encoding::damaged;
use super::index::{PendingLog, Row, Selection};
use super::late_entries::{Portion, are_late};
use super::record::Record;
use crate::store::sqlite::listed;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::{signed, unsigned};

/// Rows are removed from the table once this many of them are no longer needed.
const REMOVE_ROWS: i64 = 64;

/// For users that have been looked up: the newest inbox entry that retention has removed.
pub type TrimmedTo = HashMap<i64, u64>;

impl PendingLog {
    /// Inserts the selected messages into their tables, and removes rows of the log that are no longer needed. The entries of messages in
    /// large rooms move later: see [`PendingLog::next_portion`]. Runs in a transaction of the caller, and changes nothing in
    /// memory: see [`PendingLog::finish`].
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
            for place in pending.messages.iter().take(*take) {
                let record = self.record(*place)?;
                if are_late(&record) {
                    tables.insert_message(&record)?;
                } else {
                    tables.insert(&record)?;
                    count += 1;
                }
            }
        }
        let moves_all = count == self.messages && self.late.is_empty();
        self.remove_rows(connection, moves_all)
    }

    /// Removes the rows of which nothing is needed any more; with `all`, these are all rows. While entries move after their
    /// messages, the log may not be empty for long: then each row is removed soon, because its content may be deleted.
    fn remove_rows(&self, connection: &Connection, all: bool) -> rusqlite::Result<()> {
        if all {
            connection.execute("DELETE FROM pending", ())?;
        } else if self.first_row - self.removed_to >= self.rows_to_remove() {
            connection
                .prepare_cached("DELETE FROM pending WHERE n < ?1")?
                .execute([self.first_row])?;
        }
        Ok(())
    }

    /// Prepares the next portion of the entries that move after their messages; with `all`, a large one. `None`: there are none.
    ///
    /// # Errors
    /// If a record is damaged.
    pub fn next_portion(&mut self, all: bool) -> rusqlite::Result<Option<Portion>> {
        let (rows, first) = (&self.rows, self.first_row);
        self.late.next(all, |place| read_record(rows, first, place))
    }

    /// Inserts the entries of a portion into their table. Runs in a transaction of the caller, and changes nothing in memory: see
    /// [`PendingLog::portion_moved`].
    pub fn move_portion(
        &self,
        connection: &Connection,
        portion: Portion,
        trimmed_to: &mut TrimmedTo,
    ) -> rusqlite::Result<()> {
        let mut tables = Tables::new(connection, trimmed_to, true)?;
        if let Some((conversation, entries)) = self.late.entries(portion) {
            for (user, seq, message) in entries {
                tables.insert_entry(&Entry {
                    user,
                    seq,
                    at: message.sent_at,
                    conversation,
                    message: message.n,
                    sender: message.sender,
                })?;
            }
        }
        let moves_all = self.messages == 0 && self.late.ends_with(portion);
        self.remove_rows(connection, moves_all)
    }

    /// How many rows are removed together.
    fn rows_to_remove(&self) -> i64 {
        if self.late.is_empty() { REMOVE_ROWS } else { 1 }
    }

    /// Updates the index after a transaction of [`PendingLog::move_portion`] was committed.
    pub fn portion_moved(&mut self, portion: Portion) {
        self.rows_removed();
        for (row, _) in self.late.moved(portion) {
            self.release(row);
        }
        self.drop_rows();
    }

    /// Updates the index after the transaction of [`PendingLog::flush`]: `done` if it was committed, otherwise it was rolled
    /// back.
    pub fn finish(&mut self, selection: &Selection, done: bool) {
        if done {
            self.rows_removed();
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
            let moved: Vec<(i64, u32)> = pending.messages.drain(..*take).collect();
            let is_finished = pending.messages.is_empty();
            for place in moved {
                let mut entries_are_late = false;
                if let Ok(record) = read_record(&self.rows, self.first_row, place) {
                    self.ids.remove(&(*conversation, *record.id));
                    entries_are_late = are_late(&record);
                    if entries_are_late {
                        self.late.add(&record, place);
                    }
                }
                if !entries_are_late {
                    self.release(place.0);
                }
            }
            self.messages -= take;
            if is_finished {
                self.forget_conversation(*conversation);
            } else if selection.dequeued {
                self.order.push_front(queued);
            }
        }
        self.drop_rows();
    }

    /// Rows were removed from the table by a transaction that was committed.
    fn rows_removed(&mut self) {
        if self.first_row - self.removed_to >= self.rows_to_remove() {
            self.removed_to = self.first_row;
        }
    }

    /// Nothing more of one message of this row is needed.
    fn release(&mut self, row: i64) {
        let index = self.index_of(row);
        let row = &mut self.rows[index];
        row.pending -= 1;
        if row.pending == 0 {
            self.bytes -= row.bytes.len();
            row.bytes = Vec::new();
        }
    }

    /// Drops the first rows, as far as nothing of them is needed.
    fn drop_rows(&mut self) {
        while self.rows.front().is_some_and(|row| row.pending == 0) {
            self.rows.pop_front();
            self.first_row += 1;
        }
        if self.is_empty() {
            // The numbers of groups of entries continue.
            let late = std::mem::take(&mut self.late);
            *self = Self {
                late,
                ..Self::default()
            };
        }
    }

    fn record(&self, place: (i64, u32)) -> rusqlite::Result<Record<'_>> {
        read_record(&self.rows, self.first_row, place)
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

/// Reads the record in a place: the number of the row, and the byte in it.
fn read_record(
    rows: &VecDeque<Row>,
    first_row: i64,
    (row, offset): (i64, u32),
) -> rusqlite::Result<Record<'_>> {
    let index = unsigned(row - first_row) as usize;
    let bytes = rows
        .get(index)
        .and_then(|row| row.bytes.get(offset as usize..));
    bytes
        .and_then(|mut bytes| Record::read(&mut bytes))
        .ok_or_else(damaged)
}

/// An inbox entry of a message.
struct Entry {
    user: i64,
    seq: u64,
    at: i64,
    conversation: i64,
    message: i64,
    sender: i64,
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

    /// Inserts a message and its entries. Does nothing if they are there already.
    pub fn insert(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
        self.insert_message(record)?;
        for (user, seq) in record.entries() {
            self.insert_entry(&Entry {
                user,
                seq,
                at: record.sent_at,
                conversation: record.conversation,
                message: record.n,
                sender: record.sender,
            })?;
        }
        Ok(())
    }

    /// Inserts a message without its entries.
    fn insert_message(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
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
        Ok(())
    }

    fn insert_entry(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let Entry {
            user,
            seq,
            conversation,
            ..
        } = *entry;
        let Some(floor) = trimmed_to(self.connection, self.trimmed_to, user)? else {
            // The user was removed after the message had moved, and a crash has undone that.
            return Ok(());
        };
        if seq <= floor {
            if self.is_file {
                // The list is settled from entries, and this message has none.
                listed::list(self.connection, user, conversation, entry.message)?;
            }
            return Ok(());
        }
        self.entry.execute(params![
            user,
            signed(seq),
            entry.at,
            conversation,
            entry.message,
            (user == entry.sender).then_some(user),
        ])?;
        Ok(())
    }
}

/// The newest inbox entry that retention has removed. `None`: there is no such user.
fn trimmed_to(
    connection: &Connection,
    known: &mut TrimmedTo,
    user: i64,
) -> rusqlite::Result<Option<u64>> {
    if let Some(seq) = known.get(&user) {
        return Ok(Some(*seq));
    }
    let seq: Option<i64> = connection
        .prepare_cached("SELECT floor FROM users WHERE n = ?1")?
        .query_row([user], |row| row.get(0))
        .optional()?;
    let seq = seq.map(unsigned);
    known.extend(seq.map(|seq| (user, seq)));
    Ok(seq)
}
