//! The header of SQLite's write-ahead log. See "The Database File Format", section 4, of SQLite's documentation.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// The length of the header in bytes; frames follow.
pub const LENGTH: usize = 32;
/// The first number of the header, without its last bit.
const MAGIC: u32 = 0x377f_0682;

/// The header of a log.
#[derive(Debug)]
pub struct LogHeader([u8; LENGTH]);

impl LogHeader {
    /// Reads the header of a log. `None`: the file is too short.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(log: &Path) -> io::Result<Option<Self>> {
        let mut header = [0; LENGTH];
        match File::open(log)?.read_exact(&mut header) {
            Ok(()) => Ok(Some(Self(header))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if the file begins as a log. This does not change while a log is in use.
    pub fn has_magic(&self) -> bool {
        self.number(0) & !1 == MAGIC
    }

    /// True if the header is intact: SQLite ignores the whole log otherwise.
    pub fn is_valid(&self) -> bool {
        // The last bit of the first number tells in which byte order the checksum reads the numbers.
        let read = |n| {
            if self.number(0) & 1 == 1 {
                self.number(n)
            } else {
                self.number(n).swap_bytes()
            }
        };
        let (mut a, mut b) = (0_u32, 0_u32);
        for pair in 0..3 {
            a = a.wrapping_add(read(2 * pair)).wrapping_add(b);
            b = b.wrapping_add(read(2 * pair + 1)).wrapping_add(a);
        }
        self.has_magic() && (a, b) == (self.number(6), self.number(7))
    }

    /// The number at this index; all are big-endian.
    fn number(&self, index: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[4 * index..4 * index + 4]);
        u32::from_be_bytes(bytes)
    }
}
