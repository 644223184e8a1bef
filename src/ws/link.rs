//! A connection whose handshake is done: bytes in, frames out of them; frames in, bytes out.
//!
//! Reading goes through one large buffer per worker thread; a connection holds bytes of its own only while a frame has
//! arrived in part. An idle connection therefore costs no buffers.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Decoder, Incoming, Violation};

/// Size of a worker's read buffer.
const READ: usize = 64 * 1024;
/// Reads per turn, so that one busy peer does not keep the others of its worker waiting.
const READS_PER_TURN: usize = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The two ends of a WebSocket over a byte stream.
#[derive(Debug)]
pub struct Link<T> {
    io: T,
    decoder: Decoder,
    /// Bytes of a frame that has not arrived whole.
    partial: Vec<u8>,
    /// Bytes on their way out, and how many of them are gone.
    out: Vec<u8>,
    sent: usize,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// Something was read.
    Some,
    /// The peer has sent all that it will.
    End,
    /// The peer broke the rules; nothing more may be decoded.
    Violation(Violation),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    /// A link that takes messages of up to `limit` bytes. `read` came with the handshake, `out` goes before all else.
    pub fn new(io: T, limit: usize, read: Vec<u8>, out: Vec<u8>) -> Self {
        Self {
            io,
            decoder: Decoder::new(limit),
            partial: read,
            out,
            sent: 0,
        }
    }

    /// Shows `hear` what came with the handshake, if anything whole did.
    ///
    /// # Errors
    /// [`Violation`]: nothing more may be decoded.
    pub fn begin(&mut self, hear: &mut impl FnMut(Incoming<'_>)) -> Result<(), Violation> {
        let mut early = std::mem::take(&mut self.partial);
        let result = self.decode(&mut early, hear);
        result.map(|used| self.partial = early.split_off(used))
    }

    /// Reads what is there and shows `hear` every whole message in it.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut impl FnMut(Incoming<'_>),
    ) -> Poll<io::Result<Reading>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut heard = false;
            for _ in 0..READS_PER_TURN {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.io).poll_read(cx, &mut read)? {
                    Poll::Pending if heard => return Poll::Ready(Ok(Reading::Some)),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
                let bytes = read.filled_mut();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(Reading::End));
                }
                heard = true;
                let full = bytes.len() == READ;
                if let Err(violation) = self.received(bytes, hear) {
                    return Poll::Ready(Ok(Reading::Violation(violation)));
                }
                if !full {
                    break;
                }
            }
            Poll::Ready(Ok(Reading::Some))
        })
    }

    /// Reads and throws away, which keeps a reset from overtaking what was written (RFC 6455 section 7.1.1).
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Reading>> {
        self.partial = Vec::new();
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS_PER_TURN {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(Reading::End));
                }
            }
            Poll::Ready(Ok(Reading::Some))
        })
    }

    fn received(
        &mut self,
        bytes: &mut [u8],
        hear: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.decode(bytes, hear)?;
            self.keep(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.decode(&mut partial, hear)?;
        if used == 0 {
            self.partial = partial;
        } else {
            self.keep(&partial[used..]);
        }
        Ok(())
    }

    /// Keeps the start of a frame, in a buffer as large as the frame will be.
    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            let mut partial = Vec::with_capacity(self.decoder.wanted(rest).max(rest.len()));
            partial.extend_from_slice(rest);
            self.partial = partial;
        }
    }

    fn decode(
        &mut self,
        bytes: &mut [u8],
        hear: &mut impl FnMut(Incoming<'_>),
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(incoming) = self.decoder.next(bytes, &mut used)? {
            hear(incoming);
        }
        Ok(used)
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Puts bytes on their way; only when there are none.
    pub fn load(&mut self, bytes: Vec<u8>) {
        debug_assert_eq!(self.unsent(), 0, "what is on its way would be lost");
        self.out = bytes;
        self.sent = 0;
    }

    /// Writes what the socket takes: `Ready` when nothing is left. `progress` is set when anything was taken.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.unsent() > 0 {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress = true;
            self.sent += written;
        }
        // An idle connection holds no buffer.
        self.out = Vec::new();
        self.sent = 0;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
