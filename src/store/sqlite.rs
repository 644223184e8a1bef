//! The default store: one SQLite file in WAL mode, with one writing connection and a few reading ones.

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
mod shared;
mod unknown_recipients;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use uuid::Uuid;

pub use crate::config::Durability;

use self::batch::{Batch, MessageNumbers};
use self::cache::Cache;
use self::checkpoint::Checkpointer;
use self::file::{DataFile, atomically, connect, with_path};
use self::pending::{PendingBatch, PendingLog, Selection};
use self::plan::{Direct, plan};
use self::read::SqliteReader;
use self::retention::{RetentionRules, RetentionSweeper};
use self::shared::Shared;
use super::{FileRole, Outcome, Reader, Store, StoreError, StoreFiles, StoreOptions, Waker, Write};

/// The minimum number of messages that one call of `maintain` flushes.
const FLUSH_MESSAGES: usize = 128;
/// When a flush has failed, it is tried again after this time.
const FLUSH_RETRY: Duration = Duration::from_millis(500);
/// The pause between two steps of the retention sweep, and between two looks when nothing is left to remove.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The writing half. Holds the lock of its file until it is dropped.
#[derive(Debug)]
pub struct Sqlite {
    // Before the connection: the last connection to close runs a checkpoint, and that should be the writer's.
    checkpointer: Checkpointer,
    connection: Connection,
    epoch: Uuid,
    /// Whether a commit waits for the disk (`--durability full`), and whether the connection is set to wait at the moment.
    durable: bool,
    waits: bool,
    cache: Cache,
    /// Messages that are not in their tables yet.
    log: PendingLog,
    shared: Arc<Shared>,
    /// Messages that the last batch has added to the log, unless they were taken into account by a flush.
    added: usize,
    /// The requests of readers that were answered.
    answered: u64,
    /// No flush before this time, unless a reader asks for one.
    flush_after: Instant,
    sweeper: RetentionSweeper,
    /// When the sweeper runs next.
    sweep_at: Instant,
    /// The time of the last commit, in milliseconds since 1970-01-01T00:00:00Z.
    now: i64,
    numbers: MessageNumbers,
    options: StoreOptions,
    /// Whether the files are where they were opened, and whether the content of a displaced log has been saved.
    files: Arc<StoreFiles>,
    log_saved: bool,
    // Last: the connections are closed before a temporary file is removed.
    file: DataFile,
}

impl Sqlite {
    /// Opens the file at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be opened, created or written, is in use by another server, is not a dmwire file, or was written by
    /// a newer version.
    pub fn open(
        path: &Path,
        durability: Durability,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let file = DataFile::lock(path)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        Self::open_with(file, synchronous, options)
    }

    /// Opens a private temporary database in the directory `dir`. It is written without waiting for the disk, and removed
    /// when it is dropped.
    ///
    /// # Errors
    /// If no file can be created there.
    pub fn temporary(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(DataFile::temporary(dir), "OFF", options)
    }

