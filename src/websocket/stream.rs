//! A connection whose handshake is done: bytes in, frames out of them; frames in, bytes out.
//!
//! Reading goes through one large buffer per worker thread; a connection holds bytes of its own only while a frame has
//! arrived in part. An idle connection therefore costs no buffers.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Decoder, Incoming, ProtocolError};

/// Size of a worker's read buffer.
const READ: usize = 64 * 1024;
/// Reads per turn, so that one busy peer does not keep the others of its worker waiting.
const READS_PER_TURN: usize = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The two ends of a WebSocket over a byte stream.
#[derive(Debug)]
pub struct MessageStream<T> {
    io: T,
    decoder: Decoder,
    /// Bytes of a frame that has not arrived whole.
    partial: Vec<u8>,
    /// Bytes on their way out, and how many of them are gone.
    out: Vec<u8>,
    sent: usize,
    /// The socket took all of them and holds some back, as TLS does: it is to be asked again.
    held_back: bool,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadProgress {
    /// Something was read, and there is no more for now.
    Some,
    /// Something was read, and there may be more.
    More,
    /// The peer has sent all that it will.
    End,
    /// The peer broke the rules; nothing more may be decoded.
    ProtocolError(ProtocolError),
}

impl<T: AsyncRead + AsyncWrite + Unpin> MessageStream<T> {
    /// A link that takes messages of up to `limit` bytes. `read` came with the handshake, `out` goes before all else.
    pub fn new(io: T, limit: usize, read: Vec<u8>, out: Vec<u8>) -> Self {
        Self {
            io,
            decoder: Decoder::new(limit),
            partial: read,
            out,
            sent: 0,
            held_back: false,
        }
    }

    /// Shows `hear` what came with the handshake, if anything whole did.
    ///
    /// # Errors
    /// [`ProtocolError`]: nothing more may be decoded.
    pub fn begin(&mut self, hear: &mut impl FnMut(Incoming<'_>)) -> Result<(), ProtocolError> {
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
    ) -> Poll<io::Result<ReadProgress>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut heard = false;
            for _ in 0..READS_PER_TURN {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.io).poll_read(cx, &mut read)? {
                    Poll::Pending if heard => return Poll::Ready(Ok(ReadProgress::Some)),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
                let bytes = read.filled_mut();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(ReadProgress::End));
                }
                heard = true;
                if let Err(violation) = self.received(bytes, hear) {
                    return Poll::Ready(Ok(ReadProgress::ProtocolError(violation)));
                }
                // Once more, also after a short read: the socket says then, without being asked, that there is no more, and
                // remembers whom to wake.
            }
            Poll::Ready(Ok(ReadProgress::More))
        })
    }

    /// Reads and throws away, which keeps a reset from overtaking what was written (RFC 6455 section 7.1.1).
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ReadProgress>> {
        self.partial = Vec::new();
        self.decoder.forget();
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
        hear: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), ProtocolError> {
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

    /// Keeps the start of a frame, in a buffer as large as the frame will be; but who has sent little of it gets little.
    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            let wanted = self.decoder.wanted(rest).min(rest.len().max(512) * 4);
            let mut partial = Vec::with_capacity(wanted.max(rest.len()));
            partial.extend_from_slice(rest);
            self.partial = partial;
        }
    }

    /// Bytes kept of a message that has come in part.
    pub fn held(&self) -> usize {
        self.partial.capacity() + self.decoder.held()
    }

    fn decode(
        &mut self,
        bytes: &mut [u8],
        hear: &mut impl FnMut(Incoming<'_>),
    ) -> Result<usize, ProtocolError> {
        let mut used = 0;
        while let Some(incoming) = self.decoder.next(bytes, &mut used)? {
            hear(incoming);
        }
        Ok(used)
    }

    /// Bytes that the socket has not taken yet; one, if it has taken all and not sent them.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent + usize::from(self.held_back)
    }

    /// The same, and the memory that they are in.
    pub fn in_hand(&self) -> (usize, usize) {
        (self.unsent(), self.out.capacity())
    }

    /// Gives back memory of what is gone, once that is more than what is left.
    fn give_back(&mut self) {
        if self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.out.shrink_to_fit();
            self.sent = 0;
        }
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
        while self.sent < self.out.len() {
            let Poll::Ready(written) =
                Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..])?
            else {
                self.give_back();
                return Poll::Pending;
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress = true;
            self.sent += written;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.held_back = flushed.is_pending();
        if self.held_back {
            self.give_back();
        }
        flushed
    }

    /// The buffer whose bytes are all gone: an idle connection holds none here.
    pub fn spare(&mut self) -> Vec<u8> {
        debug_assert_eq!(self.unsent(), 0, "what is on its way would be lost");
        self.sent = 0;
        std::mem::take(&mut self.out)
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so much and sends nothing until it is told to, as TLS does when the kernel has no room.
    struct Holding {
        sends: bool,
        takes: usize,
    }

    impl AsyncRead for Holding {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.takes);
            self.get_mut().takes -= taken;
            if taken == 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.sends {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn link(takes: usize, out: Vec<u8>) -> MessageStream<Holding> {
        let sends = false;
        MessageStream::new(Holding { sends, takes }, 64, Vec::new(), out)
    }

    #[test]
    fn who_has_read_nearly_all_keeps_little_of_the_memory() {
        let out: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut link = link(30_000, out.clone());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut progress = false;
        assert!(link.poll_write(cx, &mut progress).is_pending());
        assert_eq!(link.in_hand(), (70_000, 100_000));
        link.io.takes = 69_000;
        assert!(link.poll_write(cx, &mut progress).is_pending());
        assert_eq!(link.in_hand(), (1000, 1000));
        assert_eq!(link.out[link.sent..], out[99_000..]);
        link.io.takes = 1000;
        assert!(link.poll_write(cx, &mut progress).is_pending());
        assert_eq!(link.in_hand(), (1, 0), "held back");
    }

    #[test]
    fn what_the_socket_holds_back_is_asked_for_again() {
        let mut link = link(usize::MAX, b"last".to_vec());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut progress = false;
        assert!(link.poll_write(cx, &mut progress).is_pending());
        assert!(progress && link.unsent() > 0);
        assert!(link.poll_write(cx, &mut progress).is_pending());
        link.io.sends = true;
        assert!(link.poll_write(cx, &mut progress).is_ready());
        assert_eq!(link.unsent(), 0);
    }
}
