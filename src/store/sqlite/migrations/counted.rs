//! The step to version 7, for which all messages are copied: they carry counts.
//!
//! It runs in parts, each of which is a transaction, so that neither the memory nor the write-ahead log that it needs depends on
//! the size of the store. A message is removed from the former table with the part that copies it, so that the file grows little.
//! Until the last part is done, `meta` has the row `migration`, and only a server opens the file: it continues where the last one
//! was interrupted.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, Transaction, params};
use rusqlite::{Result, TransactionBehavior};

use crate::store::content::LONG;
use crate::store::sqlite::counts::{self, Counts};
use crate::store::sqlite::listed::LIST_OF_USER;
use crate::store::sqlite::long_contents::MAX_IN_ROW;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending::{self, Record};
use crate::store::sqlite::uncounted::{self, Uncounted};
use crate::store::{ContentHash, ContentHasher};

/// The schema version from which on messages carry counts.
pub const COUNTED: i64 = 7;

/// Messages, and bytes of content, that one part copies.
const MESSAGES: i64 = if cfg!(test) { 200 } else { 2000 };
const BYTES: i64 = 4 << 20;
/// Users, and entries of inboxes, that one part examines. The inbox of one user is not divided.
const USERS: i64 = 256;
const ENTRIES: i64 = if cfg!(test) { 1000 } else { 20_000 };

/// A message of the former table.
struct Former {
    conversation: i64,
    n: i64,
    sender: i64,
    recipient: i64,
    sent_at: i64,
    bytes: i64,
    is_deleted: bool,
}

/// Records that the migration has begun, in the transaction that changes the tables.
pub fn begin(connection: &Connection) -> Result<()> {
    set_last_user(connection, 0)
}

/// True if a migration has begun and is not finished.
pub fn is_unfinished(connection: &Connection) -> Result<bool> {
    last_user(connection).map(|user| user.is_some())
}

/// Runs the next part of a migration that has begun. True: there are more.
pub fn run_part(connection: &mut Connection) -> Result<bool> {
    match part(connection) {
        // There is no folder for temporary files, in which the index would be sorted.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            part(connection)
        }
        done => done,
    }
}

fn part(connection: &mut Connection) -> Result<bool> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(user) = last_user(&tx)? else {
        return Ok(false);
    };
    let has_more = copy_messages(&tx)? || complete_users(&tx, user)?;
    if !has_more {
        finish(&tx)?;
    }
    tx.commit()?;
    Ok(has_more)
}

/// The last user whose inbox is complete. `None`: there is no migration.
fn last_user(connection: &Connection) -> Result<Option<i64>> {
    connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'migration'",
            (),
            |row| row.get(0),
        )
        .optional()
}

fn set_last_user(connection: &Connection, user: i64) -> Result<()> {
    connection
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('migration', ?1)",
            [user],
        )
        .map(drop)
}

/// Moves some messages of the former table, with their counts. False: there are none.
fn copy_messages(tx: &Transaction<'_>) -> Result<bool> {
    let messages = first_messages(tx)?;
    let Some(end) = messages.last() else {
        return Ok(false);
    };
    let hasher = super::content_hasher(tx)?;
    let mut last: Option<(i64, Counts)> = None;
    for message in &messages {
        let (conversation, n, sender) = (message.conversation, message.n, message.sender);
        let pair = (sender.min(message.recipient), sender.max(message.recipient));
        let before = match last {
            Some((of, counts)) if of == conversation => counts,
            _ => counts::newest(tx, conversation, pair)?,
        };
        let is_low = sender <= message.recipient;
        let counts = before.next(is_low, message.sent_at);
        note_author(tx, conversation, before, counts)?;
        let is_separate = message.bytes > MAX_IN_ROW as i64;
        let is_long = message.bytes > LONG as i64;
        let hash = is_long
            .then(|| hash_of(tx, &hasher, (conversation, n)))
            .transpose()?;
        tx.prepare_cached(
            "INSERT INTO messages (conversation, n, id, sender, recipient, from_seq, to_seq, low_count, high_count, behind,
                sent_at, edited_at, deleted_at, change_seq, reply_to, first, hash, content)
             SELECT conversation, n, id, sender, recipient, from_seq, to_seq, ?3, ?4, ?5,
                sent_at, edited_at, deleted_at, change_seq, reply_to, first, ?6, iif(?7, NULL, content)
             FROM messages_6 WHERE conversation = ?1 AND n = ?2",
        )?
        .execute(params![
            conversation,
            n,
            counts.low,
            counts.high,
            counts.behind(message.sent_at),
            hash,
            is_separate
        ])?;
        if is_separate {
            tx.prepare_cached(
                "INSERT INTO contents (n, content) SELECT n, content FROM messages_6 WHERE conversation = ?1 AND n = ?2",
            )?
            .execute([conversation, n])?;
        }
        if message.is_deleted {
            uncounted::add(tx, (conversation, sender, n), Uncounted::DELETED)?;
        }
        last = Some((conversation, counts));
    }
    tx.execute(
        "DELETE FROM messages_6 WHERE (conversation, n) <= (?1, ?2)",
        [end.conversation, end.n],
    )?;
    Ok(true)
}

