use std::io;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, ReadBuf};
use uuid::Uuid;

use super::*;
use crate::auth::Verifier;
use crate::config::{KeepaliveConfig, LimitsConfig};
use crate::limits::memory::MemoryBudget;
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
        assert!(!outbox.push_ephemeral(b"x").0, "the outbox is destroyed");
        assert_eq!(Arc::strong_count(&socket), 1, "the socket is closed");
        actix_rt::spawn(async {})
            .await
            .expect("the worker runs other tasks");
    });
}

/// A socket from which frames can be read without end. Counts the bytes that were read.
struct EndlessFrames {
    frame: &'static [u8],
    read: Arc<AtomicUsize>,
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
