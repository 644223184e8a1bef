//! Handshakes of sessions, and the other HTTP routes: upgrade, origins, proxies, TLS, pages, readiness.

#[path = "../support/support.rs"]
mod support;

mod http_routes;
mod nginx;
mod origin;
mod page_renderers;
mod proxy;
mod readiness;
mod response_headers;
mod session;
mod tls;
mod upgrade;
