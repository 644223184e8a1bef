//! The public HTTP port: pages, schemas, health checks and the upgrade to WebSocket.
//!
//! `service` accepts connections, with or without TLS. actix-http parses the requests. Requests without upgrade go to the
//! actix-web handlers in `routes`. For a WebSocket request actix-http hands over the connection itself: [`upgrade()`] decides
//! about the request, and `connect` authenticates the client and runs the session. WebSocket connections do not use actix-web,
//! because a session that owns its socket keeps no HTTP dispatcher with its buffers while it is idle.

mod client_addr;
mod connect;
pub(crate) mod credentials;
mod error_responses;
mod idle_timeout;
pub(crate) mod origin;
mod plain_on_tls;
mod rejection;
mod routes;
pub(crate) mod security_headers;
mod service;
mod session_query;
pub mod upgrade;

use std::time::Duration;

pub use self::client_addr::ClientAddr;
pub(crate) use self::client_addr::single_header;
pub(crate) use self::idle_timeout::{Activity, TimeoutStream, Working};
pub use self::rejection::Rejection;
pub(crate) use self::routes::{health, page};
pub use self::service::serve;
pub(crate) use self::service::{DISCONNECT_TIMEOUT, accept, accept_tls};
pub use self::upgrade::{Upgrade, upgrade};

/// How long a handshake may take (PROTOCOL section 10, "Handshake"): the TLS handshake, the head of a connection's first
/// request, opening the inbox, and writing a rejection, each.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle HTTP connection is kept open.
pub(crate) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(30);
