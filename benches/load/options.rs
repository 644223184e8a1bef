//! What the load is to be.

use std::path::PathBuf;

use clap::Parser;

/// Load on a dmwire server, or on one that speaks enough of its protocol.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Pairs of users; in each one writes to the other.
    #[arg(long, default_value_t = 50)]
    pub pairs: usize,
    /// Messages that a pair keeps in flight.
    #[arg(long, default_value_t = 16)]
    pub window: usize,
    /// Seconds that the talk lasts.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Messages per second of all pairs together, sent at their time whatever comes back; 0: as fast as the window allows.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Characters of text in a message, at least 32.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(32..=16000))]
    pub size: u16,
    /// Send `ephemeral` messages, which are not stored.
    #[arg(long)]
    pub ephemeral: bool,
    /// Measure right before and after what it takes to write 4 KiB and fdatasync in the store's folder, and hold latency
    /// against it.
    #[arg(long)]
    pub fsync: bool,
    /// Instead of pairs: one user who writes to one with so many devices, all of which get each message.
    #[arg(long, default_value_t = 0)]
    pub devices: usize,
    /// The pairs talk three times: every 16th message of a sender goes besides to one of so many further sessions, which read
    /// twice and then do not.
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// Instead of talking: open so many connections, and tell what each costs in memory.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// With --idle: each connection first sends one message with so many bytes of text to the next one.
    #[arg(long, default_value_t = 0)]
    pub warm: usize,
    /// With --idle: seconds of quiet before memory is read.
    #[arg(long, default_value_t = 2.0)]
    pub quiet: f64,
    /// Instead of talking: so many users come, get a message and leave; then tell what it costs that they come back.
    #[arg(long, default_value_t = 0)]
    pub storm: usize,
    /// With --storm: connections that are opened at the same time.
    #[arg(long, default_value_t = 50)]
    pub concurrency: usize,
    /// The server's store: `sqlite:` for a file in a temporary folder, or `memory:`.
    #[arg(long, default_value = "sqlite:")]
    pub store: String,
    /// Further arguments for the server, separated by spaces.
    #[arg(long, default_value = "")]
    pub server: String,
    /// The program to start as the server instead of the one built with this load generator, for example an earlier release.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// A server that is running already: HOST:PORT/PATH, the user id is appended to it.
    #[arg(long)]
    pub at: Option<String>,
    /// The process id of that server, to read its CPU time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The server sends no `welcome`, `synced` or `ack`: a bare relay.
    #[arg(long)]
    pub bare: bool,
    /// Print one JSON object and no table.
    #[arg(long)]
    pub json: bool,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    pub bench: bool,
}
