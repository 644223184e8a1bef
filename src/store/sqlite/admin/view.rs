//! Opens a store for reading while a server may write to it.

use std::path::Path;

use rusqlite::Connection;

use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::file::connect_to_read;
use crate::store::sqlite::listed::LIST_ALL;
use crate::store::sqlite::read::SqliteReader;
use crate::store::sqlite::{migrations, pending, recovery};
use crate::store::{Reader, RoomHistory, StoreError};

/// Opens a store for reading in its present state, with the pending log included.
pub fn view(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path)?;
    include_all(path, &connection)?;
    Ok(connection)
}

/// Has a connection see the pending log, and the tables of the present version.
pub fn include_all(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    // Tables that older files do not have are replaced by empty temporary ones.
    for (table, columns) in [
        ("pending", "n INTEGER, records BLOB"),
        ("blocks", "user INTEGER, blocked INTEGER"),
        (
            "rooms",
            "n INTEGER PRIMARY KEY, name TEXT, members INTEGER, former TEXT, deleted_at INTEGER",
        ),
        ("room_deletions", "room INTEGER, after INTEGER"),
        (
            "members",
            "room INTEGER, user INTEGER, joined INTEGER, joined_at INTEGER, seq INTEGER, session INTEGER",
        ),
        ("removed_members", "room INTEGER, user INTEGER"),
        ("contents", "n INTEGER PRIMARY KEY, content TEXT"),
        (
            "uncounted",
            "conversation INTEGER, user INTEGER, level INTEGER, block INTEGER, deleted INTEGER, removed INTEGER",
        ),
        (
            "deferred",
            "user INTEGER, conversation INTEGER, shown INTEGER",
        ),
        ("erasures", "user INTEGER, phase INTEGER"),
        ("erasure_recipients", "erasure INTEGER, user INTEGER"),
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
    // In older files, each user who has connected has a device.
    let connected = if with_path(path, connection.column_exists(None, "users", "connected"))? {
        "SELECT n FROM users WHERE connected"
    } else {
        "SELECT DISTINCT user AS n FROM devices"
    };
    let connected = format!("CREATE TEMP VIEW connected_users AS {connected}");
    with_path(path, connection.execute_batch(&connected))?;
    if !with_path(
        path,
        connection.column_exists(None, "conversations", "low_wrote"),
    )? {
        // What they tell is not shown.
        let unknown = "CREATE TEMP VIEW conversations AS SELECT *, 0 AS low_wrote, 0 AS high_wrote FROM main.conversations";
        with_path(path, connection.execute_batch(unknown))?;
    }
    if !with_path(path, connection.column_exists(None, "rooms", "former"))? {
        let none_deleted = "CREATE TEMP VIEW rooms AS SELECT *, NULL AS former, NULL AS deleted_at FROM main.rooms";
        with_path(path, connection.execute_batch(none_deleted))?;
    }
    with_path(path, pending::include(connection))?;
    if !with_path(path, connection.table_exists(None, "listed"))? {
        let listed = format!(
            "CREATE TEMP TABLE listed (user INTEGER, conversation INTEGER, newest INTEGER, reach INTEGER);
             CREATE TEMP VIEW users AS SELECT *, 0 AS listed, 0 AS status FROM main.users;
             {LIST_ALL}"
        );
        with_path(path, connection.execute_batch(&listed))?;
    } else if !with_path(path, connection.column_exists(None, "users", "status"))? {
        let online = "CREATE TEMP VIEW users AS SELECT *, 0 AS status FROM main.users";
        with_path(path, connection.execute_batch(online))?;
    }
    Ok(())
}

/// As [`view`], but without the messages of the pending log.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return with_path(path, Err("there is no such file"));
    }
    recovery::check(path)?;
    let connection = with_path(path, connect_to_read(path))?;
    with_path(path, migrations::recognise(&connection))?;
    with_path(path, migrations::assert_finished(&connection))?;
    with_path(path, migrations::epoch(&connection))?;
    with_path(path, connection.execute_batch("BEGIN"))?;
    Ok(connection)
}

/// Opens the store at `path` to read the conversations of a user, in rooms what `history` lets the user read. Each query sees the store in its state at that moment: one
/// long transaction would keep the server from checkpointing its log.
///
/// # Errors
/// [`StoreError`], also if the user is unknown.
pub fn reader_of(
    path: &Path,
    user: &str,
    history: RoomHistory,
) -> Result<Box<dyn Reader>, StoreError> {
    let connection = view(path)?;
    with_path(path, connection.execute_batch("COMMIT"))?;
    let reader = SqliteReader::with_connection(connection).with_history(history);
    if reader.user(user)?.is_none() {
        return with_path(path, Err(format!("no user {user:?} is known")));
    }
    Ok(Box::new(reader))
}
