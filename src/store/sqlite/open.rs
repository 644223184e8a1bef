//! How a store is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::batch::MessageNumbers;
use super::cache::Cache;
use super::change_rate::ChangeRates;
use super::checkpoint::Checkpointer;
use super::entry_rate::EntryRates;
use super::epochs::Epochs;
use super::fault::with_path;
use super::file::{DataFile, connect};
use super::pending::PendingLog;
use super::retention::RetentionSweeper;
use super::run::Run;
use super::shared::Shared;
use super::times::RecordedTimes;
use super::truncation::Truncation;
use super::{Durability, Sqlite, events, migrations, recovery, run};
use crate::store::{PresenceMode, StoreError, StoreOptions, UserStatus};

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
        let has_left_log = recovery::prepare(path)?;
        let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        let names_run = file.lock.as_ref().is_some_and(run::is_named);
        let mut store = Self::open_with(file, synchronous, options)?;
        if has_left_log {
            store.truncation.written(true);
        }
        if is_new && names_run {
            log::warn!(
                "{}: the file of the store was missing, and a new and empty store was created",
                path.display()
            );
        } else if is_new {
            log::info!("{}: a new store was created", path.display());
        }
        Ok(store)
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
        let mut connection = connect(&file.path, synchronous)?;
        let shared = Arc::new(Shared::default());
        let checkpointer =
            Checkpointer::start(&mut connection, &file.path, synchronous, shared.clone());
        let checkpointer = with_path(&file.path, checkpointer)?;
        let log = with_path(&file.path, PendingLog::load(&connection))?;
        shared.set_pending(!log.is_empty());
        shared.set_superseding(log.superseding());
        shared.set_heads(log.heads());
        let files = Arc::new(file.files()?);
        let (run, doubt) = match &file.lock {
            Some(lock) => {
                let (run, doubt) =
                    Run::prepare(&connection, &file.path, lock, synchronous == "NORMAL")?;
                (Some(run), doubt)
            }
            None => (None, None),
        };
        let hasher = with_path(&file.path, migrations::content_hasher(&connection))?;
        let names = with_path(&file.path, migrations::name_hasher(&connection))?;
        if let Some(feed) = &options.events {
            with_path(&file.path, events::keep(&connection, feed))?;
        }
        let mut store = Self {
            hasher,
            names,
            checkpointer,
            connection,
            epochs: Epochs::new(Uuid::nil(), &[]),
            run,
            new_epoch: doubt.is_some(),
            truncation: Truncation::default(),
            failure_logged: None,
            closed: false,
            durable: synchronous == "FULL",
            waits: synchronous == "FULL",
            cache: Cache::new(log.heads()),
            log,
            shared,
            added: 0,
            answered: 0,
            answering: None,
            flush_after: Instant::now(),
            sweeper: RetentionSweeper::default(),
            sweep_at: Instant::now(),
            expire_at: None,
            recorded: RecordedTimes::default(),
            numbers: MessageNumbers::default(),
            change_rates: ChangeRates::default(),
            entry_rates: EntryRates::default(),
            options,
            files,
            log_saved: false,
            file,
        };
        store.begin_first(doubt)?;
        store.end_shown_deferrals()?;
        let epochs = migrations::epochs(&store.connection);
        store.epochs = with_path(&store.file.path, epochs)?;
        Ok(store)
    }

    /// Begins the run when the store is opened. With a full disk that is left to the first commit, so that the store can be
    /// read; but not if clients must learn of a new epoch.
    fn begin_first(&mut self, doubt: Option<&str>) -> Result<(), StoreError> {
        match self.begin() {
            Err(StoreError::Unavailable(error)) if doubt.is_none() => {
                log::warn!("nothing can be stored at the moment: {error}");
            }
            begun => begun?,
        }
        if let Some(doubt) = doubt {
            log::error!(
                "{}: {doubt}. Clients may know messages that are not in it: it gets a new epoch, and clients read their inboxes again",
                self.file.path.display()
            );
        }
        Ok(())
    }

    /// Ends the deferral of receipts that the present setting shows all the same: of users who are not invisible. Otherwise a later
    /// start with the setting that deferred them would hide what was shown.
    fn end_shown_deferrals(&mut self) -> Result<(), StoreError> {
        let has_begun = self.run.as_ref().is_none_or(Run::has_begun);
        if self.options.presence == PresenceMode::Off || !has_begun {
            return Ok(());
        }
        let sql = "DELETE FROM deferred WHERE (SELECT status FROM users WHERE n = deferred.user) IS NOT ?1";
        let invisible = UserStatus::Invisible.number();
        let removed = self.connection.execute(sql, [invisible]);
        match removed.map_err(StoreError::from) {
            Err(StoreError::Unavailable(error)) => {
                log::warn!("deferred receipts could not be removed: {error}");
                Ok(())
            }
            removed => with_path(&self.file.path, removed).map(drop),
        }
    }

    /// Begins the run, unless it has begun.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        let (Some(run), Some(lock)) = (&mut self.run, &self.file.lock) else {
            return Ok(());
        };
        if run.has_begun() {
            return Ok(());
        }
        let synchronous = |value| {
            self.connection
                .pragma_update(None, "synchronous", value)
                .map_err(StoreError::from)
        };
        synchronous("FULL")?;
        let begun = run.begin(&self.connection, &self.file.path, lock, self.new_epoch);
        if !self.durable {
            synchronous("NORMAL")?;
        }
        with_path(&self.file.path, begun)?;
        self.waits = self.durable;
        self.new_epoch = false;
        Ok(())
    }
}
