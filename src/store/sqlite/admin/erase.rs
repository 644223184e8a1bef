//! Erases a user.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use uuid::Uuid;

use crate::store::sqlite::batch::MessageNumbers;
use crate::store::sqlite::cache::Cache;
use crate::store::sqlite::fault::{Cause as _, with_path};
use crate::store::sqlite::listed::{self, Extent};
use crate::store::sqlite::number::signed;
use crate::store::sqlite::rooms::conversation_of;
use crate::store::sqlite::{Durability, Sqlite, migrations, uncounted};
use crate::store::{Retention, Store as _, StoreError, StoreOptions};

/// The numbers of rows that [`erase`] has changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Messages whose content was removed.
    pub messages: u64,
    /// Reactions that were removed.
    pub reactions: u64,
    /// Entries that were removed from the user's inbox.
    pub entries: u64,
}

/// Removes all data of a user: inbox, devices, marks, use of the byte limit, reactions, blocks (also those of others against this
/// user), the content of the user's messages, and the id itself. Others keep their own messages; in place of the user's there are
/// deleted messages of an anonymous author, so that their inboxes have no gaps. The store must not be in use. It gets a new epoch,
/// because the id can be used again and its new inbox begins at 1. Members of rooms with up to `small_room` members get an entry
/// about the end of the user's membership.
///
/// # Errors
/// [`StoreError`], also if the user is unknown. Then nothing is removed, unless the error says so.
pub fn erase(path: &Path, user: &str, now: i64, small_room: u64) -> Result<Erased, StoreError> {
    if !path.exists() {
        return with_path(path, Err("there is no such file"));
    }
    let keep_all = Retention {
        inbox_ms: i64::MAX / 2,
        inbox_limit: u64::MAX / 4,
        history_ms: None,
        device_ms: i64::MAX / 2,
    };
    let mut store = Sqlite::open(path, Durability::Full, StoreOptions::new(keep_all))?;
    store.flush()?;
    let erased = with_path(path, erase_in(&mut store.connection, user, now, small_room))?;
    let Some(erased) = erased else {
        return with_path(path, Err(format!("no user {user:?} is known")));
    };
    // From here on the file does not need its log.
    let wiped = store.close().and_then(|()| wipe(&store.connection));
    with_path(path, wiped).map_err(|error| {
        error.class()(format!(
            "{error}; {user} is erased, but the file may still hold traces until it has been rewritten (VACUUM)"
        ))
    })?;
    Ok(erased)
}

/// Rewrites the file. SQLite overwrites a removed row, but not copies of it that were left when the row moved to another page,
/// and the write-ahead log has the former pages.
fn wipe(connection: &Connection) -> Result<(), StoreError> {
    // The memory may be too small for a copy.
    connection.execute_batch("PRAGMA temp_store = FILE; VACUUM")?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0));
    match truncated? {
        0 => Ok(()),
        _ => Err(StoreError::Failed(
            "another process is reading the file, so that its log cannot be removed".to_owned(),
        )),
    }
}

/// Ends the memberships of a user as [`Write::Leave`](crate::store::Write::Leave) does. The entries have the name of the user after
/// the erasure.
fn leave_rooms(tx: &Connection, user: i64, now: i64, small_room: i64) -> rusqlite::Result<()> {
    let rooms: Vec<(i64, i64)> = tx
        .prepare(
            "SELECT r.n, r.members FROM members AS m JOIN rooms AS r ON r.n = m.room WHERE m.user = ?1",
        )?
        .query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut numbers = MessageNumbers::default();
    for (room, members) in rooms {
        tx.execute(
            "DELETE FROM members WHERE room = ?1 AND user = ?2",
            [room, user],
        )?;
        tx.execute(
            "UPDATE rooms SET members = members - 1 WHERE n = ?1",
            [room],
        )?;
        tx.execute(
            "DELETE FROM listed WHERE user = ?1 AND conversation = ?2",
            [user, conversation_of(room)],
        )?;
        if members > small_room {
            continue;
        }
        let n = numbers.next(tx)?;
        tx.execute(
            "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
             SELECT m.user, 1 + max(u.floor, coalesce((SELECT max(seq) FROM inbox WHERE user = m.user), 0)),
                ?3, ?4, ?5, 7, ?2, ?6
             FROM members AS m JOIN users AS u ON u.n = m.user WHERE m.room = ?1",
            params![
                room,
                user,
                now,
                conversation_of(room),
                n,
                (members - 1).to_string()
            ],
        )?;
    }
    Ok(())
}

