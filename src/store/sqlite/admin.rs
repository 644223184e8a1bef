//! What an operator does with a store: back it up, verify it, export a user, erase a user.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use uuid::Uuid;

use super::file::{connect_to_read, open_private, with_path, with_suffix};
use super::read::SqliteReader;
use super::{Durability, Sqlite, migrations, pending};
use crate::store::{Reader, Retention, StoreError, StoreOptions};

/// Opens a store for reading, as it is at this moment; a server may go on writing to it.
fn view(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    // Files of the first version have no log.
    if with_path(path, connection.table_exists(None, "pending"))? {
        with_path(path, pending::include(&connection))?;
    }
    // What older files do not have, an empty table of this connection's own stands in for.
    for (table, columns) in [
        ("blocks", "user INTEGER, blocked INTEGER"),
        (
            "unclaimed",
            "recipient INTEGER, sender INTEGER, messages INTEGER",
        ),
    ] {
        if !with_path(path, connection.table_exists(None, table))? {
            let empty = format!("CREATE TEMP TABLE {table} ({columns})");
            with_path(path, connection.execute_batch(&empty))?;
        }
    }
    Ok(connection)
}

/// As [`view`], but for what is not in its tables yet.
fn open(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return with_path(path, Err("there is no such file"));
    }
    let connection = with_path(path, connect_to_read(path))?;
    with_path(path, migrations::recognise(&connection))?;
    with_path(path, migrations::epoch(&connection))?;
    with_path(path, connection.execute_batch("BEGIN"))?;
    Ok(connection)
}

/// Writes a copy of the store at `path` to `copy`, which must not be there: all of one moment, also while a server is
/// writing. The copy has an epoch of its own, so that clients of a server that is started on it are told to begin anew.
///
/// # Errors
/// [`StoreError`]; there is then no file at `copy`.
pub fn backup(path: &Path, copy: &Path) -> Result<(), StoreError> {
    if copy.exists() {
        return with_path(
            copy,
            Err("it is there already; a backup overwrites nothing"),
        );
    }
    let source = open(path)?;
    with_path(path, source.execute_batch("COMMIT"))?;
    // What is not whole never has the name of a backup.
    let part = with_suffix(copy, &format!(".{}.part", Uuid::new_v4().simple()));
    let name = part.to_string_lossy().into_owned();
    // An empty file is as good as none to SQLite, and this one nobody else may read.
    let written = with_path(copy, open_private(&part).map(drop))
        .and_then(|()| with_path(copy, source.execute("VACUUM INTO ?1", [name])))
        .and_then(|_| with_path(copy, own_epoch(&part)))
        .and_then(|()| {
            with_path(
                copy,
                std::fs::File::open(&part).and_then(|file| file.sync_all()),
            )
        })
        .and_then(|()| with_path(copy, std::fs::rename(&part, copy)));
    if written.is_err() {
        // Nothing to remove if nothing was written.
        drop(std::fs::remove_file(&part));
    }
    written
}

fn own_epoch(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    migrations::renew_epoch(&connection)
}

/// Looks for whatever cannot be right in a store. Gives a line for each finding; none: all is well.
///
/// # Errors
/// [`StoreError`] when the store cannot be read at all.
pub fn verify(path: &Path) -> Result<Vec<String>, StoreError> {
    const LIMIT: usize = 100;
    let connection = view(path)?;
    let mut findings = Vec::new();
    let mut statement = with_path(path, connection.prepare("PRAGMA integrity_check(100)"))?;
    let lines = with_path(path, statement.query_map((), |row| row.get::<_, String>(0)))?;
    for line in lines {
        let line = with_path(path, line)?;
        if line != "ok" {
            findings.push(line);
        }
    }
    for (what, sql) in CHECKS {
        let mut statement = with_path(path, connection.prepare(sql))?;
        let rows = with_path(
            path,
            statement.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))),
        )?;
        for row in rows {
            let (a, b) = with_path(path, row)?;
            if findings.len() < LIMIT {
                findings.push(format!("{what}: {a}, {b}"));
            }
        }
    }
    Ok(findings)
}

