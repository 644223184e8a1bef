//! The operations port: the HTTP API of back ends and operators (`/v1`), the dashboard, and health checks.
//!
//! It is an actix-web application of its own, on its own addresses, threads and connection limits, so that no request on the public
//! port reaches it, and an overload of the public port does not make it unreachable. `routes` lists its resources, one module each.
//! `authorize` requires a key with the scope that a resource names; [`keys`] reads the keys.

mod authorize;
pub mod body;
mod conversations;
mod dashboard;
mod erasure;
pub mod error;
mod export;
mod gauges;
pub mod keys;
mod members;
mod messages;
mod metrics;
mod monitor;
pub mod openapi;
pub mod query;
mod revocation;
mod rooms;
mod routes;
mod service;
mod sessions;
mod users;
mod webhooks;

use std::sync::Arc;

use self::export::Exports;
use self::keys::ApiKeys;
use self::monitor::Monitor;
pub use self::service::serve;
use crate::config::{Auto, LimitsConfig};
use crate::context::Context;
use crate::ingest::Ingest;
use crate::limits::Limits;

/// WebSocket and HTTP connections to the operations port; further ones are rejected.
const CONNECTIONS: usize = 1024;
/// Memory for received bytes of all its connections.
const BUFFER_BYTES: usize = 64 << 20;
/// No limit of connections per second and address: each request needs a key.
const CONNECTIONS_PER_SECOND: u32 = 1_000_000;

/// State that all requests on the operations port share.
#[derive(Debug)]
pub struct Ops {
    /// The server.
    pub context: Arc<Context>,
    /// Accepts what back ends send.
    pub ingest: Ingest,
    /// The keys of the API.
    pub keys: ApiKeys,
    /// Limits of the port's connections; those of the public port are not used up by it.
    limits: Arc<Limits>,
    monitor: Monitor,
    exports: Exports,
    /// When the server was started, in seconds since 1970-01-01T00:00:00Z.
    started: f64,
}

impl Ops {
    /// The state for `context`, with these keys.
    pub fn new(context: Arc<Context>, keys: ApiKeys) -> Arc<Self> {
        let config = &context.config;
        let limits = LimitsConfig {
            connections: CONNECTIONS,
            buffer_bytes: BUFFER_BYTES,
            handshakes_per_second: Auto(Some(CONNECTIONS_PER_SECOND)),
            ..LimitsConfig::default()
        };
        let limits = Limits::new(
            &limits,
            &config.recipients,
            &config.rooms,
            &config.network.trusted_proxy,
        );
        let started = context.router.clock().now() as f64 / 1000.0;
        let ingest = Ingest::new(context.router.clone(), context.contract.clone());
        Arc::new(Self {
            context,
            ingest,
            keys,
            limits,
            monitor: Monitor::default(),
            exports: Exports::default(),
            started,
        })
    }

    /// Makes the frames of `/monitor`.
    pub async fn run_monitor(self: Arc<Self>) {
        Monitor::run(self).await;
    }

    /// Drops what the limits remember of connections that are closed. Call it once a second.
    pub fn sweep(&self) {
        self.limits.sweep();
    }

    /// Whether the port speaks TLS.
    fn is_tls(&self) -> bool {
        self.context.config.ops.ops_tls
    }
}
