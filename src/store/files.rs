//! The files of a running store: whether they are still where the store opened them.
//!
//! A program continues to use a file that it has opened after the file's name is removed, moved, or given to another file. Commits
//! then succeed, and the next start does not find them. [`StoreFiles`] therefore compares device and inode of the files with those
//! that were opened: the server does so once a second, and the writer before a commit.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::log_header::LogHeader;

/// Before a commit, the files are checked if the last check is older.
const RECENT: Duration = Duration::from_millis(50);

/// Identifies a file independently of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file of these metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The file that has this name; a symbolic link is followed.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be examined.
    pub fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }
}

/// What a file is to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// The database.
    Database,
    /// The write-ahead log, which has the newest commits.
    Log,
    /// The index of the write-ahead log, through which the processes that use the store coordinate.
    Index,
    /// The lock that keeps a second server from using the store.
    Lock,
}

impl FileRole {
    const ALL: [Self; 4] = [Self::Database, Self::Log, Self::Index, Self::Lock];

    fn number(self) -> u8 {
        self as u8 + 1
    }

    fn name(self) -> &'static str {
        match self {
            Self::Database => "the database file",
            Self::Log => "the write-ahead log",
            Self::Index => "the index of the write-ahead log",
            Self::Lock => "the lock file of the store",
        }
    }

    /// What the operator can do.
    fn remedy(self) -> &'static str {
        match self {
            Self::Database => {
                "put the file itself back, not a copy, and the server continues; otherwise stop the server, restore a backup with \
                 `dmwire restore`, and start it again"
            }
            Self::Log => {
                "its content is copied to the database file now: stop the server with SIGTERM and start it again; or put the file \
                 itself back, not a copy, and the server continues"
            }
            Self::Index => "stop the server with SIGTERM and start it again",
            Self::Lock => {
                "another dmwire may have been started on this store: stop both with SIGTERM, and start one again"
            }
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Missing,
    Replaced,
    Truncated,
    Unreadable(ErrorKind),
}

/// A file by one of its names.
#[derive(Debug)]
struct Named {
    role: FileRole,
    path: PathBuf,
    id: FileId,
}

impl Named {
    /// True if another program has truncated the file. The next commit makes a log longer again, but without its beginning.
    fn is_truncated(&self, metadata: &Metadata, log_in_use: &AtomicBool) -> bool {
        match self.role {
            FileRole::Database => metadata.len() == 0,
            FileRole::Log => {
                let header = LogHeader::read(&self.path);
                let has_none = header.is_ok_and(|header| !header.is_some_and(|it| it.has_magic()));
                // Examined last: the store itself may have emptied the log meanwhile.
                has_none && log_in_use.load(Ordering::Acquire)
            }
            FileRole::Index | FileRole::Lock => false,
        }
    }

    fn problem(&self, log_in_use: &AtomicBool) -> Option<Problem> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if FileId::of(&metadata) != self.id => Some(Problem::Replaced),
            Ok(metadata) => self
                .is_truncated(&metadata, log_in_use)
                .then_some(Problem::Truncated),
            Err(error) => Some(match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Problem::Missing,
                kind => Problem::Unreadable(kind),
            }),
        }
    }
}

/// The files of a running store. Shared as an `Arc`.
#[derive(Debug, Default)]
pub struct StoreFiles {
    checked: Mutex<Checked>,
    /// The result of the last check: the role of the first displaced file as a number, 0 if there is none.
    displaced: AtomicU8,
    /// The write-ahead log has commits, so that it has a header.
    log_in_use: AtomicBool,
    /// When the last check ended: in milliseconds since `Checked::started`, plus one; 0 before the first check.
    checked_at: AtomicU64,
    started: Option<Instant>,
}

#[derive(Debug, Default)]
struct Checked {
    /// The database first, so that a problem of the whole folder is reported as one of the database.
    files: Vec<Named>,
    /// The problem that the last check has found and logged, and the index of its file.
    found: Option<(usize, Problem)>,
    /// Locks that replace a removed lock file.
    locks: Vec<File>,
}

