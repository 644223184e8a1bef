//! Keepalive: how idle and unresponsive connections are detected.

use super::setting::{number, section};

section! {
    /// When the server probes an idle connection, and when it closes an unresponsive one.
    #[derive(Copy)]
    pub struct KeepaliveConfig = config.keepalive, "Keepalive";

    /// Idle time after which the server sends a `heartbeat`
    ///
    /// A client that sends nothing for twice as long is disconnected.
    heartbeat_seconds: u64 = 30, number("SECONDS", 1..=3600);

    /// Time between WebSocket pings on an idle connection
    ping_seconds: u64 = 25, number("SECONDS", 1..=3600);

    /// Time after which a session is closed if its client accepts no data
    stall_seconds: u64 = 60, number("SECONDS", 1..=3600);
}
