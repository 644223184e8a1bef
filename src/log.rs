//! A write-ahead log: records are appended in batches, each of which is durable when [`Log::append`] returns. The log knows nothing
//! of what the records mean. Their owner copies them to another place, where they are *settled*, and the log uses their space again.
//!
//! **Segments.** The log is a sequence of files of a fixed length. Each is filled with zeros once, and used again when its records
//! are settled: so a write changes no metadata of the file system, and is one request to the device. A segment begins with a header:
//! the id of the log, the epoch, the sequence number of the segment and the position of its beginning. It ends with a *seal*, which
//! is written after the header of the next segment and before the first record there. So a sealed segment has a successor, and it
//! is an error if that is missing.
//!
//! **Positions.** A position is an offset in the sequence of all segments. It never decreases, also when a segment is used again. What a
//! file still has from its earlier uses has lower positions than its header, and is never taken for something new.
//!
//! **Frames.** A batch is one frame: a header with length, CRC32C, position and epoch, and the records, each with its length. A frame
//! begins on a new page of 4 KiB and is written at once, as whole pages. Pages that were acknowledged are never written again before
//! they are settled: whatever an interrupted write does to its sectors, it damages nothing that was acknowledged. (Continuing on the
//! last page would save space, but it requires of the device that an interrupted write of a sector leaves the old or the new
//! content.) A batch that does not fit the rest of a segment is continued by a frame in the next one. A batch survives as a whole
//! or not at all.
//!
//! **Incomplete or damaged.** At most one write is under way. After a crash, the frame of this write may be incomplete: it was not
//! acknowledged, and is cut. A frame that cannot be read while there is a later one, with a higher position, was acknowledged: then the
//! log is damaged, and it is not opened. `recovery` has the details. Damage of the very last frame cannot be told from an incomplete
//! write, unless its records are settled.
//!
//! **Epochs.** Each run, from one opening of the log to the next, has an epoch. Epochs never decrease in the sequence of frames. A batch
//! with several frames is continued only by frames of its own epoch.
//!
//! **Errors.** After a failed write the log is broken: nothing more can be appended. Only a full disk while a further segment is created
//! is not such an error, because no record has been written then. Space for all of a batch is created before any of it is written.

pub mod disk;
mod error;
mod files;
mod format;
mod pages;
mod recovery;
mod segment;
mod walk;

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::io;

use uuid::Uuid;

pub use disk::{Disk, DiskFile};
pub use error::{LogError, Problem};
pub use files::{Files, SegmentFile};
pub use format::PAGE;
pub use recovery::Recovery;

use error::is_full;
use format::{
    FIRST, FrameHeader, HEADER, LAST, MAX_SEGMENT_BYTES, SEAL, SegmentHeader, frame_length,
};
use pages::Pages;
use segment::{FreeFile, Segment};

/// The memory that is kept between batches, in bytes.
const KEPT: usize = 1 << 20;

/// A place in the log. [`Log::append`] returns the position after the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before all records.
    pub const START: Self = Self(0);

    /// The position with this number.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, to be stored.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    segment_bytes: u64,
    segments: u32,
}

impl Options {
    /// Segments of about this size, and not more than this number of them. Both are changed if they are not possible: a segment has
    /// whole pages, at least 3, and there are at least 2 segments.
    pub fn new(segment_bytes: u64, segments: u32) -> Self {
        let page = PAGE as u64;
        Self {
            segment_bytes: segment_bytes
                .clamp(3 * page, MAX_SEGMENT_BYTES)
                .next_multiple_of(page),
            segments: segments.max(2),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(16 << 20, 8)
    }
}

/// A file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The number of the file.
    pub number: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// It is a segment that has records, or is the last one. Otherwise it can be used again.
    pub is_used: bool,
}

/// A log. It belongs to one thread, and no other process may use its files: the owner holds a lock.
#[derive(Debug)]
pub struct Log<D: Disk = Files> {
    disk: D,
    options: Options,
    id: Uuid,
    epoch: u64,
    /// The segments with records that are not settled, and the last segment.
    live: VecDeque<Segment<D::File>>,
    /// Files that can be used again.
    free: Vec<FreeFile<D::File>>,
    /// Where the next frame begins in the last segment. A page for the seal follows.
    offset: u64,
    /// The frame that is written.
    pages: Pages,
    /// Why nothing can be appended any more.
    broken: Option<String>,
}

