//! The WebSocket wire (RFC 6455), server side: reading frames out of received bytes, writing headers, the handshake's key.
//!
//! Frames are judged by their header, before their payload has arrived, so that an announced size costs nothing; a
//! message that arrived whole in one frame is unmasked where it lies and borrowed, not copied.

pub mod stream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Longest header of a client's frame: 2 bytes, 8 of length, 4 of mask (RFC 6455 section 5.2).
const MAX_HEADER: usize = 14;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// Close codes that the server sends (RFC 6455 section 7.4.1 and PROTOCOL section 8).
pub mod close {
    /// Done.
    pub const NORMAL: u16 = 1000;
    /// The peer broke RFC 6455.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is no UTF-8.
    pub const INVALID_UTF8: u16 = 1007;
    /// Too many bad frames.
    pub const POLICY: u16 = 1008;
    /// A message beyond the limit.
    pub const TOO_LARGE: u16 = 1009;
    /// The server is going down and comes back.
    pub const RESTART: u16 = 1012;
    /// Try again later.
    pub const LATER: u16 = 1013;
    /// A token that does not hold, or no longer (PROTOCOL section 2, as is the next).
    pub const UNAUTHORIZED: u16 = 4401;
    /// Too many sessions of this user; the oldest goes.
    pub const REPLACED: u16 = 4408;
    /// Too many connections.
    pub const TOO_MANY: u16 = 4429;
}

/// What a frame is (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

/// Something whole that the peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes, with a code if it gave one.
    Close(Option<u16>),
}

/// Why a connection cannot go on. Each has a close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A message beyond the limit, by what its header announces.
    TooLarge,
    /// RFC 6455 was broken; the text says how.
    Protocol(&'static str),
    /// Text that is no UTF-8.
    InvalidUtf8,
}

impl ProtocolError {
    /// The close code for it.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => close::TOO_LARGE,
            Self::Protocol(_) => close::PROTOCOL,
            Self::InvalidUtf8 => close::INVALID_UTF8,
        }
    }
}

/// A message that comes in fragments.
#[derive(Debug)]
struct Fragments {
    text: bool,
    bytes: Vec<u8>,
    /// How much of a text is known to be UTF-8.
    valid: usize,
    /// Frames so far. Empty ones cost no memory, but nobody needs more of them than the limit has bytes.
    count: usize,
}

/// Reads a peer's frames. Holds what is left of one read until the next.
#[derive(Debug)]
pub struct Decoder {
    /// Largest message, in bytes.
    limit: usize,
    fragments: Option<Fragments>,
    /// The last message that was put together from fragments, while it is borrowed.
    whole: Vec<u8>,
}

struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of header.
    size: usize,
    /// Bytes of payload.
    payload: usize,
}

