//! Support for black-box tests: the real binary on a free port, and clients that connect to it over TCP.
//!
//! Every frame that a [`Client`] receives is checked against the committed schema of server frames.

#![allow(dead_code, missing_docs, unused_imports)] // each test binary uses its own part of it

mod client;
mod frames;
mod log;
pub mod pair;
pub mod preload;
mod process;
mod random;
mod raw;
mod server;
pub mod tokens;
mod uninterrupted;

pub use client::{Client, End, burst, cut};
pub use frames::{about, assert_has, assert_server_frame, to, with};
pub use log::Reading;
pub use process::{Folder, Output, dmwire, program, run_to_end};
pub use random::{Random, env_number, random_seed};
pub use raw::{Raw, RawFrame, client_frame, handshake, json_answer};
pub use server::Server;

use std::time::{Duration, Instant};

/// How long tests wait for an expected event. It is far longer than needed, so that tests do not fail on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Makes two users contacts, so that they see each other (PROTOCOL section 8): each writes to the other, and receives that. Adds
/// two entries to each inbox.
pub fn make_contacts(server: &Server, a: &str, b: &str) {
    let mut clients = [a, b].map(|user| {
        let mut client = Client::connect(server, user, "?ack=manual&device=contacts");
        client.until("synced");
        client
    });
    let mut seq = [0, 0];
    for from in 0..2 {
        clients[from].send(&to([b, a][from], "hello"));
        seq[from] = clients[from].until("ack")["seq"]
            .as_u64()
            .expect("a number");
        let message = clients[1 - from].until("message");
        seq[1 - from] = message["seq"].as_u64().expect("a number");
    }
    for (mut client, seq) in clients.into_iter().zip(seq) {
        client.send(&serde_json::json!({"type": "received", "seq": seq}));
        client.assert_quiet();
        client.close();
    }
}

/// Waits until `reached` returns true.
pub fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
