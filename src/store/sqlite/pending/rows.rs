//! The rows of the log that a batch adds.

use rusqlite::Connection;

use super::encoding::{Id, damaged};
use super::item::{EntryRecord, Item};
use super::record::Record;
use crate::store::Recipients;

/// The maximum number of bytes of a row, so that it fits on a page. A longer message has a row of its own.
const MAX_ROW: usize = 3800;

/// What the current batch adds to the log.
#[derive(Debug, Default)]
pub struct PendingBatch {
    pub(super) rows: Vec<Vec<u8>>,
    pub(super) records: Vec<Location>,
}

/// The location of an item in a [`PendingBatch`], with the keys by which the index finds it.
#[derive(Debug)]
pub(super) struct Location {
    pub conversation: i64,
    /// The user who has sent the message, or whom the entries are about.
    pub by: i64,
    /// The entry of this user; 0: there is none.
    pub own_seq: u64,
    pub recipients: Recipients<i64>,
    pub content: Located,
    /// The index of the row in the batch.
    pub row: usize,
    /// The byte in the row.
    pub offset: u32,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Located {
    /// A message with this id.
    Message(Id),
    /// Entries, and whether they may supersede others.
    Entries(bool),
}

impl Location {
    pub fn is_message(&self) -> bool {
        matches!(self.content, Located::Message(_))
    }

    /// The number of entries.
    pub fn count(&self) -> usize {
        usize::from(self.own_seq > 0) + self.recipients.len()
    }
}

/// Reads all items of the table. Some of them may have moved to their tables.
pub fn each_item(connection: &Connection, mut each: impl FnMut(&Item<'_>)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT records FROM pending")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let mut bytes = row.get_ref(0)?.as_blob()?;
        while !bytes.is_empty() {
            each(&Item::read(&mut bytes).ok_or_else(damaged)?);
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
        let (row, offset) = self.place(record.max_len());
        record.write(&mut self.rows[row]);
        self.locate(Item::Message(record), row, offset);
    }

    /// Adds entries about something that is in its table.
    pub fn add_entries(&mut self, record: EntryRecord) {
        let (row, offset) = self.place(record.max_len());
        record.write(&mut self.rows[row]);
        self.locate(Item::Entries(record), row, offset);
    }

    /// The row for a record of up to this length, and the byte in it.
    fn place(&mut self, max_len: usize) -> (usize, u32) {
        let full = |row: &Vec<u8>| row.len() + max_len > MAX_ROW;
        if self.rows.last().is_none_or(full) {
            self.rows.push(Vec::new());
        }
        let row = self.rows.len() - 1;
        (row, self.rows[row].len() as u32)
    }

    /// True if nothing is added.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of direct messages that make as many entries as the messages.
    pub fn weight(&self) -> usize {
        let messages = self.records.iter().filter(|location| location.is_message());
        let weight = |location: &Location| weight(1 + location.recipients.len());
        messages.map(weight).sum()
    }

    /// The number of changes whose entries may supersede others.
    pub fn superseding(&self) -> u64 {
        let may_supersede =
            |location: &&Location| matches!(location.content, Located::Entries(true));
        self.records.iter().filter(may_supersede).count() as u64
    }

    fn locate(&mut self, item: Item<'_>, row: usize, offset: u32) {
        let location = match item {
            Item::Message(record) => Location {
                conversation: record.conversation,
                by: record.sender,
                own_seq: record.sender_seq,
                content: Located::Message(*record.id),
                recipients: record.recipients,
                row,
                offset,
            },
            Item::Entries(record) => Location {
                conversation: record.about.conversation,
                by: record.about.by,
                own_seq: record.own_seq,
                content: Located::Entries(record.about.may_supersede),
                recipients: record.recipients,
                row,
                offset,
            },
        };
        self.records.push(location);
    }

    /// The inbox entries that are added: user and entry. As in [`Item::users`], a user may come with 0.
    pub fn entries(&self) -> impl Iterator<Item = (i64, u64)> {
        self.records.iter().flat_map(|location| {
            let own = location.own_seq > 0 || !location.is_message();
            let own = own.then_some((location.by, location.own_seq));
            let others = location.recipients.iter();
            own.into_iter()
                .chain(others.map(|recipient| (recipient.user, recipient.seq)))
        })
    }

    /// True if the batch has added messages of this conversation, or entries about it.
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
                let item = Item::read(&mut rest).ok_or_else(damaged)?;
                batch.locate(item, index, offset);
            }
            batch.rows.push(bytes);
        }
        Ok((batch, first.unwrap_or_default()))
    }
}
