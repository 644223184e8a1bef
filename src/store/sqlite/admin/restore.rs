//! Puts a copy of a store in place of a store.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::contents::{Contents, copy};
use super::part::{PartFile, remove_sidecars};
use super::verify::findings;
use super::view::include_all;
use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::file::{DataFile, connect_to_read, directory_of, with_suffix};
use crate::store::sqlite::{migrations, recovery};
use crate::store::{FileId, StoreError};

/// What [`restore`] has done.
#[derive(Debug)]
pub struct Restored {
    /// What the store contains now.
    pub contents: Contents,
    /// Files of the former store that were removed.
    pub removed: Vec<PathBuf>,
    /// The file was read without its write-ahead log, which is missing or of another file.
    pub without_log: bool,
}

/// Replaces the store at `store` by a copy of `file`, with a new epoch. The store must not be in use; it need not exist. `file`
/// may be the store itself: if its write-ahead log is missing or belongs to another file, the store is what its main file has.
///
/// If the process is killed or the power fails, the store is the former one, or the new one, or (with the former log beside the
/// new file) one that a server refuses to open.
///
/// # Errors
/// [`StoreError`]: the store is as before, unless the error says otherwise.
pub fn restore(file: &Path, store: &Path) -> Result<Restored, StoreError> {
    let id = with_path(file, FileId::at(file))?;
    if !file.is_file() {
        return with_path(file, Err("this is not a file"));
    }
    let target = DataFile::lock(store)?;
    if target.real.exists() && !target.real.is_file() {
        return with_path(store, Err("this is not a file"));
    }
    let is_own = FileId::at(&target.real).is_ok_and(|own| own == id);
    let part_name = with_suffix(&target.real, ".part");
    if FileId::at(&part_name).is_ok_and(|part| part == id) {
        return with_path(file, Err("this is an unfinished file of `dmwire restore`"));
    }
    let source = Source::of(file, is_own)?;
    source.assert_whole()?;
    let part = PartFile::create(&target.real)?;
    let contents = copy(&source.connect()?, &part)?;
    adopt_owner(&target, part.path());
    settle_journal(&target.real);
    part.put()?;
    let removed = with_path(store, remove_sidecars(&target.real)).map_err(|error| {
        StoreError::Failed(format!(
            "{error}; the file is restored, but must not be used with the former log: remove it"
        ))
    })?;
    recovery::sync_directory(&target.real)?;
    target.forget_runs();
    Ok(Restored {
        contents,
        removed,
        without_log: source.without_log,
    })
}

/// The file that is restored.
struct Source<'a> {
    path: &'a Path,
    /// Absolute and without links: SQLite may take a name that begins with `file:` as a URI.
    real: PathBuf,
    /// It has a write-ahead log, and is read together with it.
    has_log: bool,
    without_log: bool,
}

impl<'a> Source<'a> {
    fn of(path: &'a Path, is_own: bool) -> Result<Self, StoreError> {
        let real = with_path(path, std::fs::canonicalize(path))?;
        let log = std::fs::metadata(with_suffix(&real, "-wal"));
        let mut source = Self {
            path,
            has_log: log.is_ok_and(|log| log.len() > 0),
            without_log: false,
            real,
        };
        match recovery::check(&source.real) {
            // SQLite creates an index of the log beside it. Without one, the log is not known to be lost.
            Err(error) if source.has_log && error.to_string().contains("unable to open") => {
                return with_path(
                    path,
                    Err(format!(
                        "{error}. It has a write-ahead log, which must be readable; and its folder must be writable, or both must be \
                         copied to another one"
                    )),
                );
            }
            Err(StoreError::Failed(_)) if is_own => {
                source.has_log = false;
                source.without_log = true;
            }
            // A log that cannot be read at the moment is not lost either.
            checked => checked?,
        }
        Ok(source)
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let opened = if self.has_log {
            connect_to_read(&self.real)
        } else {
            // This needs no other files, and no permission to create them.
            recovery::open_without_wal(&self.real)
        };
        with_path(self.path, opened)
    }

    fn assert_whole(&self) -> Result<(), StoreError> {
        let path = self.path;
        let connection = self.connect()?;
        with_path(path, migrations::recognise(&connection))?;
        with_path(path, migrations::assert_finished(&connection))?;
        with_path(path, migrations::epoch(&connection))?;
        with_path(path, connection.execute_batch("BEGIN"))?;
        include_all(path, &connection)?;
        let findings = findings(path, &connection)?;
        match findings.first() {
            None => Ok(()),
            Some(first) => with_path(
                path,
                Err(format!(
                    "it is damaged and was not restored: {first}{}",
                    match findings.len() {
                        1 => String::new(),
                        n => format!(", and {} more findings", n - 1),
                    }
                )),
            ),
        }
    }
}

/// Gives the new file, and a lock file that was created for it, the owner of the former one or of the folder: the command may be
/// run by root for a server that is not.
fn adopt_owner(target: &DataFile, part: &Path) {
    let folder = directory_of(&target.real);
    let like = std::fs::metadata(&target.real).or_else(|_| std::fs::metadata(folder));
    let Ok(like) = like else { return };
    for path in [part, &with_suffix(&target.real, "-lock")] {
        let differs = std::fs::metadata(path)
            .is_ok_and(|own| (own.uid(), own.gid()) != (like.uid(), like.gid()));
        if differs {
            // Only root may do this. Otherwise the files belong to the user who runs the command.
            drop(chown(path, Some(like.uid()), Some(like.gid())));
        }
    }
}

/// Lets SQLite end a transaction that a rollback journal beside the former file belongs to, so that the journal cannot be applied
/// to the new file. A store normally has none.
fn settle_journal(real: &Path) {
    let journal = with_suffix(real, "-journal");
    if !journal.exists() {
        return;
    }
    if let Ok(connection) = Connection::open(real) {
        let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        drop(connection.set_db_config(keep, true));
        drop(connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())));
    }
    // If it is still there, it is not of this file, or the file is damaged.
    drop(std::fs::remove_file(journal));
}
