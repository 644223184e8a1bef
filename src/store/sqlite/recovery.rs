//! What happens to the files of a store before they are opened: a write-ahead log (WAL) that another run has left is checked,
//! written to the disk again and copied into the main file.
//!
//! **Why it is written again.** If a sync failed, the operating system may count pages as written that are not on the disk.
//! They can be read until they leave its memory, and no later sync writes them. A start cannot tell whether that has happened
//! to the run before it, so it writes the whole WAL once more, syncs it, and copies all of it into the main file.
//!
//! Before that, it has the operating system forget both files. ext4 does not make blocks readable whose first write failed when
//! it writes the same page of its memory again: the sync succeeds, and after a power failure the blocks are zeros. A page that
//! is written after it was forgotten is not affected.
//!
//! **Why it is checked.** See `log_record`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
#[cfg(target_os = "linux")]
use rustix::fs::{Advice, fadvise};

use super::fault::{SyncError, with_path};
use super::file::{BUSY_TIMEOUT, directory_of, with_suffix};
use super::log_record::LogRecord;
use super::migrations;
use crate::store::StoreError;
use crate::store::log_header::{self, LogHeader};

/// The part of a WAL that is written again at once, in bytes. A multiple of the units in which the operating system keeps files.
const AT_ONCE: u64 = 32 << 20;
/// The length of a file that may be new, in bytes.
const NEW: u64 = 64 << 10;
/// How often a check is repeated while a server may be checkpointing the file.
const ATTEMPTS: u32 = 5;

/// Prepares the file at `path` to be opened. The caller holds its lock. A file that does not exist needs no preparation. True if
/// another run has left a WAL, which still has what was removed since.
///
/// # Errors
/// If the WAL beside the file is missing or belongs to another file, or the files cannot be read, written or synced.
pub fn prepare(path: &Path) -> Result<bool, StoreError> {
    let Some(wal) = left_wal(path)? else {
        return write_again_if_new(path).map(|()| false);
    };
    log::info!(
        "{}: the last run has left its write-ahead log, which is checked and completed",
        path.display()
    );
    write_again(&wal)?;
    forget_unwritten(path)?;
    sync_directory(path)?;
    let alone = alone(path);
    let connection = with_path(path, connect_alone(path))?;
    assert_belongs(path, &wal, alone, &connection)?;
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(FULL)", (), |row| {
        row.get::<_, i64>(0)
    });
    match checkpoint {
        Ok(0) => {}
        Ok(_) => log::warn!(
            "{}: the write-ahead log cannot be copied completely, because another process reads the file",
            path.display()
        ),
        // The log stays, and it is on the disk.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => log::warn!(
            "{}: the write-ahead log cannot be copied, because the disk is full",
            path.display()
        ),
        Err(error) => return with_path(path, Err(error)),
    }
    Ok(true)
}

/// Checks that the WAL beside a file belongs to it. A server may be writing to the file.
///
/// # Errors
/// If it is missing or belongs to another file, or the files cannot be read.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let Some(wal) = left_wal(path)? else {
        return Ok(());
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = with_path(path, Connection::open_with_flags(path, flags))?;
    with_path(path, connection.busy_timeout(BUSY_TIMEOUT))?;
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = assert_belongs(path, &wal, alone(path), &connection);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Reads the main file as it is without its WAL.
///
/// # Errors
/// If it cannot be opened.
pub fn open_without_wal(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    uri.extend(percent_encoding::percent_encode(
        name.as_os_str().as_encoded_bytes(),
        percent_encoding::NON_ALPHANUMERIC,
    ));
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// Syncs a file.
///
/// # Errors
/// If that fails.
pub fn sync_file(path: &Path) -> Result<(), StoreError> {
    let opened = with_path(path, File::open(path))?;
    with_path(path, opened.sync_all().map_err(SyncError))
}

/// Syncs the directory of a file, so that the names of new files in it are on the disk.
///
/// # Errors
/// If that fails.
pub fn sync_directory(path: &Path) -> Result<(), StoreError> {
    sync_file(&directory_of(path))
}

/// The WAL beside a file. `None`: there is none, or it is empty, and none is missing.
fn left_wal(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    // SQLite puts the WAL beside the file that a link points to.
    let (real, file_length) = match std::fs::canonicalize(path) {
        Err(error) if is_missing(&error) => (path.to_owned(), 0),
        real => {
            let real = with_path(path, real)?;
            let length = with_path(path, std::fs::metadata(&real))?.len();
            (real, length)
        }
    };
    let wal = with_suffix(&real, "-wal");
    let length = match std::fs::metadata(&wal) {
        Ok(metadata) => metadata.len(),
        Err(error) if is_missing(&error) => 0,
        Err(error) => return with_path(&wal, Err(error)),
    };
    if length > log_header::LENGTH as u64 {
        if file_length == 0 {
            // SQLite would remove it.
            return with_path(
                path,
                Err(format!(
                    "the file is missing or empty, and {} has messages that belong to it: put the file back, or restore a backup \
                     with `dmwire restore FILE`, or remove both files to begin with an empty store",
                    wal.display()
                )),
            );
        }
        let header = with_path(&wal, LogHeader::read(&wal))?;
        if header.is_some_and(|header| header.is_valid()) {
            return Ok(Some(wal));
        }
    }
    if file_length == 0 {
        return Ok(None);
    }
    match alone(path) {
        Ok(Some(record)) if record.open => with_path(
            path,
            Err(format!(
                "its write-ahead log {} is missing, empty or damaged, so that messages may be missing in this file: put the log \
                 back. If another program, such as sqlite3, has opened the store since the server ended, it has copied the log \
                 to the file and removed it, and nothing is missing. {}",
                wal.display(),
                restore_hint(path)
            )),
        ),
        // What is wrong with the file shows when it is opened.
        _ => Ok(None),
    }
}

/// What an operator can do about a WAL that is missing or foreign.
fn restore_hint(path: &Path) -> String {
    format!(
        "Restore a backup with `dmwire restore FILE`, or, to continue with what the database file has by itself, run `dmwire \
         restore {0} --store sqlite:{0}`",
        path.display()
    )
}

/// `alone` is the record in the main file, `connection` reads the file together with its WAL.
fn assert_belongs(
    path: &Path,
    wal: &Path,
    alone: rusqlite::Result<Option<LogRecord>>,
    connection: &Connection,
) -> Result<(), StoreError> {
    let foreign = || {
        with_path(
            path,
            Err(format!(
                "{} is the write-ahead log of another file: was a backup or a copy put in the place of the store? The two must not \
                 be mixed. {}",
                wal.display(),
                restore_hint(path)
            )),
        )
    };
    let alone = match alone {
        Ok(alone) => alone,
        // A checkpoint that was interrupted can leave a page half written. The page is in the WAL then.
        Err(error) if is_damage(&error) => return assert_intact(path, wal, connection),
        Err(error) => return with_path(path, Err(error)),
    };
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()));
    if tables.is_err_and(|error| is_damage(&error)) {
        return foreign();
    }
    match migrations::recognise(connection) {
        // The two have pages of different files.
        Err(StoreError::Failed(_)) if alone.is_some() => return foreign(),
        recognised => with_path(path, recognised)?,
    }
    match LogRecord::read(connection) {
        Ok(Some(together)) if together.follows(alone) => Ok(()),
        // Both are of an older version, which did not write records.
        Ok(None) if alone.is_none() => assert_intact(path, wal, connection),
        Ok(_) => foreign(),
        Err(error) if is_damage(&error) => foreign(),
        Err(error) => with_path(path, Err(error)),
    }
}

