//! Measures the disk itself, as a reference for other figures.

#![allow(dead_code)] // each benchmark uses only a part of it

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Size of the file in bytes; writing then continues at its start.
const WRAP: u64 = 4 << 20;

/// Time limit of a measurement on a slow disk.
const ENOUGH: Duration = Duration::from_secs(3);

/// Two points of a distribution, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Percentiles {
    /// Returns the percentiles of `times`; 0 if there are none.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = times.len().saturating_sub(1) * percent / 100;
            times
                .get(place)
                .map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

/// A file that is written and synced.
#[derive(Debug)]
pub struct Sync {
    file: File,
    path: PathBuf,
}

impl Sync {
    /// Creates the file in `folder`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("fdatasync-{}", std::process::id()));
        let mut file = File::create(&path)?;
        // Allocate all blocks first, as in a log that is overwritten from its start, so that only data writes are measured.
        file.write_all(&vec![0; WRAP as usize])?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, path })
    }

    /// Writes 4 KiB and waits until they are on disk, as a commit does.
    ///
    /// # Errors
    /// Returns an error if writing or syncing fails.
    pub fn once(&mut self) -> io::Result<Duration> {
        if self.file.stream_position()? >= WRAP {
            self.file.seek(SeekFrom::Start(0))?;
        }
        let began = Instant::now();
        self.file.write_all(&[0x5A; 4096])?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Measures `count` such writes in `folder`, or fewer if the time limit is reached.
///
/// # Errors
/// Returns an error if creating, writing or syncing the file fails.
pub fn fdatasync(folder: &Path, count: usize) -> io::Result<Percentiles> {
    let mut sync = Sync::new(folder)?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < count && began.elapsed() < ENOUGH {
        times.push(sync.once()?);
    }
    Ok(Percentiles::of(times))
}
