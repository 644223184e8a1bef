//! Connections without a client library.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::{DEADLINE, Server, assert_server_frame};

/// A connection that sends any bytes, such as invalid frames that a client library does not send.
pub struct Raw {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// A WebSocket frame as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The status code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }

    /// The JSON of a text frame, checked against the schema.
    pub fn json(&self) -> Value {
        let frame = serde_json::from_slice(&self.payload).expect("server frames are JSON");
        assert_server_frame(&frame);
        frame
    }
}

impl Raw {
    /// Connects and does the WebSocket handshake, which must succeed.
    pub fn upgrade(server: &Server, path: &str) -> Self {
        let mut raw = Self::open(server);
        raw.write(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Connects and sends nothing.
    pub fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Reads the head of an HTTP response.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(
                self.fill(),
                "the connection ended before the end of the head"
            );
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                n > 0
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {DEADLINE:?}")
            }
            Err(_) => false,
        }
    }

    /// The next frame; `None` if the connection has ended. Receipts are skipped, as they may arrive at any time.
    pub fn frame(&mut self) -> Option<RawFrame> {
        loop {
            if let Some((frame, used)) = parse_frame(&self.read) {
                self.read.drain(..used);
                if frame.payload.starts_with(br#"{"type":"receipt""#) {
                    continue;
                }
                return Some(frame);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads until a close frame arrives. Returns its code, and the `goodbye` frame before it if there was one. `None` if the
    /// connection ended without a close frame.
    pub fn until_close(&mut self) -> Option<(u16, Option<Value>)> {
        let mut goodbye = None;
        while let Some(frame) = self.frame() {
            match frame.opcode {
                1 => {
                    let json = frame.json();
                    assert!(goodbye.is_none(), "{json} follows goodbye");
                    if json["type"] == "goodbye" {
                        goodbye = Some(json);
                    }
                }
                8 => return Some((frame.close_code().expect("a close code"), goodbye)),
                _ => {}
            }
        }
        None
    }

    /// As [`Raw::upgrade`], with a receive buffer so small that the server soon notices when the client stops reading.
    pub fn narrow(server: &Server, path: &str) -> Self {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(server.address),
            socket2::Type::STREAM,
            None,
        )
        .expect("a socket can be created");
        socket
            .set_recv_buffer_size(8192)
            .expect("a buffer's size can be set");
        socket
            .connect(&server.address.into())
            .expect("the server accepts");
        let mut raw = Self {
            stream: socket.into(),
            read: Vec::new(),
        };
        let stream = &raw.stream;
        stream
            .set_read_timeout(Some(DEADLINE))
            .and_then(|()| stream.set_write_timeout(Some(DEADLINE)))
            .expect("a timeout can be set");
        raw.write(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// The JSON of the next text frame, without the check against the schema, for tests that read very many frames. `None` if the
    /// connection has ended.
    pub fn text(&mut self) -> Option<Value> {
        loop {
            let frame = self.frame()?;
            if frame.opcode == 1 {
                return Some(
                    serde_json::from_slice(&frame.payload).expect("server frames are JSON"),
                );
            }
        }
    }

    /// Connects and does the handshake with further header lines. Returns the head of the response, which must be a 101.
    pub fn upgrade_with(server: &Server, path: &str, more: &str) -> (Self, String) {
        let mut raw = Self::open(server);
        raw.write(handshake(path, more).as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{path} {more}: {head}");
        (raw, head)
    }

    /// The next frame that is neither a ping nor a pong.
    pub fn next(&mut self) -> Option<RawFrame> {
        loop {
            let frame = self.frame()?;
            if !matches!(frame.opcode, 9 | 10) {
                return Some(frame);
            }
        }
    }

    /// The JSON of the next text frame, which must have this type.
    pub fn expect(&mut self, tag: &str) -> Value {
        let frame = self
            .next()
            .unwrap_or_else(|| panic!("expected `{tag}`, but the connection ended"));
        assert_eq!(frame.opcode, 1, "expected {tag}, found {frame:?}");
        let json = frame.json();
        assert_eq!(json["type"], tag, "{json}");
        json
    }

    /// Asserts that the server has closed the connection, and sends nothing before that.
    pub fn assert_closed(&mut self) {
        let read = self.stream.read(&mut [0]);
        assert!(
            matches!(read, Ok(0)),
            "expected the end of the connection, found {read:?}"
        );
        assert_eq!(self.frame(), None);
    }
}

/// The server frame at the start of `bytes`, and its length in bytes.
fn parse_frame(bytes: &[u8]) -> Option<(RawFrame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(
        first & 0xF0,
        0x80,
        "server frames are unfragmented and use no extension"
    );
    assert_eq!(second & 0x80, 0, "server frames are not masked");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (
                usize::try_from(u64::from_be_bytes(*length)).expect("a length"),
                rest,
            )
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let used = bytes.len() - rest.len() + length;
    let opcode = first & 0x0F;
    Some((RawFrame { opcode, payload }, used))
}

/// A masked client frame. `first` is its first byte: 0x81 for an unfragmented text message.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x3A, 0x91, 0x07, 0xC4];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=65535 => {
            out.push(0xFE);
            out.extend((medium as u16).to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

/// A WebSocket handshake request. `more` contains further header lines, each with its line break.
pub fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Status and JSON body of an HTTP response.
pub fn json_answer(answer: &str) -> (u16, Value) {
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.unwrap_or_else(|| panic!("not an HTTP response: {answer:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    (status.expect("a status"), body)
}
