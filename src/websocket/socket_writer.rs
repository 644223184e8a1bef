//! Writes to a client's socket from any thread.
//!
//! A frame is written by the thread that created it, which is usually not the thread of the receiver's session. Waking the receiver's
//! task for each frame instead cost a context switch: 260,000 instead of 785,000 relayed messages per second (`docs/performance.md`,
//! "Optimizations that helped").

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::counters::SENT_BYTES;

/// A byte stream that carries a WebSocket connection.
pub trait Transport {
    /// The stream for the session's task.
    type Io: AsyncRead + AsyncWrite + Unpin;

    /// Splits off a [`SocketWriter`], if the stream allows one.
    fn split(self) -> (Self::Io, Option<SocketWriter>);
}

/// The write half of a socket, for use by any thread. The caller ensures that only one thread writes at a time.
#[derive(Clone, Debug)]
pub struct SocketWriter(Arc<OwnedWriteHalf>);

impl SocketWriter {
    /// Writes as much as fits into the socket's send buffer and returns the number of bytes written. Errors are ignored: the session's
    /// task gets the same error when it writes.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.0.try_write(&bytes[sent..]) {
                Ok(0) | Err(_) => break,
                Ok(written) => sent += written,
            }
        }
        SENT_BYTES.add(sent as u64);
        sent
    }
}

/// A TCP connection whose write half is shared with [`SocketWriter`]s.
#[derive(Debug)]
pub struct Tcp {
    read: OwnedReadHalf,
    write: Arc<OwnedWriteHalf>,
}

impl Tcp {
    fn socket(&self) -> &TcpStream {
        (*self.write).as_ref()
    }
}

impl Transport for TcpStream {
    type Io = Tcp;

    fn split(self) -> (Tcp, Option<SocketWriter>) {
        let (read, write) = self.into_split();
        let write = Arc::new(write);
        let writer = SocketWriter(write.clone());
        (Tcp { read, write }, Some(writer))
    }
}

impl Transport for tokio_rustls::server::TlsStream<TcpStream> {
    type Io = Self;

    /// Only the session's task can write: all bytes pass through one encryption state.
    fn split(self) -> (Self, Option<SocketWriter>) {
        (self, None)
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.write.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket().poll_write_ready(cx))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing to flush: bytes go directly to the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.socket()).shutdown(Shutdown::Write))
    }
}
