//! Reads the frames of segments in order.

use std::path::Path;

use uuid::Uuid;

use super::Position;
use super::error::{LogError, Problem};
use super::format::{FIRST, FrameHeader, HEADER, LAST, PAGE, SEAL, SegmentHeader, frame_length};
use super::recovery::Recovery;

/// Where the frames of a segment end, as an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// At a place without a valid frame.
    Open(u64),
    /// After the seal.
    Sealed(u64),
}

impl Walked {
    pub fn end(self) -> u64 {
        match self {
            Self::Open(offset) | Self::Sealed(offset) => offset,
        }
    }
}

/// A pass over the frames of a log.
pub struct Walk<'a> {
    id: Uuid,
    settled: Position,
    each: &'a mut dyn FnMut(Position, &[u8]),
    /// The epoch of the last frame.
    epoch: u64,
    newest_epoch: u64,
    /// The epoch of a batch whose last frame has not been read.
    open_batch: Option<u64>,
    /// The content of that batch.
    content: Vec<u8>,
    summary: Recovery,
}

impl<'a> Walk<'a> {
    pub fn new(id: Uuid, settled: Position, each: &'a mut dyn FnMut(Position, &[u8])) -> Self {
        Self {
            id,
            settled,
            each,
            epoch: 0,
            newest_epoch: 0,
            open_batch: None,
            content: Vec::new(),
            summary: Recovery::default(),
        }
    }

    pub fn newest_epoch(&self) -> u64 {
        self.newest_epoch
    }

    pub fn finish(mut self) -> Recovery {
        self.summary.incomplete |= self.open_batch.is_some();
        self.summary
    }

    /// Reads the frames of a segment. `pages` is the whole segment.
    pub fn segment(
        &mut self,
        pages: &[u8],
        segment: &SegmentHeader,
        path: &Path,
    ) -> Result<Walked, LogError> {
        let damaged = |offset: usize, problem| LogError::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            problem,
        };
        if segment.epoch < self.epoch {
            return Err(damaged(0, Problem::Epoch));
        }
        self.epoch = segment.epoch;
        let mut offset = PAGE;
        loop {
            let rest = &pages[offset..];
            let frame = FrameHeader::decode(rest, self.id)
                .filter(|frame| frame.position == segment.base + offset as u64);
            let Some(frame) = frame else {
                return Ok(Walked::Open(offset as u64));
            };
            self.newest_epoch = self.newest_epoch.max(frame.epoch);
            let length = frame_length(frame.length as usize);
            let is_seal = frame.flags & SEAL != 0;
            // The last page of a segment is reserved for the seal.
            let room = rest.len() - if is_seal { 0 } else { PAGE };
            if length > room || frame.epoch >= 1 << 62 {
                return Err(damaged(offset, Problem::Content));
            }
            if frame.epoch < self.epoch {
                return Err(damaged(offset, Problem::Epoch));
            }
            self.epoch = frame.epoch;
            let is_settled = self
                .is_settled(&frame)
                .map_err(|settled| LogError::NotABatch { settled })?;
            if !is_settled {
                let content = &rest[HEADER..HEADER + frame.length as usize];
                if crc32c::crc32c(content) != frame.checksum {
                    self.summary.incomplete = true;
                    return Ok(Walked::Open(offset as u64));
                }
                self.frame(&frame, content)
                    .map_err(|problem| damaged(offset, problem))?;
            }
            offset += length;
            if is_seal {
                return Ok(Walked::Sealed(offset as u64));
            }
        }
    }

    /// True if the records of the frame are settled. The error is a position that is not the end of a batch.
    fn is_settled(&self, frame: &FrameHeader) -> Result<bool, Position> {
        let end = frame.end();
        let is_settled = end <= self.settled;
        let is_inside = frame.position < self.settled.0 && !is_settled;
        let is_batch = frame.flags & (LAST | SEAL) != 0;
        if is_inside || (end == self.settled && !is_batch) {
            return Err(self.settled);
        }
        Ok(is_settled)
    }

    fn frame(&mut self, frame: &FrameHeader, content: &[u8]) -> Result<(), Problem> {
        if frame.flags & SEAL != 0 {
            return Ok(());
        }
        if frame.flags & FIRST != 0 {
            // A run may end before it has written all frames of a batch, which the next run does not continue.
            if self.open_batch.is_some_and(|epoch| epoch >= frame.epoch) {
                return Err(Problem::Batch);
            }
            self.content.clear();
        } else if self.open_batch != Some(frame.epoch) {
            return Err(Problem::Batch);
        }
        self.open_batch = Some(frame.epoch);
        if frame.flags & LAST == 0 {
            self.content.extend_from_slice(content);
            return Ok(());
        }
        self.open_batch = None;
        self.summary.batches += 1;
        if self.content.is_empty() {
            return self.records(frame.end(), content);
        }
        self.content.extend_from_slice(content);
        let whole = std::mem::take(&mut self.content);
        self.records(frame.end(), &whole)
    }

    fn records(&mut self, position: Position, mut content: &[u8]) -> Result<(), Problem> {
        while let Some((length, rest)) = content.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let (record, rest) = rest.split_at_checked(length).ok_or(Problem::Content)?;
            (self.each)(position, record);
            self.summary.records += 1;
            content = rest;
        }
        if content.is_empty() {
            Ok(())
        } else {
            Err(Problem::Content)
        }
    }
}
