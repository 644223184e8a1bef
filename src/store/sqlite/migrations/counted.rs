//! The step to version 7: messages carry counts.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::store::content::LONG;
use crate::store::sqlite::counts::{self, Counts};
use crate::store::sqlite::listed::LIST_ALL;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending::{self, Record};
use crate::store::sqlite::uncounted;
use crate::store::{ContentHash, ContentHasher};

type Result<T> = rusqlite::Result<T>;

/// The schema version from which on messages carry counts.
pub const COUNTED: i64 = 7;

/// Copies the messages of the former table with their counts, and adds counts to the pending log.
pub fn count_messages(connection: &Connection) -> Result<()> {
    let mut messages = connection.prepare(
        "SELECT conversation, sender <= recipient, sent_at, n, octet_length(content) FROM messages_6 ORDER BY conversation, n",
    )?;
    let mut copy = connection.prepare(
        "INSERT INTO messages (conversation, n, id, sender, recipient, from_seq, to_seq, low_count, high_count, behind,
            sent_at, edited_at, deleted_at, change_seq, reply_to, first, hash, content)
         SELECT conversation, n, id, sender, recipient, from_seq, to_seq, ?3, ?4, ?5,
            sent_at, edited_at, deleted_at, change_seq, reply_to, first, ?6, content
         FROM messages_6 WHERE conversation = ?1 AND n = ?2",
    )?;
    let hasher = super::content_hasher(connection)?;
    let mut rows = messages.query(())?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (conversation, is_low, sent_at, n): (i64, bool, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let before = match last {
            Some((of, counts)) if of == conversation => counts,
            _ => Counts::NONE,
        };
        let counts = before.next(is_low, sent_at);
        note_author(connection, conversation, before, counts)?;
        let behind = counts.behind(sent_at);
        let is_long = row.get::<_, Option<i64>>(4)? > Some(LONG as i64);
        let hash = is_long
            .then(|| hash_of(connection, &hasher, (conversation, n)))
            .transpose()?;
        copy.execute(params![
            conversation,
            n,
            counts.low,
            counts.high,
            behind,
            hash
        ])?;
        last = Some((conversation, counts));
    }
    drop(rows);
    connection.execute_batch(
        "DROP TABLE messages_6;
         CREATE UNIQUE INDEX message_ids ON messages (conversation, id);
         UPDATE users SET listed = coalesce((SELECT max(seq) FROM inbox WHERE user = users.n), floor);",
    )?;
    connection.execute_batch(LIST_ALL)?;
    uncounted::add_deleted(
        connection,
        "(SELECT conversation, sender AS user, n FROM messages WHERE deleted_at IS NOT NULL)",
    )?;
    count_pending(connection, &hasher)
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
