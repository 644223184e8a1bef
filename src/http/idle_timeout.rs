//! Closes HTTP connections that make no progress.
//!
//! The deadline of actix-http for the head of a request covers the first request of a connection only. Without a deadline of our own, an
//! incomplete second request, or a response that the client does not read, would keep a connection open forever. The rules:
//!
//! - The head of a request must be complete 40 s ([`IDLE_TIMEOUT`]) after the previous request. Received bytes do not extend this
//!   deadline, so that a client cannot send a head byte by byte.
//! - While a response is sent, each byte extends the deadline by the time that it takes at [`MIN_BYTES_PER_SECOND`], up to 40 s
//!   from now. A slow transfer may therefore take as long as it needs, while a client that
//!   transfers a byte now and then is disconnected.
//!
//! - While a call that may take long is being answered ([`Activity::work`]), there is no deadline.
//!
//! A connection that is upgraded to WebSocket leaves this stream; sessions have timeouts of their own.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::error_responses::ErrorResponses;
use super::{HANDSHAKE_TIMEOUT, KEEP_ALIVE_TIMEOUT};
use crate::limits::ConnectionPermit;
use crate::limits::memory::Reservation;

/// The time for an idle connection to start the next request, plus the time for its head.
const IDLE_TIMEOUT: Duration = KEEP_ALIVE_TIMEOUT.saturating_add(HANDSHAKE_TIMEOUT);

/// Longer than any process runs.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The rate below which a transfer counts as stalled. The slowest mobile networks are several times faster.
const MIN_BYTES_PER_SECOND: u64 = 500;

/// The largest request head that actix-http buffers before it closes the connection.
const MAX_HEAD: usize = 128 * 1024;

/// A byte stream that fails with [`io::ErrorKind::TimedOut`] if the connection makes no progress.
#[derive(Debug)]
pub struct TimeoutStream<T> {
    io: T,
    permit: ConnectionPermit,
    /// The memory that the dispatcher may use for received bytes.
    memory: Reservation,
    /// Number of bytes received, up to [`MAX_HEAD`]. The dispatcher does not report which of them it still holds, so all count.
    received: usize,
    activity: Activity,
    error_responses: ErrorResponses,
    /// The connection is encrypted by this server.
    tls: bool,
    /// Wakes the dispatcher's task so that it polls this stream. It may fire before the deadline: resetting it for every request and
    /// transfer would cost more than an early wake-up.
    alarm: Pin<Box<Sleep>>,
}

/// The deadline of a connection, shared with its requests on the same thread.
#[derive(Clone, Debug)]
pub struct Activity(Rc<State>);

#[derive(Debug)]
struct State {
    timeout: Duration,
    deadline: Cell<Instant>,
    /// Bytes were received since the last request started.
    received: Cell<bool>,
    /// The number of requests being answered that may take long.
    working: Cell<usize>,
}

/// Holds the deadline of a connection off until it is dropped. The deadline is renewed then.
#[derive(Debug)]
pub struct Working(Activity);

impl Drop for Working {
    fn drop(&mut self) {
        let Activity(state) = &self.0;
        state.working.set(state.working.get() - 1);
        state.deadline.set(Instant::now() + state.timeout);
    }
}

impl Activity {
    fn new(timeout: Duration) -> Self {
        Self(Rc::new(State {
            timeout,
            deadline: Cell::new(Instant::now() + timeout),
            received: Cell::new(false),
            working: Cell::new(0),
        }))
    }

    /// Marks the start of a request, which renews the deadline. A pipelined request that arrived together with an earlier one does
    /// not renew it: the client may have sent it long ago and read no response since.
    pub fn start_request(&self) {
        let Self(state) = self;
        if state.received.take() {
            state.deadline.set(Instant::now() + state.timeout);
        }
    }

    /// Begins to answer a request, which may take long.
    #[must_use]
    pub fn work(&self) -> Working {
        let Self(state) = self;
        state.working.set(state.working.get() + 1);
        Working(self.clone())
    }

