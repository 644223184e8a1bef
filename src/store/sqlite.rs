//! The default store: one SQLite file in WAL mode, with one writing connection and a few reading ones.

pub mod admin;
mod batch;
mod byte_use;
mod cache;
mod change_rate;
mod checkpoint;
mod counts;
mod entry_rate;
mod epochs;
mod events;
mod fault;
mod file;
mod kinds;
mod listed;
mod log_record;
mod long_contents;
mod maintenance;
mod migrations;
mod number;
mod open;
mod pending;
mod plan;
mod read;
mod recovery;
mod retention;
mod rooms;
mod run;
mod shared;
#[cfg(test)]
mod tests;
mod times;
mod truncation;
mod uncounted;
mod unknown_recipients;
mod unused;

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

pub use crate::config::Durability;

use self::batch::{Batch, Effects, MessageNumbers};
use self::cache::Cache;
use self::change_rate::ChangeRates;
use self::checkpoint::Checkpointer;
use self::entry_rate::EntryRates;
use self::epochs::Epochs;
use self::file::{DataFile, atomically};
use self::pending::{PendingBatch, PendingLog, Selection, Superseded, TrimmedTo};
use self::plan::{Direct, plan};
use self::read::SqliteReader;
use self::retention::{RetentionRules, RetentionSweeper};
use self::run::Run;
use self::shared::Shared;
use self::times::RecordedTimes;
use self::truncation::Truncation;
use super::{
    ContentHasher, NameHasher, Outcome, Reader, RoomMembers, RoomMode, Store, StoreError,
    StoreFiles, StoreOptions, StoredTimes, Waker, Write,
};

/// The writing half. Holds the lock of its file until it is dropped.
#[derive(Debug)]
pub struct Sqlite {
    // Before the connection: the last connection to close runs a checkpoint, and that should be the writer's.
    checkpointer: Checkpointer,
    connection: Connection,
    epochs: Epochs,
    hasher: ContentHasher,
    names: NameHasher,
    /// `None` for a temporary file.
    run: Option<Run>,
    /// The epoch is to change when the run begins.
    new_epoch: bool,
    truncation: Truncation,
    /// When a failed checkpoint was last logged.
    failure_logged: Option<Instant>,
    closed: bool,
    /// Whether a commit waits for the disk (`--durability full`), and whether the connection is set to wait at the moment.
    durable: bool,
    waits: bool,
    cache: Cache,
    /// Messages that are not in their tables yet.
    log: PendingLog,
    shared: Arc<Shared>,
    /// Messages that the last batch has added to the log, in direct messages, unless they were taken into account by a flush.
    added: usize,
    /// The requests of readers that were answered.
    answered: u64,
    /// Requests that are answered when entries have moved: their number, and that of
    /// [`PendingLog::have_entries_moved`].
    answering: Option<(u64, u64)>,
    /// No flush before this time, unless a reader asks for one.
    flush_after: Instant,
    sweeper: RetentionSweeper,
    /// When the sweeper runs next.
    sweep_at: Instant,
    /// The time by which things expire; `None`: nothing expires.
    expire_at: Option<i64>,
    recorded: RecordedTimes,
    numbers: MessageNumbers,
    change_rates: ChangeRates,
    entry_rates: EntryRates,
    options: StoreOptions,
    /// Whether the files are where they were opened, and whether the content of a displaced log has been saved.
    files: Arc<StoreFiles>,
    log_saved: bool,
    // Last: the connections are closed before a temporary file is removed.
    file: DataFile,
}

/// How much a flush does besides moving messages.
#[derive(Clone, Copy)]
struct Upkeep {
    /// The number of lists of conversations that are settled.
    lists: usize,
    /// Inboxes are trimmed until this many entries are removed.
    entries: i64,
}

impl Upkeep {
    const FULL: Self = Self {
        lists: listed::SETTLE,
        entries: retention::REMOVE,
    };
    /// While entries of large rooms move, there are many flushes, and each is to be short.
    const SMALL: Self = Self {
        lists: 2,
        entries: 1,
    };
}

impl Sqlite {
    fn transaction(
        &mut self,
        now: i64,
        batch: &[&Write],
        direct: &Direct<'_>,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut effects = Effects::default();
        let done = self.apply(now, batch, direct, &mut effects);
        if done.is_ok() {
            if effects.truncates {
                self.truncation.request();
            }
            effects.committed(&self.shared);
            self.cache.bytes.committed();
            self.change_rates.committed();
            self.entry_rates.committed();
        } else {
            effects.rolled_back();
            self.change_rates.rolled_back();
            self.entry_rates.rolled_back();
            self.forget();
        }
        let (outcomes, pending, first) = done?;
        if !pending.is_empty() {
            self.added = pending.weight();
            let superseding = self.log.superseding() + pending.superseding();
            // Before the heads: see `Shared::superseding`.
            self.shared.set_superseding(superseding);
            let recompute = self.shared.add_heads(pending.entries());
            self.log.append(pending, first);
            if recompute {
                self.shared.set_heads(self.log.heads());
            }
        }
        Ok(outcomes)
    }

