//! The default backend: one SQLite file in WAL mode, one writing connection, a few reading ones.

mod same;

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    params,
};
use uuid::Uuid;

use super::{Entry, NewMessage, Opened, Outcome, Reader, Span, Store, StoreError, Write};

/// The schema that this version writes, kept as `user_version`.
const VERSION: i64 = 1;
/// `application_id` of a dmwire file: "dmw1".
const APPLICATION: i64 = 0x646d_7731;
/// Users and conversations that are remembered. Beyond it they are forgotten together and looked up again.
const MAX_CACHED: usize = 100_000;
/// Devices per user that are remembered (PROTOCOL section 2).
const MAX_DEVICES: i64 = 16;
/// Commit numbers are reserved in the file this many at a time, so that a start need not look for the newest.
const RESERVE: i64 = 1_000_000;
/// Pages of 4 KiB in the write-ahead log before they are moved into the main file.
const CHECKPOINT_PAGES: i64 = 4000;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    -- A direct conversation of two users, the lower number first.
    CREATE TABLE conversations (
        n INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, UNIQUE (low, high)
    ) STRICT;
    -- `n` orders all messages of the store by their commit.
    CREATE TABLE messages (
        conversation INTEGER NOT NULL, n INTEGER NOT NULL, id BLOB NOT NULL, sender INTEGER NOT NULL,
        recipient INTEGER NOT NULL, sent_at INTEGER NOT NULL, reply_to BLOB, content TEXT NOT NULL,
        PRIMARY KEY (conversation, n)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX message_ids ON messages (conversation, id);
    CREATE TABLE inbox (
        user INTEGER NOT NULL, seq INTEGER NOT NULL, conversation INTEGER NOT NULL, message INTEGER NOT NULL,
        PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE devices (
        user INTEGER NOT NULL, device TEXT NOT NULL, received INTEGER NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (user, device)
    ) STRICT, WITHOUT ROWID;
";

/// The writing half. Holds the file's lock for as long as it lives.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    file: DataFile,
    epoch: Uuid,
    cache: Cache,
    /// The next commit number, and where the reserved ones end.
    next: i64,
    reserved: i64,
}

/// Where the data is.
#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    /// Held so that no second server writes to the same file: heads are cached here.
    _lock: Option<File>,
    /// Removed when the store is dropped.
    temporary: bool,
}

/// What the hot path would otherwise have to look up. True to the file after each commit; emptied when one fails.
#[derive(Debug, Default)]
struct Cache {
    users: HashMap<Arc<str>, User>,
    conversations: HashMap<(i64, i64), i64>,
}

#[derive(Clone, Copy, Debug)]
struct User {
    n: i64,
    head: u64,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Sqlite {
    /// Opens the file at `path`, making it if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or made, is in use by another server, is no dmwire file, or was written by a newer
    /// version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        Self::open_with(
            DataFile {
                path: path.to_owned(),
                _lock: Some(lock),
                temporary: false,
            },
            "FULL",
        )
    }

    /// A private temporary database in the folder `dir`, written without waiting for the disk and gone with the process.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn temporary(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(
            DataFile {
                path: dir.join(format!("dmwire-{}.db", Uuid::new_v4())),
                _lock: None,
                temporary: true,
            },
            "OFF",
        )
    }

    fn open_with(file: DataFile, synchronous: &str) -> Result<Self, StoreError> {
        let said = |e: rusqlite::Error| StoreError::Failed(format!("{}: {e}", file.path.display()));
        let mut connection = Connection::open(&file.path).map_err(said)?;
        connection
            .busy_timeout(Duration::from_secs(5))
            .map_err(said)?;
        prepare(&mut connection, synchronous)
            .map_err(said)?
            .map_err(|why| StoreError::Failed(format!("{}: {why}", file.path.display())))?;
        let epoch: Vec<u8> = connection
            .query_row("SELECT value FROM meta WHERE key = 'epoch'", (), |row| {
                row.get(0)
            })
            .map_err(said)?;
        let epoch = Uuid::from_slice(&epoch)
            .map_err(|e| StoreError::Failed(format!("{}: epoch: {e}", file.path.display())))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self {
            connection,
            file,
            epoch,
            cache: Cache::default(),
            next: 0,
            reserved: 0,
        })
    }

    fn transaction(&mut self, now: i64, batch: &[&Write]) -> rusqlite::Result<Vec<Outcome>> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut run = Run {
            tx: &tx,
            cache: &mut self.cache,
            next: &mut self.next,
            reserved: &mut self.reserved,
            now,
        };
        let mut outcomes = Vec::with_capacity(batch.len());
        for write in batch {
            outcomes.push(match write {
                Write::Message(message) => run.message(message)?,
                Write::Contact(a, b) => Outcome::Contact(run.contact(a, b)?),
                Write::Watermark { user, device, seq } => {
                    run.watermark(user, device, *seq)?;
                    Outcome::Noted
                }
            });
        }
        tx.commit()?;
        Ok(outcomes)
    }
}

