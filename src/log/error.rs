//! Why the log failed.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Position;

/// Why the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No segment is free, and there may be no more. Nothing was written; a retry succeeds after records were settled.
    #[error(
        "the log is full: none of its {segments} segments is free, as their records are not settled"
    )]
    Full {
        /// The number of segments.
        segments: u32,
    },
    /// The batch does not fit the log, even if nothing else is in it. Nothing was written.
    #[error("a batch of {bytes} bytes is larger than the log")]
    TooLarge {
        /// The length of the batch as it is stored.
        bytes: u64,
    },
    /// There is no space on the disk for a further segment. Nothing was written; a retry may succeed.
    #[error("{}: there is no space for a further segment of the log: {source}", path.display())]
    DiskFull {
        /// The file that was to be created.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// Records that were acknowledged are damaged or missing.
    #[error("{}: the log is damaged at offset {offset}: {problem}", path.display())]
    Damaged {
        /// A segment.
        path: PathBuf,
        /// The place in the file, in bytes.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// A segment is not where it must be: there is none that has this position.
    #[error("{}: the segment of the log that has position {position} is missing, or its beginning is damaged", path.display())]
    Missing {
        /// The files of the log.
        path: PathBuf,
        /// The first position that is missing.
        position: Position,
    },
    /// The log ends before the position up to which its records are settled: it is an earlier state of the log.
    #[error("{}: the log ends at position {end}, but its records are settled up to position {settled}: was an earlier state of the file put back?", path.display())]
    Behind {
        /// The last segment.
        path: PathBuf,
        /// The end of the log.
        end: Position,
        /// The position that the caller gave.
        settled: Position,
    },
    /// The position up to which records are settled is not the end of a batch.
    #[error("position {settled} is not the end of a batch of the log")]
    NotABatch {
        /// The position that the caller gave.
        settled: Position,
    },
    /// The file belongs to another log.
    #[error("{}: the file belongs to the log of another store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of the program has written the file.
    #[error("{}: the file was written by a newer version (format {version})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// A log is to be created where there is something already.
    #[error("{}: the file exists and is not empty", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be opened, read or synced while the log was opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// A write has failed. What the disk has is unknown, so the log must be opened again before anything is appended.
    #[error("{0}")]
    Broken(String),
}

/// How a log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A frame is not readable, and later frames are.
    Frame,
    /// The epoch of a frame is lower than that of the frame before it.
    Epoch,
    /// The frames of a batch do not belong together.
    Batch,
    /// The frame's checksum is right, but its content is not.
    Content,
    /// The file is shorter than the segment.
    Length,
    /// Two files are the same segment.
    Twice,
    /// The segment does not follow the segment before it.
    Order,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "a frame cannot be read, although later ones were written",
            Self::Epoch => "a frame has an earlier epoch than the frame before it",
            Self::Batch => "the frames of a batch do not belong together",
            Self::Content => "the content of a frame is invalid",
            Self::Length => "the file is shorter than the segment",
            Self::Twice => "another file is the same segment",
            Self::Order => "the segment does not continue the one before it",
        })
    }
}

impl LogError {
    /// An error while the log is opened.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// True if the disk or the quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}
