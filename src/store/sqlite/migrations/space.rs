//! The free disk space that a migration needs.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::store::StoreError;
use crate::store::sqlite::fault::{classify, with_path};
use crate::store::sqlite::file::directory_of;

/// The space for the write-ahead log and one part, at most this multiple of the file.
const WORK: u64 = 64 << 20;
const WORK_FACTOR: u64 = 3;
/// The file grows by less than its size divided by this.
const GROWTH: u64 = 4;

/// Checks that there is space for a migration, before it begins.
///
/// # Errors
/// [`StoreError::Failed`]: nothing has been changed.
pub fn assert_enough(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |pragma: &str| {
        let value = connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get(0));
        with_path(path, value.map(|value: i64| value.unsigned_abs()))
    };
    let page = number("page_size")?;
    let (pages, unused) = (number("page_count")?, number("freelist_count")?);
    // If it cannot be determined, it counts as enough.
    let Ok(disk) = rustix::fs::statvfs(directory_of(path)) else {
        return Ok(());
    };
    // `f_bavail` excludes the blocks that are reserved for the superuser.
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = needed((pages - unused.min(pages)) * page);
    check(needed, free.saturating_add(unused * page), path)
}

fn needed(bytes: u64) -> u64 {
    bytes / GROWTH + WORK.min(bytes.saturating_mul(WORK_FACTOR))
}

fn check(needed: u64, free: u64, path: &Path) -> Result<(), StoreError> {
    if free >= needed {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    with_path(
        path,
        Err(format!(
            "its tables are of an older version, and their migration needs {} MB of free disk space, of which there are {} MB. \
             Nothing was changed",
            megabytes(needed),
            free / 1_000_000
        )),
    )
}

/// The error of a migration that has begun.
pub fn explain(error: &rusqlite::Error, path: &Path) -> StoreError {
    let text = if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        "the disk is full, and the migration of its tables is not finished. The next start continues it".to_owned()
    } else {
        format!("the migration of its tables failed; the next start continues it: {error}")
    };
    classify(error)(format!("{}: {text}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_depends_on_the_size_of_the_file() {
        let path = Path::new("old.db");
        assert_eq!(needed(4 << 10), (1 << 10) + (12 << 10));
        assert_eq!(needed(4 << 30), (1 << 30) + WORK);
        assert!(check(needed(4 << 30), 2 << 30, path).is_ok());
        let error = check(needed(4 << 30), 1 << 30, path).expect_err("it is not enough");
        assert_eq!(
            error.to_string(),
            "old.db: its tables are of an older version, and their migration needs 1141 MB of free disk space, of which there \
             are 1073 MB. Nothing was changed"
        );
    }
}