impl Store for Sqlite {
    fn epoch(&self) -> Uuid {
        self.epoch
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        if self.cache.users.len() > MAX_CACHED || self.cache.conversations.len() > MAX_CACHED {
            self.cache = Cache::default();
        }
        self.transaction(now, batch).map_err(|error| {
            // The transaction is rolled back; what the cache learned in it is not true.
            self.cache = Cache::default();
            (self.next, self.reserved) = (0, 0);
            error.into()
        })
    }

    fn open_inbox(&mut self, user: &str, device: &str) -> Result<Opened, StoreError> {
        let Some(User { n, head }) = find_user(&self.connection, &mut self.cache, user)? else {
            return Ok(Opened {
                head: 0,
                oldest: 1,
                received: 0,
            });
        };
        let oldest: Option<i64> = self
            .connection
            .prepare_cached("SELECT seq FROM inbox WHERE user = ?1 ORDER BY seq LIMIT 1")?
            .query_row([n], |row| row.get(0))
            .optional()?;
        let received: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT coalesce(
                    (SELECT received FROM devices WHERE user = ?1 AND device = ?2),
                    (SELECT max(received) FROM devices WHERE user = ?1))",
            )?
            .query_row(params![n, device], |row| row.get(0))?;
        Ok(Opened {
            head,
            oldest: oldest.map_or(head + 1, unsigned),
            received: unsigned(received.unwrap_or(0)),
        })
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file.path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(Box::new(SqliteReader { connection }))
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.temporary {
            for suffix in ["", "-wal", "-shm"] {
                let mut path = self.path.clone().into_os_string();
                path.push(suffix);
                // Gone already, or not ours to remove: nothing is lost by leaving it.
                drop(std::fs::remove_file(path));
            }
        }
    }
}

/// Takes the lock that keeps a second server off the file. It is a file of its own: closing any handle of the database
/// file would drop SQLite's own locks on it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lock");
    let failed = |e: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {e}", path.display()));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside)
        .map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(&"in use by another dmwire")),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
    }
}

/// Brings a connection and its file into shape. The inner error is for people.
fn prepare(connection: &mut Connection, synchronous: &str) -> rusqlite::Result<Result<(), String>> {
    let application: i64 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        return Ok(Err("a database, but not one of dmwire".to_owned()));
    }
    if version > VERSION {
        return Ok(Err(format!(
            "written by a newer dmwire (version {version} of the schema; this one knows {VERSION})"
        )));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if version == 0 {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(SCHEMA)?;
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('epoch', ?1), ('next', 1)",
            [Uuid::new_v4().as_bytes()],
        )?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    Ok(Ok(()))
}

/// One batch under way.
struct Run<'a> {
    tx: &'a Transaction<'a>,
    cache: &'a mut Cache,
    next: &'a mut i64,
    reserved: &'a mut i64,
    now: i64,
}