fn first_messages(connection: &Connection) -> Result<Vec<Former>> {
    let mut statement = connection.prepare(
        "SELECT conversation, n, sender, recipient, sent_at, coalesce(octet_length(content), 0), deleted_at IS NOT NULL
         FROM messages_6 ORDER BY conversation, n LIMIT ?1",
    )?;
    let mut rows = statement.query([MESSAGES])?;
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let message = Former {
            conversation: row.get(0)?,
            n: row.get(1)?,
            sender: row.get(2)?,
            recipient: row.get(3)?,
            sent_at: row.get(4)?,
            bytes: row.get(5)?,
            is_deleted: row.get(6)?,
        };
        bytes += message.bytes;
        messages.push(message);
        if bytes >= BYTES {
            break;
        }
    }
    Ok(messages)
}

fn hash_of(
    connection: &Connection,
    hasher: &ContentHasher,
    (conversation, n): (i64, i64),
) -> Result<ContentHash> {
    connection
        .prepare_cached("SELECT content FROM messages_6 WHERE conversation = ?1 AND n = ?2")?
        .query_row([conversation, n], |row| {
            let content = row.get_ref(0)?.as_str()?;
            Ok(hasher.hash(content))
        })
}

/// Records that a user has written in a conversation, with the user's first message.
fn note_author(
    connection: &Connection,
    conversation: i64,
    before: Counts,
    counts: Counts,
) -> Result<()> {
    let is_low = counts.low > before.low;
    let is_first = if is_low {
        before.low == 0
    } else {
        before.high == 0
    };
    if is_first {
        counts::set_wrote(connection, conversation, is_low, true)?;
    }
    Ok(())
}

/// Marks the superseded changes in the inboxes of some users after user `last`, and makes their lists of conversations. False:
/// there are none.
fn complete_users(tx: &Transaction<'_>, last: i64) -> Result<bool> {
    let users: Vec<i64> = tx
        .prepare("SELECT n FROM users WHERE n > ?1 ORDER BY n LIMIT ?2")?
        .query_map([last, USERS], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let mut entries = 0;
    for user in &users {
        let superseded = tx
            .prepare_cached(
                "UPDATE inbox SET kind = 5, by = NULL, emoji = NULL WHERE user = ?1 AND seq IN (
                    SELECT seq FROM (
                        SELECT seq, lead(seq) OVER (PARTITION BY conversation, message, by, emoji ORDER BY seq) AS later
                        FROM inbox WHERE user = ?1 AND kind BETWEEN 1 AND 4
                    ) WHERE later IS NOT NULL)",
            )?
            .execute([user])?;
        // Until now each user who had connected had a row in `devices`.
        tx.prepare_cached(
            "UPDATE users SET superseded = ?2, connected = EXISTS (SELECT 1 FROM devices WHERE user = ?1),
                listed = coalesce((SELECT max(seq) FROM inbox WHERE user = ?1), floor)
             WHERE n = ?1",
        )?
        .execute([*user, superseded as i64])?;
        tx.prepare_cached(LIST_OF_USER)?.execute([user])?;
        entries += tx
            .prepare_cached(
                "SELECT (SELECT count(*) FROM inbox WHERE user = ?1) + (SELECT count(*) FROM listed WHERE user = ?1)",
            )?
            .query_row([user], |row| row.get::<_, i64>(0))?;
        set_last_user(tx, *user)?;
        if entries >= ENTRIES {
            break;
        }
    }
    Ok(!users.is_empty())
}

/// Ends the migration.
fn finish(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch(
        "DROP TABLE messages_6;
         DROP INDEX changes;
         -- The changes that are not superseded. An expired message is kept while one of them is in an inbox.
         CREATE INDEX changes ON inbox (conversation, message, user, by, emoji) WHERE kind BETWEEN 1 AND 4;
         DELETE FROM meta WHERE key = 'migration';",
    )?;
    let hasher = super::content_hasher(tx)?;
    count_pending(tx, &hasher)
}

/// Adds counts to the pending log, which is short.
fn count_pending(connection: &Connection, hasher: &ContentHasher) -> Result<()> {
    let mut newest: HashMap<i64, Counts> = HashMap::new();
    let mut unlist =
        connection.prepare("UPDATE users SET listed = ?2 WHERE n = ?1 AND listed > ?2")?;
    pending::rewrite(connection, read, |record| {
        // Its entries may not be in their table yet.
        for (user, seq) in record.entries() {
            unlist.execute([user, signed(seq) - 1])?;
        }
        let is_long = record.content.len() > LONG;
        let hash = is_long.then(|| hasher.hash(record.content));
        // A message may be in its table already, if a crash has kept its row of the log from being removed.
        let stored = stored(connection, record)?;
        if let Some(counts) = stored {
            record.counts = counts;
            return Ok(hash);
        }
        let recipient = record.recipient().0;
        let pair = (record.sender.min(recipient), record.sender.max(recipient));
        let before = match newest.get(&record.conversation) {
            Some(counts) => *counts,
            None => counts::newest(connection, record.conversation, pair)?,
        };
        let is_low = record.sender <= recipient;
        record.counts = before.next(is_low, record.sent_at);
        newest.insert(record.conversation, record.counts);
        note_author(connection, record.conversation, before, record.counts)?;
        Ok(hash)
    })
}

fn read<'a>(bytes: &mut &'a [u8]) -> Option<Record<'a>> {
    Record::read(bytes)
}

fn stored(connection: &Connection, record: &Record<'_>) -> Result<Option<Counts>> {
    let read = |row: &Row<'_>| {
        Ok(Counts {
            low: row.get(0)?,
            high: row.get(1)?,
            latest: row.get(2)?,
        })
    };
    connection
        .prepare_cached(
            "SELECT low_count, high_count, sent_at + behind FROM messages WHERE conversation = ?1 AND n = ?2",
        )?
        .query_row(params![record.conversation, record.n], read)
        .optional()
}
