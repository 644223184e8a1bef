//! Reads the frames of a client (RFC 6455 section 5).
//!
//! This is our own decoder for three reasons:
//! - The header of a frame is validated before its payload has arrived, so an oversized frame is rejected without reserving memory.
//! - A message that arrived complete in one frame is unmasked in place and borrowed, without a copy or an allocation.
//! - The decoder works on any buffer, so idle connections need none (see [`super::stream`]).
//!
//! It was measured against a plain relay on actix-ws, and against one on the fastest WebSocket library found, which do not validate,
//! acknowledge or limit anything (`docs/performance.md`, `benches/peers`). With one message in flight per pair, the whole server needs
//! 6.6 us of CPU per message (actix-ws 5.3, fastest 4.6). An idle connection holds 4.3 KiB (actix-ws 14.1 KiB, and 206 KiB after one
//! message of 60 KiB).
//!
//! `tests/websocket/conformance` covers RFC 6455, and the fuzz target `websocket` checks that the result does not depend on how the bytes
//! are split.

use super::{Opcode, close_codes};

/// Longest header of a client's frame: 2 bytes, 8 of length, 4 of mask (RFC 6455 section 5.2).
const MAX_HEADER: usize = 14;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// A complete message or control frame from the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; the pong must have the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

/// The reason why a connection must be closed. Each has a close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message exceeds the size limit, according to its header.
    #[error("a message exceeds the size limit")]
    TooLarge,
    /// A violation of RFC 6455, described by the text.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message is not valid UTF-8.
    #[error("a text message is not valid UTF-8")]
    InvalidUtf8,
}

impl ProtocolError {
    /// The close code for this error.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => close_codes::TOO_LARGE,
            Self::Protocol(_) => close_codes::PROTOCOL_ERROR,
            Self::InvalidUtf8 => close_codes::INVALID_UTF8,
        }
    }
}

/// The fragments of an incomplete message.
#[derive(Debug)]
struct Fragments {
    text: bool,
    bytes: Vec<u8>,
    /// Length of the prefix of `bytes` that is known to be valid UTF-8.
    valid: usize,
    /// Number of fragments. Bounded, because empty fragments cost CPU time but do not count toward the size limit.
    count: usize,
}

/// Decodes the frames of one connection. Keeps the fragments of an incomplete message between calls.
#[derive(Debug)]
pub struct Decoder {
    /// Maximum size of a message, in bytes.
    limit: usize,
    fragments: Option<Fragments>,
    /// The last message that was joined from fragments; the caller borrows it until the next call.
    joined: Vec<u8>,
    /// Fragments decoded since the last [`Decoder::take_fragments`], other than the last one of a message.
    decoded_fragments: u32,
}

struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Length of the header in bytes.
    size: usize,
    /// Length of the payload in bytes.
    payload: usize,
}

impl Decoder {
    /// A decoder for messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            fragments: None,
            joined: Vec::new(),
            decoded_fragments: 0,
        }
    }

    /// Decodes the next message or control frame from `bytes`, starting at `*at`, and advances `*at` past the bytes used. Returns
    /// `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`ProtocolError`]: the connection must be closed and the decoder not used again.
    pub fn next<'b>(
        &'b mut self,
        bytes: &'b mut [u8],
        at: &mut usize,
    ) -> Result<Option<Incoming<'b>>, ProtocolError> {
        self.joined = Vec::new();
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
            if self.add_fragment(&header, &bytes[from..to])? {
                self.decoded_fragments = self.decoded_fragments.saturating_add(1);
                continue;
            }
            return self.complete(&header, &bytes[from..to]).map(Some);
        }
    }

    /// The number of fragments that were decoded since the last call, other than the last one of each message.
    pub fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.decoded_fragments)
    }

    /// Memory held for an incomplete fragmented message, in bytes.
    pub fn incomplete_bytes(&self) -> usize {
        let fragments = self.fragments.as_ref();
        fragments.map_or(0, |fragments| fragments.bytes.capacity())
    }

    /// Drops the incomplete message. Nothing may be decoded afterwards.
    pub fn discard(&mut self) {
        self.fragments = None;
        self.joined = Vec::new();
    }

    /// The total size of the frame at the start of `bytes`; if its header is incomplete, the maximum size of a header.
    pub fn frame_size(&self, bytes: &[u8]) -> usize {
        match self.header(bytes) {
            Ok(Some(header)) => header.size + header.payload,
            _ => MAX_HEADER,
        }
    }

    /// Adds the payload to the fragmented message, if it belongs to one. Returns true if the message is still incomplete.
    fn add_fragment(&mut self, header: &Header, payload: &[u8]) -> Result<bool, ProtocolError> {
        let unfragmented = header.fin && header.opcode != Opcode::Continuation;
        if unfragmented {
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

    /// The message or control frame that ends with this payload.
    fn complete<'b>(
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
                    return Err(ProtocolError::Protocol(
                        "a continuation frame without a message",
                    ));
                };
                self.joined = fragments.bytes;
                (fragments.text, self.joined.as_slice())
            }
        };
        if text {
            let text = std::str::from_utf8(bytes).map_err(|_| ProtocolError::InvalidUtf8)?;
            Ok(Incoming::Text(text))
        } else {
            Ok(Incoming::Binary(bytes))
        }
    }

    /// Parses and validates the header at the start of `bytes`. Returns `None` if it is incomplete.
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
            _ => return Err(ProtocolError::Protocol("a reserved opcode is used")),
        };
        if second & 0x80 == 0 {
            return Err(ProtocolError::Protocol("a frame is not masked"));
        }
        let short = second & 0x7F;
        let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if control && (!fin || usize::from(short) > MAX_CONTROL) {
            return Err(ProtocolError::Protocol(
                "a control frame is fragmented or longer than 125 bytes",
            ));
        }
        match (&self.fragments, opcode) {
            (None, Opcode::Continuation) => {
                return Err(ProtocolError::Protocol(
                    "a continuation frame without a message",
                ));
            }
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(ProtocolError::Protocol(
                    "a new message starts inside a fragmented one",
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
            return Err(ProtocolError::Protocol(
                "the highest bit of a length is set",
            ));
        }
        if (short == 126 && length < 126) || (short == 127 && length < 65_536) {
            return Err(ProtocolError::Protocol(
                "a length is not encoded in its shortest form",
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
        [_] => Err(ProtocolError::Protocol(
            "a close frame has a payload of one byte",
        )),
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(ProtocolError::Protocol(
                    "a close code is not allowed on the wire",
                ));
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

#[cfg(test)]
mod tests;
