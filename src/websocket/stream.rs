//! A WebSocket connection over a byte stream, after the handshake.
//!
//! All connections of a worker thread read into one shared buffer. A connection has a read buffer of its own only while a frame is
//! incomplete, and a write buffer only while bytes are unsent. An idle connection therefore holds no buffers (4.3 KiB per connection
//! in all; 14.1 KiB with actix-ws, `docs/performance.md`, row f).

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Decoder, Incoming, ProtocolError, TurnBudget};
use crate::counters::SENT_BYTES;

/// Size of the read buffer of a worker thread.
const READ_BUFFER: usize = 64 * 1024;
/// Reads per call, so that one busy connection does not delay the others of its worker thread.
const READS_PER_TURN: usize = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
}

/// A WebSocket connection over a byte stream.
#[derive(Debug)]
pub struct MessageStream<T> {
    io: T,
    decoder: Decoder,
    /// Bytes received and not decoded: an incomplete frame, or more if `undecoded`.
    partial: Vec<u8>,
    /// Where the next frame in `partial` starts.
    at: usize,
    /// The turn ended before all frames in `partial` were decoded.
    undecoded: bool,
    /// Bytes to send.
    out: Vec<u8>,
    /// How many bytes of `out` are already sent.
    sent: usize,
    /// The stream accepted all bytes but has not flushed them, as TLS does: it must be flushed again.
    unflushed: bool,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadProgress {
    /// Bytes were read, and no more are available now.
    Drained,
    /// Bytes were read, and more may be available.
    More,
    /// The peer closed its side of the connection.
    End,
    /// The peer violated the protocol; no more bytes may be decoded.
    ProtocolError(ProtocolError),
}

impl<T: AsyncRead + AsyncWrite + Unpin> MessageStream<T> {
    /// A connection that accepts messages of up to `limit` bytes. `received` are bytes that arrived with the handshake, `out` are the
    /// first bytes to send.
    pub fn new(io: T, limit: usize, received: Vec<u8>, out: Vec<u8>) -> Self {
        Self {
            io,
            decoder: Decoder::new(limit),
            undecoded: !received.is_empty(),
            partial: received,
            at: 0,
            out,
            sent: 0,
            unflushed: false,
        }
    }

