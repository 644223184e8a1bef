//! The rows of the log that a batch adds.

use rusqlite::Connection;

use super::encoding::{Id, damaged};
use super::record::Record;
use crate::store::Recipients;

/// The maximum number of bytes of a row, so that it fits on a page. A longer message has a row of its own.
const MAX_ROW: usize = 3800;

/// Messages that the current batch adds to the log.
#[derive(Debug, Default)]
pub struct PendingBatch {
    pub(super) rows: Vec<Vec<u8>>,
    pub(super) records: Vec<Location>,
}

/// The location of a record in a [`PendingBatch`], with the keys by which the index finds it.
#[derive(Debug)]
pub(super) struct Location {
    pub conversation: i64,
    pub sender: i64,
    pub sender_seq: u64,
    pub recipients: Recipients<i64>,
    pub id: Id,
    /// The index of the row in the batch.
    pub row: usize,
    /// The byte in the row.
    pub offset: u32,
}

/// Reads all messages of the table. Some of them may have moved to their tables.
pub fn each_record(
    connection: &Connection,
    mut each: impl FnMut(&Record<'_>),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT records FROM pending")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let mut bytes = row.get_ref(0)?.as_blob()?;
        while !bytes.is_empty() {
            each(&Record::read(&mut bytes).ok_or_else(damaged)?);
        }
    }
    Ok(())
}

/// The number of direct messages that make as many entries as a message.
pub(super) fn weight(entries: usize) -> usize {
    entries.div_ceil(2)
}

impl PendingBatch {
    /// Adds a message.
    pub fn add(&mut self, record: Record<'_>) {
        let full = |row: &Vec<u8>| row.len() + record.max_len() > MAX_ROW;
        if self.rows.last().is_none_or(full) {
            self.rows.push(Vec::new());
        }
        let row = self.rows.len() - 1;
        let bytes = &mut self.rows[row];
        let offset = bytes.len() as u32;
        record.write(bytes);
        self.locate(record, row, offset);
    }

    /// True if there are no messages.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of direct messages that make as many entries.
    pub fn weight(&self) -> usize {
        let weight = |location: &Location| weight(1 + location.recipients.len());
        self.records.iter().map(weight).sum()
    }

    fn locate(&mut self, record: Record<'_>, row: usize, offset: u32) {
        self.records.push(Location {
            conversation: record.conversation,
            sender: record.sender,
            sender_seq: record.sender_seq,
            id: *record.id,
            recipients: record.recipients,
            row,
            offset,
        });
    }

    /// The inbox entries that the messages make: user and entry.
    pub fn entries(&self) -> impl Iterator<Item = (i64, u64)> {
        self.records.iter().flat_map(|location| {
            let own = location.sender_seq > 0;
            let own = own.then_some((location.sender, location.sender_seq));
            let others = location.recipients.iter();
            own.into_iter()
                .chain(others.map(|recipient| (recipient.user, recipient.seq)))
        })
    }

    /// True if the batch has added messages of this conversation.
    pub fn has_conversation(&self, conversation: i64) -> bool {
        let is_of = |location: &Location| location.conversation == conversation;
        self.records.iter().any(is_of)
    }

    /// Inserts the rows into the table. Returns the number of the first; the numbers of the others follow it.
    pub fn insert(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let mut first = 0;
        for (n, row) in self.rows.iter().enumerate() {
            connection
                .prepare_cached("INSERT INTO pending (records) VALUES (?1)")?
                .execute([row])?;
            if n == 0 {
                first = connection.last_insert_rowid();
            }
        }
        Ok(first)
    }

    /// Reads the whole table. Returns the number of the first row with it.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<(Self, i64)> {
        let mut batch = Self::default();
        let mut first = None;
        let mut statement = connection.prepare("SELECT n, records FROM pending ORDER BY n")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let (number, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let index = batch.rows.len();
            if number != *first.get_or_insert(number) + index as i64 {
                return Err(damaged());
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let offset = (bytes.len() - rest.len()) as u32;
                let record = Record::read(&mut rest).ok_or_else(damaged)?;
                batch.locate(record, index, offset);
            }
            batch.rows.push(bytes);
        }
        Ok((batch, first.unwrap_or_default()))
    }
}
