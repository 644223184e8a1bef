//! State shared by all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::auth::Verifier;
use crate::config::Config;
use crate::content_types::SharedContract;
use crate::limits::Limits;
use crate::memberships::SessionMemberships;
use crate::notify::NotifyStats;
use crate::page::SharedPage;
use crate::protocol::Contract;
use crate::registry::Registry;
use crate::revocations::Revocations;
use crate::router::Router;
use crate::webhooks::Statuses;

/// State shared by all connections. Use it as an `Arc`; none of its locks is held across an await.
#[derive(Debug)]
pub struct Context {
    /// The settings in force.
    pub config: Config,
    /// The protocol as this server speaks it.
    pub contract: Arc<SharedContract>,
    /// The chat page.
    pub page: SharedPage,
    /// Authenticates clients.
    pub auth: Verifier,
    /// The users whose tokens are revoked.
    pub revocations: Revocations,
    /// Executes the commands of sessions.
    pub router: Router,
    /// Memberships that end with sessions.
    pub memberships: Arc<SessionMemberships>,
    /// The sessions of this node.
    pub registry: Arc<Registry>,
    /// What has become of notifications.
    pub notify: Arc<NotifyStats>,
    /// The receivers of events.
    pub webhooks: Arc<Statuses>,
    /// Limits per user and per client address.
    pub limits: Arc<Limits>,
    /// True after the shutdown signal: new sessions are rejected.
    pub draining: AtomicBool,
    /// Notified when `draining` becomes true.
    drains: Notify,
    /// Number of sessions that ended in a panic.
    failed_sessions: AtomicU64,
    /// Number of connections with a WebSocket session, or on the way to one.
    sessions: AtomicUsize,
    /// Notified when `sessions` becomes 0.
    idle: Notify,
}

/// Counts a session in [`Context`] until it is dropped.
#[derive(Debug)]
pub struct SessionCount(Arc<Context>);

impl Context {
    /// Combines the parts of a server. The router is that of `memberships`.
    pub fn new(
        config: Config,
        contract: Contract,
        (auth, revocations): (Verifier, Revocations),
        memberships: Arc<SessionMemberships>,
        registry: Arc<Registry>,
        limits: Arc<Limits>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            contract: SharedContract::new(contract),
            page: SharedPage::default(),
            auth,
            revocations,
            router: memberships.router().clone(),
            memberships,
            registry,
            notify: Arc::default(),
            webhooks: Arc::default(),
            limits,
            draining: AtomicBool::new(false),
            drains: Notify::new(),
            failed_sessions: AtomicU64::new(0),
            sessions: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Counts a session until the returned guard is dropped.
    pub fn count_session(self: &Arc<Self>) -> SessionCount {
        self.sessions.fetch_add(1, Ordering::AcqRel);
        SessionCount(self.clone())
    }

    /// Number of sessions that ended in a panic. Other sessions are not affected by such a panic.
    pub fn failed_sessions(&self) -> u64 {
        self.failed_sessions.load(Ordering::Relaxed)
    }

    /// True while a rejected client may be upgraded in order to receive a `goodbye`.
    pub fn may_send_goodbye(&self) -> bool {
        self.limits
            .connections
            .may_send_goodbye(self.sessions.load(Ordering::Relaxed))
    }

    /// Rejects new sessions from now on.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.drains.notify_waiters();
    }

    /// Waits until the server shuts down.
    pub async fn wait_until_draining(&self) {
        let notified = self.drains.notified();
        if !self.draining.load(Ordering::SeqCst) {
            notified.await;
        }
    }

    /// Waits until every session has ended.
    pub async fn wait_until_idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.sessions.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for SessionCount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The runtime catches the panic: only this task ends, its worker continues with the others.
            let count = self.0.failed_sessions.fetch_add(1, Ordering::Relaxed) + 1;
            log::error!(count = count; "a session panicked; its connection is closed");
        }
        if self.0.sessions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::delivery::Delivery;
    use crate::disk_space::DiskSpaceMonitor;
    use crate::readers::Readers;
    use crate::store::sqlite::Sqlite;
    use crate::store::{Store as _, StoreOptions};
    use crate::writer::Writer;

    #[test]
    fn a_session_that_panics_is_counted_and_is_not_waited_for() {
        let config = Config::default();
        let options = StoreOptions::new(config.storage.retention());
        let store = Sqlite::temporary(&std::env::temp_dir(), options);
        let store = store.expect("a store can be created");
        let hasher = store.content_hasher();
        let revocations = Revocations::new(store.name_hasher(), 0);
        let clock = Arc::new(Clock::new(0));
        let (writer, thread) = Writer::start(
            Box::new(store),
            Readers::default(),
            Vec::new(),
            clock.clone(),
        )
        .expect("a thread starts");
        let router = Router::new(
            Delivery::default(),
            Arc::new(DiskSpaceMonitor::new(&std::env::temp_dir(), None)),
            writer.clone(),
            Readers::default(),
            clock,
            None,
            hasher,
        );
        let limits = Limits::new(
            &config.limits,
            &config.recipients,
            &config.rooms,
            &config.network.trusted_proxy,
        );
        let memberships = SessionMemberships::new(router, Duration::ZERO, Vec::new());
        let context = Context::new(
            config,
            Contract::built_in(),
            (Verifier::Open, revocations),
            memberships,
            Arc::default(),
            limits,
        );
        actix_rt::System::new().block_on(async {
            for count in 1..=2 {
                let session = context.count_session();
                let task = actix_rt::spawn(async move {
                    let _session = session;
                    panic!("a bug in the server")
                });
                assert!(task.await.is_err());
                assert_eq!(context.failed_sessions(), count);
            }
            let session = context.count_session();
            drop(session);
            context.wait_until_idle().await;
        });
        assert_eq!(context.failed_sessions(), 2);
        writer.close();
        thread.join().expect("the writer thread did not panic");
    }
}
