//! Free disk space. With less than a configured minimum no more messages are stored, so that the operating system and the operator who
//! frees space can still write to the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The default minimum in bytes.
const DEFAULT_MIN_FREE: u64 = 256 << 20;
/// On small disks the default minimum is this fraction of the disk.
const DEFAULT_FRACTION: u64 = 64;

/// Monitors the free space of a disk. Shared as an `Arc`; [`DiskSpaceMonitor::is_below_threshold`] returns the result of the last
/// [`DiskSpaceMonitor::check`].
#[derive(Debug)]
pub struct DiskSpaceMonitor {
    /// A folder on the disk.
    folder: PathBuf,
    /// Minimum of free bytes, 0 for none; `None` for the default.
    min_free: Option<u64>,
    below_threshold: AtomicBool,
    /// Free bytes, and the minimum, at the last check. 0 if there was none.
    free: AtomicU64,
    minimum: AtomicU64,
}

impl DiskSpaceMonitor {
    /// Monitors the disk of `folder`. The minimum is `min_free` bytes, 0 for none; by default 256 MiB, or 1/64 of a disk smaller than
    /// 16 GiB.
    pub fn new(folder: &Path, min_free: Option<u64>) -> Self {
        Self {
            folder: folder.to_owned(),
            min_free,
            below_threshold: AtomicBool::new(false),
            free: AtomicU64::new(0),
            minimum: AtomicU64::new(0),
        }
    }

    /// Free bytes, and the minimum of free bytes, at the last check. `None`: nothing is checked, or the system does not tell.
    pub fn free_and_minimum(&self) -> Option<(u64, u64)> {
        let [free, minimum] = [&self.free, &self.minimum].map(|n| n.load(Ordering::Relaxed));
        (minimum > 0).then_some((free, minimum))
    }

    /// Whether the last check found less free space than the minimum.
    pub fn is_below_threshold(&self) -> bool {
        self.below_threshold.load(Ordering::Relaxed)
    }

    /// Checks the free space; this may block. If it cannot be determined, it counts as sufficient.
    pub fn check(&self) {
        if self.min_free == Some(0) {
            return;
        }
        let below = match self.free_and_total() {
            Ok((free, total)) => {
                let min_free = self.min_free;
                let min_free = min_free.unwrap_or(DEFAULT_MIN_FREE.min(total / DEFAULT_FRACTION));
                let below = free < min_free;
                self.free.store(free, Ordering::Relaxed);
                self.minimum.store(min_free, Ordering::Relaxed);
                if below != self.is_below_threshold() {
                    if below {
                        log::warn!(free = free, min_free = min_free; "too little free disk space (--min-free-disk): no more messages are stored");
                    } else {
                        log::info!(free = free; "enough free disk space again: messages are stored");
                    }
                }
                below
            }
            Err(error) => {
                log::debug!("cannot determine the free disk space: {error}");
                false
            }
        };
        self.below_threshold.store(below, Ordering::Relaxed);
    }

    /// Free bytes and size of the disk.
    fn free_and_total(&self) -> io::Result<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        // `f_bavail` excludes the blocks that are reserved for the superuser.
        Ok((
            disk.f_bavail.saturating_mul(disk.f_frsize),
            disk.f_blocks.saturating_mul(disk.f_frsize),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_compared_with_the_minimum() {
        let folder = std::env::temp_dir();
        for (min_free, below) in [(Some(0), false), (Some(1), false), (Some(u64::MAX), true)] {
            let monitor = DiskSpaceMonitor::new(&folder, min_free);
            monitor.check();
            assert_eq!(monitor.is_below_threshold(), below, "{min_free:?}");
            let minimum = monitor.free_and_minimum().map(|(_, minimum)| minimum);
            assert_eq!(minimum, min_free.filter(|minimum| *minimum > 0));
        }
        let unknown = DiskSpaceMonitor::new(Path::new("/nowhere/at/all"), Some(u64::MAX));
        unknown.check();
        assert!(!unknown.is_below_threshold());
    }
}
