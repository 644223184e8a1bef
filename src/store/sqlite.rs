//! The default backend: one SQLite file in WAL mode, one writing connection, a few reading ones.

pub mod admin;
mod batch;
mod cache;
mod checkpoint;
mod content_eq;
mod file;
mod migrations;
mod number;
mod pending;
mod plan;
mod read;
mod retention;
mod unknown_recipients;

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use uuid::Uuid;

pub use crate::config::Durability;

use self::batch::{Batch, MessageNumbers};
use self::cache::Cache;
use self::checkpoint::Checkpointer;
use self::file::{DataFile, atomically, connect, lock, named};
use self::number::unsigned;
use self::pending::{PendingBatch, PendingLog, Selection};
use self::plan::{Direct, plan};
use self::read::SqliteReader;
use self::retention::{RetentionRules, RetentionSweeper};
use super::{
    InboxState, LiveCursors, Outcome, Quotas, Reader, Retention, Store, StoreError, Write,
};

/// The maximum size of the set of newly connected users. Beyond it the set is emptied.
const MAX_NEWLY_CONNECTED: usize = 100_000;

/// The writing half. Holds the file's lock for as long as it lives.
#[derive(Debug)]
pub struct Sqlite {
    // Before the connection: the last connection to close copies the log, and that should be the writer's.
    checkpointer: Checkpointer,
    connection: Connection,
    epoch: Uuid,
    /// Whether a commit is to wait for the disk, and whether the next one would.
    synced: bool,
    waits: bool,
    cache: Cache,
    /// Messages that are not in their tables yet.
    log: PendingLog,
    /// The moment of the last commit.
    now: i64,
    numbers: MessageNumbers,
    lifetimes: Retention,
    quotas: Quotas,
    /// Users who have connected, and whose devices are to be noted soon.
    newly_connected: HashSet<Box<str>>,
    owed: LiveCursors,
    keeper: RetentionSweeper,
    // Last, so that the connection is closed before a temporary file is removed.
    file: DataFile,
}

impl Sqlite {
    /// Opens the file at `path`, making it if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened, made or written, is in use by another server, is no dmwire file, or was written by
    /// a newer version.
    pub fn open(
        path: &Path,
        durability: Durability,
        lifetimes: Retention,
    ) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        Self::open_with(
            DataFile {
                path: path.to_owned(),
                _lock: Some(lock),
                temporary: false,
            },
            synchronous,
            lifetimes,
        )
    }

    /// A private temporary database in the folder `dir`, written without waiting for the disk and gone with the process.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn temporary(dir: &Path, lifetimes: Retention) -> Result<Self, StoreError> {
        Self::open_with(
            DataFile {
                path: dir.join(format!("dmwire-{}.db", Uuid::new_v4())),
                _lock: None,
                temporary: true,
            },
            "OFF",
            lifetimes,
        )
    }

    fn open_with(
        file: DataFile,
        synchronous: &str,
        lifetimes: Retention,
    ) -> Result<Self, StoreError> {
        let mut connection = named(&file.path, connect(&file.path, synchronous))?;
        let checkpointer = Checkpointer::start(&mut connection, &file.path, synchronous);
        let checkpointer = named(&file.path, checkpointer)?;
        let epoch = named(&file.path, migrations::epoch(&connection))?;
        let log = named(&file.path, PendingLog::load(&connection))?;
        Ok(Self {
            checkpointer,
            connection,
            epoch,
            synced: synchronous == "FULL",
            waits: synchronous == "FULL",
            cache: Cache::new(log.heads()),
            log,
            now: 0,
            numbers: MessageNumbers::default(),
            lifetimes,
            quotas: Quotas::default(),
            newly_connected: HashSet::new(),
            owed: LiveCursors::default(),
            keeper: RetentionSweeper::default(),
            file,
        })
    }

    fn transaction(
        &mut self,
        now: i64,
        batch: &[&Write],
        direct: &Direct<'_>,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut run = Batch {
            tx: &self.connection,
            cache: &mut self.cache,
            numbers: &mut self.numbers,
            inbox_limit: self.lifetimes.inbox_limit,
            quotas: &self.quotas,
            newly_connected: &mut self.newly_connected,
            now,
            direct,
            log: &self.log,
            pending: PendingBatch::default(),
        };
        let (outcomes, pending, first) = atomically(&self.connection, || {
            let mut outcomes = Vec::with_capacity(batch.len());
            for write in batch {
                outcomes.push(run.apply(write)?);
            }
            run.cache.unknown_recipients.write(&self.connection)?;
            let pending = run.pending;
            let first = pending.insert(&self.connection)?;
            Ok((outcomes, pending, first))
        })?;
        self.log.append(pending, first);
        Ok(outcomes)
    }

    /// Moves messages to their tables.
    fn flush(&mut self, selection: &Selection) -> rusqlite::Result<()> {
        if selection.is_empty() && self.cache.overfull.is_empty() {
            return Ok(());
        }
        // The messages are committed already: if a power cut undoes the move, the log still has them.
        let done = self
            .wait_for_disk(false)
            .and_then(|()| self.try_flush(selection));
        let synced = self.wait_for_disk(self.synced);
        self.log.finish(selection, done.is_ok());
        if self.log.is_empty() {
            self.cache.log_flushed();
        }
        if done.is_err() {
            self.forget();
        }
        done.and(synced)
    }

    fn try_flush(&mut self, selection: &Selection) -> rusqlite::Result<()> {
        let rules = RetentionRules {
            lifetimes: &self.lifetimes,
            owed: &self.owed,
            now: self.now,
        };
        let (log, cache) = (&self.log, &mut self.cache);
        atomically(&self.connection, || {
            log.flush(&self.connection, selection, &mut cache.trimmed_to)?;
            retention::trim_overfull(&self.connection, cache, &rules)
        })
    }

    fn wait_for_disk(&mut self, wait: bool) -> rusqlite::Result<()> {
        if self.synced && wait != self.waits {
            let synchronous = if wait { "FULL" } else { "NORMAL" };
            self.connection
                .pragma_update(None, "synchronous", synchronous)?;
            self.waits = wait;
        }
        Ok(())
    }

    /// Forgets what was cached in a transaction that was rolled back.
    fn forget(&mut self) {
        self.cache = Cache::new(self.log.heads());
        self.numbers = MessageNumbers::default();
    }
}

