//! Moving the write-ahead log into the main file, beside the writer instead of in it: a checkpoint waits for the disk, and
//! a send should not wait with it.
//!
//! A thread with a connection of its own copies most of the log while the writer goes on (SQLite calls it a passive
//! checkpoint). What was appended meanwhile is little, so the writer then copies the rest itself between two batches, and
//! the log begins anew; without that last step it would never end under a steady load.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::file::BUSY_TIMEOUT;

/// Pages of 4 KiB in the log before they are copied.
const PAGES: usize = 2000;
/// Pages that the writer is ready to copy itself.
const FEW_PAGES: i64 = 400;
/// Rounds of copying beside the writer, each of what was appended during the one before.
const ROUNDS: usize = 4;

const IDLE: u8 = 0;
const COPYING: u8 = 1;
const COPIED: u8 = 2;

/// Knows how long the log is, and has it copied.
#[derive(Debug)]
pub struct Checkpointer {
    /// Pages in the log, as of the last commit.
    pages: Arc<AtomicUsize>,
    /// All of it is to be copied, however little it is.
    hastened: AtomicBool,
    /// `IDLE`, `COPYING` (the thread's turn) or `COPIED` (the writer's).
    state: Arc<AtomicU8>,
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Takes the copying over from `connection`, which is the writing one.
    ///
    /// # Errors
    /// When the thread cannot be started or the file not opened once more.
    pub fn start(
        connection: &mut Connection,
        path: &Path,
        synchronous: &str,
    ) -> Result<Self, String> {
        let said = |error: rusqlite::Error| error.to_string();
        let pages = Arc::new(AtomicUsize::new(0));
        let counted = pages.clone();
        // This also takes the place of SQLite's own automatic checkpoint, which is such a hook.
        let hook = move |_: &'_ mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counted.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(hook)).map_err(said)?;
        let copier = Connection::open(path).map_err(said)?;
        copier.busy_timeout(BUSY_TIMEOUT).map_err(said)?;
        copier
            .pragma_update(None, "synchronous", synchronous)
            .map_err(said)?;
        let state = Arc::new(AtomicU8::new(IDLE));
        let shared = state.clone();
        let (ask, asked) = sync_channel::<()>(1);
        let thread = std::thread::Builder::new()
            .name("checkpointer".into())
            .spawn(move || {
                while asked.recv().is_ok() {
                    for _ in 0..ROUNDS {
                        match copy(&copier) {
                            Ok(left) if left > FEW_PAGES => {}
                            Ok(_) => break,
                            Err(error) => {
                                log::warn!("copying the write-ahead log: {error}");
                                break;
                            }
                        }
                    }
                    shared.store(COPIED, Ordering::Release);
                }
            })
            .map_err(|error| error.to_string())?;
        Ok(Self {
            pages,
            hastened: AtomicBool::new(false),
            state,
            ask: Some(ask),
            thread: Some(thread),
        })
    }

    /// Called by the writer after a commit: asks for copying when the log has grown, and finishes it when it was done.
    ///
    /// # Errors
    /// When the rest cannot be copied; the log then stays as it is.
    pub fn after_commit(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self.state.load(Ordering::Acquire) {
            IDLE if self.pages.load(Ordering::Relaxed) >= PAGES
                || self.hastened.load(Ordering::Relaxed) =>
            {
                self.state.store(COPYING, Ordering::Release);
                if let Some(ask) = &self.ask {
                    // The thread takes one request at a time, and there is none: it is idle.
                    let _ = ask.try_send(());
                }
            }
            COPIED => {
                self.state.store(IDLE, Ordering::Release);
                if copy(connection)? == 0 {
                    self.pages.store(0, Ordering::Relaxed);
                    self.hastened.store(false, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Has the log copied soon, however short it is: the main file shrinks no sooner. It stays asked for until it is done, whatever
    /// is committed meanwhile.
    pub fn hasten(&self) {
        self.hastened.store(true, Ordering::Relaxed);
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It has said in the log what went wrong, if anything did.
            drop(thread.join());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies what can be copied without waiting for anybody. Gives the number of pages that are left.
fn copy(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
        let (log, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(log - copied)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_copied_soon_is_so_in_spite_of_later_commits() {
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
        let mut checkpointer = Checkpointer::start(&mut connection, &path, "normal").unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        checkpointer.after_commit(&connection).unwrap();
        assert_eq!(
            checkpointer.state.load(Ordering::Acquire),
            IDLE,
            "it is short"
        );
        checkpointer.hasten();
        connection
            .execute_batch("INSERT INTO t VALUES (1)")
            .unwrap();
        checkpointer.after_commit(&connection).unwrap();
        // The thread ends when it has done what it was asked.
        checkpointer.stop();
        assert_eq!(checkpointer.state.load(Ordering::Acquire), COPIED);
        checkpointer.after_commit(&connection).unwrap();
        assert!(!checkpointer.hastened.load(Ordering::Relaxed));
        drop((checkpointer, connection));
        remove();
    }
}