impl Run<'_> {
    fn message(&mut self, message: &NewMessage) -> rusqlite::Result<Outcome> {
        let from = self.user(&message.from)?;
        let to = self.user_str(&message.to)?;
        let conversation = self.conversation(from.n, to.n)?;
        let n = self.number()?;
        let stored = self
            .tx
            .prepare_cached(
                "INSERT INTO messages (conversation, n, id, sender, recipient, sent_at, reply_to, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                conversation,
                n,
                message.id.as_bytes(),
                from.n,
                to.n,
                self.now,
                message.reply_to.as_ref().map(Uuid::as_bytes),
                message.content
            ])?;
        if stored == 0 {
            return self.taken(conversation, from.n, to.n, message);
        }
        let from_seq = self.append(&message.from, from, conversation, n)?;
        let to_seq = if from.n == to.n {
            from_seq
        } else {
            self.append(&message.to, to, conversation, n)?
        };
        Ok(Outcome::Stored {
            from_seq,
            to_seq,
            sent_at: self.now,
            duplicate: false,
        })
    }

    /// The id is taken in this conversation: by the same message sent before, or by something else.
    fn taken(
        &mut self,
        conversation: i64,
        from: i64,
        to: i64,
        message: &NewMessage,
    ) -> rusqlite::Result<Outcome> {
        let (n, sender, sent_at, content): (i64, i64, i64, String) = self
            .tx
            .prepare_cached(
                "SELECT n, sender, sent_at, content FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation, message.id.as_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        if sender != from || !same::value(&content, &message.content) {
            return Ok(Outcome::IdConflict);
        }
        let place = |user: i64| -> rusqlite::Result<u64> {
            self.tx
                .prepare_cached(
                    "SELECT seq FROM inbox WHERE user = ?1 AND conversation = ?2 AND message = ?3",
                )?
                .query_row([user, conversation, n], |row| row.get(0))
                .map(unsigned)
        };
        Ok(Outcome::Stored {
            from_seq: place(from)?,
            to_seq: place(to)?,
            sent_at,
            duplicate: true,
        })
    }

    fn append(&mut self, id: &str, user: User, conversation: i64, n: i64) -> rusqlite::Result<u64> {
        let seq = user.head + 1;
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, conversation, message) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![user.n, signed(seq), conversation, n])?;
        if let Some(user) = self.cache.users.get_mut(id) {
            user.head = seq;
        }
        Ok(seq)
    }

    fn contact(&mut self, a: &str, b: &str) -> rusqlite::Result<bool> {
        let (Some(a), Some(b)) = (
            find_user(self.tx, self.cache, a)?,
            find_user(self.tx, self.cache, b)?,
        ) else {
            return Ok(false);
        };
        Ok(self.find_conversation(a.n, b.n)?.is_some())
    }

    fn watermark(&mut self, user: &Arc<str>, device: &str, seq: u64) -> rusqlite::Result<()> {
        let user = self.user(user)?;
        let seq = signed(seq.min(user.head));
        self.tx
            .prepare_cached(
                "INSERT INTO devices (user, device, received, used) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET received = max(received, ?3), used = ?4",
            )?
            .execute(params![user.n, device, seq, self.now])?;
        self.tx
            .prepare_cached(
                "DELETE FROM devices WHERE user = ?1 AND device IN
                 (SELECT device FROM devices WHERE user = ?1 ORDER BY used DESC, device = ?3 DESC LIMIT -1 OFFSET ?2)",
            )?
            .execute(params![user.n, MAX_DEVICES, device])?;
        Ok(())
    }

    fn user(&mut self, id: &Arc<str>) -> rusqlite::Result<User> {
        match self.cache.users.get(id) {
            Some(user) => Ok(*user),
            None => self.user_str(id),
        }
    }

    /// Finds a user, or makes one.
    fn user_str(&mut self, id: &str) -> rusqlite::Result<User> {
        if let Some(user) = find_user(self.tx, self.cache, id)? {
            return Ok(user);
        }
        self.tx
            .prepare_cached("INSERT INTO users (id) VALUES (?1)")?
            .execute([id])?;
        let user = User {
            n: self.tx.last_insert_rowid(),
            head: 0,
        };
        self.cache.users.insert(id.into(), user);
        Ok(user)
    }

    fn find_conversation(&mut self, a: i64, b: i64) -> rusqlite::Result<Option<i64>> {
        let pair = (a.min(b), a.max(b));
        if let Some(n) = self.cache.conversations.get(&pair) {
            return Ok(Some(*n));
        }
        let n = self
            .tx
            .prepare_cached("SELECT n FROM conversations WHERE low = ?1 AND high = ?2")?
            .query_row([pair.0, pair.1], |row| row.get(0))
            .optional()?;
        if let Some(n) = n {
            self.cache.conversations.insert(pair, n);
        }
        Ok(n)
    }

    fn conversation(&mut self, a: i64, b: i64) -> rusqlite::Result<i64> {
        if let Some(n) = self.find_conversation(a, b)? {
            return Ok(n);
        }
        let pair = (a.min(b), a.max(b));
        self.tx
            .prepare_cached("INSERT INTO conversations (low, high) VALUES (?1, ?2)")?
            .execute([pair.0, pair.1])?;
        let n = self.tx.last_insert_rowid();
        self.cache.conversations.insert(pair, n);
        Ok(n)
    }

    /// The next commit number.
    fn number(&mut self) -> rusqlite::Result<i64> {
        if *self.next == *self.reserved {
            *self.next =
                self.tx
                    .query_row("SELECT value FROM meta WHERE key = 'next'", (), |row| {
                        row.get(0)
                    })?;
            *self.reserved = *self.next + RESERVE;
            self.tx.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'next'",
                [*self.reserved],
            )?;
        }
        let n = *self.next;
        *self.next += 1;
        Ok(n)
    }
}

