//! Backs up a store.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::contents::{Contents, copy};
use super::part::{PartFile, remove_sidecars};
use super::view::open;
use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::file::{directory_of, with_suffix};
use crate::store::sqlite::recovery;
use crate::store::{FileId, StoreError};

/// What [`backup`] has done.
#[derive(Debug)]
pub struct Backup {
    /// What was written.
    pub contents: Contents,
    /// Files that an earlier file of the copy's name had left, and that were removed.
    pub removed: Vec<PathBuf>,
}

/// Writes a copy of the store at `path` to `target`, which must not exist. The copy is consistent, also while a server writes to
/// the store. It has a new epoch, so that clients of a server that uses the copy start from the beginning. It is on the disk
/// when this function returns.
///
/// # Errors
/// [`StoreError`]; there is then no file at `target`.
pub fn backup(path: &Path, target: &Path) -> Result<Backup, StoreError> {
    assert_free(path, target)?;
    let source = open(path)?;
    with_path(path, source.execute_batch("COMMIT"))?;
    let part = PartFile::create(target)?;
    let contents = copy(&source, &part)?;
    // It may have been created meanwhile.
    assert_free(path, target)?;
    let removed = with_path(target, remove_sidecars(target))?;
    if let Ok(lock) = OpenOptions::new()
        .write(true)
        .open(with_suffix(target, "-lock"))
    {
        // It names the last run on the earlier file. With it, a server would give the copy another epoch.
        drop(lock.set_len(0));
    }
    if !removed.is_empty() {
        // After a power failure none may be beside the copy.
        recovery::sync_directory(target)?;
    }
    part.put()?;
    Ok(Backup { contents, removed })
}

/// Checks that a file of this name can be written.
fn assert_free(store: &Path, target: &Path) -> Result<(), StoreError> {
    if let (Ok(own), Ok(other)) = (FileId::at(store), FileId::at(target))
        && own == other
    {
        return with_path(target, Err("this is the store itself"));
    }
    if target.symlink_metadata().is_ok() {
        return with_path(
            target,
            Err("the file exists; a backup does not overwrite files"),
        );
    }
    if let (Ok(real), Ok(folder), Some(name)) = (
        std::fs::canonicalize(store),
        std::fs::canonicalize(directory_of(target)),
        target.file_name(),
    ) {
        let target_path = folder.join(name);
        let reserved = ["-wal", "-shm", "-journal", "-lock", "-secret", ".part"];
        if reserved
            .iter()
            .any(|end| with_suffix(&real, end) == target_path)
        {
            return with_path(
                target,
                Err("this name is reserved for a file that belongs to the store"),
            );
        }
    }
    // A server whose file was removed still uses the others.
    if let Ok(lock) = File::open(with_suffix(target, "-lock"))
        && lock.try_lock().is_err()
    {
        return with_path(target, Err("a server is running on a file of this name"));
    }
    Ok(())
}