fn assert_intact(path: &Path, wal: &Path, connection: &Connection) -> Result<(), StoreError> {
    let found = connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0));
    let found: String = match found {
        Err(error) if is_damage(&error) => error.to_string(),
        found => with_path(path, found)?,
    };
    if found == "ok" {
        return Ok(());
    }
    with_path(
        path,
        Err(format!(
            "the file and its write-ahead log {} do not belong together, or are damaged ({}). {}",
            wal.display(),
            found.replace('\n', " "),
            restore_hint(path)
        )),
    )
}

/// The record in the main file.
fn alone(path: &Path) -> rusqlite::Result<Option<LogRecord>> {
    LogRecord::read(&open_without_wal(path)?)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Opens a file so that no other process can use it, which makes SQLite read the whole WAL again instead of relying on an index
/// that an earlier process has left. If another process uses the file, it is shared after all.
fn connect_alone(path: &Path) -> rusqlite::Result<Connection> {
    let open = |mode: &str| -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // The WAL stays until the file says that it is closed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "locking_mode", mode)?;
        // `assert_belongs` explains damage.
        match connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())) {
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(connection),
        }
    };
    match open("EXCLUSIVE") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => open("NORMAL"),
        opened => opened,
    }
}

/// Writes a file again in its place and syncs it.
fn write_again(path: &Path) -> Result<(), StoreError> {
    let file = with_path(path, OpenOptions::new().read(true).write(true).open(path))?;
    with_path(path, file.sync_all().map_err(SyncError))?;
    let mut buffer = Vec::with_capacity(AT_ONCE as usize);
    let mut at = 0;
    loop {
        buffer.clear();
        let mut rest = &file;
        with_path(path, rest.seek(SeekFrom::Start(at)))?;
        let count = with_path(path, rest.take(AT_ONCE).read_to_end(&mut buffer))?;
        if count == 0 {
            break;
        }
        with_path(path, forget(&file, at, NonZeroU64::new(AT_ONCE)))?;
        with_path(path, file.write_all_at(&buffer, at))?;
        at += count as u64;
    }
    with_path(path, file.sync_all().map_err(SyncError))
}

/// Writes a file again that is so small that the first start of a server may have failed to write it. There was no WAL then.
fn write_again_if_new(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) if (1..=NEW).contains(&metadata.len()) => write_again(path),
        // What is wrong with the file shows when it is opened.
        _ => Ok(()),
    }
}

/// Has the operating system forget the pages of the main file that it could not write. All of them are in the WAL: a WAL starts
/// again only after a successful sync of the main file.
fn forget_unwritten(path: &Path) -> Result<(), StoreError> {
    let file = with_path(path, OpenOptions::new().read(true).write(true).open(path))?;
    with_path(path, file.sync_all().map_err(SyncError))?;
    with_path(path, forget(&file, 0, None))
}

/// Has the operating system forget what it keeps of a file in memory, except pages that it has not tried to write yet.
#[cfg(target_os = "linux")]
fn forget(file: &File, from: u64, length: Option<NonZeroU64>) -> io::Result<()> {
    Ok(fadvise(file, from, length, Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &File, _: u64, _: Option<NonZeroU64>) -> io::Result<()> {
    Ok(())
}
