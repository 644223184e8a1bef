//! The tables that messages and entries move to.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::item::{About, Item};
use super::record::Record;
use crate::store::sqlite::kinds;
use crate::store::sqlite::listed;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::{signed, unsigned};

/// For users that have been looked up: the newest inbox entry that retention has removed.
pub type TrimmedTo = HashMap<i64, u64>;

/// Users, and how many entries of their inboxes were superseded.
pub type Superseded = Vec<(String, u64)>;

/// Inserts messages into their tables, and entries into the inboxes that still keep them.
pub struct Tables<'a> {
    connection: &'a Connection,
    message: CachedStatement<'a>,
    entry: CachedStatement<'a>,
    trimmed_to: &'a mut TrimmedTo,
    superseded: Superseded,
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
                "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            )?,
            trimmed_to,
            superseded: Vec::new(),
            is_file,
        })
    }

    /// What was superseded.
    pub fn into_superseded(self) -> Superseded {
        self.superseded
    }

    /// Inserts a message with its entries. Does nothing if they are there already.
    pub fn insert(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
        self.insert_message(record)?;
        self.insert_entries(&About::message(record), record.entries())
    }

    /// As [`Tables::insert`], for an item.
    pub fn insert_item(&mut self, item: &Item<'_>) -> rusqlite::Result<()> {
        let record = match item {
            Item::Message(record) => return self.insert(record),
            Item::Entries(record) => record,
        };
        if !self.is_file && record.about.kind == kinds::MESSAGE {
            // The temporary table has the messages whose entries may be missing.
            self.connection
                .prepare_cached(
                    "INSERT INTO temp.messages SELECT * FROM main.messages WHERE conversation = ?1 AND n = ?2
                     ON CONFLICT DO NOTHING",
                )?
                .execute([record.about.conversation, record.about.n])?;
        }
        self.insert_entries(&record.about, record.entries())
    }

    fn insert_entries(
        &mut self,
        about: &About,
        entries: impl Iterator<Item = (i64, u64)>,
    ) -> rusqlite::Result<()> {
        for (user, seq) in entries {
            self.insert_entry(user, seq, about)?;
        }
        Ok(())
    }

    /// Inserts a message without its entries.
    pub fn insert_message(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
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

    /// Inserts an entry, and marks those that it supersedes. Does nothing if it is there already.
    pub fn insert_entry(&mut self, user: i64, seq: u64, about: &About) -> rusqlite::Result<()> {
        let Some(floor) = trimmed_to(self.connection, self.trimmed_to, user)? else {
            // The user was removed after the message had moved, and a crash has undone that.
            return Ok(());
        };
        if seq <= floor {
            if self.is_file && about.kind == kinds::MESSAGE {
                // The list is settled from entries, and this message has none.
                listed::list(self.connection, user, about.conversation, about.n)?;
            }
            return Ok(());
        }
        if !self.is_file && self.has_moved(user, seq)? {
            return Ok(());
        }
        let inserted = self.entry.execute(params![
            user,
            signed(seq),
            about.at,
            about.conversation,
            about.n,
            about.kind,
            about.by_column(user),
            about.emoji,
        ])?;
        if inserted > 0 && about.may_supersede {
            self.supersede(user, seq, about)?;
        }
        Ok(())
    }

    /// Marks the earlier changes in an inbox that a later one supersedes.
    fn supersede(&mut self, user: i64, seq: u64, about: &About) -> rusqlite::Result<()> {
        let key = params![
            about.conversation,
            about.n,
            user,
            about.by,
            about.emoji,
            signed(seq)
        ];
        if !self.is_file {
            return self.supersede_in_view(key);
        }
        // SQLite collects the rows in a temporary table if one statement finds them by an index and changes it.
        let superseded: Vec<i64> = self
            .connection
            .prepare_cached(
                "SELECT seq FROM inbox INDEXED BY changes
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS ?5
                    AND kind BETWEEN 1 AND 4 AND seq < ?6",
            )?
            .query_map(key, |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if superseded.is_empty() {
            return Ok(());
        }
        let mut mark = self.connection.prepare_cached(
            "UPDATE inbox SET kind = 5, by = NULL, emoji = NULL WHERE user = ?1 AND seq = ?2",
        )?;
        for seq in &superseded {
            mark.execute([user, *seq])?;
        }
        self.connection
            .prepare_cached("UPDATE users SET superseded = superseded + ?2 WHERE n = ?1")?
            .execute([user, superseded.len() as i64])?;
        let id = self
            .connection
            .prepare_cached("SELECT id FROM users WHERE n = ?1")?
            .query_row([user], |row| row.get(0))?;
        self.superseded.push((id, superseded.len() as u64));
        Ok(())
    }

    /// True if the table of the file has an entry.
    fn has_moved(&self, user: i64, seq: u64) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM main.inbox WHERE user = ?1 AND seq = ?2")?
            .exists([user, signed(seq)])
    }

    /// The entries of the file that are superseded are noted, the temporary ones also changed.
    fn supersede_in_view(&self, key: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
        for sql in [
            "INSERT INTO temp.pending_superseded SELECT user, seq FROM main.inbox INDEXED BY changes
             WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS ?5
                AND kind BETWEEN 1 AND 4 AND seq < ?6 ON CONFLICT DO NOTHING",
            "INSERT INTO temp.pending_superseded SELECT user, seq FROM temp.inbox
             WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS ?5
                AND kind BETWEEN 1 AND 4 AND seq < ?6",
            "UPDATE temp.inbox SET kind = 5, by = NULL, emoji = NULL
             WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS ?5
                AND kind BETWEEN 1 AND 4 AND seq < ?6",
        ] {
            self.connection.prepare_cached(sql)?.execute(key)?;
        }
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
