//! DOC

use super::{Opcode, close_codes};

/// Longest header of a client's frame: 2 bytes, 8 of length, 4 of mask (RFC 6455 section 5.2).
const MAX_HEADER: usize = 14;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

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
            Self::TooLarge => close_codes::TOO_LARGE,
            Self::Protocol(_) => close_codes::PROTOCOL,
            Self::InvalidUtf8 => close_codes::INVALID_UTF8,
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

#[cfg(test)]
mod tests;
