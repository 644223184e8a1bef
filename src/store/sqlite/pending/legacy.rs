//! Records as they were before schema version 5: without a version byte, and always of two users.

use rusqlite::{Connection, params};

use super::encoding::{damaged, read_number, take, take_id};
use super::record::Record;
use crate::store::sqlite::counts::Counts;
use crate::store::{ContentHash, Recipients};

/// The schema version from which on records have a version byte.
pub const VERSIONED_RECORDS: i64 = 5;

/// Reads a record of the old form and advances `bytes` past it. `None`: there is none, or it is damaged.
pub fn read<'a>(bytes: &mut &'a [u8]) -> Option<Record<'a>> {
    let mut numbers = [0; 7];
    for number in &mut numbers {
        *number = read_number(bytes)?;
    }
    let [
        conversation,
        n,
        sender,
        recipient,
        sender_seq,
        recipient_seq,
        sent_at,
    ] = numbers;
    let id = take_id(bytes)?;
    let reply_to = match take(bytes)? {
        0 => None,
        1 => Some(take_id(bytes)?),
        _ => return None,
    };
    let length = usize::try_from(read_number(bytes)?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Record {
        conversation: conversation.cast_signed(),
        n: n.cast_signed(),
        id,
        sender: sender.cast_signed(),
        sender_seq,
        recipients: if sender == recipient {
            Recipients::NONE
        } else {
            Recipients::one(recipient.cast_signed(), recipient_seq)
        },
        sent_at: sent_at.cast_signed(),
        counts: Counts::NONE,
        reply_to,
        hash: None,
        content: std::str::from_utf8(content).ok()?,
    })
}

/// Rewrites a log of records without a version byte in the present form.
pub fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    rewrite(connection, read, |_| Ok(None))
}

/// Rewrites the log: reads the records with `read` and has `change` change them and return the hash of long content. Each row keeps its number and its messages.
pub fn rewrite(
    connection: &Connection,
    read: for<'a> fn(&mut &'a [u8]) -> Option<Record<'a>>,
    mut change: impl FnMut(&mut Record<'_>) -> rusqlite::Result<Option<ContentHash>>,
) -> rusqlite::Result<()> {
    let mut rows = connection.prepare("SELECT n, records FROM pending ORDER BY n")?;
    let rows = rows.query_map((), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    // All are read before the first one is written: a statement must not see its own changes.
    for (n, old) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        let mut rest = old.as_slice();
        let mut new = Vec::with_capacity(old.len() + old.len() / 16);
        while !rest.is_empty() {
            let mut record = read(&mut rest).ok_or_else(damaged)?;
            let hash = change(&mut record)?;
            Record {
                hash: hash.as_ref(),
                ..record
            }
            .write(&mut new);
        }
        connection.execute(
            "UPDATE pending SET records = ?2 WHERE n = ?1",
            params![n, new],
        )?;
    }
    Ok(())
}
