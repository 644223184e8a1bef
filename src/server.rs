//! Builds the parts of the server, serves until it is told to stop, and drains.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{AuthSetupError, Verifier};
use crate::blocks::Blocks;
use crate::config::{Access, Config, StoreUrl};
use crate::contacts::Contacts;
use crate::context::Context;
use crate::delivery::Delivery;
use crate::disk_space::DiskSpaceMonitor;
use crate::limits::Limits;
use crate::listener::{self, ListenError};
use crate::protocol::Contract;
use crate::readers::Readers;
use crate::registry::Registry;
use crate::router::Router;
use crate::store::sqlite::Sqlite;
use crate::store::{LiveCursors, Store, StoreError, StoreOptions};
use crate::tls::{Tls, TlsError};
use crate::writer::{CommitObserver, Writer};

/// Threads that read from the store.
const READERS: usize = 2;
/// How long the sessions have to end when the server does.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys that verify tokens cannot be used.
    #[error(transparent)]
    Verifier(#[from] AuthSetupError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system refused a thread, a signal handler or a socket.
    #[error(transparent)]
    System(#[from] io::Error),
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
        let listeners = listener::listen(&config.network.listen)?;
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
    let tls = Tls::new(&config.tls)?;
    let auth = Verifier::new(config.access(), &config.auth)?;
    let retention = config.storage.retention();
    let registry = Arc::new(Registry::default());
    let live = registry.clone();
    let options = StoreOptions {
        retention,
        quotas: config.recipients.quotas(),
        live_cursors: LiveCursors::new(move |user| live.lowest_cursor(user)),
    };
    let store: Box<dyn Store> = match &config.storage.store {
        StoreUrl::Sqlite(path) => Box::new(Sqlite::open(path, config.storage.durability, options)?),
        StoreUrl::Memory => Box::new(Sqlite::temporary(
            &crate::config::temporary_directory(),
            options,
        )?),
    };
    let secret_file = config.storage.secret_file();
    let (auth, links) =
        auth.with_generated_secret(config.access(), &config.auth, secret_file.as_deref())?;
    let mut readers = (0..READERS)
        .map(|_| store.reader())
        .collect::<Result<Vec<_>, _>>()?;
    let blocks = Arc::new(Blocks::default());
    if let Some(reader) = readers.first_mut() {
        reader.blocks(&mut |user, other| blocks.set(user, other, true))?;
    }
    let epoch = store.epoch();
    let reads = Readers::start(readers)?;
    let contacts = Contacts::new(reads.clone());
    let delivery = Delivery::new(registry.clone(), blocks, contacts);
    let observers: Vec<Box<dyn CommitObserver<_>>> = vec![Box::new(delivery.clone())];
    let (writer, writer_thread) = Writer::start(store, reads.clone(), observers)?;
    let disk_space = Arc::new(DiskSpaceMonitor::new(
        &config.storage.directory(),
        config.storage.min_free_disk.0,
    ));
    disk_space.check();
    let router = Router::new(
        delivery,
        disk_space.clone(),
        writer.clone(),
        reads.clone(),
        retention.history_ms,
    );
    let limits = Limits::new(
        &config.limits,
        &config.recipients,
        &config.network.trusted_proxy,
    );
    let node = Context::new(
        config,
        Contract::built_in(),
        auth,
        router,
        registry.clone(),
        limits,
        epoch,
    );
    let addresses: Vec<SocketAddr> = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?;
    let server = crate::http::serve(&node, listeners, tls.as_deref())?;
    let handle = server.handle();
    let scheme = if tls.is_some() { "https" } else { "http" };
    for address in &addresses {
        log::info!(store:% = node.config.storage.store; "listening on {scheme}://{address}{}", node.config.network.base_path);
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
            .map(|address| links.text(scheme, *address, &node.config.network.base_path));
        // Not into the log. With stdout gone nobody is left to read it.
        let _ = io::stdout().write_all(text.unwrap_or_default().as_bytes());
    }
    let _reloading = reloading(&node, tls)?;
    let _sweeping = AbortOnDropHandle::new(actix_rt::spawn(sweep(
        node.limits.clone(),
        registry.clone(),
    )));
    let _watching = AbortOnDropHandle::new(actix_rt::spawn(watch(disk_space)));
    let server = actix_rt::spawn(server);
    shutdown.await;

    node.draining.store(true, Ordering::SeqCst);
    log::info!("shutting down");
    for session in registry.all() {
        session.disconnect(crate::outbox::disconnect::SHUTDOWN);
    }
    if tokio::time::timeout(DRAIN, node.wait_until_idle())
        .await
        .is_err()
    {
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
fn reloading(node: &Arc<Context>, tls: Option<Arc<Tls>>) -> io::Result<Vec<AbortOnDropHandle<()>>> {
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
    Ok(tasks.into_iter().map(AbortOnDropHandle::new).collect())
}

/// Has the limits forget, has sessions go that hold what is scarce, and says in the log, not for each, what was refused.
async fn sweep(limits: Arc<Limits>, registry: Arc<Registry>) {
    const TELL: u32 = 60;
    let mut told = None;
    for second in 1.. {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        limits.sweep();
        if limits.memory.under_pressure() {
            registry.all().iter().for_each(|session| session.recheck());
            if told.is_none_or(|at| second >= at + TELL) {
                told = Some(second);
                log::warn!(bytes = limits.memory.used(); "what waits for slow or unfinished clients takes nearly all of --buffer-bytes; those who hold most of it are let go");
            }
        }
        if second % TELL == 0 {
            limits.ip_quotas.refill(u64::from(second / TELL));
            let refused = limits.connections.take_rejected();
            if refused > 0 {
                log::warn!(count = refused; "connections were refused within a minute as too many (too_many_connections)");
            }
        }
    }
}

/// Looks at the disk, once a second.
async fn watch(disk_space: Arc<DiskSpaceMonitor>) {
    loop {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        let disk_space = disk_space.clone();
        // A disk may keep whoever asks it waiting. If it fails, what was known stays.
        drop(actix_rt::task::spawn_blocking(move || disk_space.check()).await);
    }
}
