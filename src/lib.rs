//! dmwire: a direct-messaging server over WebSocket with typed, acknowledged, ordered messages.
//!
//! The path of a message, which is also the reading order of the modules:
//!
//! ```text
//! socket -> websocket -> session -> protocol -> router -> writer -> store (commit) -> delivery -> outbox -> socket
//! ```
//!
//! 1. [`http`] validates the WebSocket handshake, authenticates the client with [`auth`] and opens a session.
//! 2. [`websocket`] decodes bytes into messages of limited size (RFC 6455).
//! 3. [`session`] is the task of one connection: it reads frames, executes them and sends the user's inbox in order.
//! 4. [`protocol`] parses a frame or returns the exact place of its first error. It has no state and does no I/O.
//! 5. [`router`] turns a frame into a command: a write for the store, or a frame that is not stored.
//! 6. [`writer`] commits writes in groups to the [`store`] on one thread, and calls its observers after each commit.
//! 7. [`delivery`] is such an observer: it sends the reply to the acting session and the new inbox entries to the sessions of
//!    the recipients, which [`registry`] lists by user.
//! 8. [`outbox`] is the sending side of a session: it keeps the order of the inbox and writes to the socket.
//! 9. [`readers`] read inboxes and histories from the store on their own threads.
//!
//! Beside that path: [`limits`] restricts connections, rates and memory, [`blocks`] lists the users who block each other,
//! [`contacts`] caches which users are contacts, [`ingest`] accepts what back ends send, [`notify`] reads what they publish through
//! Redis, [`webhooks`] posts events to them, [`presence`] knows who is online, [`memberships`] ends memberships with their sessions, [`revocations`] knows whose tokens are revoked, [`content_types`] loads an
//! application's content types, [`page`] is the chat page,
//! [`disk_space`] watches the free disk space, [`tls`] loads
//! certificates, [`clock`] tells the time, [`logging`] writes the log, [`config`] reads the settings, [`ops`] serves operators and back ends, and [`metrics`] counts, with [`counters`]. [`server`] builds all parts, and [`context`] is the
//! part of them that connections share. [`compatibility`] compares versions of schemas for the `dmwire` program.
//!
//! Comments that name a section of PROTOCOL mean `docs/protocol.md`.

pub mod auth;
pub mod blocks;
pub mod clock;
pub mod compatibility;
pub mod config;
pub mod contacts;
pub mod content_types;
pub mod context;
pub mod counters;
pub mod delivery;
pub mod disk_space;
pub mod http;
pub mod ingest;
pub mod limits;
mod listener;
pub mod log;
pub mod logging;
pub mod memberships;
pub mod metrics;
pub mod notify;
pub mod ops;
pub mod outbox;
pub mod page;
pub mod presence;
pub mod protocol;
pub mod readers;
pub mod registry;
pub mod revocations;
pub mod router;
pub mod server;
pub mod session;
pub mod store;
mod supervise;
pub mod tls;
pub mod webhooks;
pub mod websocket;
pub mod writer;

pub use server::{RunError, run, serve};
pub use supervise::DISK_FAILED;
