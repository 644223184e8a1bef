//! The floor under the disk: below so much free space nothing more is stored, so that there is room for what keeps a server
//! alive, and for whoever cleans up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Free space that is kept where nobody says otherwise: so many bytes,
const USUAL: u64 = 256 << 20;
/// or this part of a small disk.
const PART: u64 = 64;

/// Watches the free space of one disk. Shared as an `Arc`; whoever asks gets what the last look has found.
#[derive(Debug)]
pub struct DiskSpaceMonitor {
    /// A folder on the disk.
    folder: PathBuf,
    /// Bytes to be left free; `None`: as much as is usual.
    least: Option<u64>,
    low: AtomicBool,
}

impl DiskSpaceMonitor {
    /// A floor of `least` free bytes under the disk of `folder`, 0 for none. `None`: 256 MiB, or a 64th of a smaller disk.
    pub fn new(folder: &Path, least: Option<u64>) -> Self {
        Self {
            folder: folder.to_owned(),
            least,
            low: AtomicBool::new(false),
        }
    }

    /// Whether there was too little free space at the last look.
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Looks at the disk, for which it may have to wait. What cannot be told is no reason to refuse anything.
    pub fn look(&self) {
        if self.least == Some(0) {
            return;
        }
        let low = match self.free() {
            Ok((free, all)) => {
                let least = self.least.unwrap_or(USUAL.min(all / PART));
                let low = free < least;
                if low != self.is_low() {
                    if low {
                        log::warn!(free = free, least = least; "too little free disk space (--min-free-disk): nothing more is stored");
                    } else {
                        log::info!(free = free; "there is enough free disk space again");
                    }
                }
                low
            }
            Err(error) => {
                log::debug!("the free disk space cannot be told: {error}");
                false
            }
        };
        self.low.store(low, Ordering::Relaxed);
    }

    /// Free bytes, and all there are.
    fn free(&self) -> io::Result<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        // What is kept for the superuser is not free.
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
    fn the_floor_is_what_it_is_told_to_be() {
        let folder = std::env::temp_dir();
        for (least, low) in [(Some(0), false), (Some(1), false), (Some(u64::MAX), true)] {
            let floor = DiskSpaceMonitor::new(&folder, least);
            floor.look();
            assert_eq!(floor.is_low(), low, "{least:?}");
        }
        let nowhere = DiskSpaceMonitor::new(Path::new("/nowhere/at/all"), Some(u64::MAX));
        nowhere.look();
        assert!(!nowhere.is_low());
    }
}