impl Decoder {
    /// A decoder for messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            fragments: None,
            whole: Vec::new(),
        }
    }

    /// Reads the next thing from `bytes`, from `*at` on, and moves `*at` past what was used. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the connection: the decoder must not be used again.
    pub fn next<'b>(
        &'b mut self,
        bytes: &'b mut [u8],
        at: &mut usize,
    ) -> Result<Option<Incoming<'b>>, ProtocolError> {
        self.whole = Vec::new();
        let mut start = *at;
        loop {
            let Some(header) = self.header(&bytes[start..])? else {
                return Ok(None);
            };
            let from = start + header.size;
            let to = from + header.payload;
            if bytes.len() < to {
                return Ok(None);
            }
            unmask(&mut bytes[from..to], header.mask);
            *at = to;
            start = to;
            if self.joins(&header, &bytes[from..to])? {
                continue;
            }
            return self.whole(&header, &bytes[from..to]).map(Some);
        }
    }

    /// Bytes of a message whose fragments have not all come.
    pub fn held(&self) -> usize {
        let fragments = self.fragments.as_ref();
        fragments.map_or(0, |fragments| fragments.bytes.capacity())
    }

    /// Gives up what has come of a message: nothing more will be decoded.
    pub fn forget(&mut self) {
        self.fragments = None;
        self.whole = Vec::new();
    }

    /// How many bytes the frame at the start of `bytes` has in all, as far as can be told: what a reader should make
    /// room for.
    pub fn wanted(&self, bytes: &[u8]) -> usize {
        match self.header(bytes) {
            Ok(Some(header)) => header.size + header.payload,
            _ => MAX_HEADER,
        }
    }

    /// Adds a fragment to the message under way. True: there was one, and it goes on.
    fn joins(&mut self, header: &Header, payload: &[u8]) -> Result<bool, ProtocolError> {
        let whole_in_one = header.fin && header.opcode != Opcode::Continuation;
        if whole_in_one {
            return Ok(false);
        }
        let limit = self.limit;
        let fragments = self.fragments.get_or_insert_with(|| Fragments {
            text: header.opcode == Opcode::Text,
            bytes: Vec::new(),
            valid: 0,
            count: 0,
        });
        fragments.bytes.extend_from_slice(payload);
        fragments.count += 1;
        if fragments.count > limit {
            return Err(ProtocolError::TooLarge);
        }
        if fragments.text {
            match std::str::from_utf8(&fragments.bytes[fragments.valid..]) {
                Ok(_) => fragments.valid = fragments.bytes.len(),
                Err(e) if e.error_len().is_none() && !header.fin => {
                    fragments.valid += e.valid_up_to();
                }
                Err(_) => return Err(ProtocolError::InvalidUtf8),
            }
        }
        Ok(!header.fin)
    }

    fn whole<'b>(
        &'b mut self,
        header: &Header,
        payload: &'b [u8],
    ) -> Result<Incoming<'b>, ProtocolError> {
        let (text, bytes) = match header.opcode {
            Opcode::Ping => return Ok(Incoming::Ping(payload)),
            Opcode::Pong => return Ok(Incoming::Pong(payload)),
            Opcode::Close => return close_code(payload).map(Incoming::Close),
            Opcode::Text => (true, payload),
            Opcode::Binary => (false, payload),
            Opcode::Continuation => {
                let Some(fragments) = self.fragments.take() else {
                    return Err(ProtocolError::Protocol("a continuation of nothing"));
                };
                self.whole = fragments.bytes;
                (fragments.text, self.whole.as_slice())
            }
        };
        if text {
            let text = std::str::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)?;
            Ok(Incoming::Text(text))
        } else {
            Ok(Incoming::Binary(bytes))
        }
    }

    /// The header at the start of `bytes`, judged. `None`: it has not arrived whole.
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(ProtocolError::Protocol("a reserved bit is set"));
        }
        let fin = first & 0x80 != 0;
        let opcode = match first & 0x0F {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(ProtocolError::Protocol("a reserved opcode")),
        };
        if second & 0x80 == 0 {
            return Err(ProtocolError::Protocol("a frame without mask"));
        }
        let short = second & 0x7F;
        let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if control && (!fin || usize::from(short) > MAX_CONTROL) {
            return Err(ProtocolError::Protocol(
                "a control frame in fragments or over 125 bytes",
            ));
        }
        match (&self.fragments, opcode) {
            (None, Opcode::Continuation) => {
                return Err(ProtocolError::Protocol("a continuation of nothing"));
            }
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(ProtocolError::Protocol(
                    "a new message inside a fragmented one",
                ));
            }
            _ => {}
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length >> 63 != 0 {
            return Err(ProtocolError::Protocol("a length with its highest bit set"));
        }
        if (short == 126 && length < 126) || (short == 127 && length < 65_536) {
            return Err(ProtocolError::Protocol(
                "a length that is not in its shortest form",
            ));
        }
        let held = match (&self.fragments, control) {
            (Some(fragments), false) => fragments.bytes.len(),
            _ => 0,
        };
        let fits = |length: &usize| control || held + length <= self.limit;
        let Some(payload) = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit.max(MAX_CONTROL))
            .filter(fits)
        else {
            return Err(ProtocolError::TooLarge);
        };
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Header {
            fin,
            opcode,
            mask: *mask,
            size: bytes.len() - rest.len(),
            payload,
        }))
    }
}

/// The code in a close frame's payload (RFC 6455 sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    match payload {
        [] => Ok(None),
        [_] => Err(ProtocolError::Protocol("a close frame of one byte")),
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(ProtocolError::Protocol("a close code that may not be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(ProtocolError::InvalidUtf8);
            }
            Ok(Some(code))
        }
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let wide = u64::from(word) << 32 | u64::from(word);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends the header of an unfragmented, unmasked frame (RFC 6455 section 5.2).
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => write_frame(out, Opcode::Close, &code.to_be_bytes()),
        None => write_frame(out, Opcode::Close, &[]),
    }
}

/// Appends a text frame whose payload `fill` writes. The length is known only afterwards, so room for the usual header is
/// left and the payload moved in the rare other case.
pub fn write_text(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    const USUAL: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; USUAL]);
    fill(out);
    let length = out.len() - start - USUAL;
    let mut header = Vec::with_capacity(10);
    write_header(&mut header, Opcode::Text, length);
    if header.len() == USUAL {
        out[start..start + USUAL].copy_from_slice(&header);
    } else {
        out.splice(start..start + USUAL, header);
    }
}

