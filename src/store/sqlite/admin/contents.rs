//! Copies a store, and tells what a copy contains.

use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

use super::part::PartFile;
use super::view::view;
use crate::store::StoreError;
use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::{migrations, run};

/// What a store contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The size of its file.
    pub bytes: u64,
    /// Users who have sent or been sent a message, or have connected.
    pub users: u64,
    /// Messages, with deleted ones.
    pub messages: u64,
    /// When the newest message was sent, in milliseconds since 1970-01-01T00:00:00Z.
    pub newest: Option<i64>,
    /// The epoch.
    pub epoch: Uuid,
}

/// Copies what `source` sees into the part file, as a store of its own that was closed properly: it needs no write-ahead log, and
/// it has a new epoch.
///
/// # Errors
/// [`StoreError`]
pub fn copy(source: &Connection, part: &PartFile) -> Result<Contents, StoreError> {
    let path = part.path();
    let Some(name) = path.to_str() else {
        return with_path(path, Err("the name is not valid UTF-8"));
    };
    with_path(path, source.execute("VACUUM INTO ?1", [name]))?;
    with_path(path, detach(path))?;
    contents(part)
}

fn detach(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    // The whole file is synced at the end, and a part file that a crash leaves is not used.
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    run::detach(&connection)?;
    // Older files do not record who is online.
    if connection.table_exists(None, "online")? {
        connection.execute_batch(
            "UPDATE users SET last_seen = unixepoch() * 1000 WHERE n IN (SELECT user FROM online);
             DELETE FROM online",
        )?;
    }
    connection.close().map_err(|(_, error)| error)
}

fn contents(part: &PartFile) -> Result<Contents, StoreError> {
    let path = part.path();
    let connection = view(path)?;
    let count = |sql: &str| -> Result<Option<i64>, StoreError> {
        with_path(path, connection.query_row(sql, (), |row| row.get(0)))
    };
    let number = |sql: &str| count(sql).map(|n| n.unwrap_or_default().unsigned_abs());
    Ok(Contents {
        bytes: with_path(path, std::fs::metadata(path))?.len(),
        users: number("SELECT count(*) FROM users")?,
        messages: number("SELECT count(*) FROM messages")?,
        newest: count("SELECT max(sent_at) FROM messages")?,
        epoch: with_path(path, migrations::epoch(&connection))?,
    })
}
