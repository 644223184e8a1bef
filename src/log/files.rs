//! The files of a log on a real file system.
//!
//! A file is opened with `O_DIRECT | O_DSYNC`: a write goes from memory to the device and returns when it is durable, in one system
//! call and without the page cache. Where the file system does not support that, which shows when the file is opened or with the
//! first read or write, the file is written through the page cache and synced with `fdatasync`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskFile};

/// The part of a new file that is written at once, in bytes.
const AT_ONCE: u64 = 1 << 20;

/// Files beside another one: `NAME-log0`, `NAME-log1`, and so on.
#[derive(Clone, Debug)]
pub struct Files {
    beside: PathBuf,
    direct: bool,
}

impl Files {
    /// The files beside the file with this path.
    pub fn beside(path: impl Into<PathBuf>) -> Self {
        Self {
            beside: path.into(),
            direct: cfg!(target_os = "linux"),
        }
    }

    /// The same files, written through the page cache.
    #[must_use]
    pub fn cached(self) -> Self {
        Self {
            direct: false,
            ..self
        }
    }

    fn folder(&self) -> &Path {
        match self.beside.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// What the names have before the number.
    fn prefix(&self) -> OsString {
        let mut prefix = self.beside.file_name().unwrap_or_default().to_owned();
        prefix.push("-log");
        prefix
    }

    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let zeros = vec![0; AT_ONCE.min(bytes) as usize];
        let mut at = 0;
        while at < bytes {
            let part = &zeros[..zeros.len().min((bytes - at) as usize)];
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        file.sync_all()?;
        // Direct writes would have to remove the pages from the cache one by one.
        forget(&file)?;
        self.sync()
    }
}

impl Disk for Files {
    type File = SegmentFile;

    fn numbers(&self) -> io::Result<Vec<u32>> {
        let prefix = self.prefix();
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(self.folder())? {
            let name = entry?.file_name();
            let digits = name
                .as_encoded_bytes()
                .strip_prefix(prefix.as_encoded_bytes())
                .and_then(|digits| std::str::from_utf8(digits).ok());
            // Only the form that `path` gives.
            let number = digits.and_then(|digits| {
                let number = digits.parse::<u32>().ok()?;
                (number.to_string() == digits).then_some(number)
            });
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u32) -> PathBuf {
        let mut name = self.prefix();
        name.push(number.to_string());
        self.beside.with_file_name(name)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.folder())?.sync_all()
    }

    fn open(&self, number: u32) -> io::Result<SegmentFile> {
        SegmentFile::open(self.path(number), self.direct)
    }

    fn create(&self, number: u32, bytes: u64) -> io::Result<SegmentFile> {
        let path = self.path(number);
        if let Err(error) = self.fill(&path, bytes) {
            // It takes space that others may need. A start removes it otherwise.
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        self.open(number)
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        std::fs::remove_file(self.path(number))
    }
}

/// A segment's file.
#[derive(Debug)]
pub struct SegmentFile {
    path: PathBuf,
    file: File,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `O_DIRECT | O_DSYNC`, with which nothing has been written yet: the file system may still reject it.
    Untried,
    Direct,
    Cached,
}

impl SegmentFile {
    fn open(path: PathBuf, direct: bool) -> io::Result<Self> {
        if direct {
            match open_direct(&path) {
                Ok(file) => {
                    let mode = Mode::Untried;
                    return Ok(Self { path, file, mode });
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mode = Mode::Cached;
        Ok(Self { path, file, mode })
    }

    /// Reads or writes, and once more through the page cache if the file system turns out not to support direct I/O.
    fn access(&mut self, mut access: impl FnMut(&Self) -> io::Result<()>) -> io::Result<()> {
        match access(self) {
            Err(error) if self.mode == Mode::Untried && is_unsupported(&error) => {
                *self = Self::open(std::mem::take(&mut self.path), false)?;
                access(self)
            }
            result => result,
        }
    }
}

impl DiskFile for SegmentFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        // Also for direct I/O: the process before may have been killed between a write and the flush of the device's cache.
        self.file.sync_data()?;
        forget(&self.file)
    }

    fn read(&mut self, pages: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = self.bytes()?.saturating_sub(offset);
        let length = pages.len().min(rest as usize);
        self.access(|this| read_pages(&this.file, pages, length, offset))
    }

    fn write(&mut self, pages: &[u8], offset: u64) -> io::Result<()> {
        self.access(|this| {
            this.file.write_all_at(pages, offset)?;
            if this.mode == Mode::Cached {
                this.file.sync_data()?;
            }
            Ok(())
        })?;
        if self.mode == Mode::Untried {
            self.mode = Mode::Direct;
        }
        Ok(())
    }

    fn is_cached(&self) -> bool {
        self.mode == Mode::Cached
    }
}

/// Reads the first `length` bytes, after which the file ends or nothing more is needed, and clears the rest. Direct I/O requires that
/// whole pages are requested.
fn read_pages(file: &File, pages: &mut [u8], length: usize, offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        match file.read_at(&mut pages[at..], offset + at as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    pages[length..].fill(0);
    Ok(())
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::InvalidInput.into())
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Has the operating system forget what it keeps of a file in memory, except pages that it has not tried to write yet.
#[cfg(target_os = "linux")]
fn forget(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(
        file,
        0,
        None,
        rustix::fs::Advice::DontNeed,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &File) -> io::Result<()> {
    Ok(())
}
