//! Erases a user of a store that is not in use.

use std::path::Path;

use rusqlite::Connection;

use crate::config::{RoomMode, RoomRules};
use crate::store::sqlite::fault::{Cause as _, with_path};
use crate::store::sqlite::{Durability, Sqlite, events};
use crate::store::{
    Erased, EventFeed, Outcome, Retention, Store as _, StoreError, StoreOptions, Write,
};

/// The number of rows that a step examines. Nobody waits for it.
const ROWS: u32 = 100_000;

/// Removes all data of a user: inbox, devices, marks, use of the byte limit, reactions, blocks (also those of others against this
/// user), the content of the user's messages, and the id itself. Others keep their own messages; in place of the user's there are
/// deleted messages of an anonymous author, so that their inboxes have no gaps. The store must not be in use. Each user who shares a
/// conversation with the user gets an entry about it, and members of rooms with up to `small_room` members get one about the end of
/// the user's membership.
///
/// # Errors
/// [`StoreError`], also if the user is unknown. Then nothing is removed, unless the error says so.
pub fn erase(path: &Path, user: &str, now: i64, small_room: u64) -> Result<Erased, StoreError> {
    if !path.exists() {
        return with_path(path, Err("there is no such file"));
    }
    let keep_all = Retention {
        inbox_ms: i64::MAX / 2,
        inbox_limit: u64::MAX / 4,
        history_ms: None,
        device_ms: i64::MAX / 2,
    };
    let options = StoreOptions {
        rooms: RoomRules {
            mode: RoomMode::Open,
            small: small_room,
            ..RoomRules::default()
        },
        ..StoreOptions::new(keep_all)
    };
    let mut store = Sqlite::open(path, Durability::Full, options)?;
    with_path(path, keep_events(&mut store))?;
    let begun = store.commit(now, &[&Write::Erase { user: user.into() }])?;
    let Some(Outcome::ErasureBegun { user: n }) = begun.first() else {
        return with_path(path, Err(format!("no user {user:?} is known")));
    };
    let erased = finish(&mut store, *n, now);
    let erased = with_path(path, erased).map_err(|error| {
        error.class()(format!(
            "{error}; the erasure of {user} has begun, and the next start of a server completes it"
        ))
    })?;
    // From here on the file does not need its log.
    let wiped = store.close().and_then(|()| wipe(&store.connection));
    with_path(path, wiped).map_err(|error| {
        error.class()(format!(
            "{error}; {user} is erased, but the file may still hold traces until it has been rewritten (VACUUM)"
        ))
    })?;
    Ok(erased)
}

/// Has events kept for the receivers of webhooks, if there are any: they may not have got all events. To be called before messages move
/// to their tables.
fn keep_events(store: &mut Sqlite) -> Result<(), StoreError> {
    let has_receivers =
        store
            .connection
            .query_row("SELECT EXISTS (SELECT 1 FROM receivers)", (), |row| {
                row.get(0)
            })?;
    if has_receivers {
        let feed = EventFeed::new(true, true, || {});
        events::keep(&store.connection, &feed)?;
        store.options.events = Some(feed);
    }
    Ok(())
}

/// Completes an erasure.
fn finish(store: &mut Sqlite, user: i64, now: i64) -> Result<Erased, StoreError> {
    let mut is_first = true;
    loop {
        let step = Write::EraseStep {
            user,
            is_first,
            limit: ROWS,
            awaits_log: false,
        };
        is_first = false;
        let outcome = store.commit(now, &[&step])?.into_iter().next();
        if let Some(Outcome::Erasing(step)) = outcome {
            if let Some(erased) = step.done {
                return Ok(erased);
            }
            if step.waits {
                store.flush()?;
            }
        }
    }
}

/// Rewrites the file. SQLite overwrites a removed row, but not copies of it that were left when the row moved to another page,
/// and the write-ahead log has the former pages.
fn wipe(connection: &Connection) -> Result<(), StoreError> {
    // The memory may be too small for a copy.
    connection.execute_batch("PRAGMA temp_store = FILE; VACUUM")?;
    let truncated = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0));
    match truncated? {
        0 => Ok(()),
        _ => Err(StoreError::Failed(
            "another process is reading the file, so that its log cannot be removed".to_owned(),
        )),
    }
}
