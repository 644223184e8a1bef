//! The parts of [`Store::maintain`](crate::store::Store::maintain): flushes of the pending log, the retention sweep, and
//! checkpoints.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use uuid::Uuid;

use super::admin::{self, PartFile};
use super::file::{atomically, with_suffix};
use super::log_record::LogRecord;
use super::retention::RetentionRules;
use super::run::Run;
use super::{Sqlite, migrations};
use crate::store::log_header;
use crate::store::{FileRole, Store as _, StoreError};

/// The minimum number of messages that one call of `maintain` flushes.
const FLUSH_MESSAGES: usize = 128;
/// When a flush has failed, it is tried again after this time.
const FLUSH_RETRY: Duration = Duration::from_millis(500);
/// The pause between two steps of the retention sweep, and between two looks when nothing is left to remove.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A truncated write-ahead log has no more pages than this: those of the record at its beginning.
const FEW_PAGES: usize = 4;
/// The length of such a log in bytes: a header, and a header for each page of 4 KiB.
const SHORT: u64 = log_header::LENGTH as u64 + FEW_PAGES as u64 * (24 + 4096);
/// Failures of a checkpoint are logged at most once within this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

impl Sqlite {
    /// Flushes everything if a reader waits for it; otherwise messages that are due, a few more than the last batch has added, so
    /// that the log does not grow and no batch waits for long. Of entries that move after their messages, one portion.
    pub(super) fn flush_due(&mut self) -> rusqlite::Result<()> {
        let flushed = self.flush_messages().and_then(|()| self.flush_entries());
        if flushed.is_err() {
            self.flush_after = Instant::now() + FLUSH_RETRY;
            if self.shared.requested() > self.answered {
                self.answer(self.shared.requested(), false);
            }
        } else if let Some((request, group)) = self.answering
            && self.log.have_entries_moved(group)
        {
            self.answer(request, true);
        }
        flushed
    }

    fn flush_messages(&mut self) -> rusqlite::Result<()> {
        let all = self.answering.is_none() && self.shared.requested() > self.answered;
        if !all {
            let now = Instant::now();
            let is_due = self.log.due().is_some_and(|due| due <= now);
            // Inboxes are trimmed, and lists settled, when the entries are in their table.
            let is_overdue = self.log.is_empty() && self.cache.has_grown();
            if now < self.flush_after || !is_due && !is_overdue {
                return Ok(());
            }
        }
        let limit = FLUSH_MESSAGES.max(self.added + self.added / 4);
        self.added = 0;
        let selection = self.log.select(if all { usize::MAX } else { limit }, all);
        self.flush_selection(&selection)?;
        if all {
            // Nothing is committed meanwhile, so this also answers requests that were made during the flush.
            self.answering = Some((self.shared.requested(), self.log.close_groups()));
        }
        Ok(())
    }

    fn flush_entries(&mut self) -> rusqlite::Result<()> {
        let now = Instant::now();
        let is_due = self.log.entries_due().is_some_and(|due| due <= now);
        if self.answering.is_some() || is_due && now >= self.flush_after {
            self.flush_portion(false)?;
        }
        Ok(())
    }

    /// Maintenance while a file is displaced. Readers that wait for a flush continue without it.
    pub(super) fn while_displaced(&mut self, role: FileRole) -> Result<Instant, StoreError> {
        self.answer(self.shared.requested(), false);
        if role == FileRole::Log && !self.log_saved {
            self.end_run()?;
            self.log_saved = true;
        }
        Ok(Instant::now() + SWEEP_EVERY)
    }

