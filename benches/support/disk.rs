//! What the disk itself does, to hold other figures against.

#![allow(dead_code)] // each benchmark uses its own part of it

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of the file, after which it is written from its beginning again.
const WRAP: u64 = 4 << 20;

/// How long a slow disk is looked at.
const ENOUGH: Duration = Duration::from_secs(3);

/// Two points of a distribution, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// What one in a hundred is beyond.
    pub p99: f64,
}

impl Percentiles {
    /// Of these times; 0 when there are none.
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

/// A file in some folder, to write to and to sync.
#[derive(Debug)]
pub struct Sync {
    file: File,
    path: PathBuf,
}

impl Sync {
    /// # Errors
    /// When no file can be made there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("fdatasync-{}", std::process::id()));
        let mut file = File::create(&path)?;
        // The blocks are there already, as those of a log are that begins anew: what is measured is data only.
        file.write_all(&vec![0; WRAP as usize])?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, path })
    }

    /// Writes 4 KiB and waits until they are on disk, as a commit must.
    ///
    /// # Errors
    /// When the disk does not take them.
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

/// How long such writes take in `folder`: `count` of them, or as many as there is time for.
///
/// # Errors
/// When the disk does not take them.
pub fn fdatasync(folder: &Path, count: usize) -> io::Result<Percentiles> {
    let mut sync = Sync::new(folder)?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < count && began.elapsed() < ENOUGH {
        times.push(sync.once()?);
    }
    Ok(Percentiles::of(times))
}