    /// Applies a batch and commits it. Returns the messages that it has added to the pending log, with the number of the first row.
    fn apply(
        &mut self,
        now: i64,
        batch: &[&Write],
        direct: &Direct<'_>,
        effects: &mut Effects,
    ) -> rusqlite::Result<(Vec<Outcome>, PendingBatch, i64)> {
        let mut run = Batch {
            tx: &self.connection,
            cache: &mut self.cache,
            numbers: &mut self.numbers,
            change_rates: &mut self.change_rates,
            entry_rates: &mut self.entry_rates,
            hasher: &self.hasher,
            names: &self.names,
            epochs: &self.epochs,
            inbox_limit: self.options.retention.inbox_limit,
            device_ms: self.options.retention.device_ms,
            is_certain: self.expire_at.is_some(),
            quotas: &self.options.quotas,
            rooms: &self.options.rooms,
            presence: self.options.presence,
            shared: &self.shared,
            now,
            direct,
            log: &self.log,
            log_truncations: self.truncation.count(),
            pending: PendingBatch::default(),
            effects,
        };
        atomically(&self.connection, || {
            let mut outcomes = Vec::with_capacity(batch.len());
            for write in batch {
                outcomes.push(run.apply(write)?);
            }
            run.cache.unknown_recipients.write(&self.connection)?;
            run.cache.bytes.shrink(&self.connection)?;
            self.recorded
                .update(&self.connection, now, self.expire_at.is_some())?;
            let pending = run.pending;
            let first = pending.insert(&self.connection)?;
            Ok((outcomes, pending, first))
        })
    }

    /// Moves all messages of the pending log to their tables.
    ///
    /// # Errors
    /// [`StoreError`]: messages that were not moved stay committed.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let selection = self.log.select(usize::MAX, true);
        self.flush_selection(&selection)?;
        while self.flush_portion(true)? {}
        Ok(())
    }

    /// Moves messages to their tables, settles lists of conversations, and trims inboxes that have become too long.
    fn flush_selection(&mut self, selection: &Selection) -> rusqlite::Result<()> {
        if selection.is_empty() && !self.cache.has_grown() {
            return Ok(());
        }
        let extent = if self.log.has_late_entries() {
            Upkeep::SMALL
        } else {
            Upkeep::FULL
        };
        let (done, restored) = self.try_flush(extent, |log, connection, trimmed_to| {
            log.flush(connection, selection, trimmed_to)
        });
        self.log.finish(selection, done.is_ok());
        self.flushed(done).and(restored)
    }

    /// Moves a portion of the entries whose messages have moved; with `all`, a large one. False: there are none.
    fn flush_portion(&mut self, all: bool) -> rusqlite::Result<bool> {
        let Some(portion) = self.log.next_portion(all)? else {
            return Ok(false);
        };
        let (done, restored) = self.try_flush(Upkeep::SMALL, |log, connection, trimmed_to| {
            log.move_portion(connection, portion, trimmed_to)
        });
        if done.is_ok() {
            self.log.portion_moved(portion);
        }
        self.flushed(done).and(restored)?;
        Ok(true)
    }

    /// Runs a transaction that moves a part of the pending log. The second result is that of a change of the connection afterwards.
    fn try_flush(
        &mut self,
        upkeep: Upkeep,
        flush: impl Fn(&PendingLog, &Connection, &mut TrimmedTo) -> rusqlite::Result<Superseded>,
    ) -> (rusqlite::Result<()>, rusqlite::Result<()>) {
        // The messages are durable already: if a power failure undoes the move, the log still has them.
        let done = self.wait_for_disk(false).and_then(|()| {
            let rules = RetentionRules {
                retention: &self.options.retention,
                live_cursors: &self.options.live_cursors,
                lost_contacts: &self.options.lost_contacts,
                expire_at: self.expire_at,
                log: &self.log,
                shared: &self.shared,
            };
            let (log, cache) = (&self.log, &mut self.cache);
            atomically(&self.connection, || {
                let superseded = flush(log, &self.connection, &mut cache.trimmed_to)?;
                cache.add_superseded(superseded);
                listed::settle_grown(&self.connection, cache, upkeep.lists)?;
                retention::trim_overfull(&self.connection, cache, &rules, upkeep.entries)
            })
        });
        (done, self.wait_for_disk(self.durable))
    }

    /// A transaction of [`Sqlite::try_flush`] has ended.
    fn flushed(&mut self, done: rusqlite::Result<()>) -> rusqlite::Result<()> {
        if self.log.is_empty() {
            self.cache.log_flushed();
            self.shared.set_pending(false);
            self.shared.clear_heads();
        }
        self.shared.set_superseding(self.log.superseding());
        if done.is_err() {
            self.forget();
        } else {
            self.truncation.written(false);
        }
        done
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

    /// Empties the cache after a rollback, because it has rows of the transaction that was rolled back.
    fn forget(&mut self) {
        self.cache.roll_back(self.log.heads());
        self.numbers = MessageNumbers::default();
        self.recorded = RecordedTimes::default();
    }
}

