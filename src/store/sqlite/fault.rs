//! Classifies errors: which of them leave nothing stored, and which mean that the disk has failed.

use std::fmt::Display;
use std::io;
use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::store::StoreError;

/// `EIO` of Linux, macOS and the BSDs.
const EIO: i32 = 5;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        classify(&error)(error.to_string())
    }
}

/// The class of an error.
pub fn classify(error: &rusqlite::Error) -> fn(String) -> StoreError {
    match error.sqlite_error_code() {
        // After each of these the transaction is rolled back, so that nothing is stored.
        Some(
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::ReadOnly,
        ) => StoreError::Unavailable,
        Some(ErrorCode::SystemIoFailure) => match error.sqlite_error() {
            // The index of the write-ahead log, a file of shared memory, cannot grow: there is no space on its disk, or no
            // memory. It is not synced and does not survive a restart, so the store's contents are not affected. But the
            // transaction may be in the log already.
            Some(cause)
                if matches!(
                    cause.extended_code,
                    ffi::SQLITE_IOERR_SHMSIZE
                        | ffi::SQLITE_IOERR_SHMMAP
                        | ffi::SQLITE_IOERR_SHMOPEN
                        | ffi::SQLITE_IOERR_NOMEM
                ) =>
            {
                StoreError::Failed
            }
            _ => StoreError::Broken,
        },
        _ => StoreError::Failed,
    }
}

/// An error with its class.
pub trait Cause: Display {
    /// The variant of the error.
    fn class(&self) -> fn(String) -> StoreError {
        StoreError::Failed
    }
}

impl Cause for &str {}
impl Cause for String {}

impl Cause for rusqlite::Error {
    fn class(&self) -> fn(String) -> StoreError {
        classify(self)
    }
}

impl Cause for io::Error {
    fn class(&self) -> fn(String) -> StoreError {
        match self.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Unavailable,
            // A file system becomes read-only when its device fails.
            io::ErrorKind::ReadOnlyFilesystem => StoreError::Broken,
            _ if self.raw_os_error() == Some(EIO) => StoreError::Broken,
            _ => StoreError::Failed,
        }
    }
}

impl Cause for StoreError {
    fn class(&self) -> fn(String) -> StoreError {
        match self {
            Self::Unavailable(_) => Self::Unavailable,
            Self::Failed(_) => Self::Failed,
            Self::Broken(_) => Self::Broken,
        }
    }
}

/// A sync that has failed.
#[derive(Debug)]
pub struct SyncError(pub io::Error);

impl Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it cannot be synced: {}", self.0)
    }
}

/// Whatever the reason: what was written may not be on the disk.
impl Cause for SyncError {
    fn class(&self) -> fn(String) -> StoreError {
        StoreError::Broken
    }
}

/// Prefixes an error with the path of the file.
pub fn with_path<T, E: Cause>(path: &Path, result: Result<T, E>) -> Result<T, StoreError> {
    result.map_err(|error| error.class()(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_disk_is_told_from_a_full_one() {
        let class = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            StoreError::from(error)
        };
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_TRUNCATE,
        ] {
            assert!(matches!(class(code), StoreError::Broken(_)), "{code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY] {
            assert!(matches!(class(code), StoreError::Unavailable(_)), "{code}");
        }
        for code in [
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_ERROR,
        ] {
            assert!(matches!(class(code), StoreError::Failed(_)), "{code}");
        }
    }
}