    /// Moves everything to its place at the end.
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        self.files.check();
        if self.files.displaced() == Some(FileRole::Database) {
            // Another process may use the database file under its new name: it stays as it is, with its log.
            if self.files.is_database_removed() {
                if self.run.is_some() {
                    self.save_removed();
                }
                self.files.remove_orphans();
            }
            return Ok(());
        }
        self.flush()?;
        self.record_end()?;
        let has_begun = self.run.as_ref().is_none_or(Run::has_begun);
        self.end_run()?;
        if has_begun && self.files.are_in_place() {
            // The log is empty, and SQLite removes it. It does so by the name, which may otherwise be that of another store.
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            self.connection.set_db_config(keep, false)?;
        }
        Ok(())
    }

    /// Writes a copy of a database file that was removed, which disappears with the process.
    fn save_removed(&mut self) {
        let path = with_suffix(&self.file.real, &format!(".removed-{}", Uuid::now_v7()));
        let saved = self.flush().and_then(|()| {
            let part = PartFile::create(&path)?;
            admin::copy(&self.connection, &part)?;
            part.put()
        });
        match saved {
            Ok(()) => log::error!(
                file:% = path.display();
                "the database file was removed while the server used it; all that it had is saved in a copy: `dmwire restore` \
                 with the copy puts it back"
            ),
            Err(error) => log::error!(
                "the database file was removed while the server used it, and cannot be saved: {error}"
            ),
        }
    }

    /// Records until when the store was in use, so that a server which nobody has written to for days trusts the clock when it
    /// is restarted.
    fn record_end(&mut self) -> Result<(), StoreError> {
        let has_begun = self.run.as_ref().is_none_or(Run::has_begun);
        let Some(now) = self.expire_at.filter(|_| has_begun) else {
            return Ok(());
        };
        if self.stored_times()?.is_none() {
            return Ok(());
        }
        let (connection, recorded) = (&self.connection, &mut self.recorded);
        let done = atomically(connection, || recorded.update(connection, now, true));
        match done.map_err(StoreError::from) {
            // The disk is full.
            Err(StoreError::Unavailable(_)) => Ok(()),
            done => done,
        }
    }

    /// Copies the whole log to the database file, which then does not need it. A later commit begins the run again.
    fn end_run(&mut self) -> Result<(), StoreError> {
        self.files.set_log_in_use(false);
        match (&mut self.run, &self.file.lock) {
            (Some(run), Some(lock)) if run.has_begun() => run.close(&self.connection, lock),
            _ => Ok(()),
        }
    }

    /// Answers the requests of readers for a flush up to this one.
    pub(super) fn answer(&mut self, request: u64, succeeded: bool) {
        self.answered = request;
        self.answering = None;
        self.shared.answer(request, succeeded);
    }

    /// When a flush is due next. `None`: the log is empty.
    pub(super) fn flush_at(&mut self) -> Option<Instant> {
        if self.shared.requested() > self.answered {
            return Some(Instant::now());
        }
        let due = [self.log.due(), self.log.entries_due()];
        let due = due.into_iter().flatten().min()?;
        Some(due.max(self.flush_after))
    }

    /// Runs a step of the retention sweep if it is due.
    pub(super) fn sweep(&mut self) -> rusqlite::Result<()> {
        if Instant::now() < self.sweep_at {
            return Ok(());
        }
        let freed = self.sweeper.freed_space();
        let rules = RetentionRules {
            retention: &self.options.retention,
            live_cursors: &self.options.live_cursors,
            lost_contacts: &self.options.lost_contacts,
            expire_at: self.expire_at,
            log: &self.log,
            shared: &self.shared,
        };
        let before = self.connection.total_changes();
        let step = self
            .sweeper
            .step(&mut self.connection, &mut self.cache, &rules);
        if self.connection.total_changes() != before {
            self.truncation.written(true);
        }
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

    /// Starts or finishes a checkpoint if it is due.
    ///
    /// # Errors
    /// [`StoreError::Broken`]. Any other failure is logged: nothing is lost, and the checkpoint is tried again.
    pub(super) fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.files.set_log_in_use(self.checkpointer.pages() > 0);
        if self
            .truncation
            .due()
            .is_some_and(|due| due <= Instant::now())
        {
            self.truncation.attempt();
            self.checkpointer.hasten();
        }
        let done = self.mark_end().and_then(|()| {
            if self.checkpointer.after_commit(&self.connection)? {
                self.next_generation()
            } else {
                Ok(())
            }
        });
        match done {
            Err(error) if !matches!(error, StoreError::Broken(_)) => {
                let now = Instant::now();
                if self
                    .failure_logged
                    .is_none_or(|at| now >= at + LOG_INTERVAL)
                {
                    self.failure_logged = Some(now);
                    log::warn!("the checkpoint of the write-ahead log failed: {error}");
                }
                Ok(())
            }
            done => done,
        }
    }

    /// Records the end of a generation of the write-ahead log if the rest of it is to be copied now.
    fn mark_end(&mut self) -> Result<(), StoreError> {
        if !self.checkpointer.is_copied() {
            return Ok(());
        }
        self.wait_for_disk(false)?;
        match &mut self.run {
            Some(run) if run.has_begun() => Ok(run.mark_end(&self.connection)?),
            _ => Ok(()),
        }
    }

    /// Begins a generation of the write-ahead log, which is truncated if it has content that was removed.
    fn next_generation(&mut self) -> Result<(), StoreError> {
        let truncate = self.truncation.is_wanted();
        let limit = |connection: &Connection, bytes: i64| {
            connection.pragma_update(None, "journal_size_limit", bytes)
        };
        if truncate {
            self.files.set_log_in_use(false);
            limit(&self.connection, 0)?;
        }
        // The next commit that waits for the disk includes it.
        let begun = self
            .wait_for_disk(false)
            .and_then(|()| match &mut self.run {
                Some(run) if run.has_begun() => run.next_generation(&self.connection),
                Some(_) => Ok(()),
                // A temporary file has no use for a record, but a truncation needs a commit.
                None => LogRecord::first().write(&self.connection),
            });
        if truncate {
            limit(&self.connection, migrations::LOG_BYTES)?;
            // With more pages than these, a reader has kept the log from starting again at its beginning. SQLite does not report
            // a truncation that fails.
            let is_short = self.file.log_length().is_none_or(|length| length <= SHORT);
            if self.checkpointer.pages() <= FEW_PAGES && is_short {
                self.truncation.done();
            }
        }
        Ok(begun?)
    }
}
