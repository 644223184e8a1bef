//! The run of a server on a store: what is recorded when it begins, when a generation of the write-ahead log (WAL) begins, and
//! when it ends; and whether the epoch must change because sequence numbers may be used again.
//!
//! Each run has a random id, in the record in the file and in the lock file beside it. If the two differ, the file was put back
//! to an earlier state (a copy of it was restored), and clients may know entries that this file does not have. After a power
//! failure with `--durability normal` the same holds. In both cases the store gets a new epoch.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

use super::fault::{SyncError, with_path};
use super::file::atomically;
use super::log_record::LogRecord;
use super::migrations;
use super::recovery::sync_directory;
use crate::store::StoreError;

/// Where Linux tells which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The length of an id in the lock file, with the character after it.
const ID_LENGTH: usize = 37;

/// The run of a server.
#[derive(Debug)]
pub struct Run {
    record: LogRecord,
    boot: Uuid,
    normal: bool,
    /// The record is in the file: see [`Run::begin`].
    begun: bool,
}

impl Run {
    /// Reads what the run before has left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn prepare(
        connection: &Connection,
        path: &Path,
        lock: &File,
        normal: bool,
    ) -> Result<(Self, Option<&'static str>), StoreError> {
        let found = with_path(path, LogRecord::read(connection))?;
        let boot = boot_id();
        let reason = match &found {
            Some(found) => doubt(found, boot, &runs_in(lock)),
            None => None,
        };
        let run = Self {
            record: found.unwrap_or_else(LogRecord::first),
            boot,
            normal,
            begun: false,
        };
        Ok((run, reason))
    }

    /// True if [`Run::begin`] has succeeded.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Records that the run begins, before its first commit, and gives the store a new epoch if it needs one. The connection
    /// waits for the disk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin(
        &mut self,
        connection: &Connection,
        path: &Path,
        lock: &File,
        new_epoch: bool,
    ) -> Result<(), StoreError> {
        let run = Uuid::new_v4();
        if let Some(before) = with_path(path, LogRecord::read(connection))? {
            // Whichever of the two the file has after a power failure, it is known.
            with_path(path, write_runs(lock, before.run, run))?;
            self.record = before;
            self.end_generation(connection)?;
        }
        let record = LogRecord {
            run,
            boot: self.boot,
            open: true,
            normal: self.normal,
            ..self.record
        };
        atomically(connection, || {
            record.write(connection)?;
            if new_epoch {
                migrations::renew_epoch(connection)?;
            }
            Ok(())
        })?;
        self.record = record;
        // The WAL may be a new file.
        sync_directory(path)?;
        // From here on the main file says "open". The file that the last run has closed is two generations behind: a copy of it
        // is not taken for the file that this run's WAL belongs to.
        if self.end_generation(connection)? {
            atomically(connection, || self.record.write(connection))?;
        }
        with_path(path, write_runs(lock, self.record.run, self.record.run))?;
        self.begun = true;
        Ok(())
    }

    /// Records the end of the present generation of the WAL, before a checkpoint that may copy all of it.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn mark_end(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let record = self.record.ended();
        atomically(connection, || record.write(connection))?;
        self.record = record;
        Ok(())
    }

    /// Ends the present generation if all of it can be copied to the main file. Only then may another one begin, with the
    /// record as it is then, which the caller writes. True if so.
    fn end_generation(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        self.mark_end(connection)?;
        let is_copied = match checkpoint(connection, "PASSIVE").map_err(StoreError::from) {
            Err(StoreError::Unavailable(_)) => false,
            copied => copied?,
        };
        if is_copied {
            self.record = self.record.next();
        }
        Ok(is_copied)
    }

    /// Begins a generation of the WAL, after a complete checkpoint that has copied the end of the one before it.
    ///
    /// # Errors
    /// If the record cannot be written; it may be tried again.
    pub fn next_generation(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let record = self.record.next();
        atomically(connection, || record.write(connection))?;
        self.record = record;
        Ok(())
    }

    /// Records that the run has ended, and copies the WAL into the main file. [`Run::begin`] begins it again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn close(&mut self, connection: &Connection, lock: &File) -> Result<(), StoreError> {
        self.end_generation(connection)?;
        // A copy of the files of a running server is an earlier state from here on.
        let run = Uuid::new_v4();
        write_runs(lock, self.record.run, run)?;
        let record = LogRecord {
            open: false,
            run,
            ..self.record
        };
        atomically(connection, || record.write(connection))?;
        self.record = record;
        self.begun = false;
        if !checkpoint(connection, "TRUNCATE")? {
            return Err(StoreError::Unavailable(
                "another process is reading the file, so its write-ahead log stays and must be kept"
                    .to_owned(),
            ));
        }
        write_runs(lock, run, run)
    }
}