impl StoreFiles {
    /// The files of a store, each with its role and a path that must lead to it. A store without files passes none.
    ///
    /// # Errors
    /// If a file is not there.
    pub fn new(files: impl IntoIterator<Item = (FileRole, PathBuf)>) -> io::Result<Self> {
        let files = files.into_iter().map(|(role, path)| {
            let id = FileId::at(&path)?;
            Ok(Named { role, path, id })
        });
        let files = files.collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            checked: Mutex::new(Checked {
                files,
                ..Checked::default()
            }),
            started: Some(Instant::now()),
            ..Self::default()
        })
    }

    /// The first file that was not in its place at the last check: the database file before others.
    pub fn displaced(&self) -> Option<FileRole> {
        let number = self.displaced.load(Ordering::Acquire);
        FileRole::ALL
            .into_iter()
            .find(|role| role.number() == number)
    }

    /// Whether all files were in their place at the last check.
    pub fn are_in_place(&self) -> bool {
        self.displaced().is_none()
    }

    /// Whether the log has commits. To be set to false before the store empties it.
    pub fn set_log_in_use(&self, in_use: bool) {
        self.log_in_use.store(in_use, Ordering::Release);
    }

    /// As [`StoreFiles::check`], unless a check was made a moment ago.
    pub fn check_before_commit(&self) -> bool {
        let checked_at = self.checked_at.load(Ordering::Relaxed);
        let is_recent = checked_at > 0 && self.now() < checked_at + RECENT.as_millis() as u64;
        if is_recent {
            self.are_in_place()
        } else {
            self.check()
        }
    }

    /// Checks all files, and logs a change. Returns whether all are in their place. It may block as long as the file system does.
    pub fn check(&self) -> bool {
        let mut checked = match self.checked.try_lock() {
            Ok(checked) => checked,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is checking.
            Err(TryLockError::WouldBlock) => return self.are_in_place(),
        };
        let found = checked.find_problem(&self.log_in_use);
        let displaced = found.map_or(0, |(at, problem)| match problem {
            // A log without its beginning must not be copied to the database.
            Problem::Truncated => FileRole::Database.number(),
            _ => checked.files[at].role.number(),
        });
        self.displaced.store(displaced, Ordering::Release);
        self.checked_at.store(self.now(), Ordering::Relaxed);
        checked.log_change(found);
        found.is_none()
    }

    /// True if the database file was removed, or another one was renamed to its name: this process is the last to have it.
    pub fn is_database_removed(&self) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = checked.files.iter();
        files.any(|file| file.role == FileRole::Database && has_no_name(file.id))
    }

    /// Removes the log and its index after the database file was removed: nobody can use them, and they must not be mixed with
    /// a file that was put in its place.
    pub fn remove_orphans(&self) {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        for file in &checked.files {
            let is_orphan = matches!(file.role, FileRole::Log | FileRole::Index);
            if is_orphan && file.problem(&AtomicBool::new(false)).is_none() {
                // If it cannot be removed, the next start refuses to use it.
                drop(std::fs::remove_file(&file.path));
            }
        }
    }

    fn now(&self) -> u64 {
        self.started
            .map_or(0, |started| started.elapsed().as_millis() as u64)
            + 1
    }
}

/// True if this process has the file open, and it was removed or replaced. A file that was moved has a name.
fn has_no_name(id: FileId) -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return false;
    };
    open.flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .any(|metadata| FileId::of(&metadata) == id && metadata.nlink() == 0)
}

impl Checked {
    /// Returns the first problem, and the index of its file.
    fn find_problem(&mut self, log_in_use: &AtomicBool) -> Option<(usize, Problem)> {
        let problems = self.files.iter().map(|file| file.problem(log_in_use));
        let mut found = problems
            .enumerate()
            .find_map(|(at, problem)| problem.map(|problem| (at, problem)));
        if let Some((at, Problem::Missing)) = found
            && self.files[at].role == FileRole::Lock
            && self.lock_again(at)
        {
            found = None;
        }
        found
    }

    fn log_change(&mut self, found: Option<(usize, Problem)>) {
        if found == self.found {
            return;
        }
        self.found = found;
        match found {
            Some((at, problem)) => self.files[at].log(problem),
            None => {
                log::info!("the files of the store are in their place again: messages are stored");
            }
        }
    }

    /// Creates and locks the lock file again after it was removed. Not if another process has created it meanwhile: that may have
    /// changed the store.
    fn lock_again(&mut self, at: usize) -> bool {
        let path = &self.files[at].path;
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let Ok(lock) = created else {
            return false;
        };
        let (Ok(()), Ok(metadata)) = (lock.try_lock(), lock.metadata()) else {
            return false;
        };
        log::warn!(file:% = path.display(); "the lock file of the store was removed, and has been created again");
        self.files[at].id = FileId::of(&metadata);
        self.locks.push(lock);
        true
    }
}

impl Named {
    fn log(&self, problem: Problem) {
        let what = match problem {
            Problem::Missing => "has been removed or moved".to_owned(),
            Problem::Replaced => "has been replaced by another file".to_owned(),
            Problem::Truncated => "has been truncated by another program".to_owned(),
            Problem::Unreadable(kind) => format!("cannot be examined ({kind})"),
        };
        let name = self.role.name();
        let remedy = match problem {
            Problem::Truncated => {
                "stop the server, restore a backup with `dmwire restore`, and start it again"
            }
            _ => self.role.remedy(),
        };
        log::error!(file:% = self.path.display(); "{name} {what}: nothing more is stored; {remedy}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_lock_file_is_locked_again_and_a_replaced_file_is_not_accepted() {
        let name = format!("dmwire-files-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (database, lock) = (folder.join("db"), folder.join("db-lock"));
        std::fs::write(&database, "1").unwrap();
        std::fs::write(&lock, "").unwrap();
        let named = [
            (FileRole::Database, database.clone()),
            (FileRole::Lock, lock.clone()),
        ];
        let files = StoreFiles::new(named).unwrap();
        assert!(files.check());
        std::fs::remove_file(&lock).unwrap();
        assert!(files.check());
        let second = File::open(&lock).unwrap();
        assert!(second.try_lock().is_err(), "the new file is locked");
        // Renamed and not removed, so that the new file gets another inode.
        std::fs::rename(&lock, folder.join("old")).unwrap();
        std::fs::write(&lock, "").unwrap();
        assert!(!files.check());
        assert_eq!(files.displaced(), Some(FileRole::Lock));
        std::fs::rename(folder.join("old"), &lock).unwrap();
        std::fs::rename(&database, folder.join("moved")).unwrap();
        assert!(!files.check());
        assert_eq!(files.displaced(), Some(FileRole::Database));
        std::fs::rename(folder.join("moved"), &database).unwrap();
        assert!(files.check() && files.are_in_place());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