    fn deadline(&self) -> Instant {
        let Self(state) = self;
        if state.working.get() == 0 {
            state.deadline.get()
        } else {
            Instant::now() + state.timeout
        }
    }

    /// Removes the deadline: the connection is upgraded, and has no more requests.
    pub fn keep_open(&self) {
        let Self(state) = self;
        state.deadline.set(Instant::now() + FOREVER);
    }

    /// Extends the deadline after so many bytes were sent.
    fn extend(&self, bytes: usize) {
        let Self(state) = self;
        let gain = Duration::from_micros(bytes as u64 * 1_000_000 / MIN_BYTES_PER_SECOND);
        let deadline = state.deadline.get();
        let extended = (deadline + gain).min(Instant::now() + state.timeout);
        state.deadline.set(extended.max(deadline));
    }
}

impl<T> TimeoutStream<T> {
    /// Wraps the stream of a new connection.
    pub fn new(io: T, permit: ConnectionPermit, memory: Reservation, tls: bool) -> Self {
        Self {
            tls,
            ..Self::with_timeout(io, permit, memory, IDLE_TIMEOUT)
        }
    }

    fn with_timeout(
        io: T,
        permit: ConnectionPermit,
        memory: Reservation,
        timeout: Duration,
    ) -> Self {
        let activity = Activity::new(timeout);
        Self {
            io,
            memory,
            received: 0,
            permit,
            alarm: Box::pin(sleep_until(activity.0.deadline.get())),
            activity,
            error_responses: ErrorResponses::default(),
            tls: false,
        }
    }

    /// The stream without the timeout, and the permit of its connection.
    pub fn into_inner(self) -> (T, ConnectionPermit) {
        (self.io, self.permit)
    }

    /// Makes the connection's [`Activity`] available to its requests.
    pub fn share_activity(&self, extensions: &mut Extensions) {
        extensions.insert(self.activity.clone());
    }

    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let deadline = self.activity.deadline();
            if deadline <= Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(deadline);
        }
        Ok(())
    }

    fn on_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity.extend(bytes);
        }
        written
    }
}

