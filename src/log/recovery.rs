//! What happens when a log is opened: its end is found, and the records that are not settled are read.
//!
//! The log is read from the segment that has the settled position, frame by frame, up to the first place without a valid frame. At
//! most one write was under way when the log was used last, so only the frame at this place can be incomplete. It is then cut: the
//! write was not acknowledged. But if a frame with a higher position exists anywhere, which was written after that place was
//! acknowledged, then acknowledged records are damaged. This is an error, as is a segment that does not exist although the segment
//! before it is sealed. A frame in the place of an older one, from the time before its segment was recycled, has a lower
//! position.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use super::Position;
use super::disk::{Disk, DiskFile};
use super::error::{LogError, Problem};
use super::format::{FrameHeader, PAGE, SegmentHeader, SegmentPage};
use super::pages::Pages;
use super::segment::{FreeFile, Segment};
use super::walk::{Walk, Walked};

/// The part of a file that is searched at once, in bytes. A multiple of [`PAGE`].
const AT_ONCE: u64 = 1 << 20;

/// What was found in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The number of records that are not settled.
    pub records: u64,
    /// The number of batches with these records.
    pub batches: u64,
    /// The last batch was incomplete and is cut. It was not acknowledged.
    pub incomplete: bool,
}

/// A log that was read.
pub struct Recovered<F> {
    /// The segments from the one that has the settled position to the last one.
    pub live: Vec<Segment<F>>,
    pub free: Vec<FreeFile<F>>,
    /// The end of the log in the last segment.
    pub offset: u64,
    /// The epoch of the next run.
    pub epoch: u64,
    pub summary: Recovery,
}

/// A file of the log.
struct Found<F> {
    number: u32,
    path: PathBuf,
    file: F,
    bytes: u64,
    header: Option<SegmentHeader>,
}

impl<F: DiskFile> Found<F> {
    fn read(&mut self, pages: &mut Pages, offset: u64, bytes: u64) -> Result<(), LogError> {
        pages.clear();
        pages.resize(bytes as usize);
        self.file
            .read(pages.as_mut_slice(), offset)
            .map_err(|error| LogError::io(&self.path, error))
    }

    fn damaged(&self, offset: u64, problem: Problem) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            offset,
            problem,
        }
    }

    /// True if a frame with a position above this one is in the file.
    fn has_later_frame(
        &mut self,
        pages: &mut Pages,
        id: Uuid,
        position: u64,
    ) -> Result<bool, LogError> {
        let whole = self.bytes.next_multiple_of(PAGE as u64);
        let mut at = 0;
        while at < whole {
            let part = AT_ONCE.min(whole - at);
            self.read(pages, at, part)?;
            if has_later_frame(pages.as_slice(), id, position) {
                return Ok(true);
            }
            at += part;
        }
        Ok(false)
    }
}

fn has_later_frame(pages: &[u8], id: Uuid, position: u64) -> bool {
    pages
        .chunks_exact(PAGE)
        .any(|page| FrameHeader::decode(page, id).is_some_and(|frame| frame.position > position))
}

/// The files with a valid header, one for each sequence number, in their order; and the others.
type Ordered<F> = (Vec<(SegmentHeader, Found<F>)>, Vec<Found<F>>);

/// Reads the log, and calls `each` with the position and the content of each record that is not settled. New files have
/// `segment_bytes`.
pub fn recover<D: Disk>(
    disk: &D,
    segment_bytes: u64,
    id: Uuid,
    settled: Position,
    each: &mut dyn FnMut(Position, &[u8]),
) -> Result<Recovered<D::File>, LogError> {
    let found = find(disk, id)?;
    let newest = found.iter().filter_map(|found| found.header);
    let newest = newest.map(|header| header.epoch).max().unwrap_or(0);
    let (mut chain, mut others) = order(found)?;
    let missing = |others: &[Found<D::File>], position| LogError::Missing {
        // Probably the one whose header is damaged, if there is one.
        path: others
            .iter()
            .find(|found| found.header.is_none())
            .map_or_else(|| disk.path(0), |found| found.path.clone()),
        position: Position(position),
    };
    let has_settled =
        |(header, _): &(SegmentHeader, _)| (header.base..header.end()).contains(&settled.0);
    let first = chain.iter().position(has_settled);
    let first = first.ok_or_else(|| missing(&others, settled.0))?;

    let mut walk = Walk::new(id, settled, each);
    let mut pages = Pages::default();
    let mut last = first;
    let offset = loop {
        let (header, found) = &mut chain[last];
        if found.bytes < header.bytes {
            return Err(found.damaged(found.bytes, Problem::Length));
        }
        found.read(&mut pages, 0, header.bytes)?;
        let walked = walk.segment(pages.as_slice(), header, &found.path)?;
        if found.file.is_cached() {
            // What was read may be in memory only, if its sync has failed.
            let written = found
                .file
                .write(&pages.as_slice()[..walked.end() as usize], 0);
            written.map_err(|error| LogError::io(&found.path, error))?;
        }
        match walked {
            Walked::Open(offset) => break offset,
            Walked::Sealed(_) => {
                let header = *header;
                let next = chain
                    .get(last + 1)
                    .filter(|(next, _)| next.sequence == header.sequence + 1);
                let Some((next, found)) = next else {
                    return Err(missing(&others, header.end()));
                };
                if next.base != header.end() {
                    return Err(found.damaged(0, Problem::Order));
                }
                last += 1;
            }
        }
    };
    let end = chain[last].0.base + offset;

    let mut is_damaged = has_later_frame(&pages.as_slice()[offset as usize..], id, end);
    let later = chain[last + 1..].iter_mut().map(|(_, found)| found);
    for found in later.chain(&mut others) {
        is_damaged = is_damaged || found.has_later_frame(&mut pages, id, end)?;
    }
    let found = &chain[last].1;
    if is_damaged {
        return Err(found.damaged(offset, Problem::Frame));
    }
    if end < settled.0 {
        return Err(LogError::Behind {
            path: found.path.clone(),
            end: Position(end),
            settled,
        });
    }
    let epoch = newest.max(walk.newest_epoch()) + 1;
    let summary = walk.finish();

    let mut live = Vec::new();
    let mut free = Vec::new();
    for (at, (header, found)) in chain.into_iter().enumerate() {
        if (first..=last).contains(&at) {
            live.push(Segment {
                number: found.number,
                file: found.file,
                header,
            });
        } else {
            others.push(found);
        }
    }
    for found in others {
        let bytes = found.header.map_or(segment_bytes, |header| header.bytes);
        if found.bytes == bytes {
            free.push(FreeFile {
                number: found.number,
                file: found.file,
                bytes,
            });
        } else {
            // It was not completed. If it cannot be removed, it will be replaced.
            drop(disk.remove(found.number));
        }
    }
    Ok(Recovered {
        live,
        free,
        offset,
        epoch,
        summary,
    })
}

