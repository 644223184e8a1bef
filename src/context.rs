//! What every connection of this node shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::auth::Verifier;
use crate::config::Config;
use crate::limits::Limits;
use crate::router::Router;

/// What every connection of this node shares.
#[derive(Debug)]
pub struct Context {
    /// The settings in force.
    pub config: Arc<Config>,
    /// Who may come in.
    pub auth: Verifier,
    /// Where frames go.
    pub router: Router,
    /// How much one user and one address may have.
    pub limits: Arc<Limits>,
    /// The store's epoch.
    pub epoch: uuid::Uuid,
    /// Nobody new is let in.
    pub draining: AtomicBool,
    /// Sessions that have ended in a panic.
    failed: AtomicU64,
    /// Sessions that have not ended.
    live: AtomicUsize,
    /// Told when the last one has.
    none_live: Notify,
}

/// Counts a session for as long as it is there.
#[derive(Debug)]
pub struct Live(Arc<Context>);

impl Context {
    /// A node over these parts.
    pub fn new(
        config: Config,
        auth: Verifier,
        router: Router,
        limits: Arc<Limits>,
        epoch: uuid::Uuid,
    ) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::new(config),
            auth,
            router,
            limits,
            epoch,
            draining: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            none_live: Notify::new(),
        })
    }

    /// Counts a session until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Live {
        self.live.fetch_add(1, Ordering::AcqRel);
        Live(self.clone())
    }

    /// Sessions that have ended in a panic, each alone.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether there is room to let somebody in only to say why they are not.
    pub fn may_linger(&self) -> bool {
        self.limits.may_linger(self.live.load(Ordering::Relaxed))
    }

    /// Waits until every session has ended.
    pub async fn empty(&self) {
        loop {
            let told = self.none_live.notified();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The runtime catches it behind this: the task is gone, and its worker goes on with the others.
            let count = self.0.failed.fetch_add(1, Ordering::Relaxed) + 1;
            log::error!(count = count; "a session has failed; its connection is closed");
        }
        if self.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_live.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_space::DiskSpaceMonitor;
    use crate::readers::Readers;
    use crate::store::Store as _;
    use crate::store::sqlite::Sqlite;
    use crate::writer::Writer;

    #[test]
    fn a_session_that_fails_is_counted_and_not_waited_for() {
        let config = Config::default();
        let store = Sqlite::temporary(&std::env::temp_dir(), config.lifetimes());
        let store = store.expect("a store can be made");
        let epoch = store.epoch();
        let (writer, thread) = Writer::start(Box::new(store), drop).expect("a thread starts");
        let router = Router::new(
            Arc::default(),
            (
                Arc::default(),
                Arc::new(DiskSpaceMonitor::new(&std::env::temp_dir(), None)),
            ),
            writer.clone(),
            Readers::default(),
            &config.lifetimes(),
        );
        let limits = Limits::new(&config);
        let context = Context::new(config, Verifier::Open, router, limits, epoch);
        actix_rt::System::new().block_on(async {
            for count in 1..=2 {
                let live = context.enter();
                let task = actix_rt::spawn(async move {
                    let _live = live;
                    panic!("a mistake in the server")
                });
                assert!(task.await.is_err());
                assert_eq!(context.failed(), count);
            }
            let live = context.enter();
            drop(live);
            context.empty().await;
        });
        assert_eq!(context.failed(), 2);
        writer.close();
        thread.join().expect("the writer has ended well");
    }
}
