//! A buffer for direct I/O, which requires that memory, offset and length are multiples of the block size of the device.

use super::format::PAGE;

/// Bytes that begin at a multiple of [`PAGE`] in memory.
#[derive(Debug, Default)]
pub struct Pages {
    /// The bytes, after `start` unused ones.
    bytes: Vec<u8>,
    start: usize,
}

impl Pages {
    /// This number of zeros.
    pub fn zeroed(length: usize) -> Self {
        let mut pages = Self::default();
        pages.resize(length);
        pages
    }

    /// Removes all bytes. The memory is kept.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }

    /// Removes all bytes, and the memory if it is more than `most` bytes.
    pub fn shrink(&mut self, most: usize) {
        self.clear();
        if self.bytes.capacity() > most {
            *self = Self::default();
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Removes bytes at the end, or appends zeros.
    pub fn resize(&mut self, length: usize) {
        self.reserve(length.saturating_sub(self.len()));
        self.bytes.resize(self.start + length, 0);
    }

    /// Makes room for this number of bytes more, so that the bytes are not moved while they are appended.
    pub fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more && self.bytes.capacity() > 0 {
            return;
        }
        let length = (self.len() + more).max(2 * self.len()).max(PAGE);
        let mut bytes: Vec<u8> = Vec::with_capacity(length + PAGE);
        let start = bytes.as_ptr().addr().wrapping_neg() % PAGE;
        bytes.resize(start, 0);
        bytes.extend_from_slice(self.as_slice());
        *self = Self { bytes, start };
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_stay_aligned_while_they_grow() {
        let mut pages = Pages::default();
        let mut expected = Vec::new();
        for n in 0..2000_u32 {
            let bytes = n.to_le_bytes().repeat(1 + n as usize % 7);
            pages.extend(&bytes);
            expected.extend_from_slice(&bytes);
            assert_eq!(pages.as_slice().as_ptr().addr() % PAGE, 0);
        }
        assert!(pages.as_slice() == expected);
        pages.resize(3 * PAGE);
        pages.as_mut_slice()[0] = 1;
        pages.shrink(usize::MAX);
        assert_eq!(pages.len(), 0);
        pages.resize(PAGE);
        assert!(pages.as_slice().iter().all(|byte| *byte == 0));
        pages.shrink(0);
        assert_eq!(Pages::zeroed(2 * PAGE).len(), 2 * PAGE);
    }
}