/// What is wrong, and a query that finds where: two numbers a row.
const CHECKS: &[(&str, &str)] = &[
    (
        "an inbox has a gap (user, entry after it)",
        "SELECT user, seq FROM (
            SELECT user, seq, lag(seq) OVER (PARTITION BY user ORDER BY seq) AS before,
                (SELECT floor FROM users WHERE n = user) AS floor FROM inbox)
         WHERE seq != coalesce(before, floor) + 1",
    ),
    (
        "an entry is of no user (user, entry)",
        "SELECT user, seq FROM inbox WHERE user NOT IN (SELECT n FROM users)",
    ),
    (
        "an entry's message is not there (user, entry)",
        "SELECT i.user, i.seq FROM inbox AS i WHERE NOT EXISTS
         (SELECT 1 FROM messages AS m WHERE m.conversation = i.conversation AND m.n = i.message)",
    ),
    (
        "an entry is in the inbox of somebody else (user, entry)",
        "SELECT i.user, i.seq FROM inbox AS i
         JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
         WHERE i.user NOT IN (m.sender, m.recipient)",
    ),
    (
        "a message is not in its author's inbox (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m JOIN users AS u ON u.n = m.sender
         WHERE m.from_seq > u.floor AND NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.user = m.sender
            AND i.seq = m.from_seq AND i.conversation = m.conversation AND i.message = m.n AND i.kind = 0)",
    ),
    (
        "a message is not in its recipient's inbox (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m JOIN users AS u ON u.n = m.recipient
         WHERE m.to_seq > u.floor AND NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.user = m.recipient
            AND i.seq = m.to_seq AND i.conversation = m.conversation AND i.message = m.n AND i.kind = 0)",
    ),
    (
        "a message is of no conversation of its users (conversation, message)",
        "SELECT m.conversation, m.n FROM messages AS m LEFT JOIN conversations AS c ON c.n = m.conversation
         WHERE c.n IS NULL OR c.low != min(m.sender, m.recipient) OR c.high != max(m.sender, m.recipient)",
    ),
    (
        "a message has content although it was deleted, or none although it was not (conversation, message)",
        "SELECT conversation, n FROM messages WHERE (content IS NULL) != (deleted_at IS NOT NULL)",
    ),
    (
        "a commit number is used that is not reserved (conversation, message)",
        "SELECT conversation, n FROM messages WHERE n >= (SELECT value FROM meta WHERE key = 'next')",
    ),
    (
        "a device holds more than its user's inbox has (user, entry)",
        "SELECT d.user, d.received FROM devices AS d JOIN users AS u ON u.n = d.user
         WHERE d.received > max(u.floor, coalesce((SELECT max(seq) FROM inbox WHERE user = d.user), 0))",
    ),
    (
        "a read mark is ahead of what was received (user, conversation)",
        "SELECT user, conversation FROM marks WHERE read > received",
    ),
    (
        "a block is of no user, or of oneself (who blocks, who is blocked)",
        "SELECT user, blocked FROM blocks WHERE user = blocked
         OR user NOT IN (SELECT n FROM users) OR blocked NOT IN (SELECT n FROM users)",
    ),
    (
        "messages count as left for a user who has come, or are not there (recipient, sender)",
        "SELECT recipient, sender FROM unclaimed WHERE recipient IN (SELECT user FROM devices)
         OR messages > (SELECT count(*) FROM conversations AS c JOIN messages AS m ON m.conversation = c.n
            WHERE c.low = min(unclaimed.recipient, unclaimed.sender)
            AND c.high = max(unclaimed.recipient, unclaimed.sender) AND m.sender = unclaimed.sender)",
    ),
    (
        "a reaction is to no message (conversation, message)",
        "SELECT r.conversation, r.message FROM reactions AS r WHERE NOT EXISTS
         (SELECT 1 FROM messages AS m WHERE m.conversation = r.conversation AND m.n = r.message)",
    ),
];

/// Opens the store at `path` to read the conversations of a user; a server may go on writing to it. Each query sees the store
/// as it is at that moment: one long transaction would keep the server from checkpointing its log.
///
/// # Errors
/// [`StoreError`], also when the user is not known.
pub fn reader_of(path: &Path, user: &str) -> Result<Box<dyn Reader>, StoreError> {
    let connection = view(path)?;
    with_path(path, connection.execute_batch("COMMIT"))?;
    let reader = SqliteReader::with_connection(connection);
    if reader.user(user)?.is_none() {
        return with_path(path, Err(format!("no user {user:?} is known")));
    }
    Ok(Box::new(reader))
}

