//! The public HTTP port: pages, schemas, health checks and the upgrade to WebSocket.
//!
//! `service` accepts connections, with or without TLS. actix-http parses the requests. Requests without upgrade go to the
//! actix-web handlers in `routes`. For a WebSocket request actix-http hands over the connection itself: [`upgrade()`] decides
//! about the request, and `connect` authenticates the client and runs the session. WebSocket connections do not use actix-web,
//! because a session that owns its socket keeps no HTTP dispatcher with its buffers while it is idle.

mod client_addr;
mod connect;
mod credentials;
mod error_responses;
mod idle_timeout;
mod origin;
mod plain_on_tls;
mod rejection;
mod routes;
mod security_headers;
mod service;
mod session_query;
pub mod upgrade;

use std::time::Duration;

pub use self::client_addr::ClientAddr;
pub use self::rejection::Rejection;
pub use self::service::serve;
pub use self::upgrade::{Upgrade, upgrade};

/// How long a handshake may take (PROTOCOL section 10, "Handshake"): the TLS handshake, the head of a connection's first
/// request, opening the inbox, and writing a rejection, each.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle HTTP connection is kept open.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(30);