fn find_user(
    connection: &Connection,
    cache: &mut Cache,
    id: &str,
) -> rusqlite::Result<Option<User>> {
    if let Some(user) = cache.users.get(id) {
        return Ok(Some(*user));
    }
    let user = connection
        .prepare_cached(
            "SELECT n, coalesce((SELECT max(seq) FROM inbox WHERE user = users.n), 0) FROM users WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok(User {
                n: row.get(0)?,
                head: unsigned(row.get(1)?),
            })
        })
        .optional()?;
    if let Some(user) = user {
        cache.users.insert(id.into(), user);
    }
    Ok(user)
}

/// SQLite's integers are signed; sequence numbers start at 0 and never come near the sign.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[derive(Debug)]
struct SqliteReader {
    connection: Connection,
}

impl Reader for SqliteReader {
    fn entries(&mut self, span: &Span) -> Result<Vec<Entry>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT i.seq, f.id, t.id, m.id, m.sent_at, m.reply_to, m.content
             FROM inbox AS i
             JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
             JOIN users AS f ON f.n = m.sender
             JOIN users AS t ON t.n = m.recipient
             WHERE i.user = (SELECT n FROM users WHERE id = ?1) AND i.seq BETWEEN ?2 AND ?3 ORDER BY i.seq",
        )?;
        let mut rows =
            statement.query(params![span.user, signed(span.first), signed(span.last)])?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let entry = Entry {
                seq: unsigned(row.get(0)?),
                from: row.get(1)?,
                to: row.get(2)?,
                id: row.get(3).map(Uuid::from_bytes)?,
                sent_at: row.get(4)?,
                reply_to: row.get::<_, Option<[u8; 16]>>(5)?.map(Uuid::from_bytes),
                content: row.get(6)?,
            };
            bytes += entry.content.len() + 256;
            entries.push(entry);
            if bytes >= span.bytes {
                break;
            }
        }
        Ok(entries)
    }
}
