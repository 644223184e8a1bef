//! Backs up a store.

use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

use super::view::open;
use crate::store::StoreError;
use crate::store::sqlite::fault::with_path;
use crate::store::sqlite::file::{open_private, with_suffix};
use crate::store::sqlite::run;

/// Writes a copy of the store at `path` to `copy`, which must not exist. The copy is consistent, also while a server writes to
/// the store. It has a new epoch, so that clients of a server that uses the copy start from the beginning.
///
/// # Errors
/// [`StoreError`]; there is then no file at `copy`.
pub fn backup(path: &Path, copy: &Path) -> Result<(), StoreError> {
    if copy.exists() {
        return with_path(
            copy,
            Err("the file exists; a backup does not overwrite files"),
        );
    }
    let source = open(path)?;
    with_path(path, source.execute_batch("COMMIT"))?;
    // An incomplete backup never has the name of the backup.
    let part = with_suffix(copy, &format!(".{}.part", Uuid::new_v4().simple()));
    let name = part.to_string_lossy().into_owned();
    // SQLite accepts an empty file, which is created first for its permissions.
    let written = with_path(copy, open_private(&part).map(drop))
        .and_then(|()| with_path(copy, source.execute("VACUUM INTO ?1", [name])))
        .and_then(|_| with_path(copy, own_epoch(&part)))
        .and_then(|()| {
            with_path(
                copy,
                std::fs::File::open(&part).and_then(|file| file.sync_all()),
            )
        })
        .and_then(|()| with_path(copy, std::fs::rename(&part, copy)));
    if written.is_err() {
        // It may not have been created.
        drop(std::fs::remove_file(&part));
    }
    written
}

fn own_epoch(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    run::detach(&connection)
}
