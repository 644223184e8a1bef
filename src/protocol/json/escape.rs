//! Escape sequences in strings (RFC 8259 section 7).

/// Replaces the escape sequences of a scanned string. Lone surrogates become U+FFFD; frames that contain them are rejected.
pub(super) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (c, used) = unescape_one(&rest[at..]);
        out.push(c);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    out
}

/// Decodes the escape sequence at the start of `text`. Returns the character and the length of the sequence in bytes.
pub(super) fn unescape_one(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        text.get(at..at + 4)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
    };
    match text.as_bytes().get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => {
            let high = unit(2).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&high)
                && text.get(6..8) == Some("\\u")
                && let Some(low) = unit(8)
                && (0xDC00..0xE000).contains(&low)
            {
                let c = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return (char::from_u32(c).unwrap_or('\u{FFFD}'), 12);
            }
            (char::from_u32(high).unwrap_or('\u{FFFD}'), 6)
        }
        Some(c) => (*c as char, 2),
        None => ('\\', 1),
    }
}
