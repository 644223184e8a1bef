//! The database file: its lock, its permissions, its connections.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::migrations;
use crate::store::StoreError;

/// How long a connection waits for another one's lock.
pub const BUSY: Duration = Duration::from_secs(5);

/// Where the data is.
#[derive(Debug)]
pub struct DataFile {
    pub path: PathBuf,
    /// Held so that no second server writes to the same file: heads are cached here.
    pub _lock: Option<File>,
    /// Removed when the store is dropped.
    pub temporary: bool,
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.temporary {
            for suffix in ["", "-wal", "-shm"] {
                // Gone already, or not ours to remove: nothing is lost by leaving it.
                drop(std::fs::remove_file(beside(&self.path, suffix)));
            }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Each of these has undone the transaction, so nothing was stored.
            Some(
                ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Says which file an error is about.
pub fn named<T, E: std::fmt::Display>(path: &Path, result: Result<T, E>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))
}

/// Takes the lock that keeps a second server off the file. It is a file of its own: closing any handle of the database
/// file would drop SQLite's own locks on it.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    // By its real name, so that the same store under another name has the same lock.
    let real = std::fs::canonicalize(path).or_else(|_| -> std::io::Result<PathBuf> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
        Ok(folder.join(path.file_name().unwrap_or_default()))
    });
    let real: PathBuf = named(path, real)?;
    let file = named(path, private(&beside(&real, "-lock")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => named(path, Err("in use by another dmwire")),
        Err(TryLockError::Error(error)) => named(path, Err(error)),
    }
}

/// Opens a file, made if it is not there, that nobody else may read. SQLite gives what it keeps beside a database the
/// database's own permissions.
pub fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file for writing and brings it to the present schema.
pub fn connect(path: &Path, synchronous: &str) -> Result<Connection, String> {
    let said = |error: rusqlite::Error| error.to_string();
    if !path.exists() {
        drop(private(path).map_err(|error| error.to_string())?);
    }
    let mut connection = Connection::open(path).map_err(said)?;
    connection.busy_timeout(BUSY).map_err(said)?;
    migrations::recognise(&connection)?;
    if connection.is_readonly("main").map_err(said)? {
        return Err("the file cannot be written".to_owned());
    }
    migrations::configure(&connection, synchronous).map_err(said)?;
    migrations::migrate(&mut connection).map_err(said)?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(connection)
}

/// Does all of `work`, or nothing. The statements around it are kept prepared, as a commit of one message is mostly what is
/// around it.
pub fn atomically<T>(
    connection: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute(()).map(drop);
    run("BEGIN IMMEDIATE")?;
    let done = work().and_then(|value| run("COMMIT").map(|()| value));
    // Some errors undo the transaction by themselves.
    if done.is_err() && !connection.is_autocommit() {
        run("ROLLBACK")?;
    }
    done
}

/// Opens a file for reading only.
pub fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // A full disk must not keep anybody from reading.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