impl<D: Disk> Log<D> {
    /// Creates a log, which is durable when this returns. The id must be random: clients must not know it, because the content of
    /// records is told from headers of frames by it.
    ///
    /// # Errors
    /// If the files cannot be created, or there are such files that are not empty.
    pub fn create(disk: D, options: Options, id: Uuid) -> Result<Self, LogError> {
        recovery::remove_leftovers(&disk)?;
        let path = disk.path(0);
        let header = SegmentHeader {
            id,
            epoch: 1,
            sequence: 1,
            base: 0,
            bytes: options.segment_bytes,
        };
        let file = match disk.create(0, header.bytes) {
            Err(source) if is_full(&source) => return Err(LogError::DiskFull { path, source }),
            file => file.map_err(|error| LogError::io(&path, error))?,
        };
        let file = FreeFile {
            number: 0,
            file,
            bytes: header.bytes,
        };
        let segment = file.begin(header);
        let segment = segment.map_err(|(_, error)| LogError::io(&path, error))?;
        Ok(Self {
            disk,
            options,
            id,
            epoch: header.epoch,
            live: VecDeque::from([segment]),
            free: Vec::new(),
            offset: PAGE as u64,
            pages: Pages::default(),
            broken: None,
        })
    }

    /// Opens a log. Records up to `settled`, a position that [`Log::append`] has returned, or [`Position::START`], are not needed any
    /// more. `each` is called with all others in order, each with the position of its batch, which is the one that `append` has
    /// returned. Nothing may be done with them before this returns: only then is it known that none is missing.
    ///
    /// # Errors
    /// If records that were acknowledged are damaged or missing, or the files cannot be read or written.
    pub fn open(
        disk: D,
        options: Options,
        id: Uuid,
        settled: Position,
        mut each: impl FnMut(Position, &[u8]),
    ) -> Result<(Self, Recovery), LogError> {
        let recovered = recovery::recover(&disk, options.segment_bytes, id, settled, &mut each)?;
        let mut log = Self {
            disk,
            options,
            id,
            epoch: recovered.epoch,
            live: recovered.live.into(),
            free: recovered.free,
            offset: recovered.offset,
            pages: Pages::default(),
            broken: None,
        };
        // What an incomplete write has left at the end must never be read as a frame. This also shows whether direct I/O works.
        let last = log.last();
        let number = last.number;
        let cleared = last.clear_page(recovered.offset);
        cleared.map_err(|error| LogError::io(&log.disk.path(number), error))?;
        Ok((log, recovered.summary))
    }

