//! Builds the parts of the server, serves until the shutdown signal, and drains.

mod build;
mod maintenance;
mod operations;
mod reload;

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{AuthSetupError, PageLinks, Verifier};
use crate::blocks::Blocks;
use crate::clock::Clock;
use crate::config::{Access, Config, StorageConfig, StoreUrl, temporary_directory};
use crate::contacts::Contacts;
use crate::content_types::{self, ContentTypesError};
use crate::context::Context;
use crate::delivery::{CommitMetrics, Delivery, ReplyTo};
use crate::disk_space::DiskSpaceMonitor;
use crate::listener::{self, ListenError, OperationsListeners};
use crate::memberships::SessionMemberships;
use crate::notify;
use crate::ops::keys::{ApiKeys, NewKey};
use crate::ops::{Ops, openapi};
use crate::outbox::disconnect::SHUTDOWN;
use crate::page::{Page, RenderersError};
use crate::presence::Presence;
use crate::protocol::Contract;
use crate::readers::Readers;
use crate::registry::Registry;
use crate::revocations::Revocations;
use crate::router::Router;
use crate::store::sqlite::Sqlite;
use crate::store::{Reader, RoomDeletionId, Store, StoreError, StoreFiles, StoreOptions, Write};
use crate::supervise::{self, DISK_FAILED};
use crate::tls::{Tls, TlsError};
use crate::webhooks::{self, WebhookSetupError, Webhooks};
use crate::writer::{CommitObserver, Writer};

use self::operations::Operations;

/// The exit code for invalid settings, to which the files with keys belong.
const INVALID_SETTINGS: u8 = 2;
/// Threads that read from the store, in addition to the one that runs only short reads (see [`Readers`]).
const READERS: usize = 2;
/// How long a shutdown waits for sessions to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The sockets that a server listens on.
#[derive(Debug)]
pub struct Listeners {
    /// Those of the public port.
    pub public: Vec<TcpListener>,
    /// Those of the operations port.
    pub operations: OperationsListeners,
}

/// Why the server could not start, or did not stop properly.
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
    /// The library for HTTP cannot represent the time, and would panic.
    #[error(
        "the clock of this machine shows a time before 1970; set it, then start the server again"
    )]
    Clock,
    /// The content types cannot be used.
    #[error(transparent)]
    ContentTypes(#[from] ContentTypesError),
    /// The renderers of the page cannot be used.
    #[error(transparent)]
    Renderers(#[from] RenderersError),
    /// Webhooks cannot be used.
    #[error(transparent)]
    Webhooks(#[from] WebhookSetupError),
    /// The operating system refused a thread, a signal handler or a socket.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl RunError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::Broken(_)) => DISK_FAILED,
            Self::Verifier(error) if error.is_invalid() => INVALID_SETTINGS,
            Self::Tls(error) if error.is_invalid() => INVALID_SETTINGS,
            Self::ContentTypes(_) | Self::Renderers(_) | Self::Webhooks(_) => INVALID_SETTINGS,
            _ => 1,
        }
    }
}

/// Listens on the configured addresses and serves until SIGTERM or Ctrl-C. A second signal ends the process at once.
///
/// # Errors
/// [`RunError`]
pub fn run(config: Config) -> Result<(), RunError> {
    if SystemTime::now() < SystemTime::UNIX_EPOCH {
        return Err(RunError::Clock);
    }
    // The usual soft limit of 1024 open files is too low for a server; the hard limit is the operator's choice.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
    actix_rt::System::new().block_on(async {
        let mut signals = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ];
        let listeners = Listeners {
            public: listener::listen(&config.network.listen, "--listen")?,
            operations: listener::listen_for_operations(&config.ops.ops_listen)?,
        };
        serve(config, listeners, async move {
            first(&mut signals).await;
            actix_rt::spawn(async move {
                first(&mut signals).await;
                log::warn!("second signal: exiting at once");
                supervise::exit(130);
            });
        })
        .await
    })
}

/// Waits for one of two signals.
async fn first([a, b]: &mut [Signal; 2]) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

/// The parts of a server that [`serve`] needs after they have been built.
struct Parts {
    context: Arc<Context>,
    tls: Option<Arc<Tls>>,
    disk_space: Arc<DiskSpaceMonitor>,
    files: Arc<StoreFiles>,
    readers: Readers,
    writer: Writer<ReplyTo>,
    writer_thread: JoinHandle<()>,
    ops: Arc<Ops>,
    /// What the last run has not finished.
    room_deletions: Vec<RoomDeletionId>,
    webhooks: Arc<Webhooks>,
    /// Printed at start, if the server authenticates clients with its generated secret.
    links: Option<PageLinks>,
    /// Printed at start, if the server has generated it.
    api_key: Option<NewKey>,
}

