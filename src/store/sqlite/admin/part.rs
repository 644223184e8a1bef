//! A file that is written under another name beside its target and then renamed, so that an incomplete file never has the target's
//! name.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::file::{directory_of, open_private, with_suffix};
use crate::store::sqlite::recovery;
use crate::store::{FileId, StoreError};

/// SQLite's other files beside a database. One that an earlier file of the name has left would be applied to a new one.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The unfinished file, `TARGET.part`. It is removed when it is dropped without [`PartFile::put`]. A killed process leaves it,
/// and the next one for the same target replaces it.
#[derive(Debug)]
pub struct PartFile {
    target: PathBuf,
    path: PathBuf,
    /// Held so that two processes do not write the same file. Not the part file itself, because closing a handle of a database
    /// file releases SQLite's locks on it.
    lock_path: PathBuf,
    _lock: File,
}

impl PartFile {
    /// Creates the file for a target, whose folder must exist.
    ///
    /// # Errors
    /// If it cannot be created, or another process is writing one for the same target.
    pub fn create(target: &Path) -> Result<Self, StoreError> {
        let folder = directory_of(target);
        if !folder.is_dir() {
            return with_path(
                target,
                Err(format!("the folder {} does not exist", folder.display())),
            );
        }
        // Absolute, because SQLite may take a name that begins with `file:` as a URI.
        let absolute = with_path(target, std::path::absolute(target))?;
        let lock_path = with_suffix(&absolute, ".part-lock");
        let part = Self {
            _lock: lock(target, &lock_path)?,
            path: with_suffix(&absolute, ".part"),
            target: target.to_owned(),
            lock_path,
        };
        with_path(target, part.remove())?;
        with_path(target, open_private(&part.path).map(drop))?;
        Ok(part)
    }

    /// The name of the unfinished file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file and gives it the name of the target, which it replaces.
    ///
    /// # Errors
    /// [`StoreError`]: the target is as before, unless the error is about a sync of its directory.
    pub fn put(self) -> Result<(), StoreError> {
        recovery::sync_file(&self.path)?;
        with_path(&self.target, std::fs::rename(&self.path, &self.target))?;
        recovery::sync_directory(&self.target)
    }

    fn remove(&self) -> io::Result<()> {
        remove_if_there(&self.path)?;
        remove_sidecars(&self.path).map(drop)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next run. The lock is removed last, while it is held.
        drop(self.remove());
        drop(std::fs::remove_file(&self.lock_path));
    }
}

fn lock(target: &Path, path: &Path) -> Result<File, StoreError> {
    loop {
        let lock = with_path(target, open_private(path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return with_path(
                    target,
                    Err("another dmwire is writing this file at the moment"),
                );
            }
            Err(TryLockError::Error(error)) => return with_path(target, Err(error)),
        }
        // The process that held it before may have removed it meanwhile.
        let locked = with_path(target, lock.metadata())?;
        if FileId::at(path).is_ok_and(|id| id == FileId::of(&locked)) {
            return Ok(lock);
        }
    }
}

/// Removes the files that SQLite may have left beside a database. Returns those that were there.
///
/// # Errors
/// If one cannot be removed.
pub fn remove_sidecars(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for suffix in SIDECARS {
        let path = with_suffix(database, suffix);
        if remove_if_there(&path)? {
            removed.push(path);
        }
    }
    Ok(removed)
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{} cannot be removed: {error}", path.display()),
        )),
    }
}