/// The answer to a handshake's `Sec-WebSocket-Key` (RFC 6455 section 4.2.2). `None` when the key is not 16 bytes in
/// base64.
pub fn accept_key(key: &[u8]) -> Option<String> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Some(STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 200, 31, 90];
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Text, payload);
        out[0] = first;
        out[1] |= 0x80;
        let header = out.len() - payload.len();
        out.splice(header..header, mask);
        unmask(&mut out[header + 4..], mask);
        out
    }

    #[test]
    fn the_handshake_of_rfc_6455_section_1_3() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert_eq!(accept_key(b"short"), None);
        assert_eq!(accept_key(b"c2hvcnQ="), None);
    }

    #[test]
    fn messages_of_every_length_come_through_in_any_split() {
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let whole = masked(0x81, text.as_bytes());
            for split in [whole.len(), 1, 2, 5, 11, whole.len() / 2] {
                let mut decoder = Decoder::new(70_000);
                let mut bytes = whole[..split.min(whole.len())].to_vec();
                let mut at = 0;
                if split < whole.len() {
                    assert_eq!(decoder.next(&mut bytes, &mut at), Ok(None));
                    assert_eq!(at, 0);
                    bytes.extend_from_slice(&whole[split..]);
                }
                assert_eq!(decoder.wanted(&bytes), whole.len());
                assert_eq!(
                    decoder.next(&mut bytes, &mut at),
                    Ok(Some(Incoming::Text(&text)))
                );
                assert_eq!(at, whole.len());
            }
        }
    }

    #[test]
    fn fragments_join_around_control_frames() {
        let mut bytes = masked(0x01, "a\u{e9}".as_bytes().split_at(2).0);
        bytes.extend(masked(0x89, b"ping"));
        bytes.extend(masked(0x00, &[0xA9]));
        bytes.extend(masked(0x80, b"z"));
        bytes.extend(masked(0x82, &[1, 2]));
        let mut decoder = Decoder::new(100);
        let mut at = 0;
        assert_eq!(
            decoder.next(&mut bytes, &mut at),
            Ok(Some(Incoming::Ping(b"ping")))
        );
        assert_eq!(
            decoder.next(&mut bytes, &mut at),
            Ok(Some(Incoming::Text("aéz")))
        );
        assert_eq!(
            decoder.next(&mut bytes, &mut at),
            Ok(Some(Incoming::Binary(&[1, 2])))
        );
        assert_eq!(decoder.next(&mut bytes, &mut at), Ok(None));
    }

    #[test]
    fn violations_are_told_from_the_header_alone() {
        let judge = |bytes: &[u8]| {
            Decoder::new(1000)
                .next(&mut bytes.to_vec(), &mut 0)
                .map(|_| ())
        };
        let protocol = |bytes: &[u8]| {
            assert!(
                matches!(judge(bytes), Err(ProtocolError::Protocol(_))),
                "{bytes:?}"
            );
        };
        protocol(&[0xC1, 0x80]);
        protocol(&[0x83, 0x80]);
        protocol(&[0x81, 0x05]);
        protocol(&[0x09, 0x80]);
        protocol(&[0x89, 0xFE]);
        protocol(&[0x80, 0x80]);
        protocol(&[0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        protocol(&masked(0x88, &[3]));
        protocol(&masked(0x88, &999_u16.to_be_bytes()));
        protocol(&masked(0x88, &1005_u16.to_be_bytes()));
        assert_eq!(
            judge(&[0x81, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0]),
            Err(ProtocolError::TooLarge)
        );
        assert_eq!(
            judge(&[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            Err(ProtocolError::TooLarge)
        );
        assert_eq!(
            judge(&masked(0x81, &[0xFF])),
            Err(ProtocolError::InvalidUtf8)
        );
        assert_eq!(
            judge(&masked(0x01, &[0xFF])),
            Err(ProtocolError::InvalidUtf8)
        );
        assert_eq!(
            judge(&masked(0x88, &[3, 232, 0xFF])),
            Err(ProtocolError::InvalidUtf8)
        );
    }

    #[test]
    fn fragments_share_one_limit() {
        let mut decoder = Decoder::new(10);
        let mut bytes = masked(0x01, b"123456");
        bytes.extend(masked(0x00, b"12345"));
        assert_eq!(
            decoder.next(&mut bytes, &mut 0),
            Err(ProtocolError::TooLarge)
        );
        let mut decoder = Decoder::new(10);
        let mut bytes = masked(0x01, b"");
        for _ in 0..20 {
            bytes.extend(masked(0x00, b""));
        }
        assert_eq!(
            decoder.next(&mut bytes, &mut 0),
            Err(ProtocolError::TooLarge)
        );
    }
}