/// Serves on `listeners` until `shutdown` completes, then drains: sessions get replies to what their clients have sent, and a
/// `goodbye`.
///
/// # Errors
/// [`RunError`]
pub async fn serve(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let parts = Parts::build(config)?;
    let Parts { context, tls, .. } = &parts;
    let addresses = local_addresses(&listeners.public)?;
    let server = crate::http::serve(context, listeners.public, tls.as_deref())?;
    let handle = server.handle();
    let operations = listeners.operations.unwrap_or_else(|error| {
        log::warn!("the server runs without an operations port: {error}");
        Vec::new()
    });
    let operations = Operations::start(&parts, operations)?;
    // Before the server says that it listens: without a handler, SIGHUP ends the process.
    let _reload = reload::when_changed(&parts)?;
    announce(&parts, &addresses);
    operations.announce(&parts);
    let _maintain_limits = AbortOnDropHandle::new(actix_rt::spawn(maintenance::maintain_limits(
        context.limits.clone(),
        context.registry.clone(),
    )));
    let _end_memberships =
        AbortOnDropHandle::new(actix_rt::spawn(context.memberships.clone().run()));
    let notify = context.router.presence().clone().run();
    let _notify = AbortOnDropHandle::new(actix_rt::spawn(notify));
    let _watch_clock =
        AbortOnDropHandle::new(actix_rt::spawn(maintenance::watch_clock(context.clone())));
    let ingest = parts.ops.ingest.clone();
    let deletions = ingest.finish_deletions(parts.room_deletions.clone());
    let _finish_deletions = AbortOnDropHandle::new(actix_rt::spawn(deletions));
    let watch = maintenance::watch_storage(parts.disk_space.clone(), parts.files.clone());
    let _watch_storage = AbortOnDropHandle::new(actix_rt::spawn(watch));
    let _notify = notify::start(
        &context.config.notify,
        context.config.limits.max_frame_bytes,
        parts.ops.ingest.clone(),
        context.notify.clone(),
    )?;
    let server = actix_rt::spawn(server);
    shutdown.await;

    context.start_draining();
    log::info!("shutting down");
    for session in context.registry.all() {
        session.disconnect(SHUTDOWN);
    }
    let idle = context.wait_until_idle();
    if tokio::time::timeout(DRAIN_TIMEOUT, idle).await.is_err() {
        log::warn!("some sessions did not end in time");
    }
    handle.stop(false).await;
    drop(server.await);
    operations.stop().await;
    let joined = tokio::task::spawn_blocking(move || {
        // Their progress is written.
        parts.webhooks.stop();
        parts.readers.close();
        parts.writer.close();
        parts.writer_thread.join()
    })
    .await;
    if !matches!(joined, Ok(Ok(()))) {
        return Err(io::Error::other("the writer's thread panicked").into());
    }
    log::info!("stopped");
    Ok(())
}

/// The contract with the content types of the settings.
fn load_contract(config: &Config) -> Result<Contract, ContentTypesError> {
    let Some(folder) = &config.content.content_types else {
        return Ok(Contract::built_in());
    };
    let contract = content_types::load_at_start(folder)?;
    log::info!(
        types = contract.custom_types().names().count(), schema = contract.hash();
        "content types loaded"
    );
    Ok(contract)
}

impl Parts {
    /// Builds all parts and starts the threads of the store. Each part is complete before another one uses it: the delivery
    /// is built before the writer that calls it, and the router last.
    fn build(config: Config) -> Result<Self, RunError> {
        let tls = Tls::new(&config.tls)?;
        let contract = load_contract(&config)?.with_document(openapi::describe);
        let renderers = config.content.page_renderers.as_deref();
        let page = renderers.map(Page::load).transpose()?;
        let auth = Verifier::new(config.access(), &config.auth)?;
        let api_keys = ApiKeys::new(&config)?;
        let webhooks = webhooks::Setup::new(&config.webhooks)?;
        let registry = Arc::new(Registry::default());
        let contacts = Contacts::default();
        let blocks = Arc::new(Blocks::default());
        let clock = Arc::new(Clock::new(config.storage.clock_settle.0));
        let presence = build::presence(&config, &clock, &blocks);
        let mut options = build::store_options(&config, &registry, &contacts, &presence);
        options.events = webhooks.feed();
        let store = open_store(&config.storage, options)?;
        let secret_file = config.storage.secret_file();
        let (auth, links) =
            auth.with_generated_secret(config.access(), &config.auth, secret_file.as_deref())?;
        let (api_keys, api_key) = api_keys.with_generated_key(config.storage.api_key_file())?;
        let mut readers = (0..READERS)
            .map(|_| store.reader())
            .collect::<Result<Vec<_>, _>>()?;
        let leeway = config.auth.jwt_leeway_seconds;
        let revocations = Revocations::new(store.name_hasher(), leeway);
        let first = readers.first_mut();
        let former = first.map(|reader| Former::read(&mut **reader, &blocks, &revocations));
        let former = former.transpose()?.unwrap_or_default();
        let files = store.files();
        let hasher = store.content_hasher();
        if let Some(times) = store.stored_times()? {
            clock.compare_with(times.newest, times.trusted);
        }
        let readers = Readers::start(readers, store.reader()?)?;
        contacts.set_readers(readers.clone());
        presence.set_readers(readers.clone());
        revocations.set_readers(readers.clone());
        let limits = build::limits(&config);
        let delivery = Delivery::new(
            registry.clone(),
            blocks,
            contacts,
            presence.clone(),
            limits.clone(),
        )
        .with_presence_mode(config.presence.presence);
        let observers: Vec<Box<dyn CommitObserver<_>>> =
            vec![Box::new(delivery.clone()), Box::new(CommitMetrics)];
        let (writer, writer_thread) =
            Writer::start(store, readers.clone(), observers, clock.clone())?;
        record_presence(
            &presence,
            &writer,
            former.lost_sessions.then(|| clock.now()),
        );
        let disk_space = build::disk_space(&config);
        let router = Router::new(
            delivery,
            disk_space.clone(),
            writer.clone(),
            readers.clone(),
            clock,
            config.storage.retention().history_ms,
            hasher,
        )
        .with_rooms(config.rooms.rooms);
        let grace = Duration::from_secs(config.presence.presence_grace_seconds);
        let memberships = SessionMemberships::new(router, grace, former.memberships);
        let context = Context::new(
            config,
            contract,
            (auth, revocations),
            memberships,
            registry,
            limits,
        );
        if let Some(page) = page {
            context.page.replace(page);
        }
        let webhooks = build::webhooks(webhooks, &context, &readers, &writer)?;
        Ok(Self {
            ops: Ops::new(context.clone(), api_keys),
            room_deletions: former.room_deletions,
            webhooks: Arc::new(webhooks),
            context,
            tls,
            disk_space,
            files,
            readers,
            writer,
            writer_thread,
            links,
            api_key,
        })
    }
}

