//! Checkpoints: copies SQLite's write-ahead log into the main file on a separate thread, because a checkpoint waits for the
//! disk and writes should not wait with it.
//!
//! The thread has a connection of its own and copies most of the log while the writer continues (a passive checkpoint). Little
//! is appended meanwhile, so the writer then copies the rest itself between two batches, and the log starts again at its
//! beginning. Without that last step the log would grow for ever under a steady load.
//!
//! If a checkpoint fails because the disk does, the store must not be used any more, although nothing of a later commit fails:
//! SQLite counts pages of an incomplete checkpoint as copied before the main file is synced.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::fault::with_path;
use super::file::{BUSY_TIMEOUT, open_all};
use super::shared::Shared;
use crate::store::StoreError;

/// A checkpoint starts when the log has this many pages of 4 KiB.
const PAGES: usize = 2000;
/// The maximum number of pages that are left for the writer.
const FEW_PAGES: i64 = 400;
/// The number of rounds of the thread; each copies what was appended during the previous one.
const ROUNDS: usize = 4;

const IDLE: u8 = 0;
const COPYING: u8 = 1;
const COPIED: u8 = 2;

/// Starts checkpoints when the log is long enough.
#[derive(Debug)]
pub struct Checkpointer {
    /// The number of pages in the log after the last commit.
    pages: Arc<AtomicUsize>,
    /// A checkpoint is to start although the log is short.
    hastened: AtomicBool,
    /// `IDLE`, `COPYING` (the thread is at work) or `COPIED` (the writer has to copy the rest).
    state: Arc<AtomicU8>,
    /// Why the thread cannot continue.
    broken: Arc<OnceLock<String>>,
    start: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Replaces the automatic checkpoints of `connection`, which is the writing one. The thread wakes the store when it has
    /// copied the log.
    ///
    /// # Errors
    /// If the thread cannot be started or the file cannot be opened.
    pub fn start(
        connection: &mut Connection,
        path: &Path,
        synchronous: &str,
        waking: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicUsize::new(0));
        let counted = pages.clone();
        // SQLite's automatic checkpoint is such a hook, which this one replaces.
        let hook = move |_: &'_ mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counted.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(hook))?;
        let copier = Connection::open(path)?;
        copier.busy_timeout(BUSY_TIMEOUT)?;
        copier.pragma_update(None, "synchronous", synchronous)?;
        open_all(&copier)?;
        let state = Arc::new(AtomicU8::new(IDLE));
        let broken = Arc::new(OnceLock::new());
        let (shared, failed) = (state.clone(), broken.clone());
        let (start, started) = sync_channel::<()>(1);
        let thread = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || {
                while started.recv().is_ok() {
                    for _ in 0..ROUNDS {
                        match copy(&copier) {
                            Ok(left) if left > FEW_PAGES => {}
                            Err(StoreError::Broken(error)) => {
                                let _ = failed.set(error);
                                break;
                            }
                            // The writer tries it again, and reports why it fails.
                            Ok(_) | Err(_) => break,
                        }
                    }
                    shared.store(COPIED, Ordering::Release);
                    waking.wake();
                }
            });
        let thread = with_path(path, thread)?;
        Ok(Self {
            pages,
            hastened: AtomicBool::new(false),
            state,
            broken,
            start: Some(start),
            thread: Some(thread),
        })
    }

    /// Checks that the store may still be used.
    ///
    /// # Errors
    /// [`StoreError::Broken`], which the thread has met.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            Some(error) => Err(StoreError::Broken(error.clone())),
            None => Ok(()),
        }
    }

    /// The number of pages in the log after the last commit, 0 after a complete checkpoint.
    pub fn pages(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }

    /// Called by the writer after a commit: starts a checkpoint when the log is long enough, and finishes one that the thread
    /// has done. True: the whole log has been copied.
    ///
    /// # Errors
    /// If the log cannot be copied; it then stays as it is.
    pub fn after_commit(&self, connection: &Connection) -> Result<bool, StoreError> {
        match self.state.load(Ordering::Acquire) {
            IDLE if self.pages.load(Ordering::Relaxed) >= PAGES
                || self.hastened.load(Ordering::Relaxed) =>
            {
                self.state.store(COPYING, Ordering::Release);
                if let Some(start) = &self.start {
                    // The channel has room: the thread is idle.
                    let _ = start.try_send(());
                }
            }
            COPIED => {
                self.state.store(IDLE, Ordering::Release);
                self.check()?;
                if copy(connection)? == 0 {
                    self.pages.store(0, Ordering::Relaxed);
                    self.hastened.store(false, Ordering::Relaxed);
                    return Ok(true);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// True if the thread has copied what it could, and `after_commit` will copy the rest.
    pub fn is_copied(&self) -> bool {
        self.state.load(Ordering::Acquire) == COPIED
    }

    /// Requests a checkpoint although the log is short, because the main file shrinks, and the log can be truncated, only with
    /// one. The request stays until it is done, whatever is committed meanwhile.
    pub fn hasten(&self) {
        self.hastened.store(true, Ordering::Relaxed);
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        self.start = None;
        if let Some(thread) = self.thread.take() {
            // It reports errors through `check`.
            drop(thread.join());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies the pages that can be copied without waiting for readers. Returns the number of pages that are left.
fn copy(connection: &Connection) -> Result<i64, StoreError> {
    let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
        let (log, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(log - copied)
    });
    copied.map_err(|error| match StoreError::from(error) {
        // SQLite reports an I/O error of a read as "malformed". A checkpoint has no other reason to do so.
        StoreError::Failed(error) => {
            StoreError::Broken(format!("the write-ahead log cannot be copied: {error}"))
        }
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requested_checkpoint_is_done_despite_later_commits() {
        let name = format!("dmwire-checkpoint-{}.db", std::process::id());
        let path = std::env::temp_dir().join(name);
        let remove = || {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", path.display()));
            }
        };
        remove();
        let mut connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "journal_mode", "wal")
            .unwrap();
        let mut checkpointer =
            Checkpointer::start(&mut connection, &path, "normal", Arc::default()).unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        checkpointer.after_commit(&connection).unwrap();
        assert_eq!(
            checkpointer.state.load(Ordering::Acquire),
            IDLE,
            "the log is short"
        );
        checkpointer.hasten();
        connection
            .execute_batch("INSERT INTO t VALUES (1)")
            .unwrap();
        checkpointer.after_commit(&connection).unwrap();
        // Joins the thread, which finishes the checkpoint first.
        checkpointer.stop();
        assert_eq!(checkpointer.state.load(Ordering::Acquire), COPIED);
        assert!(checkpointer.after_commit(&connection).unwrap());
        assert!(!checkpointer.hastened.load(Ordering::Relaxed));
        drop((checkpointer, connection));
        remove();
    }
}