impl Store for Sqlite {
    fn content_hasher(&self) -> ContentHasher {
        self.hasher.clone()
    }

    fn name_hasher(&self) -> NameHasher {
        self.names.clone()
    }

    fn files(&self) -> Arc<StoreFiles> {
        self.files.clone()
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        let committed = self.commit_batch(now, batch);
        self.noting_failure(committed)
    }

    fn maintain(&mut self, expire_at: Option<i64>) -> Result<Instant, StoreError> {
        let maintained = self.do_maintenance(expire_at);
        self.noting_failure(maintained)
    }

    fn room_members(
        &mut self,
        room: &str,
        user: Option<&str>,
    ) -> Result<Option<RoomMembers>, StoreError> {
        let (cache, rules) = (&mut self.cache, &self.options.rooms);
        if rules.mode == RoomMode::Off {
            return Ok(None);
        }
        let found = match user {
            Some(user) => cache.find_user(&self.connection, user)?,
            None => None,
        };
        let members = cache.rooms.find(&self.connection, &self.log, room)?;
        let is_member = found
            .zip(members)
            .is_some_and(|(user, members)| members.member(user.n).is_some());
        if user.is_some() && !is_member {
            return Ok(None);
        }
        Ok(cache.rooms.ids(room).map(|users| RoomMembers {
            is_small: users.len() as u64 <= rules.small,
            users,
        }))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.checkpointer.stop();
        let closed = self.checkpointer.check().and_then(|()| self.end());
        self.shared.close();
        self.noting_failure(closed)
    }

    fn stored_times(&self) -> Result<Option<StoredTimes>, StoreError> {
        Ok(times::read(&self.connection, self.log.newest_time())?)
    }

    fn unfinished_erasures(&mut self) -> Result<Vec<i64>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT user FROM erasures ORDER BY user")?;
        let users = statement.query_map((), |row| row.get(0))?;
        Ok(users.collect::<rusqlite::Result<_>>()?)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.shared.set_waker(waker);
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let reader = SqliteReader::open(
            &self.file.path,
            self.shared.clone(),
            self.options.retention.inbox_limit,
            (self.options.rooms, self.options.presence),
        )?;
        Ok(Box::new(reader))
    }
}

impl Sqlite {
    fn commit_batch(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        self.checkpointer.check()?;
        self.begin()?;
        self.cache.shrink(|| self.log.heads());
        let (direct, needed) = plan(
            &self.connection,
            &mut self.cache,
            &self.log,
            batch,
            self.options.events.is_some(),
        )?;
        if !needed.is_empty() {
            self.flush_selection(&needed)?;
        }
        self.wait_for_disk(true)?;
        let outcomes = self.transaction(now, batch, &direct)?;
        // Set before the caller learns of the commit: a client that gets the ack may ask a reader at once.
        self.shared.set_pending(!self.log.is_empty());
        let erases = |outcome: &Outcome| match outcome {
            Outcome::ErasureBegun { .. } => true,
            // The last step removes nothing that may not be in the log.
            Outcome::Erasing(step) => !step.waits && step.done.is_none(),
            _ => false,
        };
        let is_idle = |outcome: &Outcome| matches!(outcome, Outcome::Erasing(step) if step.waits);
        if !outcomes.iter().all(is_idle) {
            let removed =
                batch.iter().any(|write| write.removes_content()) || outcomes.iter().any(erases);
            self.truncation.written(removed);
        }
        self.checkpoint()?;
        // Nothing is acknowledged after a checkpoint has failed.
        self.checkpointer.check()?;
        Ok(outcomes)
    }

    fn do_maintenance(&mut self, expire_at: Option<i64>) -> Result<Instant, StoreError> {
        self.expire_at = expire_at;
        if let Some(role) = self.files.displaced() {
            return self.while_displaced(role);
        }
        self.log_saved = false;
        self.checkpointer.check()?;
        if let Err(error) = self.begin() {
            self.answer(self.shared.requested(), false);
            return Err(error);
        }
        let flushed = self.flush_due();
        let swept = self.sweep();
        self.checkpoint()?;
        if let Some(events) = &self.options.events {
            events.wake();
        }
        flushed.and(swept)?;
        let due = [Some(self.sweep_at), self.flush_at(), self.truncation.due()];
        Ok(due.into_iter().flatten().min().unwrap_or(self.sweep_at))
    }

    /// Names the file in an error of the disk, and records it where that matters.
    fn noting_failure<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let Err(StoreError::Broken(error)) = result else {
            return result;
        };
        if let (Some(lock), false) = (&self.file.lock, self.durable) {
            run::disk_failed(lock);
        }
        let path = self.file.path.display().to_string();
        Err(StoreError::Broken(if error.contains(&path) {
            error
        } else {
            format!("{path}: {error}")
        }))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::warn!("the store could not be closed: {error}");
        }
    }
}
