//! Removes messages of rooms, and rooms that nothing refers to any more.

use rusqlite::{Connection, Result, TransactionBehavior};

use super::expiry::OldMessages;
use super::{EXAMINE, RetentionRules};
use crate::store::sqlite::cache::Cache;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::rooms::conversation_of;

/// The rooms after room `after`, as far as one step goes, each with whether it is a deleted one. Those whose deletion has steps left
/// are not among them.
pub fn next(connection: &Connection, after: i64) -> Result<Vec<(i64, bool)>> {
    connection
        .prepare_cached(
            "SELECT n, deleted_at IS NOT NULL FROM rooms WHERE n > ?1 AND n NOT IN (SELECT room FROM room_deletions)
             ORDER BY n LIMIT ?2",
        )?
        .query_map([after, EXAMINE], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Removes messages of a room. Numbers of messages of a room are not counted, so nothing else changes.
pub fn remove_messages(tx: &Connection, room: i64, old: &OldMessages) -> Result<()> {
    for n in old.to_remove() {
        for sql in [
            "DELETE FROM messages WHERE conversation = ?1 AND n = ?2",
            "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2",
        ] {
            tx.prepare_cached(sql)?
                .execute([conversation_of(room), n])?;
        }
        long_contents::remove(tx, n)?;
    }
    Ok(())
}

/// Removes a room without members and messages, if no inbox has an entry that names it, no event is about it, and no
/// user is excluded from it.
pub fn remove_unused(
    connection: &mut Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    room: i64,
) -> Result<()> {
    let conversation = conversation_of(room);
    if rules.log.has_conversation(conversation) {
        return Ok(());
    }
    let name: Option<String> = connection
        .prepare_cached(
            "SELECT name FROM rooms WHERE n = ?1
             AND NOT EXISTS (SELECT 1 FROM members WHERE room = ?1)
             AND NOT EXISTS (SELECT 1 FROM removed_members WHERE room = ?1)
             AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation = ?2)
             AND NOT EXISTS (SELECT 1 FROM events WHERE conversation = ?2)
             AND NOT EXISTS (SELECT 1 FROM inbox
                WHERE conversation = ?2 AND conversation < 0 AND kind IN (0, 6, 7))",
        )?
        .query_map([room, conversation], |row| row.get(0))?
        .next()
        .transpose()?;
    let Some(name) = name else {
        return Ok(());
    };
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.prepare_cached("DELETE FROM rooms WHERE n = ?1")?
        .execute([room])?;
    tx.commit()?;
    cache.rooms.forget(&name);
    Ok(())
}