    fn open_with(
        file: DataFile,
        synchronous: &str,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let mut connection = with_path(&file.path, connect(&file.path, synchronous))?;
        let checkpointer = Checkpointer::start(&mut connection, &file.path, synchronous);
        let checkpointer = with_path(&file.path, checkpointer)?;
        let epoch = with_path(&file.path, migrations::epoch(&connection))?;
        let log = with_path(&file.path, PendingLog::load(&connection))?;
        let files = Arc::new(file.files()?);
        let shared = Arc::new(Shared::default());
        shared.set_pending(!log.is_empty());
        shared.set_heads(log.heads());
        Ok(Self {
            checkpointer,
            connection,
            epoch,
            durable: synchronous == "FULL",
            waits: synchronous == "FULL",
            cache: Cache::new(log.heads()),
            log,
            shared,
            added: 0,
            answered: 0,
            flush_after: Instant::now(),
            sweeper: RetentionSweeper::default(),
            sweep_at: Instant::now(),
            now: 0,
            numbers: MessageNumbers::default(),
            options,
            files,
            log_saved: false,
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
            inbox_limit: self.options.retention.inbox_limit,
            quotas: &self.options.quotas,
            shared: &self.shared,
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
        if !pending.is_empty() {
            self.added = pending.len();
            let recompute = self.shared.add_heads(pending.entries());
            self.log.append(pending, first);
            if recompute {
                self.shared.set_heads(self.log.heads());
            }
        }
        Ok(outcomes)
    }

    /// Moves all messages of the pending log to their tables.
    ///
    /// # Errors
    /// [`StoreError`]: messages that were not moved stay committed.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let selection = self.log.select(usize::MAX, true);
        Ok(self.flush_selection(&selection)?)
    }

    /// Moves messages to their tables, and trims inboxes that have become too long.
    fn flush_selection(&mut self, selection: &Selection) -> rusqlite::Result<()> {
        if selection.is_empty() && self.cache.overfull.is_empty() {
            return Ok(());
        }
        // The messages are durable already: if a power failure undoes the move, the log still has them.
        let done = self
            .wait_for_disk(false)
            .and_then(|()| self.try_flush(selection));
        let restored = self.wait_for_disk(self.durable);
        self.log.finish(selection, done.is_ok());
        if self.log.is_empty() {
            self.cache.log_flushed();
            self.shared.set_pending(false);
            self.shared.clear_heads();
        }
        if done.is_err() {
            self.forget();
        }
        done.and(restored)
    }

    fn try_flush(&mut self, selection: &Selection) -> rusqlite::Result<()> {
        let rules = RetentionRules {
            retention: &self.options.retention,
            live_cursors: &self.options.live_cursors,
            now: self.now,
        };
        let (log, cache) = (&self.log, &mut self.cache);
        atomically(&self.connection, || {
            log.flush(&self.connection, selection, &mut cache.trimmed_to)?;
            retention::trim_overfull(&self.connection, cache, &rules)
        })
    }

    /// Flushes everything if a reader waits for it; otherwise messages that are due, a few more than the last batch has added, so
    /// that the log does not grow and no batch waits for long.
    fn flush_due(&mut self) -> rusqlite::Result<()> {
        let requested = self.shared.requested();
        let all = requested > self.answered;
        if !all {
            let now = Instant::now();
            let is_due = self.log.due().is_some_and(|due| due <= now);
            if now < self.flush_after || !is_due && self.cache.overfull.is_empty() {
                return Ok(());
            }
        }
        let limit = FLUSH_MESSAGES.max(self.added + self.added / 4);
        self.added = 0;
        let selection = self.log.select(if all { usize::MAX } else { limit }, all);
        let flushed = self.flush_selection(&selection);
        if flushed.is_err() {
            self.flush_after = Instant::now() + FLUSH_RETRY;
        }
        if all {
            self.answered = requested;
            self.shared.answer(requested, flushed.is_ok());
        }
        flushed
    }

    /// When a flush is due next. `None`: the log is empty.
    fn flush_at(&mut self) -> Option<Instant> {
        self.log.due().map(|due| due.max(self.flush_after))
    }

    /// Runs a step of the retention sweep if it is due.
    fn sweep(&mut self, now: i64) -> rusqlite::Result<()> {
        if Instant::now() < self.sweep_at {
            return Ok(());
        }
        let freed = self.sweeper.freed_space();
        let rules = RetentionRules {
            retention: &self.options.retention,
            live_cursors: &self.options.live_cursors,
            now,
        };
        let step = self
            .sweeper
            .step(&mut self.connection, &mut self.cache, &rules);
        let has_more = matches!(step, Ok(true));
        if freed && matches!(step, Ok(false)) {
            self.checkpointer.hasten();
        }
        if step.is_err() {
            self.forget();
        }
        self.sweep_at = Instant::now() + if has_more { SWEEP_PAUSE } else { SWEEP_EVERY };
        step.map(drop)
    }

    /// Sets whether a commit waits for the disk.
    fn wait_for_disk(&mut self, wait: bool) -> rusqlite::Result<()> {
        if self.durable && wait != self.waits {
            let synchronous = if wait { "FULL" } else { "NORMAL" };
            self.connection
                .pragma_update(None, "synchronous", synchronous)?;
            self.waits = wait;
        }
        Ok(())
    }

    fn checkpoint(&mut self) {
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            // Nothing is lost: the checkpoint is tried again.
            log::warn!("the checkpoint of the write-ahead log failed: {error}");
        }
    }

