//! The protocol between server and clients (`docs/protocol.md`): the type of every frame, the parser of client frames
//! ([`Scanned::parse`]), the encoder of server frames ([`ServerFrame::write`]), and the exported schemas ([`Contract`]).
//!
//! The module is pure: it does no I/O except [`Contract::export`], reads no clock except in [`Timestamp::now`], and imports
//! no other module of the server.

pub mod api;
pub mod asyncapi;
pub mod client;
pub(crate) mod components;
pub mod content;
mod content_label;
pub mod content_types;
pub mod contract;
pub mod error;
mod hints;
pub mod json;
pub mod monitor;
pub mod notification;
pub mod parse;
pub mod schema;
pub mod server;
mod tagged;
pub mod timestamp;
pub mod types;

pub use client::{ClientFrame, Target};
pub use content_label::ContentLabel;
pub use contract::Contract;
pub use error::{ErrorCode, FrameError};
pub use json::Tape;
pub use parse::{Parsed, Scanned};
pub use server::ServerFrame;
pub use timestamp::Timestamp;
pub use types::{MessageId, Ref};

/// The name of this version of the protocol. It is also the WebSocket subprotocol.
pub const PROTOCOL: &str = "dmwire.v1";
