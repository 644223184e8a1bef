//! What the log requires of a file system. [`Files`](super::Files) is the real one; tests use a model of a disk that loses and
//! reorders writes.

use std::io;
use std::path::PathBuf;

/// The files of a log. They are numbered from 0.
pub trait Disk {
    /// An open file.
    type File: DiskFile;

    /// The numbers of the files that exist.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn numbers(&self) -> io::Result<Vec<u32>>;

    /// The path of a file, for messages.
    fn path(&self, number: u32) -> PathBuf;

    /// Makes the names of the files durable that another process has created.
    ///
    /// # Errors
    /// If the folder cannot be synced.
    fn sync(&self) -> io::Result<()>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&self, number: u32) -> io::Result<Self::File>;

    /// Creates a file of `bytes` zeros, or replaces one. When it returns, the file and its name are durable. After an error there
    /// is no file, or one that is shorter.
    ///
    /// # Errors
    /// If it cannot be written or synced, for example because the disk is full.
    fn create(&self, number: u32, bytes: u64) -> io::Result<Self::File>;

    /// Removes a file.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn remove(&self, number: u32) -> io::Result<()>;
}

/// An open file. Buffers begin at a page boundary in memory; they and the offsets are whole pages.
pub trait DiskFile {
    /// The length in bytes.
    ///
    /// # Errors
    /// If it cannot be examined.
    fn bytes(&self) -> io::Result<u64>;

    /// Makes sure that what [`DiskFile::read`] returns is durable, also if another process has written it and its sync has failed.
    ///
    /// # Errors
    /// If the file cannot be synced.
    fn sync(&mut self) -> io::Result<()>;

    /// Reads a part of the file. What is after its end is read as zeros.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&mut self, pages: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes a part of the file, which is durable when it returns. If it is interrupted, some sectors have the new content and
    /// the others the old one. Sectors that are not written do not change.
    ///
    /// # Errors
    /// If it cannot be written or synced. What the file has is then unknown.
    fn write(&mut self, pages: &[u8], offset: u64) -> io::Result<()>;

    /// True if what was written before a failed sync may still be read, although it is not on the disk.
    fn is_cached(&self) -> bool;
}
