//! The tables, and the migration of files of older versions.

mod counted;
mod space;

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use uuid::Uuid;

pub use self::counted::COUNTED;
use super::epochs::Epochs;
use super::fault::with_path;
use super::pending;
use crate::store::{ContentHasher, NameHasher, StoreError};

/// `application_id` of a dmwire file: "dmw1".
const APPLICATION: i64 = 0x646d_7731;
/// The write-ahead log is truncated to this size after a checkpoint.
pub const LOG_BYTES: i64 = 64 << 20;
/// How often a migration that takes long is logged.
const PROGRESS: Duration = Duration::from_secs(10);
/// The page cache of the writing connection in KiB; SQLite takes a negative number as KiB.
const CACHE_KIB: i64 = -32_768;

/// The steps from one version to the next; `user_version` is the number of steps that a file has seen. A released step never
/// changes, and neither does a comment within a statement of it, which SQLite stores with the table; new steps are appended.
const STEPS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

    -- `floor`: the newest entry of the user's inbox that retention has removed.
    CREATE TABLE users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, floor INTEGER NOT NULL DEFAULT 0) STRICT;

    -- A direct conversation of two users, the lower number first.
    CREATE TABLE conversations (
        n INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, UNIQUE (low, high)
    ) STRICT;
    CREATE INDEX conversations_by_high ON conversations (high, low);

    -- `n` orders all messages of the store by their commit. `content` is NULL after a deletion; `first` is then, and after an
    -- edit, a keyed hash of the first content. `change_seq` is the author's entry of the last change.
    CREATE TABLE messages (
        conversation INTEGER NOT NULL, n INTEGER NOT NULL, id BLOB NOT NULL,
        sender INTEGER NOT NULL, recipient INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
        sent_at INTEGER NOT NULL, edited_at INTEGER, deleted_at INTEGER, change_seq INTEGER, reply_to BLOB, first BLOB,
        -- Last: what stands before it is read without it.
        content TEXT,
        PRIMARY KEY (conversation, n)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX message_ids ON messages (conversation, id);

    -- `kind`: 0 message, 1 edited, 2 deleted, 3 reacted, 4 reaction removed. `by`: the user who changed it, NULL for a message
    -- (but see the next version).
    CREATE TABLE inbox (
        user INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, conversation INTEGER NOT NULL,
        message INTEGER NOT NULL, kind INTEGER NOT NULL DEFAULT 0, by INTEGER, emoji TEXT,
        PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID;
    -- An expired message is kept while a change of it is in an inbox.
    CREATE INDEX changes ON inbox (conversation, message) WHERE kind != 0;

    CREATE TABLE devices (
        user INTEGER NOT NULL, device TEXT NOT NULL, received INTEGER NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (user, device)
    ) STRICT, WITHOUT ROWID;

    -- Up to which message a user has read and received a conversation.
    CREATE TABLE marks (
        user INTEGER NOT NULL, conversation INTEGER NOT NULL,
        read INTEGER NOT NULL DEFAULT 0, received INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (user, conversation)
    ) STRICT, WITHOUT ROWID;

    -- A removed reaction is kept, to answer a second removal like the first. `seq`: the entry in the user's own inbox.
    CREATE TABLE reactions (
        conversation INTEGER NOT NULL, message INTEGER NOT NULL, user INTEGER NOT NULL, emoji TEXT NOT NULL,
        removed INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (conversation, message, user, emoji)
    ) STRICT, WITHOUT ROWID;
", "
    -- Messages that are committed and not yet in their tables: see `pending`.
    CREATE TABLE pending (n INTEGER PRIMARY KEY, records BLOB NOT NULL) STRICT;

    -- `by` is NULL from now on only if another user wrote the message: the received mark of a user is then computed without
    -- reading messages.
    UPDATE inbox SET by = user WHERE kind = 0 AND by IS NULL AND EXISTS
        (SELECT 1 FROM messages AS m WHERE m.conversation = inbox.conversation AND m.n = inbox.message
            AND m.sender = inbox.user);
", "
    -- The users whom a user blocks.
    CREATE TABLE blocks (user INTEGER NOT NULL, blocked INTEGER NOT NULL, PRIMARY KEY (user, blocked)) STRICT, WITHOUT ROWID;
", "
    -- The number of messages of each sender to each user who has never connected. Messages from before this step are not counted.
    CREATE TABLE unclaimed (
        recipient INTEGER NOT NULL, sender INTEGER NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (recipient, sender)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX unclaimed_by_sender ON unclaimed (sender, messages);
", "
    -- The records of `pending` have a version byte and a list of recipients. `migrate` rewrites those that are there.
", "
    -- `meta` has the record of the run and of the write-ahead log: see `log_record`. A version without it must not open the file.
", include_str!("migrations/version_7.sql"), include_str!("migrations/version_8.sql"),
    include_str!("migrations/version_9.sql"),
    include_str!("migrations/version_10.sql")];

/// The version that this program writes.
pub const VERSION: i64 = STEPS.len() as i64;

/// Checks that a file is one that this program can use. The error is a text for users.
pub fn recognise(connection: &Connection) -> Result<(), StoreError> {
    let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    // A new file is empty.
    let is_new = (tables, application, version) == (0, 0, 0);
    let is_ours = tables > 0 && application == APPLICATION;
    if !is_new && !is_ours {
        return Err(StoreError::Failed(
            "a database, but not one of dmwire".to_owned(),
        ));
    }
    if version > VERSION {
        return Err(StoreError::Failed(format!(
            "written by a newer dmwire (version {version} of its tables; this one knows {VERSION})"
        )));
    }
    Ok(())
}

/// Makes SQLite plan a statement without regard to the values of its parameters. Otherwise it prepares a statement again whenever a value
/// changes that may decide whether a partial index can be used, which takes longer than most of the statements.
pub fn fix_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Configures a writing connection.
pub fn configure(connection: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    fix_plans(connection)?;
    // Takes effect on an empty file only, and must come before WAL. Otherwise it would write to the file.
    let pages: i64 = connection.query_row("PRAGMA page_count", (), |row| row.get(0))?;
    if pages == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // Deleted content is overwritten in the file (PROTOCOL section 10, "Changes").
    connection.pragma_update(None, "secure_delete", "ON")
}

/// Runs the steps that a file has not seen.
///
/// # Errors
/// [`StoreError`]. A migration that has begun continues with the next call.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let version = with_path(path, version(connection))?;
    let is_old = 0 < version && version < COUNTED;
    if is_old {
        space::assert_enough(connection, path)?;
        log::info!(
            "{}: the store is migrated to a newer version of its tables",
            path.display()
        );
    }
    with_path(path, run_steps(connection, version))?;
    if with_path(path, counted::is_unfinished(connection))? {
        // What is sorted may be large.
        with_path(path, connection.pragma_update(None, "temp_store", "FILE"))?;
        let done = run_parts(connection);
        with_path(path, connection.pragma_update(None, "temp_store", "MEMORY"))?;
        done.map_err(|error| space::explain(&error, path))?;
        if version > 0 {
            log::info!("{}: the migration is finished", path.display());
        }
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

fn run_steps(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for (n, step) in STEPS.iter().enumerate().skip(done) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        if n as i64 + 1 == pending::VERSIONED_RECORDS {
            pending::upgrade(&tx)?;
        }
        if n as i64 + 1 == COUNTED {
            counted::begin(&tx)?;
        }
        if n == 0 {
            tx.execute(
                "INSERT INTO meta (key, value) VALUES ('epoch', ?1), ('key', ?2), ('next', 1)",
                [Uuid::new_v4().as_bytes(), Uuid::new_v4().as_bytes()],
            )?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
        }
        tx.pragma_update(None, "user_version", n as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}

fn run_parts(connection: &mut Connection) -> rusqlite::Result<()> {
    let mut logged = Instant::now();
    while counted::run_part(connection)? {
        if logged.elapsed() >= PROGRESS {
            logged = Instant::now();
            log::info!("the store is still being migrated");
        }
    }
    Ok(())
}

/// Checks that a file is not in the middle of a migration. The error is a text for users.
pub fn assert_finished(connection: &Connection) -> Result<(), StoreError> {
    if counted::is_unfinished(connection)? {
        return Err(StoreError::Failed(
            "its migration to the tables of this version was interrupted: start a server with it, which finishes the migration"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Hashes content with the key of the store, without which a guess at deleted content cannot be verified.
pub fn content_hasher(connection: &Connection) -> rusqlite::Result<ContentHasher> {
    Ok(ContentHasher::new(&key(connection)?))
}

/// Hashes the names of users with a key that is derived from that of the store.
pub fn name_hasher(connection: &Connection) -> rusqlite::Result<NameHasher> {
    Ok(NameHasher::new(&key(connection)?))
}

fn key(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    connection.query_row("SELECT value FROM meta WHERE key = 'key'", (), |row| {
        row.get(0)
    })
}

/// The epochs of the users of the store.
pub fn epochs(connection: &Connection) -> Result<Epochs, String> {
    let key = key(connection).map_err(|error| error.to_string())?;
    Ok(Epochs::new(epoch(connection)?, &key))
}

/// The store's epoch.
pub fn epoch(connection: &Connection) -> Result<Uuid, String> {
    let bytes: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE key = 'epoch'", (), |row| {
            row.get(0)
        })
        .optional()
        .map_err(|error| error.to_string())?;
    bytes
        .and_then(|bytes| Uuid::from_slice(&bytes).ok())
        .ok_or_else(|| "damaged: it has no epoch".to_owned())
}

/// Gives the store a new epoch: sequence numbers that clients remember are not valid in it.
pub fn renew_epoch(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE meta SET value = ?1 WHERE key = 'epoch'",
            [Uuid::new_v4().as_bytes()],
        )
        .map(drop)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::STEPS;

    /// The beginnings of the hashes of the steps. A file that has seen a step does not see a change of it: add a step instead. The
    /// hash of a new step is added with it.
    #[test]
    fn released_steps_do_not_change() {
        const HASHES: [&str; 10] = [
            "8b452fef", "6cc46e9e", "ea98bd02", "40324c3f", "cb7473ad", "26f89012", "288655aa",
            "6ad7b0ab", "024326b8", "5a8bd37a",
        ];
        let hash = |step: &&str| {
            let hash = Sha256::digest(step.as_bytes());
            format!(
                "{:02x}{:02x}{:02x}{:02x}",
                hash[0], hash[1], hash[2], hash[3]
            )
        };
        let hashes: Vec<_> = STEPS.iter().map(hash).collect();
        assert_eq!(hashes, HASHES);
    }
}
