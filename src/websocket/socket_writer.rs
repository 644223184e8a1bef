//! Writing to a socket from any thread.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A byte stream that a session can run on.
pub trait Transport {
    /// What the session's task reads from and writes to.
    type Io: AsyncRead + AsyncWrite + Unpin;

    /// The stream for the task, and a way to write past it where there is one.
    fn split(self) -> (Self::Io, Option<SocketWriter>);
}

/// The writing end of a socket, for any thread. Two must not write at a time.
#[derive(Clone, Debug)]
pub struct SocketWriter(Arc<OwnedWriteHalf>);

impl SocketWriter {
    /// Writes what the socket takes now, and says how much that was. An error shows again when the task writes.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.0.try_write(&bytes[sent..]) {
                Ok(0) | Err(_) => break,
                Ok(written) => sent += written,
            }
        }
        sent
    }
}

/// A TCP connection whose writing end others use too.
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
        let wire = SocketWriter(write.clone());
        (Tcp { read, write }, Some(wire))
    }
}

impl Transport for tokio_rustls::server::TlsStream<TcpStream> {
    type Io = Self;

    /// Only the task can write: encryption has one state for all that is sent.
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
        // TCP has no buffer of its own to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.socket()).shutdown(Shutdown::Write))
    }
}
