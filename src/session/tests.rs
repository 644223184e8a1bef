use std::io;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use tokio::io::{AsyncReadExt as _, ReadBuf};
use uuid::Uuid;

use super::*;
use crate::auth::Verifier;
use crate::config::{KeepaliveConfig, LimitsConfig};
use crate::limits::memory::MemoryBudget;
use crate::outbox::disconnect::SHUTDOWN;
use crate::outbox::wakeup::WrittenBy;
use crate::registry::Registry;

/// A socket whose first read panics, as a bug in the server would.
struct PanickingSocket {
    _socket: Arc<()>,
}

impl AsyncRead for PanickingSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("a bug in the server")
    }
}

impl AsyncWrite for PanickingSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An echo session, whose registry entry is in `registry`.
async fn params(registry: &Arc<Registry>, limits: &LimitsConfig) -> SessionParams {
    let outbox = Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20));
    let registered = registry.register(&outbox);
    outbox.open(1, 0);
    let identity = Verifier::Open.authenticate(Some("u"), None).await;
    SessionParams {
        keepalive: KeepaliveConfig::default(),
        limits: FrameLimits::new(limits),
        read_rate: None,
        outbox,
        auth: Some(Auth {
            identity: identity.expect("authentication is off"),
            registered,
        }),
        user: None,
    }
}

#[test]
fn a_panic_ends_its_own_session_and_leaves_nothing_behind() {
    actix_rt::System::new().block_on(async {
        let registry = Arc::new(Registry::default());
        let params = params(&registry, &LimitsConfig::default()).await;
        let outbox = params.outbox.clone();
        let socket = Arc::new(());
        let stream = {
            let io = PanickingSocket {
                _socket: socket.clone(),
            };
            MessageStream::new(io, 1024, Vec::new(), Vec::new())
        };
        let ended = actix_rt::spawn(run(stream, Box::new(params))).await;
        assert!(ended.expect_err("the session panicked").is_panic());
        assert!(registry.all().is_empty(), "the session is unregistered");
        assert!(
            !outbox.push_ephemeral(b"x", WrittenBy::FanOutThread).0,
            "the outbox is destroyed"
        );
        assert_eq!(Arc::strong_count(&socket), 1, "the socket is closed");
        actix_rt::spawn(async {})
            .await
            .expect("the worker runs other tasks");
    });
}

