//! The default backend: one SQLite file in WAL mode, one writing connection, a few reading ones.

pub mod admin;
mod batch;
mod cache;
mod checkpoint;
mod content_eq;
mod file;
mod migrations;
mod pending;
mod plan;
mod read;
mod retention;
mod unknown_recipients;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use uuid::Uuid;

pub use crate::config::Durability;

use self::batch::Run;
use self::cache::{Cache, MAX_CACHED, find_user};
use self::checkpoint::Checkpointer;
use self::file::{DataFile, atomically, connect, lock, named, unsigned};
use self::pending::{Chosen, Floors, PendingBatch, PendingLog};
use self::plan::Direct;
use self::read::SqliteReader;
use self::retention::{RetentionRules, RetentionSweeper};
use super::{
    InboxState, LiveCursors, Outcome, Quotas, Reader, Retention, Store, StoreError, Write,
};

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
    pool: PendingLog,
    /// The moment of the last commit.
    now: i64,
    /// The next commit number, and where the reserved ones end.
    next: i64,
    reserved: i64,
    lifetimes: Retention,
    quotas: Quotas,
    /// Users who have connected, and whose devices are to be noted soon.
    arrived: HashSet<Box<str>>,
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
        let pool = named(&file.path, PendingLog::load(&connection))?;
        Ok(Self {
            checkpointer,
            connection,
            epoch,
            synced: synchronous == "FULL",
            waits: synchronous == "FULL",
            cache: Cache {
                heads: pool.heads(),
                ..Cache::default()
            },
            pool,
            now: 0,
            next: 0,
            reserved: 0,
            lifetimes,
            quotas: Quotas::default(),
            arrived: HashSet::new(),
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
        let mut run = Run {
            tx: &self.connection,
            cache: &mut self.cache,
            next: &mut self.next,
            reserved: &mut self.reserved,
            inbox_limit: self.lifetimes.inbox_limit,
            quotas: &self.quotas,
            arrived: &mut self.arrived,
            now,
            direct,
            pool: &self.pool,
            stage: PendingBatch::default(),
        };
        let (outcomes, stage, first) = atomically(&self.connection, || {
            let mut outcomes = Vec::with_capacity(batch.len());
            for write in batch {
                outcomes.push(run.write(write)?);
            }
            run.cache.unclaimed.write(&self.connection)?;
            let stage = run.stage;
            let first = stage.log(&self.connection)?;
            Ok((outcomes, stage, first))
        })?;
        self.pool.take(stage, first);
        Ok(outcomes)
    }

    /// Moves messages to their tables.
    fn settle_these(&mut self, chosen: &Chosen) -> rusqlite::Result<()> {
        if chosen.is_empty() && self.cache.overfull.is_empty() {
            return Ok(());
        }
        // What moves is committed already; a power cut undoes the move, and the log still has it.
        let done = self
            .wait_for_disk(false)
            .and_then(|()| self.try_settle(chosen));
        let synced = self.wait_for_disk(self.synced);
        self.pool.moved(chosen, done.is_ok());
        if self.pool.is_empty() {
            self.cache.floors = Floors::new();
            self.cache.heads = HashMap::new();
        }
        if done.is_err() {
            self.forget();
        }
        done.and(synced)
    }

    fn try_settle(&mut self, chosen: &Chosen) -> rusqlite::Result<()> {
        let rules = RetentionRules {
            lifetimes: &self.lifetimes,
            owed: &self.owed,
            now: self.now,
        };
        let (pool, cache) = (&self.pool, &mut self.cache);
        atomically(&self.connection, || {
            pool.apply(&self.connection, chosen, &mut cache.floors)?;
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

    /// What the cache and the counter learned in a transaction that is undone is not true.
    fn forget(&mut self) {
        self.cache = Cache {
            heads: self.pool.heads(),
            ..Cache::default()
        };
        (self.next, self.reserved) = (0, 0);
    }
}

impl Store for Sqlite {
    fn epoch(&self) -> Uuid {
        self.epoch
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        self.now = now;
        if self.cache.unclaimed.len() > MAX_CACHED {
            self.cache.unclaimed.forget();
        }
        if self.cache.users.len() > MAX_CACHED || self.cache.conversations.len() > MAX_CACHED {
            self.cache.users = HashMap::new();
            self.cache.conversations = HashMap::new();
            self.cache.heads = self.pool.heads();
        }
        let (direct, needed) = self.look_ahead(batch)?;
        if !needed.is_empty() {
            self.settle_these(&needed)?;
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
        let chosen = self.pool.choose(limit, all);
        self.settle_these(&chosen)?;
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            log::warn!("copying the write-ahead log: {error}");
        }
        Ok(self.pool.due())
    }

    fn open_inbox(&mut self, user: &str, device: &str) -> Result<InboxState, StoreError> {
        let name = user;
        let user = find_user(&self.connection, &mut self.cache, name)?;
        if user.is_none_or(|user| !user.came) {
            if self.arrived.len() >= MAX_CACHED {
                // They have long been noted, or the store takes nothing.
                self.arrived = HashSet::new();
            }
            self.arrived.insert(name.into());
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
            oldest: user.floor.max(beyond) + 1,
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
