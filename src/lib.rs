//! dmwire: direct messages over WebSocket, typed, acknowledged, never lost or doubled.
pub mod config;
pub mod logging;
pub mod protocol;
pub mod ws;
/// stub
pub fn run(config: config::Config) -> Result<(), String> { drop(config); Ok(()) }
