//! Strings and their escape sequences (RFC 8259 section 7).

use super::{Scan, Scanner};
use crate::protocol::json::ValueKind;

/// The number of bytes before the first quote, backslash or control character. Examines eight bytes at a time.
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let rest = &bytes[at..];
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Sets the highest bit of the lowest byte that is a quote, a backslash or a control character, and of no byte below it. Bytes
/// above it may be marked without reason, because a subtraction borrows from them.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (equal(b'"') | equal(b'\\') | below(word, 0x20)) & HIGHEST
}

impl Scanner<'_, '_> {
    pub(super) fn string(&mut self) -> Scan<()> {
        let start = self.pos;
        self.pos += 1;
        let mut kind = ValueKind::Plain;
        loop {
            self.pos += plain_prefix(&self.bytes[self.pos..]);
            match self.bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    kind = ValueKind::Escaped;
                    self.escape()?;
                }
                Some(_) => {
                    return Err(self.syntax("a string without raw control characters"));
                }
                None => return Err(self.syntax("the end of a string")),
            }
        }
        self.pos += 1;
        let node = self.push(kind, start) as usize;
        self.tape.nodes[node].end = self.pos as u32;
        Ok(())
    }

    fn escape(&mut self) -> Scan<()> {
        self.pos += 1;
        match self.bytes.get(self.pos) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 1,
            Some(b'u') => {
                self.pos += 1;
                let unit = self.hex4()?;
                if (0xDC00..0xE000).contains(&unit) {
                    self.note(format_args!(
                        "expected surrogates in pairs, found the low one \\u{unit:04x} alone"
                    ));
                } else if (0xD800..0xDC00).contains(&unit) {
                    let paired = self.bytes[self.pos..].starts_with(b"\\u") && {
                        let back = self.pos;
                        self.pos += 2;
                        let low = self.hex4()?;
                        let paired = (0xDC00..0xE000).contains(&low);
                        if !paired {
                            self.pos = back;
                        }
                        paired
                    };
                    if !paired {
                        self.note(format_args!(
                            "expected surrogates in pairs, found the high one \\u{unit:04x} alone"
                        ));
                    }
                }
            }
            _ => return Err(self.syntax("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Scan<u32> {
        let unit = self.bytes.get(self.pos..self.pos + 4).and_then(|digits| {
            digits
                .iter()
                .try_fold(0, |unit, d| Some(unit << 4 | (*d as char).to_digit(16)?))
        });
        match unit {
            Some(unit) => {
                self.pos += 4;
                Ok(unit)
            }
            None => Err(self.syntax("four hexadecimal digits after \\u")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain_prefix;

    #[test]
    fn the_first_special_byte_is_found_in_each_place_among_all_bytes() {
        let is_special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        for before in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff] {
            for length in 0..20 {
                for place in 0..length {
                    for byte in 0..=u8::MAX {
                        let mut bytes = vec![before; length];
                        bytes[place] = byte;
                        let expected = if is_special(byte) { place } else { length };
                        assert_eq!(plain_prefix(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_first_of_two_special_bytes_counts() {
        for first in 0..=0x22 {
            for second in 0..=0x22 {
                let bytes = [b'a', first, second, b'a', b'a', b'a', b'a', b'a'];
                let is_special = |byte: u8| matches!(byte, b'"' | 0..=0x1f);
                let expected = bytes.iter().position(|byte| is_special(*byte));
                assert_eq!(plain_prefix(&bytes), expected.unwrap_or(8), "{bytes:?}");
            }
        }
    }
}
