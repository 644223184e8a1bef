//! dmwire: direct messages over WebSocket, typed, acknowledged, never lost or doubled.
//!
//! A frame's way, which is the reading order of the modules:
//!
//! ```text
//! socket -> ws -> session -> protocol -> router -> writer -> store (commit) -> router -> registry -> session -> socket
//! ```
//!
//! 1. [`http`] checks the handshake and gives the connection to a session.
//! 2. [`ws`] turns bytes into messages, within bounds.
//! 3. [`session`] is one connection's life: it reads, has frames parsed and routed, and sends its user's inbox in order.
//! 4. [`protocol`] says what a frame is, or exactly what is wrong with it. Pure.
//! 5. [`router`] knows what each frame means.
//! 6. [`writer`] commits sends in groups to the [`store`], and only then has them acknowledged and delivered.
//! 7. [`registry`] knows who is here; what a session owes its client meets in its `Outbox`.
//! 8. [`blocks`] knows who takes nothing from whom.
//! 9. [`reads`] is how a session that has fallen behind, or has just come, reads what it is owed.
//!
//! Comments that name a section of PROTOCOL mean `docs/protocol.md`.
//!
//! [`limits`] knows how much of it all one user or one address may have, [`disk`] how much room there is.
//! [`auth`] says as whom somebody may come in, [`tls`] is the door's lock, [`config`] holds every setting, [`logging`] writes
//! the log.

pub mod auth;
pub mod blocks;
pub mod config;
pub mod disk_space;
pub mod http;
pub mod limits;
pub mod logging;
pub mod outbox;
pub mod protocol;
pub mod readers;
pub mod registry;
pub mod router;
pub mod session;
pub mod store;
pub mod tls;
pub mod websocket;
pub mod writer;

use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};

use auth::{AuthSetupError, Verifier};
use blocks::Blocks;
use config::{Access, Config, StoreUrl};
use disk_space::DiskSpaceMonitor;
use http::Node;
use limits::Limits;
use readers::Readers;
use registry::Registry;
use router::Router;
use store::sqlite::Sqlite;
use store::{LiveCursors, Store, StoreError};
use tls::{Tls, TlsError};
use writer::Writer;

/// Threads that read from the store.
const READERS: usize = 2;
/// How long the sessions have to end when the server does.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the server could not run.
#[derive(Debug)]
pub enum RunError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The store cannot be opened.
    Store(StoreError),
    /// Keys for tokens cannot be used.
    Verifier(AuthSetupError),
    /// The certificate cannot be used.
    Tls(TlsError),
    /// Threads, signals or sockets are not to be had.
    System(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => {
                write!(f, "cannot listen on {address} (--listen): {error}")
            }
            Self::Store(error) => write!(f, "{error}"),
            Self::Verifier(error) => write!(f, "{error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AuthSetupError> for RunError {
    fn from(error: AuthSetupError) -> Self {
        Self::Verifier(error)
    }
}

impl From<TlsError> for RunError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Listens as the settings say and serves until SIGTERM or Ctrl-C. A second signal ends the process at once.
///
/// # Errors
/// [`RunError`]
pub fn run(config: Config) -> Result<(), RunError> {
    // The usual limit of 1024 descriptors is for programs that hold few; the hard limit is the operator's word.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    actix_rt::System::new().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listeners = listen(&config)?;
        serve(config, listeners, async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            actix_rt::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                log::warn!("second signal: exiting at once");
                std::process::exit(130);
            });
        })
        .await
    })
}

