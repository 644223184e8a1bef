//! The operations port of a running server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_server::ServerHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{Parts, local_addresses, print_beside};
use crate::config::ApiAccess;
use crate::ops::keys::NewKey;

/// The operations port while it serves.
pub(super) struct Operations {
    addresses: Vec<SocketAddr>,
    running: Option<(ServerHandle, AbortOnDropHandle<io::Result<()>>)>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Operations {
    /// Starts to serve on `listeners`, which may be none.
    pub fn start(parts: &Parts, listeners: Vec<TcpListener>) -> io::Result<Self> {
        let addresses = local_addresses(&listeners)?;
        let ops = parts.ops.clone();
        let sweep = actix_rt::spawn(async move {
            loop {
                actix_rt::time::sleep(Duration::from_secs(1)).await;
                ops.sweep();
            }
        });
        let monitor = actix_rt::spawn(parts.ops.clone().run_monitor());
        let running = if listeners.is_empty() {
            None
        } else {
            let tls = parts.tls.as_deref();
            let tls = tls.filter(|_| parts.context.config.ops.ops_tls);
            let server = crate::ops::serve(&parts.ops, listeners, tls)?;
            let handle = server.handle();
            let task = AbortOnDropHandle::new(actix_rt::spawn(server));
            Some((handle, task))
        };
        Ok(Self {
            addresses,
            running,
            _tasks: [sweep, monitor].map(AbortOnDropHandle::new),
        })
    }

    /// Logs the addresses, and prints a key that was just generated.
    pub fn announce(&self, parts: &Parts) {
        let config = &parts.context.config;
        let scheme = if config.ops.ops_tls { "https" } else { "http" };
        let keys = match config.api_access() {
            ApiAccess::KeyFile => "requests need a key of --api-key-file",
            ApiAccess::GeneratedKey => "requests need the generated key",
            ApiAccess::Loopback => "programs on this machine need no key",
            ApiAccess::Closed => {
                "all requests except health checks are rejected: there is no --api-key-file"
            }
        };
        for address in &self.addresses {
            log::info!("operations port on {scheme}://{address} ({keys})");
        }
        if let Some(key) = &parts.api_key {
            // Not to the log, which must not contain keys.
            print_beside(
                "API key",
                text(key, config.storage.api_key_file().is_some()),
            );
        }
    }

    /// Stops at once. The port serves during the shutdown, so that a health check sees it.
    pub async fn stop(self) {
        if let Some((handle, task)) = self.running {
            handle.stop(false).await;
            drop(task.await);
        }
    }
}

fn text(key: &NewKey, is_stored: bool) -> String {
    let lifetime = if is_stored {
        "is shown only now: the server keeps its hash"
    } else {
        "lasts until the server stops, because it keeps nothing"
    };
    format!(
        "The operations port can be reached from other machines, so its requests need a key (`Authorization: Bearer KEY`). This one \
         {lifetime}:\n  {}\n`dmwire api-key NAME` makes keys for --api-key-file, which replaces this one.\n",
        key.key()
    )
}
