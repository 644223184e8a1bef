//! A client's WebSocket with as little overhead as possible, so that the generator does not distort the measurement: it
//! reuses buffers, parses frames in place, and is polled, so that one task can drive several sockets.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::target::Target;

/// First byte of a text message in one frame, and of a pong.
const TEXT: u8 = 0x81;
const PONG: u8 = 0x8A;

/// Timeout for answers of the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection of one user.
pub struct Socket {
    stream: TcpStream,
    /// The bytes between `taken` and `filled` are read but not parsed.
    read: Vec<u8>,
    taken: usize,
    filled: usize,
    /// Bytes to write, and the number of them already written.
    out: Vec<u8>,
    written: usize,
    closed: bool,
    /// Number of texts received between `welcome` and `synced`.
    pub replayed: usize,
}

impl Socket {
    /// Connects as a user, and reads `welcome` and `synced` unless the server is a plain relay.
    pub async fn open(target: &Target, user: &str) -> io::Result<Self> {
        Self::open_with(target, user, None).await
    }

    /// Reads, answers pings, and keeps the connection open.
    pub async fn rest(mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while self.poll_fill(cx)?.is_ready() {
                while self.next().is_some() {}
            }
            let _ = self.poll_flush(cx)?;
            Poll::Pending
        })
        .await
    }

    /// Connects with a kernel receive buffer of the given size in bytes.
    pub async fn open_with(target: &Target, user: &str, buffer: Option<u32>) -> io::Result<Self> {
        timeout(ANSWER_TIMEOUT, Self::connect(target, user, buffer)).await?
    }

    async fn connect(target: &Target, user: &str, buffer: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        let stream = socket.connect(target.address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self::new(stream);
        socket
            .out
            .extend_from_slice(target.request(user).as_bytes());
        socket.flush().await?;
        let head = loop {
            let read = &socket.read[..socket.filled];
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            socket.fill().await?;
        };
        if !socket.read.starts_with(b"HTTP/1.1 101") {
            let answer = String::from_utf8_lossy(&socket.read[..socket.filled]);
            return Err(io::Error::other(answer.into_owned()));
        }
        socket.taken = head;
        if !target.bare {
            let mut before = 0;
            let synced = |text: &[u8]| {
                before += 1;
                text.starts_with(br#"{"type":"synced""#)
            };
            socket.wait_for(synced).await?;
            // Do not count `welcome` and `synced` themselves.
            socket.replayed = before - 2;
        }
        Ok(socket)
    }

    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read: vec![0; 4096],
            taken: 0,
            filled: 0,
            out: Vec::new(),
            written: 0,
            closed: false,
            replayed: 0,
        }
    }

    /// Returns this socket and a second handle of its stream for writing. The write buffer must be empty.
    pub fn with_handle(self) -> io::Result<(Self, std::net::TcpStream)> {
        let stream = self.stream.into_std()?;
        let handle = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        Ok((Self { stream, ..self }, handle))
    }

    /// The stream, for a thread that waits in the kernel. The write buffer must be empty, and the server must not have sent
    /// anything after `synced`.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.stream.into_std()
    }

    /// Adds a text message to the write buffer.
    pub fn queue(&mut self, text: &str) {
        frame(TEXT, text.as_bytes(), &mut self.out);
    }

    /// Adds encoded frames to the write buffer.
    pub fn queue_frame(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    /// Takes the write buffer. Used for answers to pings if another handle does the writing.
    pub fn take_out(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Writes the whole write buffer.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes as much of the write buffer as the socket accepts.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let left = &self.out[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads the available bytes; ready if there were any.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        } else if self.filled == self.read.len() {
            self.read.copy_within(self.taken..self.filled, 0);
            (self.taken, self.filled) = (0, self.filled - self.taken);
            if self.filled > self.read.len() / 2 {
                self.read.resize(self.read.len() * 2, 0);
            }
        }
        let mut space = ReadBuf::new(&mut self.read[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        match space.filled().len() {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            some => {
                self.filled += some;
                Poll::Ready(Ok(()))
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Returns the next text that has been read. Adds answers to pings to the write buffer.
    pub fn next(&mut self) -> Option<&[u8]> {
        while let Some((first, start, end)) = next_frame(&self.read[self.taken..self.filled]) {
            let payload = self.taken + start..self.taken + end;
            self.taken = payload.end;
            match first & 0x0F {
                1 => return Some(&self.read[payload]),
                9 => frame(PONG, &self.read[payload], &mut self.out),
                8 => self.closed = true,
                _ => {}
            }
        }
        None
    }

    /// Waits for a text for which `wanted` is true; answers pings and discards other texts.
    pub async fn text(&mut self, wanted: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        timeout(ANSWER_TIMEOUT, self.wait_for(wanted)).await?
    }

    async fn wait_for(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut found = false;
            while !found {
                match self.next() {
                    Some(text) => found = wanted(text),
                    None => break,
                }
            }
            self.flush().await?;
            if found {
                return Ok(());
            }
            self.fill().await?;
        }
    }
}

/// Encodes a client's text frame.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 14);
    frame(TEXT, text.as_bytes(), &mut out);
    out
}

/// The answer to a frame with this first byte, if it is a ping.
pub fn pong(first: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    (first & 0x0F == 9).then(|| frame(PONG, payload, &mut out));
    (!out.is_empty()).then_some(out)
}

fn frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
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
    // An all-zero mask is valid and leaves the payload unchanged.
    out.extend([0; 4]);
    out.extend_from_slice(payload);
}

/// Returns the first byte and the start and end of the payload of the frame at the start of `bytes`.
pub fn next_frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?,
        ),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then_some((first, start, start + length))
}
