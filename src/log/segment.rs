//! Files that are segments, or may become segments.

use std::io;

use super::disk::DiskFile;
use super::format::{FrameHeader, HEADER, PAGE, SegmentHeader};
use super::pages::Pages;

/// A file of the log that is not in use.
#[derive(Debug)]
pub struct FreeFile<F> {
    pub number: u32,
    pub file: F,
    pub bytes: u64,
}

/// A file that is a segment.
#[derive(Debug)]
pub struct Segment<F> {
    pub number: u32,
    pub file: F,
    pub header: SegmentHeader,
}

impl<F: DiskFile> FreeFile<F> {
    /// Makes the file a segment, which is durable when this returns.
    pub fn begin(mut self, header: SegmentHeader) -> Result<Segment<F>, (u32, io::Error)> {
        let page = page_with(header.encode());
        match self.file.write(page.as_slice(), 0) {
            Ok(()) => Ok(Segment {
                number: self.number,
                file: self.file,
                header,
            }),
            Err(error) => Err((self.number, error)),
        }
    }
}

impl<F: DiskFile> Segment<F> {
    /// Writes a frame without content.
    pub fn write_empty(&mut self, offset: u64, header: FrameHeader) -> io::Result<()> {
        self.file
            .write(page_with(header.encode()).as_slice(), offset)
    }

    /// Writes a page of zeros, which no frame begins with.
    pub fn clear_page(&mut self, offset: u64) -> io::Result<()> {
        self.file.write(Pages::zeroed(PAGE).as_slice(), offset)
    }

    pub fn free(self) -> FreeFile<F> {
        FreeFile {
            number: self.number,
            bytes: self.header.bytes,
            file: self.file,
        }
    }
}

fn page_with(header: [u8; HEADER]) -> Pages {
    let mut page = Pages::zeroed(PAGE);
    page.as_mut_slice()[..HEADER].copy_from_slice(&header);
    page
}