/// Warns once of a connection that begins with a TLS handshake: with TLS, its bytes would have been decrypted.
fn warn_of_tls(first: &[u8]) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if first.starts_with(&[0x16, 0x03]) && !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "a client has started TLS on a port without TLS: it has to use http:// or ws://, or the server needs --tls-cert and --tls-key"
        );
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimeoutStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let received = buffer.filled().len() - before;
        if received > 0 {
            if self.received == 0 {
                warn_of_tls(&buffer.filled()[before..]);
            }
            self.activity.0.received.set(true);
            self.received = MAX_HEAD.min(self.received + received);
            let (total, held) = (self.received, self.memory.held());
            self.memory.set(total);
            if self.memory.held() > held && self.memory.budget().is_full() {
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
        self.check_deadline(cx)?;
        let Self {
            io,
            error_responses,
            tls,
            ..
        } = &mut *self;
        let written = error_responses.poll_write(io, cx, bytes, *tls);
        self.on_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.on_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::config::{LimitsConfig, RecipientsConfig, RoomsConfig, TrustedProxies};
    use crate::limits::Limits;

    /// The idle timeout of these tests.
    const TIMEOUT: Duration = Duration::from_secs(1);
    /// The pause between two transfers: short enough that a busy machine does not make it longer than the timeout.
    const PAUSE: Duration = Duration::from_millis(200);
    /// The number of pauses after which a stream without progress has failed.
    const PAUSES: usize = 15;
    /// The bytes that the duplex stream holds until the peer reads them.
    const CAPACITY: usize = 1000;

    /// A server's stream and its peer.
    fn connection() -> (TimeoutStream<DuplexStream>, DuplexStream) {
        let limits = Limits::new(
            &LimitsConfig::default(),
            &RecipientsConfig::default(),
            &RoomsConfig::default(),
            &TrustedProxies::default(),
        );
        let permit = limits
            .connections
            .open(None)
            .expect("the limit is not reached");
        let memory = limits.memory.reservation();
        let (server, peer) = duplex(CAPACITY);
        (
            TimeoutStream::with_timeout(server, permit, memory, TIMEOUT),
            peer,
        )
    }

    fn run(test: impl Future<Output = ()>) {
        actix_rt::System::new().block_on(test);
    }

    /// Sends a response while the peer reads `step` bytes at a time; stops after [`PAUSES`] pauses.
    async fn send_response(step: usize) -> Option<io::ErrorKind> {
        let (mut stream, mut peer) = connection();
        let response = vec![0; 2 * CAPACITY + step * PAUSES];
        let mut sending = pin!(stream.write_all(&response));
        let mut read = vec![0; step];
        for _ in 0..PAUSES {
            match timeout(PAUSE, &mut sending).await {
                Ok(Ok(())) => panic!("the peer has not read the response"),
                Ok(Err(error)) => return Some(error.kind()),
                Err(_) if step == 0 => {}
                Err(_) => drop(peer.read_exact(&mut read).await.expect("bytes were sent")),
            }
        }
        None
    }

    /// Receives `step` bytes at a time from the peer; stops after [`PAUSES`] pauses.
    async fn receive(
        stream: &mut TimeoutStream<DuplexStream>,
        mut peer: DuplexStream,
        step: usize,
    ) -> Option<io::ErrorKind> {
        let mut read = vec![0; step];
        for _ in 0..PAUSES {
            sleep(PAUSE).await;
            peer.write_all(&vec![0; step])
                .await
                .expect("the stream is open");
            if let Err(error) = stream.read_exact(&mut read).await {
                return Some(error.kind());
            }
        }
        None
    }

    #[test]
    fn a_response_that_is_read_slowly_is_sent_completely() {
        run(async { assert_eq!(send_response(900).await, None) });
    }

    #[test]
    fn a_response_that_is_not_read_ends_the_connection() {
        run(async { assert_eq!(send_response(0).await, Some(io::ErrorKind::TimedOut)) });
    }

    #[test]
    fn a_response_that_is_read_byte_by_byte_ends_the_connection() {
        run(async { assert_eq!(send_response(1).await, Some(io::ErrorKind::TimedOut)) });
    }

    #[test]
    fn the_head_of_a_request_does_not_extend_its_deadline() {
        run(async {
            for step in [1, 900] {
                let (mut stream, peer) = connection();
                let failed = receive(&mut stream, peer, step).await;
                assert_eq!(failed, Some(io::ErrorKind::TimedOut), "{step}");
            }
        });
    }

    #[test]
    fn a_call_that_takes_long_is_answered_and_the_deadline_is_renewed_then() {
        run(async {
            let (mut stream, mut peer) = connection();
            let working = stream.activity.work();
            // The dispatcher waits for the next request meanwhile.
            let waiting = timeout(2 * TIMEOUT, stream.read_u8()).await;
            assert!(waiting.is_err(), "{waiting:?}");
            drop(working);
            stream
                .write_all(b"x")
                .await
                .expect("the deadline was renewed");
            peer.read_u8().await.expect("the answer");
            let ended = stream.read_u8().await.expect_err("there is no request");
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_new_request_renews_the_deadline_and_a_pipelined_one_does_not() {
        run(async {
            let (mut stream, mut peer) = connection();
            for _ in 0..PAUSES {
                sleep(PAUSE).await;
                peer.write_all(b"x").await.expect("the stream is open");
                stream.read_u8().await.expect("the deadline was renewed");
                stream.activity.start_request();
            }
            let deadline = stream.activity.0.deadline.get();
            stream.activity.start_request();
            assert_eq!(stream.activity.0.deadline.get(), deadline);
        });
    }
}