fn erase_in(
    connection: &mut Connection,
    user: &str,
    now: i64,
    small_room: u64,
) -> rusqlite::Result<Option<Erased>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let n: Option<i64> = tx
        .query_row("SELECT n FROM users WHERE id = ?1", [user], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(n) = n else {
        return Ok(None);
    };
    tx.execute(
        "CREATE TEMP TABLE newly_deleted AS SELECT conversation, sender AS user, n FROM messages
         WHERE sender = ?1 AND deleted_at IS NULL AND conversation > 0",
        [n],
    )?;
    uncounted::add_deleted(&tx, "newly_deleted")?;
    tx.execute(
        "DELETE FROM contents WHERE n IN (SELECT n FROM messages WHERE sender = ?1)",
        [n],
    )?;
    tx.execute("DROP TABLE newly_deleted", ())?;
    let messages = tx.execute(
        "UPDATE messages SET content = NULL, first = NULL, hash = NULL, reply_to = NULL, edited_at = NULL,
            deleted_at = coalesce(deleted_at, ?2) WHERE sender = ?1",
        [n, now],
    )?;
    let mut reactions = tx.execute("DELETE FROM reactions WHERE user = ?1", [n])?;
    reactions += tx.execute(
        "DELETE FROM reactions WHERE EXISTS (SELECT 1 FROM messages AS m WHERE m.conversation = reactions.conversation
            AND m.n = reactions.message AND m.deleted_at IS NOT NULL)",
        (),
    )?;
    // Entries about the user's reactions in the inboxes of others keep only their numbers, like superseded changes.
    tx.execute(
        "UPDATE inbox SET kind = 5, by = NULL, emoji = NULL WHERE by = ?1 AND kind IN (3, 4)",
        [n],
    )?;
    let head: Option<i64> =
        tx.query_row("SELECT max(seq) FROM inbox WHERE user = ?1", [n], |row| {
            row.get(0)
        })?;
    leave_rooms(&tx, n, now, signed(small_room))?;
    // The list of the erased user keeps its conversations.
    listed::settle(&tx, &mut Cache::default(), n, Extent::Complete)?;
    let entries = tx.execute("DELETE FROM inbox WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM devices WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM marks WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM deferred WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM byte_use WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM online WHERE user = ?1", [n])?;
    tx.execute(
        "DELETE FROM unclaimed WHERE recipient = ?1 OR sender = ?1",
        [n],
    )?;
    tx.execute("DELETE FROM removed_members WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM blocks WHERE user = ?1 OR blocked = ?1", [n])?;
    // The form that `protocol::types::is_erased_name` recognizes, so that nobody can connect by this name.
    let placeholder = format!("erased.{}", Uuid::new_v4().simple());
    tx.execute(
        "UPDATE users SET id = ?2, connected = 0, known = 0, status = 0, last_seen = NULL,
            floor = max(floor, coalesce(?3, 0)) WHERE n = ?1",
        params![n, placeholder, head],
    )?;
    tx.execute(
        "UPDATE users SET superseded = (SELECT count(*) FROM inbox WHERE user = users.n AND kind = 5)",
        (),
    )?;
    migrations::renew_epoch(&tx)?;
    tx.commit()?;
    Ok(Some(Erased {
        messages: messages as u64,
        reactions: reactions as u64,
        entries: entries as u64,
    }))
}