    /// Reads the available bytes and calls `on_message` for every complete message, until `turn` is spent or `on_message`
    /// returns `Break`. Frames that are left then are decoded by the next call.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut TurnBudget,
        on_message: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Poll<io::Result<ReadProgress>> {
        let mut read_some = self.undecoded;
        if let Err(error) = self.decode_rest(turn, on_message) {
            return Poll::Ready(Ok(ReadProgress::ProtocolError(error)));
        }
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS_PER_TURN {
                if turn.is_spent() {
                    break;
                }
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.io).poll_read(cx, &mut read)? {
                    Poll::Pending if read_some => return Poll::Ready(Ok(ReadProgress::Drained)),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
                let bytes = read.filled_mut();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(ReadProgress::End));
                }
                read_some = true;
                if let Err(error) = self.received(bytes, turn, on_message) {
                    return Poll::Ready(Ok(ReadProgress::ProtocolError(error)));
                }
                // Read again even after a short read: the read that finds nothing also registers the waker.
            }
            Poll::Ready(Ok(ReadProgress::More))
        })
    }

    /// Decodes frames that are left from earlier calls. Nothing is read.
    fn decode_rest(
        &mut self,
        turn: &mut TurnBudget,
        on_message: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<(), ProtocolError> {
        if self.undecoded {
            let mut partial = std::mem::take(&mut self.partial);
            let used = self.decode(&mut partial, self.at, turn, on_message)?;
            self.keep_rest(partial, used);
        }
        Ok(())
    }

    /// Reads and discards bytes. Unread bytes at the time of the close would make the kernel send a reset, which can discard bytes
    /// that the peer has not read yet (RFC 6455 section 7.1.1).
    ///
    /// # Errors
    /// If the connection failed.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ReadProgress>> {
        self.partial = Vec::new();
        self.undecoded = false;
        self.decoder.discard();
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS_PER_TURN {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(ReadProgress::End));
                }
            }
            Poll::Ready(Ok(ReadProgress::More))
        })
    }

    fn received(
        &mut self,
        bytes: &mut [u8],
        turn: &mut TurnBudget,
        on_message: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<(), ProtocolError> {
        if self.partial.is_empty() {
            let used = self.decode(bytes, 0, turn, on_message)?;
            self.keep(&bytes[used..]);
            self.at = 0;
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.decode(&mut partial, 0, turn, on_message)?;
        self.keep_rest(partial, used);
        Ok(())
    }

    /// Keeps `partial`, of which the first `used` bytes are decoded.
    fn keep_rest(&mut self, partial: Vec<u8>, used: usize) {
        if self.undecoded || used == 0 {
            self.partial = partial;
            self.at = used;
        } else {
            self.keep(&partial[used..]);
            self.at = 0;
        }
    }

    /// Keeps the start of an incomplete frame. The buffer has room for the whole frame, but at most four times the bytes received (and
    /// 2 KiB), so that announcing a large frame reserves little memory.
    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            let size = self.decoder.frame_size(rest).min(rest.len().max(512) * 4);
            let mut partial = Vec::with_capacity(size.max(rest.len()));
            partial.extend_from_slice(rest);
            self.partial = partial;
        }
    }

    /// Memory held for an incomplete message, in bytes.
    pub fn incomplete_bytes(&self) -> usize {
        self.partial.capacity() + self.decoder.incomplete_bytes()
    }

    /// Decodes frames from position `used` on until there is no complete one, or `turn` is spent. Returns the position after
    /// them.
    fn decode(
        &mut self,
        bytes: &mut [u8],
        mut used: usize,
        turn: &mut TurnBudget,
        on_message: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<usize, ProtocolError> {
        while !turn.is_spent() {
            let start = used;
            let flow = self.decoder.next(bytes, &mut used)?.map(&mut *on_message);
            let complete = flow.is_some();
            turn.add(self.decoder.take_fragments(), complete, used - start);
            if !complete {
                self.undecoded = false;
                return Ok(used);
            }
            if flow.is_some_and(|flow| flow.is_break()) {
                turn.pause();
            }
        }
        self.undecoded = used < bytes.len();
        Ok(used)
    }

    /// Number of bytes not sent yet; 1 if the stream accepted all bytes but has not flushed them.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent + usize::from(self.unflushed)
    }

    /// [`MessageStream::unsent`], and the capacity of the buffer that holds the bytes.
    pub fn unsent_and_capacity(&self) -> (usize, usize) {
        (self.unsent(), self.out.capacity())
    }

    /// Frees the memory of sent bytes, once more than half of the buffer is sent.
    fn shrink(&mut self) {
        if self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.out.shrink_to_fit();
            self.sent = 0;
        }
    }

    /// Sets the bytes to send; only while [`MessageStream::unsent`] is 0.
    pub fn set_out(&mut self, bytes: Vec<u8>) {
        debug_assert_eq!(self.unsent(), 0, "unsent bytes would be lost");
        self.out = bytes;
        self.sent = 0;
    }

    /// Writes as much as the stream accepts. Returns `Ready` when everything is sent. Sets `progress` if bytes were written.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let Poll::Ready(written) =
                Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..])?
            else {
                self.shrink();
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress = true;
            SENT_BYTES.add(written as u64);
            self.sent += written;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.unflushed = flushed.is_pending();
        if self.unflushed {
            self.shrink();
        }
        flushed
    }

    /// Takes the buffer after all of its bytes are sent, so that an idle connection holds none.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        debug_assert_eq!(self.unsent(), 0, "unsent bytes would be lost");
        self.sent = 0;
        std::mem::take(&mut self.out)
    }

    /// Closes the write side of the connection.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Accepts `accepts` bytes and flushes only if `flushes`, as TLS does while the kernel's buffer is full.
    struct Unflushed {
        flushes: bool,
        accepts: usize,
    }

    impl AsyncRead for Unflushed {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Unflushed {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let accepted = bytes.len().min(self.accepts);
            self.get_mut().accepts -= accepted;
            if accepted == 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(accepted))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.flushes {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn stream(accepts: usize, out: Vec<u8>) -> MessageStream<Unflushed> {
        let flushes = false;
        MessageStream::new(Unflushed { flushes, accepts }, 64, Vec::new(), out)
    }

    #[test]
    fn memory_of_sent_bytes_is_freed() {
        let out: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut stream = stream(30_000, out.clone());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut progress = false;
        assert!(stream.poll_write(cx, &mut progress).is_pending());
        assert_eq!(stream.unsent_and_capacity(), (70_000, 100_000));
        stream.io.accepts = 69_000;
        assert!(stream.poll_write(cx, &mut progress).is_pending());
        assert_eq!(stream.unsent_and_capacity(), (1000, 1000));
        assert_eq!(stream.out[stream.sent..], out[99_000..]);
        stream.io.accepts = 1000;
        assert!(stream.poll_write(cx, &mut progress).is_pending());
        assert_eq!(stream.unsent_and_capacity(), (1, 0), "unflushed");
    }

    #[test]
    fn unflushed_bytes_are_flushed_again() {
        let mut stream = stream(usize::MAX, b"last".to_vec());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut progress = false;
        assert!(stream.poll_write(cx, &mut progress).is_pending());
        assert!(progress && stream.unsent() > 0);
        assert!(stream.poll_write(cx, &mut progress).is_pending());
        stream.io.flushes = true;
        assert!(stream.poll_write(cx, &mut progress).is_ready());
        assert_eq!(stream.unsent(), 0);
    }
}
