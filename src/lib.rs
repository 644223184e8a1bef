//! dmwire: direct messages over WebSocket, typed, acknowledged, never lost or doubled.
//!
//! A frame's way, which is the reading order of the modules:
//!
//! ```text
//! socket -> ws -> session -> protocol -> router -> writer -> store (commit) -> router -> registry -> session -> socket
//! ```
//!
//! 1. [`http`] checks the handshake and gives the connection to a session.
//! 2. [`ws`] turns bytes into messages, within bounds.
//! 3. [`session`] is one connection's life: it reads, has frames parsed and routed, and sends its user's inbox in order.
//! 4. [`protocol`] says what a frame is, or exactly what is wrong with it. Pure.
//! 5. [`router`] knows what each frame means.
//! 6. [`writer`] commits sends in groups to the [`store`], and only then has them acknowledged and delivered.
//! 7. [`registry`] knows who is here; what a session owes its client meets in its `Outbox`.
//! 8. [`blocks`] knows who takes nothing from whom.
//! 9. [`reads`] is how a session that has fallen behind, or has just come, reads what it is owed.
//!
//! Comments that name a section of PROTOCOL mean `docs/protocol.md`.
//!
//! [`limits`] knows how much of it all one user or one address may have, [`disk`] how much room there is.
//! [`auth`] says as whom somebody may come in, [`tls`] is the door's lock, [`config`] holds every setting, [`logging`] writes
//! the log.

pub mod auth;
pub mod blocks;
pub mod config;
pub mod context;
pub mod delivery;
pub mod disk_space;
pub mod http;
pub mod limits;
mod listener;
pub mod logging;
pub mod outbox;
pub mod protocol;
pub mod readers;
pub mod registry;
pub mod router;
pub mod server;
pub mod session;
pub mod store;
mod supervise;
pub mod tls;
pub mod websocket;
pub mod writer;

pub use server::{RunError, run, serve};