/// What the last run has left.
#[derive(Default)]
struct Former {
    /// Memberships of sessions, as users and rooms.
    memberships: Vec<(Arc<str>, Arc<str>)>,
    /// Users were online when the last run ended without a shutdown.
    lost_sessions: bool,
    /// Deletions of rooms that have steps left.
    room_deletions: Vec<RoomDeletionId>,
}

impl Former {
    /// Reads it, all blocks into `blocks`, and all revocations.
    fn read(
        reader: &mut dyn Reader,
        blocks: &Blocks,
        revocations: &Revocations,
    ) -> Result<Self, StoreError> {
        revocations.load(reader)?;
        reader.blocks(&mut |user, other| {
            blocks.set(user, other, true);
        })?;
        let mut memberships = Vec::new();
        reader
            .session_memberships(&mut |user, room| memberships.push((user.into(), room.into())))?;
        Ok(Self {
            memberships,
            lost_sessions: reader.has_online_users()?,
            room_deletions: reader.room_deletions()?,
        })
    }
}

/// Has the writer record when users are online. `lost`: the time of this start, if the server before has not recorded when its
/// sessions ended.
fn record_presence(presence: &Presence, writer: &Writer<ReplyTo>, lost: Option<i64>) {
    let recording = writer.clone();
    presence.set_recorder(move |user, until| recording.seen(user.clone(), until));
    if let Some(at) = lost {
        // The outcome is not needed: if it fails, the next start does the same.
        let (unused, _) = unbounded_channel();
        drop(writer.write(Write::LostSessions { at }, ReplyTo::Part(unused, 0)));
    }
}

fn open_store(config: &StorageConfig, options: StoreOptions) -> Result<Box<dyn Store>, StoreError> {
    Ok(match &config.store {
        StoreUrl::Sqlite(path) => Box::new(Sqlite::open(path, config.durability, options)?),
        StoreUrl::Memory => Box::new(Sqlite::temporary(&temporary_directory(), options)?),
    })
}

fn local_addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// Logs the addresses, and prints the links of the page that contain a token.
fn announce(parts: &Parts, addresses: &[SocketAddr]) {
    let config = &parts.context.config;
    let scheme = if parts.tls.is_some() { "https" } else { "http" };
    let base_path = &config.network.base_path;
    for address in addresses {
        log::info!(store:% = config.storage.store; "listening on {scheme}://{address}{base_path}");
    }
    let is_public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    let public = addresses.iter().find(is_public);
    if config.access() == Access::Open
        && let Some(address) = public
    {
        log::warn!(
            "there is no authentication on {address} (--open): any client can act as any user"
        );
    }
    if let (Some(links), Some(address)) = (&parts.links, public) {
        // Not to the log, which must not contain tokens.
        print_beside("sign-in links", links.text(scheme, *address, base_path));
    }
}

/// Prints on a thread of its own: the write blocks if nobody reads stdout.
fn print_beside(what: &'static str, text: String) {
    let print = move || {
        // An error means that stdout is closed.
        let _ = io::stdout().write_all(text.as_bytes());
    };
    let thread = std::thread::Builder::new().name(what.into());
    if let Err(error) = thread.spawn(print) {
        log::warn!("cannot print the {what}: {error}");
    }
}
