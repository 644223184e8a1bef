//! A client's WebSocket, as cheap as can be, so that the load and not its generator is measured.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::target::Target;

/// Both halves of a connection.
pub struct Socket {
    write: Writing,
    read: Reading,
}

/// The half that sends.
pub struct Writing {
    half: OwnedWriteHalf,
    out: Vec<u8>,
}

/// The half that receives. Pings are answered through the other half of the same stream.
pub struct Reading {
    half: OwnedReadHalf,
    read: Vec<u8>,
}

impl Socket {
    /// Connects as a user, and reads `welcome` and `synced` unless the server is a bare relay.
    pub async fn open(target: &Target, user: &str, bare: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (half, write) = stream.into_split();
        let mut socket = Self {
            write: Writing {
                half: write,
                out: Vec::new(),
            },
            read: Reading {
                half,
                read: Vec::new(),
            },
        };
        let request = format!(
            "GET {}{user} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            target.path
        );
        socket.write.half.write_all(request.as_bytes()).await?;
        let head = loop {
            let end = socket
                .read
                .read
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break socket.read.read.drain(..end + 4).collect::<Vec<_>>();
            }
            socket.read.fill().await?;
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other(
                String::from_utf8_lossy(&head).into_owned(),
            ));
        }
        let mut texts = VecDeque::new();
        while !bare
            && !texts
                .iter()
                .any(|text: &Vec<u8>| text.starts_with(br#"{"type":"synced""#))
        {
            socket.read(&mut texts).await?;
        }
        Ok(socket)
    }

    /// Both halves on their own. Pings are not answered any more: for talks shorter than two heartbeats.
    pub fn split(self) -> (Writing, Reading) {
        (self.write, self.read)
    }

    /// See [`Writing::queue`].
    pub fn queue(&mut self, text: &str) {
        self.write.queue(text);
    }

    /// See [`Writing::flush`].
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write.flush().await
    }

    /// Reads at least one frame; answers pings.
    pub async fn read(&mut self, texts: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        let pings = self.read.read_frames(texts).await?;
        for ping in pings {
            self.write.frame(0x8A, &ping);
        }
        self.write.flush().await
    }
}

impl Writing {
    /// Adds a text message to what goes next.
    pub fn queue(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        self.out.push(first);
        match payload.len() {
            short @ 0..=125 => self.out.push(0x80 | short as u8),
            medium @ 126..=65535 => {
                self.out.push(0xFE);
                self.out.extend((medium as u16).to_be_bytes());
            }
            long => {
                self.out.push(0xFF);
                self.out.extend((long as u64).to_be_bytes());
            }
        }
        // A mask of zeros is a mask, and changes nothing.
        self.out.extend([0; 4]);
        self.out.extend_from_slice(payload);
    }

    /// Sends what was added.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.half.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }
}

impl Reading {
    /// Reads at least one frame and keeps the texts.
    pub async fn read(&mut self, texts: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        self.read_frames(texts).await.map(drop)
    }

    /// Reads at least one frame; gives the payloads of pings.
    async fn read_frames(&mut self, texts: &mut VecDeque<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        let mut pings = Vec::new();
        loop {
            let mut used = 0;
            while let Some((first, payload, length)) = frame(&self.read[used..]) {
                match first & 0x0F {
                    1 => texts.push_back(payload.to_vec()),
                    9 => pings.push(payload.to_vec()),
                    8 => return Err(io::ErrorKind::ConnectionAborted.into()),
                    _ => {}
                }
                used += length;
            }
            if used > 0 {
                self.read.drain(..used);
                return Ok(pings);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.half.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// First byte, payload and length of the frame at the start of `bytes`.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?;
    Some((first, payload, bytes.len() - rest.len() + length))
}
