//! The layout of a segment: a header page, then frames, each of which begins on a page of its own. Numbers are little-endian.
//!
//! Both headers are shorter than a sector, so that a write that is interrupted leaves the whole header or nothing of it.

use uuid::Uuid;

use super::Position;

/// The unit of writing, in bytes: a multiple of the block size of any common device.
pub const PAGE: usize = 4096;
/// The length of the header of a segment or a frame, in bytes.
pub const HEADER: usize = 64;
/// The version of the format.
const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"dmwlog\r\n";
const FRAME_MAGIC: [u8; 4] = *b"dmw\xF5";

/// The first frame of a batch.
pub const FIRST: u32 = 1;
/// The last frame of a batch.
pub const LAST: u32 = 2;
/// The end of a segment, after which the next segment continues the log. It has no content.
pub const SEAL: u32 = 4;

/// The length that contents take with the header of their frame, in whole pages.
pub fn frame_length(content: usize) -> usize {
    (HEADER + content).next_multiple_of(PAGE)
}

/// The header of a segment.
///
/// | bytes | content |
/// |---|---|
/// | 8 | magic number |
/// | 4 | CRC32C of the bytes that follow |
/// | 4 | version of the format |
/// | 16 | id of the log |
/// | 8 | epoch of the run that has written the header |
/// | 8 | sequence number of the segment |
/// | 8 | position of the beginning of the segment |
/// | 8 | length of the segment |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The id of the log.
    pub id: Uuid,
    /// The run that began the segment.
    pub epoch: u64,
    /// The first segment has number 1.
    pub sequence: u64,
    /// The position of the beginning of the segment.
    pub base: u64,
    /// The length of the segment in bytes.
    pub bytes: u64,
}

/// What a page has in the place of the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentPage {
    /// A header.
    Valid(SegmentHeader),
    /// A header of a newer version.
    Newer(u32),
    /// Something else.
    Invalid,
}

impl SegmentHeader {
    /// The position of the end of the segment.
    pub fn end(&self) -> u64 {
        self.base + self.bytes
    }

    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.id.as_bytes());
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.base.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.bytes.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn decode(page: &[u8]) -> SegmentPage {
        let Some(bytes) = page.first_chunk::<HEADER>() else {
            return SegmentPage::Invalid;
        };
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, 8) != crc32c::crc32c(&bytes[12..]) {
            return SegmentPage::Invalid;
        }
        let version = u32_at(bytes, 12);
        if version != VERSION {
            return SegmentPage::Newer(version);
        }
        let header = Self {
            id: id_at(bytes, 16),
            epoch: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            base: u64_at(bytes, 48),
            bytes: u64_at(bytes, 56),
        };
        // Room for the header, a frame and the seal. The limits keep sums of positions from overflowing.
        let is_possible = header.bytes >= 3 * PAGE as u64
            && header.bytes <= MAX_SEGMENT_BYTES
            && header.bytes.is_multiple_of(PAGE as u64)
            && header.base.is_multiple_of(PAGE as u64)
            && header.base < 1 << 62
            && header.sequence < 1 << 62
            && header.epoch < 1 << 62;
        if is_possible {
            SegmentPage::Valid(header)
        } else {
            SegmentPage::Invalid
        }
    }
}

/// The largest segment, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// The header of a frame.
///
/// | bytes | content |
/// |---|---|
/// | 4 | magic number |
/// | 4 | CRC32C of the rest of the header |
/// | 16 | id of the log |
/// | 8 | epoch of the run that has written the frame |
/// | 8 | position of the frame |
/// | 4 | length of the content |
/// | 4 | CRC32C of the content |
/// | 4 | flags |
/// | 12 | zeros |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The id of the log.
    pub id: Uuid,
    /// The run that has written the frame.
    pub epoch: u64,
    /// The position of the frame.
    pub position: u64,
    /// The length of the content.
    pub length: u32,
    /// The CRC32C of the content.
    pub checksum: u32,
    /// [`FIRST`], [`LAST`], [`SEAL`].
    pub flags: u32,
}

impl FrameHeader {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..24].copy_from_slice(self.id.as_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.position.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.flags.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of a frame of this log from the beginning of a page.
    pub fn decode(page: &[u8], id: Uuid) -> Option<Self> {
        let bytes = page.first_chunk::<HEADER>()?;
        let is_valid = bytes[..4] == FRAME_MAGIC
            && bytes[8..24] == *id.as_bytes()
            && u32_at(bytes, 4) == crc32c::crc32c(&bytes[8..]);
        is_valid.then(|| Self {
            id,
            epoch: u64_at(bytes, 24),
            position: u64_at(bytes, 32),
            length: u32_at(bytes, 40),
            checksum: u32_at(bytes, 44),
            flags: u32_at(bytes, 48),
        })
    }

    /// The position after the frame.
    pub fn end(&self) -> Position {
        Position(self.position + frame_length(self.length as usize) as u64)
    }
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn id_at(bytes: &[u8; HEADER], at: usize) -> Uuid {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes(id)
}
