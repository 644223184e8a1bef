//! Strings and their escape sequences (RFC 8259 section 7).

use super::{Scan, Scanner};
use crate::protocol::json::ValueKind;

impl Scanner<'_, '_> {
    pub(super) fn string(&mut self) -> Scan<()> {
        let start = self.pos;
        self.pos += 1;
        let mut kind = ValueKind::Plain;
        loop {
            let rest = &self.bytes[self.pos..];
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.pos += rest.iter().position(special).unwrap_or(rest.len());
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
