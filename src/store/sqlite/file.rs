//! The database file: its lock, its permissions, and its connections.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::fault::with_path;
use super::migrations;
use crate::store::{FileRole, StoreError, StoreFiles};

/// How long a connection waits for a lock that another one holds.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The file of an open store.
#[derive(Debug)]
pub struct DataFile {
    pub path: PathBuf,
    /// The path without symbolic links: SQLite's other files are beside it.
    pub real: PathBuf,
    /// Held so that no second server writes to the file: the heads of inboxes are cached in memory. It names the last run: see
    /// `run`.
    pub lock: Option<File>,
    /// The file is removed when the store is dropped.
    temporary: bool,
}

impl DataFile {
    /// Locks the file at `path`. The lock is a file of its own, because closing any handle of the database file would release
    /// SQLite's own locks on it.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        // The lock has the real name of the store, so that a link to it has the same lock.
        let real = std::fs::canonicalize(path).or_else(|_| -> std::io::Result<PathBuf> {
            if path.is_symlink() {
                // The target of the link is created, as its name determines that of the lock.
                drop(open_private(path)?);
                return std::fs::canonicalize(path);
            }
            let directory = std::fs::canonicalize(directory_of(path))?;
            Ok(directory.join(path.file_name().unwrap_or_default()))
        });
        let real: PathBuf = with_path(path, real)?;
        let lock = with_path(path, open_private(&with_suffix(&real, "-lock")))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                real,
                lock: Some(lock),
                temporary: false,
            }),
            Err(TryLockError::WouldBlock) => with_path(path, Err("in use by another dmwire")),
            Err(TryLockError::Error(error)) => with_path(path, Err(error)),
        }
    }

    /// A file of a random name in the directory `dir`, which is removed when it is dropped.
    pub fn temporary(dir: &Path) -> Self {
        let name = format!("dmwire-{}.db", Uuid::new_v4());
        Self {
            path: dir.join(&name),
            real: std::fs::canonicalize(dir)
                .map_or_else(|_| dir.join(&name), |dir| dir.join(&name)),
            lock: None,
            temporary: true,
        }
    }

    /// Makes the lock file forget the runs of servers on the store, which is another one now.
    pub fn forget_runs(&self) {
        if let Some(lock) = &self.lock {
            // If this fails, the next start gives the store another epoch.
            drop(lock.set_len(0));
        }
    }

    /// The length of the write-ahead log in bytes. `None`: it cannot be determined.
    pub fn log_length(&self) -> Option<u64> {
        let log = std::fs::metadata(with_suffix(&self.real, "-wal"));
        log.map(|metadata| metadata.len()).ok()
    }

    /// All files of the store, after they have been opened.
    pub fn files(&self) -> Result<StoreFiles, StoreError> {
        let beside = |role, suffix| (role, with_suffix(&self.real, suffix));
        // Not relative, so that a move of the working directory is noticed; with the links that lead to the file.
        let path = with_path(&self.path, std::path::absolute(&self.path))?;
        let mut files = vec![
            (FileRole::Database, path),
            (FileRole::Database, self.real.clone()),
            beside(FileRole::Log, "-wal"),
            beside(FileRole::Index, "-shm"),
        ];
        if self.lock.is_some() {
            files.push(beside(FileRole::Lock, "-lock"));
        }
        with_path(&self.path, StoreFiles::new(files))
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.temporary {
            for suffix in ["", "-wal", "-shm"] {
                // A file that does not exist or cannot be removed does no harm.
                drop(std::fs::remove_file(with_suffix(&self.real, suffix)));
            }
        }
    }
}

/// A path with a suffix to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory of a file.
pub fn directory_of(path: &Path) -> PathBuf {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    directory.unwrap_or(Path::new(".")).to_owned()
}

/// Opens a file for writing, and creates it, if it does not exist, so that only its owner may read it. SQLite gives the files
/// that it creates beside a database the permissions of the database.
pub fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Opens a database for writing and migrates it to the present version.
pub fn connect(path: &Path, synchronous: &str) -> Result<Connection, StoreError> {
    if !path.exists() {
        drop(with_path(path, open_private(path))?);
    }
    let mut connection = with_path(path, Connection::open(path))?;
    // Otherwise SQLite removes the write-ahead log when it closes the file, also after a start that has failed. The main file then
    // still says that it has one.
    let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    with_path(path, connection.set_db_config(keep, true))?;
    with_path(path, connection.busy_timeout(BUSY_TIMEOUT))?;
    with_path(path, migrations::recognise(&connection))?;
    if with_path(path, connection.is_readonly("main"))? {
        return with_path(path, Err("the file cannot be written"));
    }
    with_path(path, migrations::configure(&connection, synchronous))?;
    migrations::migrate(&mut connection, path)?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(connection)
}

/// Opens a database for reading only.
pub fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    migrations::fix_plans(&connection)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Reading must work when the disk is full.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(48);
    open_all(&connection)?;
    Ok(connection)
}

/// Has a connection open all files now: SQLite opens the log by its name when it is needed first, and that name may then lead to
/// another file.
pub fn open_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
}

/// Runs `work` in a transaction, which is rolled back if it fails. `BEGIN` and `COMMIT` are prepared statements, because they
/// are a large part of the cost of committing a single message.
pub fn atomically<T>(
    connection: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute(()).map(drop);
    run("BEGIN IMMEDIATE")?;
    let done = work().and_then(|value| run("COMMIT").map(|()| value));
    // Some errors roll the transaction back by themselves. The first error tells more than one of the rollback.
    if done.is_err() && !connection.is_autocommit() {
        drop(run("ROLLBACK"));
    }
    done
}
