//! WebSocket connections below the frames of the protocol: RFC 6455, the echo endpoint, pings and heartbeats.

#[path = "../support/support.rs"]
mod support;

mod conformance;
mod echo;
mod keepalive;