/// A socket from which frames can be read without end. Counts the bytes that were read, and those that were written.
struct EndlessFrames {
    frame: &'static [u8],
    read: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl AsyncRead for EndlessFrames {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining() / self.frame.len();
        buffer.put_slice(&self.frame.repeat(count));
        let bytes = count * self.frame.len();
        self.read.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EndlessFrames {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.fetch_add(bytes.len(), Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_session_that_has_always_something_to_read_leaves_time_for_other_sockets() {
    let limits = LimitsConfig {
        control_frames_per_second: 1_000_000,
        session_bytes_per_second: crate::config::Auto(Some(1 << 40)),
        ..LimitsConfig::default()
    };
    // Pongs that nobody asked for, and fragments of a message; neither is answered.
    let pongs = &[0x8A, 0x80, 0, 0, 0, 0][..];
    let fragments = &[0x00, 0x80, 0, 0, 0, 0][..];
    for (frame, first) in [(pongs, &[][..]), (fragments, &[0x01, 0x80, 0, 0, 0, 0])] {
        let read = Arc::new(AtomicUsize::new(0));
        let io = EndlessFrames {
            frame,
            read: read.clone(),
            written: Arc::default(),
        };
        actix_rt::System::new().block_on(async {
            let registry = Arc::new(Registry::default());
            let params = params(&registry, &limits).await;
            // No limit of the number of fragments.
            let stream = MessageStream::new(io, usize::MAX, first.to_vec(), Vec::new());
            let session = actix_rt::spawn(run(stream, Box::new(params)));
            let (near, mut far) = std::os::unix::net::UnixStream::pair().expect("two sockets");
            near.set_nonblocking(true).expect("the mode can be set");
            let mut near = tokio::net::UnixStream::from_std(near).expect("a runtime");
            for _ in 0..20 {
                let before = read.load(Ordering::Relaxed);
                far.write_all(b"x").expect("room for a byte");
                near.read_exact(&mut [0]).await.expect("a byte comes");
                // A few turns, of a full read buffer at most.
                let turns = (read.load(Ordering::Relaxed) - before) / (64 << 10);
                assert!(turns <= 4, "{turns}");
            }
            session.abort();
        });
    }
}

/// A socket that the test controls.
#[derive(Clone, Default)]
struct ControlledSocket(Arc<Mutex<Control>>);

#[derive(Default)]
struct Control {
    /// Bytes that have arrived.
    arrived: Vec<u8>,
    /// Whether the runtime has noticed that they have arrived.
    readable: bool,
    /// The next read takes so long that the time to drain is over, and finds nothing.
    slow: bool,
    writable: bool,
    written: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A close frame with code 1012.
const SHUTDOWN_CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xF4];

impl ControlledSocket {
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.0.lock().expect("no test has panicked with the lock")
    }

    fn make_readable(&self) {
        let mut control = self.lock();
        control.readable = true;
        if let Some(reader) = control.reader.take() {
            reader.wake();
        }
    }

    fn make_writable(&self) {
        let mut control = self.lock();
        control.writable = true;
        if let Some(writer) = control.writer.take() {
            writer.wake();
        }
    }
}

impl AsyncRead for ControlledSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut control = self.lock();
        if std::mem::take(&mut control.slow) {
            std::thread::sleep(2 * super::state::DRAIN_READ);
            control.readable = true;
            return Poll::Pending;
        }
        if control.written.ends_with(&SHUTDOWN_CLOSE) {
            return Poll::Ready(Ok(()));
        }
        if !control.readable || control.arrived.is_empty() {
            control.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = control.arrived.len().min(buffer.remaining());
        buffer.put_slice(&control.arrived[..count]);
        control.arrived.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ControlledSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut control = self.lock();
        if !control.writable {
            control.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        control.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Far more messages to `/echo` than one turn reads.
const MESSAGES: usize = 100_000;

/// Runs `test` with an echo session to whose socket [`MESSAGES`] have arrived, and asserts that all of them are answered before
/// the close frame of a shutdown.
fn assert_answered_before_close(test: impl AsyncFnOnce(&ControlledSocket, &Outbox)) {
    let limits = LimitsConfig {
        control_frames_per_second: 1,
        ..LimitsConfig::default()
    };
    let socket = ControlledSocket::default();
    socket.lock().arrived = [0x81, 0x81, 0, 0, 0, 0, b'x'].repeat(MESSAGES);
    actix_rt::System::new().block_on(async {
        let registry = Arc::new(Registry::default());
        let params = params(&registry, &limits).await;
        let outbox = params.outbox.clone();
        let stream = MessageStream::new(socket.clone(), 1024, Vec::new(), Vec::new());
        let session = actix_rt::spawn(run(stream, Box::new(params)));
        // Until the session waits for its socket.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        test(&socket, &outbox).await;
        session.await.expect("the session did not panic");
    });
    let synced = br#"{"type":"synced","seq":0}"#;
    let expected = [
        &[&[0x81, synced.len() as u8], &synced[..]].concat(),
        &[0x81, 1, b'x'].repeat(MESSAGES)[..],
        &SHUTDOWN_CLOSE,
    ]
    .concat();
    let control = socket.lock();
    assert_eq!(control.written.len(), expected.len());
    assert!(control.written == expected);
}

#[test]
fn what_the_runtime_notices_late_is_answered_before_a_shutdown() {
    assert_answered_before_close(async |socket, outbox| {
        socket.make_writable();
        socket.lock().slow = true;
        outbox.disconnect(SHUTDOWN);
    });
}

#[test]
fn what_a_congested_session_has_not_read_is_answered_before_a_shutdown() {
    assert_answered_before_close(async |socket, outbox| {
        socket.make_readable();
        outbox.disconnect(SHUTDOWN);
        // The client reads again when the time to drain is over.
        tokio::time::sleep(2 * super::state::DRAIN_READ).await;
        socket.make_writable();
    });
}

#[test]
fn a_session_that_is_delayed_answers_everything_before_a_shutdown() {
    assert_answered_before_close(async |socket, outbox| {
        socket.make_writable();
        let before = socket.lock().arrived.len();
        socket.make_readable();
        // One turn is more than the rate allows in a minute.
        while socket.lock().arrived.len() == before {
            tokio::task::yield_now().await;
        }
        outbox.disconnect(SHUTDOWN);
    });
}

#[test]
fn a_client_that_sends_without_end_does_not_prevent_the_shutdown() {
    const FRAME: &[u8] = &[0x81, 0x81, 0, 0, 0, 0, b'x'];
    let written = Arc::new(AtomicUsize::new(0));
    let io = EndlessFrames {
        frame: FRAME,
        read: Arc::default(),
        written: written.clone(),
    };
    actix_rt::System::new().block_on(async {
        let registry = Arc::new(Registry::default());
        let params = params(&registry, &LimitsConfig::default()).await;
        params.outbox.disconnect(SHUTDOWN);
        let stream = MessageStream::new(io, 1024, Vec::new(), Vec::new());
        let end = tokio::time::timeout(
            std::time::Duration::from_secs(60),
            run(stream, Box::new(params)),
        );
        assert_eq!(end.await.expect("the session ends").reason, "shutdown");
        // An echo has three bytes. What is received later is read and dropped.
        let answered = written.load(Ordering::Relaxed) / 3;
        assert!(answered < (9 << 20) / FRAME.len(), "{answered} frames");
    });
}
