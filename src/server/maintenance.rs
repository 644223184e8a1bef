//! What a server does once a second, apart from its sessions.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::disk_space::DiskSpaceMonitor;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::store::StoreFiles;

/// Seconds between two log lines about the same limit, and between two refills of quotas.
const MINUTE: u32 = 60;

/// Once a second, removes unused limits and, under memory pressure, has sessions check their memory. Rejected connections
/// are logged as a count per minute, not one by one.
pub async fn maintain_limits(limits: Arc<Limits>, registry: Arc<Registry>) {
    let mut logged = None;
    for second in 1.. {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        limits.sweep();
        if limits.memory.under_pressure() {
            registry.all().iter().for_each(|session| session.recheck());
            if logged.is_none_or(|at| second >= at + MINUTE) {
                logged = Some(second);
                log::warn!(bytes = limits.memory.used(); "unsent and partly received data use nearly all of --buffer-bytes; sessions that hold much of it are closed");
            }
        }
        if second % MINUTE == 0 {
            limits.ip_quotas.refill(u64::from(second / MINUTE));
            let rejected = limits.connections.take_rejected();
            if rejected > 0 {
                log::warn!(count = rejected; "connections were rejected within a minute (too_many_connections)");
            }
            let malformed = limits.connections.take_malformed();
            if malformed > 0 {
                log::info!(count = malformed; "malformed HTTP requests were rejected within a minute");
            }
        }
    }
}

/// Notices within a second that the clock of the machine has jumped, also on an idle server.
pub async fn watch_clock(context: Arc<Context>) {
    loop {
        context.router.clock().is_settled();
        actix_rt::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Checks the free disk space and the files of the store once a second.
pub async fn watch_storage(disk_space: Arc<DiskSpaceMonitor>, files: Arc<StoreFiles>) {
    loop {
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        let (disk_space, files) = (disk_space.clone(), files.clone());
        // The checks may block. After a panic the last results remain valid.
        let check = move || {
            files.check();
            disk_space.check();
        };
        drop(actix_rt::task::spawn_blocking(check).await);
    }
}