/// Opens the files and reads their headers.
fn find<D: Disk>(disk: &D, id: Uuid) -> Result<Vec<Found<D::File>>, LogError> {
    let folder = disk.path(0);
    let listed = disk.sync().and_then(|()| disk.numbers());
    let mut page = Pages::zeroed(PAGE);
    let mut all = Vec::new();
    for number in listed.map_err(|error| LogError::io(&folder, error))? {
        let path = disk.path(number);
        let opened = disk.open(number).and_then(|mut file| {
            file.sync()?;
            file.read(page.as_mut_slice(), 0)?;
            Ok((file.bytes()?, file, SegmentHeader::decode(page.as_slice())))
        });
        let (bytes, file, header) = opened.map_err(|error| LogError::io(&path, error))?;
        let header = match header {
            SegmentPage::Valid(header) if header.id != id => {
                return Err(LogError::Foreign { path });
            }
            SegmentPage::Valid(header) => Some(header),
            SegmentPage::Newer(version) => return Err(LogError::Newer { path, version }),
            SegmentPage::Invalid => None,
        };
        all.push(Found {
            number,
            path,
            file,
            bytes,
            header,
        });
    }
    Ok(all)
}

/// Orders the files by their sequence numbers. If a run ends after it has written the header of a segment and before it has sealed
/// the segment before it, then the next run may take another file for the same sequence number. Its epoch is higher.
fn order<F: DiskFile>(found: Vec<Found<F>>) -> Result<Ordered<F>, LogError> {
    let mut chain: Vec<(SegmentHeader, Found<F>)> = Vec::new();
    let mut others = Vec::new();
    let mut with_header = Vec::new();
    for found in found {
        match found.header {
            Some(header) => with_header.push((header, found)),
            None => others.push(found),
        }
    }
    with_header.sort_by_key(|(header, _)| (header.sequence, header.epoch));
    for (header, found) in with_header {
        match chain.pop_if(|(before, _)| before.sequence == header.sequence) {
            Some((before, _)) if before.epoch == header.epoch => {
                return Err(found.damaged(0, Problem::Twice));
            }
            Some((_, before)) => others.push(before),
            None => {}
        }
        chain.push((header, found));
    }
    Ok((chain, others))
}

/// Removes what an interrupted creation of a log has left.
///
/// # Errors
/// If a file has anything else.
pub fn remove_leftovers<D: Disk>(disk: &D) -> Result<(), LogError> {
    let numbers = disk.numbers();
    for number in numbers.map_err(|error| LogError::io(&disk.path(0), error))? {
        let path = disk.path(number);
        let is_empty = disk.open(number).and_then(|mut file| is_empty(&mut file));
        if !is_empty.map_err(|error| LogError::io(&path, error))? {
            return Err(LogError::Exists { path });
        }
        let removed = disk.remove(number);
        removed.map_err(|error| LogError::io(&path, error))?;
    }
    Ok(())
}

/// True if the file has zeros, except for the header of a first segment.
fn is_empty<F: DiskFile>(file: &mut F) -> io::Result<bool> {
    let mut pages = Pages::zeroed(PAGE);
    for offset in (0..file.bytes()?).step_by(PAGE) {
        file.read(pages.as_mut_slice(), offset)?;
        let is_header = offset == 0
            && matches!(SegmentHeader::decode(pages.as_slice()), SegmentPage::Valid(header) if header.sequence == 1);
        if !is_header && pages.as_slice().iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
