//! The WebSocket protocol (RFC 6455), server side.
//!
//! [`Decoder`] reads frames from received bytes, the `write_*` functions append frames to a buffer, and [`stream::MessageStream`]
//! connects both to a socket. The module knows nothing of sessions or HTTP.

pub mod close_codes;
mod decoder;
mod encoder;
mod handshake_key;
pub mod socket_writer;
pub mod stream;
mod turn_budget;

pub use decoder::{Decoder, Incoming, ProtocolError};
pub use encoder::{write_close, write_frame, write_header, write_text};
pub use handshake_key::accept_key;
pub use turn_budget::TurnBudget;

/// The type of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// Starts or answers the closing handshake.
    Close = 8,
    /// Requests a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}