/// What [`erase`] has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Messages whose content is gone.
    pub messages: u64,
    /// Reactions.
    pub reactions: u64,
    /// Entries of the user's own inbox.
    pub entries: u64,
}

/// Removes a user's traces: their inbox, devices, marks, blocks (also those of others against them) and reactions, the content of every message that they wrote, and
/// their id itself. Others keep their own messages, and in the place of the user's a deleted one of a nameless author, so
/// that their inboxes stay without gaps. The store must not be in use. The file gets another epoch: the id may be used
/// again, and its new inbox begins at 1.
///
/// # Errors
/// [`StoreError`], also when the user is not known. Nothing is removed then, unless the error says so.
pub fn erase(path: &Path, user: &str, now: i64) -> Result<Erased, StoreError> {
    if !path.exists() {
        return with_path(path, Err("there is no such file"));
    }
    let keep_all = Retention {
        inbox_ms: i64::MAX / 2,
        inbox_limit: u64::MAX / 4,
        history_ms: None,
    };
    let mut store = Sqlite::open(path, Durability::Full, StoreOptions::new(keep_all))?;
    store.flush()?;
    let erased = with_path(path, erase_in(&mut store.connection, user, now))?;
    let Some(erased) = erased else {
        return with_path(path, Err(format!("no user {user:?} is known")));
    };
    with_path(path, wipe(&store.connection)).map_err(|error| {
        StoreError::Failed(format!(
            "{error}; {user} is erased, but the file may still hold traces until it has been rewritten (VACUUM)"
        ))
    })?;
    Ok(erased)
}

/// Rewrites the file. SQLite wipes a row that is removed, but not the copy that was left behind when the row was once
/// moved to another page, and the log holds the pages as they were.
fn wipe(connection: &Connection) -> Result<(), String> {
    let said = |error: rusqlite::Error| error.to_string();
    // In memory it might not have room.
    let rewritten = connection.execute_batch("PRAGMA temp_store = FILE; VACUUM");
    rewritten.map_err(said)?;
    let cut = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0));
    match cut.map_err(said)? {
        0 => Ok(()),
        _ => Err("somebody is reading the file, so that its log cannot be removed".to_owned()),
    }
}

fn erase_in(connection: &mut Connection, user: &str, now: i64) -> rusqlite::Result<Option<Erased>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let n: Option<i64> = tx
        .query_row("SELECT n FROM users WHERE id = ?1", [user], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(n) = n else {
        return Ok(None);
    };
    let messages = tx.execute(
        "UPDATE messages SET content = NULL, first = NULL, reply_to = NULL, edited_at = NULL,
            deleted_at = coalesce(deleted_at, ?2) WHERE sender = ?1",
        [n, now],
    )?;
    let mut reactions = tx.execute("DELETE FROM reactions WHERE user = ?1", [n])?;
    reactions += tx.execute(
        "DELETE FROM reactions WHERE EXISTS (SELECT 1 FROM messages AS m WHERE m.conversation = reactions.conversation
            AND m.n = reactions.message AND m.deleted_at IS NOT NULL)",
        (),
    )?;
    // What others were told of the user's reactions keeps its place and loses what it said.
    tx.execute(
        "UPDATE inbox SET emoji = '-', kind = 4 WHERE by = ?1 AND kind IN (3, 4)",
        [n],
    )?;
    let head: Option<i64> =
        tx.query_row("SELECT max(seq) FROM inbox WHERE user = ?1", [n], |row| {
            row.get(0)
        })?;
    let entries = tx.execute("DELETE FROM inbox WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM devices WHERE user = ?1", [n])?;
    tx.execute("DELETE FROM marks WHERE user = ?1", [n])?;
    tx.execute(
        "DELETE FROM unclaimed WHERE recipient = ?1 OR sender = ?1",
        [n],
    )?;
    tx.execute("DELETE FROM blocks WHERE user = ?1 OR blocked = ?1", [n])?;
    let nameless = format!("erased.{}", Uuid::new_v4().simple());
    tx.execute(
        "UPDATE users SET id = ?2, floor = max(floor, coalesce(?3, 0)) WHERE n = ?1",
        params![n, nameless, head],
    )?;
    migrations::renew_epoch(&tx)?;
    tx.commit()?;
    Ok(Some(Erased {
        messages: messages as u64,
        reactions: reactions as u64,
        entries: entries as u64,
    }))
}