    /// Maintenance while a file is displaced. Readers that wait for a flush continue without it.
    fn while_displaced(&mut self, role: FileRole) -> Result<Instant, StoreError> {
        self.answered = self.shared.requested();
        self.shared.answer(self.answered, false);
        if role == FileRole::Log && !self.log_saved {
            self.save_log()?;
            self.log_saved = true;
        }
        Ok(Instant::now() + SWEEP_EVERY)
    }

    /// Copies the whole log to the database file, because no later start will find the log.
    fn save_log(&self) -> rusqlite::Result<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(FULL)", (), |_| Ok(()))
    }

    /// Prepares the end while a file is displaced.
    fn end_displaced(&self) -> rusqlite::Result<()> {
        // SQLite would remove a log by its name, which may be that of another store.
        let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.connection.set_db_config(keep, true)?;
        if self.files.displaced() == Some(FileRole::Database) {
            // Another process may use the database file under its new name: it stays as it is, with its log.
            return Ok(());
        }
        self.save_log()
    }

    /// Empties the cache after a rollback, because it has rows of the transaction that was rolled back.
    fn forget(&mut self) {
        self.cache = Cache::new(self.log.heads());
        self.numbers = MessageNumbers::default();
    }
}

impl Store for Sqlite {
    fn epoch(&self) -> Uuid {
        self.epoch
    }

    fn files(&self) -> Arc<StoreFiles> {
        self.files.clone()
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        self.now = now;
        self.cache.shrink(|| self.log.heads());
        let (direct, needed) = plan(&self.connection, &mut self.cache, &self.log, batch)?;
        if !needed.is_empty() {
            self.flush_selection(&needed)?;
        }
        self.wait_for_disk(true)?;
        let outcomes = self.transaction(now, batch, &direct).map_err(|error| {
            self.forget();
            StoreError::from(error)
        })?;
        // Set before the caller learns of the commit: a client that gets the ack may ask a reader at once.
        self.shared.set_pending(!self.log.is_empty());
        self.checkpoint();
        Ok(outcomes)
    }

    fn maintain(&mut self, now: i64) -> Result<Instant, StoreError> {
        if let Some(role) = self.files.displaced() {
            return self.while_displaced(role);
        }
        self.log_saved = false;
        let flushed = self.flush_due();
        let swept = self.sweep(now);
        self.checkpoint();
        flushed.and(swept)?;
        let next = self.sweep_at;
        Ok(self.flush_at().map_or(next, |at| at.min(next)))
    }

    fn set_waker(&mut self, waker: Waker) {
        self.shared.set_waker(waker);
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let reader = SqliteReader::open(
            &self.file.path,
            self.shared.clone(),
            self.options.retention.inbox_limit,
        )?;
        Ok(Box::new(reader))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // A closed file has an empty log, so that the commands that read it need not include one. If this fails, the messages
        // move after the next start.
        let flushed = if self.files.displaced() == Some(FileRole::Database) {
            Ok(())
        } else {
            self.flush()
        };
        if let Err(error) = flushed {
            log::warn!("the pending log could not be flushed: {error}");
        }
        if !self.files.check()
            && let Err(error) = self.end_displaced()
        {
            log::warn!(
                "the files of the store are not in their place, and the log could not be saved: {error}"
            );
        }
        self.shared.close();
    }
}
