//! Moves messages and entries from the log to their tables.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::encoding::damaged;
use super::index::{PendingLog, Row, Selection};
use super::item::Item;
use super::late_entries::{Portion, late_entries};
use super::record::Record;
use super::tables::{Superseded, Tables, TrimmedTo};

/// Rows are removed from the table once this many of them are no longer needed.
const REMOVE_ROWS: i64 = 64;

impl PendingLog {
    /// Inserts the selected messages into their tables, and removes rows of the log that are no longer needed. The entries of messages in
    /// large rooms move later: see [`PendingLog::next_portion`]. Runs in a transaction of the caller, and changes nothing in
    /// memory: see [`PendingLog::finish`].
    pub fn flush(
        &self,
        connection: &Connection,
        selection: &Selection,
        trimmed_to: &mut TrimmedTo,
    ) -> rusqlite::Result<Superseded> {
        let mut count = 0;
        let mut tables = Tables::new(connection, trimmed_to, true)?;
        for (conversation, take) in &selection.conversations {
            let Some(pending) = self.conversations.get(conversation) else {
                continue;
            };
            for place in pending.messages.iter().take(*take) {
                let record = read_record(&self.rows, self.first_row, *place)?;
                if late_entries(&record, *place).is_some() {
                    tables.insert_message(&record)?;
                } else {
                    tables.insert(&record)?;
                    count += 1;
                }
            }
        }
        let superseded = tables.into_superseded();
        let moves_all = count == self.messages && self.late.is_empty();
        self.remove_rows(connection, moves_all)?;
        Ok(superseded)
    }

    /// Removes the first rows of the table, as far as nothing of them is needed any more. Runs in a transaction of the caller, and changes
    /// nothing in memory: the rows are removed again later.
    pub fn remove_done(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.is_empty() {
            return connection.execute("DELETE FROM pending", ()).map(drop);
        }
        connection
            .prepare_cached("DELETE FROM pending WHERE n < ?1")?
            .execute([self.first_row])
            .map(drop)
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

    /// Prepares the next portion of the entries that move late; with `all`, a large one. `None`: there are none.
    ///
    /// # Errors
    /// If a record is damaged.
    pub fn next_portion(&mut self, all: bool) -> rusqlite::Result<Option<Portion>> {
        let (rows, first) = (&self.rows, self.first_row);
        self.late.next(all, |place| read_item(rows, first, place))
    }

    /// Inserts the entries of a portion into their table. Runs in a transaction of the caller, and changes nothing in memory: see
    /// [`PendingLog::portion_moved`].
    pub fn move_portion(
        &self,
        connection: &Connection,
        portion: Portion,
        trimmed_to: &mut TrimmedTo,
    ) -> rusqlite::Result<Superseded> {
        let mut tables = Tables::new(connection, trimmed_to, true)?;
        for (user, seq, about) in self.late.entries(portion).into_iter().flatten() {
            tables.insert_entry(user, seq, about)?;
        }
        let superseded = tables.into_superseded();
        let moves_all = self.messages == 0 && self.late.ends_with(portion);
        self.remove_rows(connection, moves_all)?;
        Ok(superseded)
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
                let mut late = None;
                if let Ok(record) = read_record(&self.rows, self.first_row, place) {
                    self.ids.remove(&(*conversation, *record.id));
                    late = late_entries(&record, place);
                }
                match late {
                    Some(late) => self.late.add(late),
                    None => self.release(place.0),
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

    /// Nothing more of one item of this row is needed.
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

/// Reads the item in a place: the number of the row, and the byte in it.
fn read_item(
    rows: &VecDeque<Row>,
    first_row: i64,
    (row, offset): (i64, u32),
) -> rusqlite::Result<Item<'_>> {
    let index = usize::try_from(row - first_row).ok();
    let row = index.and_then(|index| rows.get(index));
    let bytes = row.and_then(|row| row.bytes.get(offset as usize..));
    bytes
        .and_then(|mut bytes| Item::read(&mut bytes))
        .ok_or_else(damaged)
}

/// Reads the message in a place.
fn read_record(
    rows: &VecDeque<Row>,
    first_row: i64,
    place: (i64, u32),
) -> rusqlite::Result<Record<'_>> {
    match read_item(rows, first_row, place)? {
        Item::Message(record) => Ok(record),
        Item::Entries(_) => Err(damaged()),
    }
}
