//! How long a connection is borne on which no request comes.
//!
//! The deadline that actix-http sets for a request holds for the first one of a connection only: a second that never ends would keep
//! it open for ever, as would an answer that nobody reads. Here each request gives the connection a while, and with the
//! handshake of a WebSocket, which has its own rules, this ends.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{HANDSHAKE_TIMEOUT, KEEP_ALIVE_TIMEOUT};
use crate::limits::ConnectionPermit;
use crate::limits::memory::Reservation;

/// From one request to the end of the next one's head: what an idle connection has, and a handshake.
const PATIENCE: Duration = KEEP_ALIVE_TIMEOUT.saturating_add(HANDSHAKE_TIMEOUT);

/// As much of a head as actix-http keeps before it gives the connection up.
const HEAD: usize = 128 * 1024;

/// A byte stream that ends when no request has come for a while.
#[derive(Debug)]
pub struct TimeoutStream<T> {
    io: T,
    arrival: ConnectionPermit,
    /// What the dispatcher may hold of it. It is not told which requests are whole, so that all that came counts.
    share: Reservation,
    read: usize,
    heard: LastRequest,
    /// Goes off when it may be over; a request does not move it, which would cost more than looking twice.
    alarm: Pin<Box<Sleep>>,
}

/// When a request last came; shared by a connection and its requests, on one thread.
#[derive(Clone, Debug)]
pub struct LastRequest(Rc<Came>);

#[derive(Debug)]
struct Came {
    last: Cell<Instant>,
    /// Bytes have been read since then.
    more: Cell<bool>,
}

impl LastRequest {
    /// A request has come. One that had arrived with the last one, and has waited for somebody to read the answers, is not
    /// news.
    pub fn renew(&self) {
        if self.0.more.take() {
            self.0.last.set(Instant::now());
        }
    }
}

impl<T> TimeoutStream<T> {
    /// A stream that begins now.
    pub fn new(io: T, arrival: ConnectionPermit) -> Self {
        let now = Instant::now();
        Self {
            io,
            share: arrival.share(),
            read: 0,
            arrival,
            heard: LastRequest(Rc::new(Came {
                last: Cell::new(now),
                more: Cell::new(false),
            })),
            alarm: Box::pin(sleep_until(now + PATIENCE)),
        }
    }

    /// The stream, without an end, and its place among all.
    pub fn into_inner(self) -> (T, ConnectionPermit) {
        (self.io, self.arrival)
    }

    /// Tells a connection's requests where to say that they have come.
    pub fn introduce(&self, extensions: &mut Extensions) {
        extensions.insert(self.heard.clone());
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let end = self.heard.0.last.get() + PATIENCE;
            if end <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(end);
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimeoutStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.heard.0.more.set(true);
            self.read = HEAD.min(self.read + came);
            let (read, held) = (self.read, self.share.held());
            self.share.set(read);
            if self.share.held() > held && self.share.of().full() {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