/// Serves on `listeners` until `shutdown` is done, then drains: sessions get their answers and a `goodbye`.
///
/// # Errors
/// [`RunError`]
pub async fn serve(
    config: Config,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let tls = Tls::new(&config)?;
    let auth = Verifier::new(&config)?;
    let lifetimes = config.lifetimes();
    let mut store: Box<dyn Store> = match &config.store {
        StoreUrl::Sqlite(path) => Box::new(Sqlite::open(path, config.durability, lifetimes)?),
        StoreUrl::Memory => Box::new(Sqlite::temporary(&config::temporary_folder(), lifetimes)?),
    };
    let (auth, links) = auth.with_own_secret(&config)?;
    let readers = (0..READERS)
        .map(|_| store.reader())
        .collect::<Result<Vec<_>, _>>()?;
    let registry = Arc::new(Registry::default());
    let live = registry.clone();
    store.spare(LiveCursors::new(move |user| live.owed(user)));
    store.limit(config.quotas());
    let blocks = Arc::new(Blocks::default());
    store.blocks(&mut |user, other| blocks.set(user, other, true))?;
    let epoch = store.epoch();
    // The writer delivers through the router, and the router sends through the writer.
    let late: Arc<OnceLock<Router>> = Arc::default();
    let deliver = {
        let late = late.clone();
        move |batch| {
            if let Some(router) = late.get() {
                router.deliver(batch);
            }
        }
    };
    let (writer, writer_thread) = Writer::start(store, deliver)?;
    let settle = writer.clone();
    let reads = Readers::start(readers, move || settle.settle())?;
    let floor = Arc::new(DiskSpaceMonitor::new(
        &config.data_folder(),
        config.min_free_disk.0,
    ));
    floor.look();
    let router = Router::new(
        registry.clone(),
        (blocks, floor.clone()),
        writer.clone(),
        reads.clone(),
        &lifetimes,
    );
    let router = late.get_or_init(|| router).clone();
    let limits = Limits::new(&config);
    let node = Node::new(config, auth, router, limits, epoch);
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    let server = http::serve(&node, listeners, tls.as_deref())?;
    let handle = server.handle();
    let scheme = if tls.is_some() { "https" } else { "http" };
    for address in &addresses {
        log::info!(store:% = node.config.store; "listening on {scheme}://{address}{}", node.config.base_path);
    }
    let public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    if node.config.access() == Access::Open
        && let Some(address) = addresses.iter().find(public)
    {
        log::warn!(
            "whoever reaches {address} may be any user, and read and write as that user: there is no authentication (--open)"
        );
    }
    if let Some(links) = links {
        let text = addresses
            .iter()
            .find(public)
            .map(|address| links.text(*address));
        // Not into the log. With stdout gone nobody is left to read it.
        let _ = io::stdout().write_all(text.unwrap_or_default().as_bytes());
    }
    let _reloading = reloading(&node, tls)?;
    let _watching = AbortOnDrop(vec![
        actix_rt::spawn(sweep(node.limits.clone(), registry.clone())),
        actix_rt::spawn(watch(floor)),
    ]);
    let server = actix_rt::spawn(server);
    shutdown.await;

    node.draining.store(true, Ordering::SeqCst);
    log::info!("shutting down");
    for session in registry.all() {
        session.dismiss(outbox::disconnect::SHUTDOWN);
    }
    if tokio::time::timeout(DRAIN, node.empty()).await.is_err() {
        log::warn!("some sessions did not end in time");
    }
    handle.stop(false).await;
    drop(server.await);
    reads.close();
    writer.close();
    let joined = tokio::task::spawn_blocking(move || writer_thread.join()).await;
    if !matches!(joined, Ok(Ok(()))) {
        return Err(RunError::System(io::Error::other(
            "the writer's thread has failed",
        )));
    }
    log::info!("stopped");
    Ok(())
}

/// Reads keys and certificates again when they change, and on SIGHUP, until the guard is dropped.
fn reloading(node: &Arc<Node>, tls: Option<Arc<Tls>>) -> io::Result<AbortOnDrop> {
    let mut hangup = signal(SignalKind::hangup())?;
    let watching = tls.clone().map(|tls| actix_rt::spawn(tls.watch()));
    let node = node.clone();
    let mut tasks = vec![actix_rt::spawn(async move {
        while hangup.recv().await.is_some() {
            log::info!("SIGHUP: reading keys and certificates again");
            node.auth.refresh();
            if let Some(tls) = &tls {
                tls.reload();
            }
        }
    })];
    tasks.extend(watching);
    Ok(AbortOnDrop(tasks))
}

/// Tasks that end with this.
struct AbortOnDrop(Vec<actix_rt::task::JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(actix_rt::task::JoinHandle::abort);
    }
}

/// Has the limits forget, has sessions go that hold what is scarce, and says in the log, not for each, what was refused.
async fn sweep(limits: Arc<Limits>, registry: Arc<Registry>) {
    const TELL: u32 = 60;
    let mut told = None;
    for second in 1.. {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        limits.sweep();
        if limits.buffers().under_pressure() {
            registry.all().iter().for_each(|session| session.recheck());
            if told.is_none_or(|at| second >= at + TELL) {
                told = Some(second);
                log::warn!(bytes = limits.buffers().used(); "what waits for slow or unfinished clients takes nearly all of --buffer-bytes; those who hold most of it are let go");
            }
        }
        if second % TELL == 0 {
            limits.refill_ip_quotas(u64::from(second / TELL));
            let refused = limits.take_rejected();
            if refused > 0 {
                log::warn!(count = refused; "connections were refused within a minute as too many (too_many_connections)");
            }
        }
    }
}

/// Looks at the disk, once a second.
async fn watch(floor: Arc<DiskSpaceMonitor>) {
    loop {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        let floor = floor.clone();
        // A disk may keep whoever asks it waiting. If it fails, what was known stays.
        drop(actix_rt::task::spawn_blocking(move || floor.look()).await);
    }
}

/// Ends the process when the thread that holds it panics: without that thread the server would only seem to live. What is
/// acknowledged is on disk, and whoever started the server starts it again.
#[derive(Debug)]
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!("the {} has failed; ending the server", self.0);
            std::process::exit(70);
        }
    }
}

fn listen(config: &Config) -> Result<Vec<TcpListener>, RunError> {
    let mut listeners = Vec::new();
    let mut failed = None;
    for address in &config.listen {
        match bind(*address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 does without [::1], unless somebody asked for it.
            Err(error) if config.listen_is_default && no_such_address(&error) => {
                log::warn!("not listening on {address}: {error}");
                failed = Some(RunError::Listen(*address, error));
            }
            Err(error) => return Err(RunError::Listen(*address, error)),
        }
    }
    match failed {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn no_such_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

/// Bytes that the kernel is to keep for a client at most; it takes twice as much, bookkeeping included. Enough for a megabyte
/// a second to the other side of the world.
const SEND_BUFFER: usize = 128 * 1024;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 can be listened on side by side; each address means what it says.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Connections inherit it. The kernel would else keep megabytes for each client that stops reading, which is no less memory
    // for not being this process's; and what it has taken is not told from what has arrived.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
