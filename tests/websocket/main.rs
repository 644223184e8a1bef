//! WebSocket connections: RFC 6455, the echo endpoint, pings and heartbeats.

#[path = "../support/support.rs"]
mod support;

mod conformance;
mod echo;
mod keepalive;