/// Records that the disk has failed during a run that does not wait for it, so that the next start gives the store a new epoch:
/// the newest commits may be in the memory of the operating system only.
pub fn disk_failed(lock: &File) {
    // On the failed disk, or at least in that memory.
    drop(write_runs(lock, Uuid::nil(), Uuid::nil()));
}

/// Makes a copy of a store a store of its own: closed, with a new epoch, and no write-ahead log belongs to it.
///
/// # Errors
/// If the file cannot be written.
pub fn detach(connection: &Connection) -> rusqlite::Result<()> {
    LogRecord::first().write(connection)?;
    migrations::renew_epoch(connection)
}

/// Why clients may know sequence numbers that the store can use again. `None`: they cannot.
fn doubt(found: &LogRecord, boot: Uuid, runs: &[Uuid]) -> Option<&'static str> {
    if runs.contains(&Uuid::nil()) {
        return Some(
            "the disk failed while the last server used it, and --durability normal does not wait for the disk",
        );
    }
    if !runs.is_empty() && !runs.contains(&found.run) {
        return Some("the file is an earlier state of the store than the last server had");
    }
    // Without a boot id there may have been a power failure.
    let same_boot = !boot.is_nil() && found.boot == boot;
    if found.open && found.normal && !same_boot {
        return Some(
            "the last server did not stop properly before the machine was restarted, and --durability normal does not wait \
             for the disk",
        );
    }
    None
}

/// Runs a checkpoint. True if the whole WAL is copied.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&sql, (), |row| {
        let (busy, log, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && log == copied)
    })
}

fn boot_id() -> Uuid {
    std::fs::read_to_string(BOOT_ID)
        .ok()
        .and_then(|text| Uuid::try_parse(text.trim()).ok())
        .unwrap_or_default()
}

/// The runs that the lock file names: none if it was created by an older version or removed.
fn runs_in(lock: &File) -> Vec<Uuid> {
    let mut bytes = [0; 2 * ID_LENGTH];
    if lock.read_exact_at(&mut bytes, 0).is_err() {
        return Vec::new();
    }
    bytes
        .chunks(ID_LENGTH)
        .filter_map(|bytes| Uuid::try_parse_ascii(&bytes[..ID_LENGTH - 1]).ok())
        .collect()
}

/// True if a store with this lock file was in use before.
pub fn is_named(lock: &File) -> bool {
    !runs_in(lock).is_empty()
}

fn write_runs(lock: &File, before: Uuid, now: Uuid) -> Result<(), StoreError> {
    let text = format!("{before} {now}\n");
    let path = Path::new("the lock file");
    with_path(path, lock.write_all_at(text.as_bytes(), 0))?;
    with_path(path, lock.sync_all().map_err(SyncError))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_run_is_trusted_if_the_disk_or_the_same_boot_has_all_of_it() {
        let boot = Uuid::new_v4();
        let found = |open, normal| LogRecord {
            boot,
            open,
            normal,
            ..LogRecord::first()
        };
        for other in [Uuid::new_v4(), Uuid::nil()] {
            assert!(doubt(&found(true, true), other, &[]).is_some());
            assert!(doubt(&found(true, false), other, &[]).is_none());
            assert!(doubt(&found(false, true), other, &[]).is_none());
        }
        assert!(doubt(&found(true, true), boot, &[]).is_none());
        let unknown = LogRecord {
            boot: Uuid::nil(),
            ..found(true, true)
        };
        assert!(doubt(&unknown, Uuid::nil(), &[]).is_some());
    }

    #[test]
    fn an_earlier_run_is_recognised() {
        let found = LogRecord::first();
        let other = Uuid::new_v4();
        assert!(doubt(&found, Uuid::nil(), &[other, found.run]).is_none());
        assert!(doubt(&found, Uuid::nil(), &[other, other]).is_some());
        assert!(doubt(&found, Uuid::nil(), &[Uuid::nil(), Uuid::nil()]).is_some());
    }
}