impl Store for Sqlite {
    fn epoch(&self) -> Uuid {
        self.epoch
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        self.now = now;
        self.cache.shrink(|| self.log.heads());
        let (direct, needed) = plan(&self.connection, &mut self.cache, &self.log, batch)?;
        if !needed.is_empty() {
            self.flush(&needed)?;
        }
        self.wait_for_disk(true)?;
        let outcomes = self.transaction(now, batch, &direct).map_err(|error| {
            self.forget();
            StoreError::from(error)
        })?;
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            // What was committed stays committed; the log is copied another time.
            log::warn!("copying the write-ahead log: {error}");
        }
        Ok(outcomes)
    }

    fn settle(&mut self, limit: usize, all: bool) -> Result<Option<Instant>, StoreError> {
        let limit = if all { usize::MAX } else { limit };
        let selection = self.log.select(limit, all);
        self.flush(&selection)?;
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            log::warn!("copying the write-ahead log: {error}");
        }
        Ok(self.log.due())
    }

    fn open_inbox(&mut self, user: &str, device: &str) -> Result<InboxState, StoreError> {
        let name = user;
        let user = self.cache.find_user(&self.connection, name)?;
        if user.is_none_or(|user| !user.connected) {
            if self.newly_connected.len() >= MAX_NEWLY_CONNECTED {
                // They have long been noted, or the store takes nothing.
                self.newly_connected = HashSet::new();
            }
            self.newly_connected.insert(name.into());
        }
        let Some(user) = user else {
            return Ok(InboxState {
                head: 0,
                oldest: 1,
                received: 0,
            });
        };
        let received: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT coalesce(
                    (SELECT received FROM devices WHERE user = ?1 AND device = ?2),
                    (SELECT max(received) FROM devices WHERE user = ?1))",
            )?
            .query_row(params![user.n, device], |row| row.get(0))?;
        // What is beyond the limit counts as gone also where it has not been removed yet.
        let beyond = user.head.saturating_sub(self.lifetimes.inbox_limit);
        Ok(InboxState {
            head: user.head,
            oldest: user.trimmed_to.max(beyond) + 1,
            received: unsigned(received.unwrap_or(0)),
        })
    }

    fn maintain(&mut self, now: i64) -> Result<bool, StoreError> {
        self.checkpointer.after_commit(&self.connection)?;
        let gave_back = self.keeper.gave_back();
        let rules = RetentionRules {
            lifetimes: &self.lifetimes,
            owed: &self.owed,
            now,
        };
        let step = self
            .keeper
            .step(&mut self.connection, &mut self.cache, &rules);
        if gave_back && matches!(step, Ok(false)) {
            self.checkpointer.hasten();
        }
        step.map_err(|error| {
            self.forget();
            error.into()
        })
    }

    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT u.id, o.id FROM blocks AS b JOIN users AS u ON u.n = b.user JOIN users AS o ON o.n = b.blocked",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
            each(text(0)?, text(1)?);
        }
        Ok(())
    }

    fn spare(&mut self, owed: LiveCursors) {
        self.owed = owed;
    }

    fn limit(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.file.path)?))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // A store that was closed is read without looking into the log; if this fails, the next start does it.
        if let Err(error) = self.settle(usize::MAX, true) {
            log::warn!("moving messages to their tables: {error}");
        }
    }
}