    /// Appends records, which are durable when this returns, and returns the position after them. After a crash either all of them
    /// are there or none.
    ///
    /// # Errors
    /// [`LogError::Full`], [`LogError::TooLarge`] and [`LogError::DiskFull`]: nothing was written. [`LogError::Broken`]: the outcome is
    /// unknown, and nothing can be appended any more.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Position, LogError> {
        if let Some(reason) = &self.broken {
            return Err(LogError::Broken(reason.clone()));
        }
        if records.is_empty() {
            return Ok(self.end());
        }
        let lengths = records.iter().map(|record| 4 + record.as_ref().len());
        let content = lengths.sum();
        self.reserve(content)?;
        self.pages.clear();
        self.pages.reserve(frame_length(content));
        self.pages.resize(HEADER);
        for record in records {
            let record = record.as_ref();
            // `reserve` has rejected a batch that is longer.
            self.pages.extend(&(record.len() as u32).to_le_bytes());
            self.pages.extend(record);
        }
        let written = self.write_batch();
        self.pages.shrink(KEPT);
        match written {
            Ok(()) => Ok(self.end()),
            Err((number, error)) => Err(self.fail(number, &error)),
        }
    }

    /// The position after all records.
    pub fn end(&self) -> Position {
        let base = self.live.back().map_or(0, |last| last.header.base);
        Position(base + self.offset)
    }

    /// Frees the segments all of whose records are before `settled`. This position must be durable, as [`Log::open`] needs it.
    pub fn recycle(&mut self, settled: Position) {
        let is_free = |segment: &Segment<D::File>| segment.header.end() <= settled.0;
        while self.live.len() > 1 && self.live.front().is_some_and(is_free) {
            self.free.extend(self.live.pop_front().map(Segment::free));
        }
    }

    /// The id of the log.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The number of the run: it increases with each opening after which something was appended.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The bytes from the first record that may not be settled to the end.
    pub fn used_bytes(&self) -> u64 {
        let first = self.live.front().map_or(0, |first| first.header.base);
        self.end().0 - first
    }

    /// The bytes that the log can have.
    pub fn capacity(&self) -> u64 {
        u64::from(self.options.segments) * self.options.segment_bytes
    }

    /// The files of the log.
    pub fn files(&self) -> impl Iterator<Item = LogFile> {
        let live = self.live.iter().map(|segment| LogFile {
            number: segment.number,
            bytes: segment.header.bytes,
            is_used: true,
        });
        live.chain(self.free.iter().map(|file| LogFile {
            number: file.number,
            bytes: file.bytes,
            is_used: false,
        }))
    }

    fn last(&mut self) -> &mut Segment<D::File> {
        self.live
            .back_mut()
            .expect("there is always a last segment")
    }

    /// The bytes that frames can take in the last segment.
    fn room(&self) -> usize {
        let bytes = self.live.back().map_or(0, |last| last.header.bytes);
        (bytes - PAGE as u64 - self.offset) as usize
    }

    /// Creates segments until all of a batch with this content fits.
    fn reserve(&mut self, content: usize) -> Result<(), LogError> {
        let mut room = self.room().saturating_sub(HEADER);
        if content <= room {
            return Ok(());
        }
        let bytes = self.options.segment_bytes;
        let most = room_of(bytes) * (self.options.segments as usize - 1);
        if content > most || u32::try_from(content).is_err() {
            let bytes = content as u64;
            return Err(LogError::TooLarge { bytes });
        }
        room += self
            .free
            .iter()
            .map(|file| room_of(file.bytes))
            .sum::<usize>();
        while room < content {
            if self.live.len() + self.free.len() >= self.options.segments as usize {
                let segments = self.options.segments;
                return Err(LogError::Full { segments });
            }
            let number = self.unused_number();
            let file = match self.disk.create(number, bytes) {
                Ok(file) => file,
                Err(source) if is_full(&source) => {
                    let path = self.disk.path(number);
                    return Err(LogError::DiskFull { path, source });
                }
                Err(error) => return Err(self.fail(number, &error)),
            };
            self.free.push(FreeFile {
                number,
                file,
                bytes,
            });
            room += room_of(bytes);
        }
        Ok(())
    }

    fn unused_number(&self) -> u32 {
        let used: Vec<u32> = self.files().map(|file| file.number).collect();
        let mut numbers = 0..=used.len() as u32;
        numbers
            .find(|number| !used.contains(number))
            .unwrap_or_default()
    }

    /// Writes the batch whose content is in `pages`, after space for a header. The error has the number of the file.
    fn write_batch(&mut self) -> Result<(), (u32, io::Error)> {
        let mut first = FIRST;
        loop {
            if self.room() == 0 {
                self.begin_segment()?;
            }
            let room = self.room();
            let content = self.pages.len() - HEADER;
            let is_last = frame_length(content) <= room;
            let part = if is_last { content } else { room - HEADER };
            let flags = first | if is_last { LAST } else { 0 };
            let checksum = crc32c::crc32c(&self.pages.as_slice()[HEADER..HEADER + part]);
            let header = FrameHeader {
                length: part as u32,
                checksum,
                ..self.frame(flags)
            };
            if is_last {
                self.pages.resize(frame_length(part));
            }
            let bytes = self.pages.as_mut_slice();
            bytes[..HEADER].copy_from_slice(&header.encode());
            let length = frame_length(part);
            let offset = self.offset;
            let pages = std::mem::take(&mut self.pages);
            let last = self.last();
            let written = last.file.write(&pages.as_slice()[..length], offset);
            written.map_err(|error| (last.number, error))?;
            self.pages = pages;
            self.offset += length as u64;
            if is_last {
                return Ok(());
            }
            let bytes = self.pages.as_mut_slice();
            bytes.copy_within(HEADER + part.., HEADER);
            self.pages.resize(HEADER + content - part);
            first = 0;
        }
    }

    /// Continues the log in the next segment.
    fn begin_segment(&mut self) -> Result<(), (u32, io::Error)> {
        let header = self.last().header;
        let free = self.free.pop().expect("space was reserved");
        let header = SegmentHeader {
            id: self.id,
            epoch: self.epoch,
            sequence: header.sequence + 1,
            base: header.end(),
            bytes: free.bytes,
        };
        let next = free.begin(header)?;
        let (seal, offset) = (self.frame(SEAL), self.offset);
        let last = self.last();
        let sealed = last.write_empty(offset, seal);
        sealed.map_err(|error| (last.number, error))?;
        self.live.push_back(next);
        self.offset = PAGE as u64;
        Ok(())
    }

    /// The header of a frame without content at the end of the log.
    fn frame(&self, flags: u32) -> FrameHeader {
        FrameHeader {
            id: self.id,
            epoch: self.epoch,
            position: self.end().0,
            length: 0,
            checksum: crc32c::crc32c(&[]),
            flags,
        }
    }

    fn fail(&mut self, number: u32, error: &io::Error) -> LogError {
        let path = self.disk.path(number);
        let reason = format!("{}: the log cannot be written: {error}", path.display());
        self.broken = Some(reason.clone());
        LogError::Broken(reason)
    }
}

/// The content that a whole segment has room for.
fn room_of(bytes: u64) -> usize {
    bytes as usize - 2 * PAGE - HEADER
}
