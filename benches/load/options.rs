//! The command-line options.

use std::path::PathBuf;

use clap::Parser;

/// Generates load on a dmwire server, or on a server that supports enough of its protocol.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Pairs of users; in each pair, one user sends to the other.
    #[arg(long, default_value_t = 50)]
    pub pairs: usize,
    /// Messages in flight per pair.
    #[arg(long, default_value_t = 16)]
    pub window: usize,
    /// Duration of the load in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Messages per second of all pairs together, sent on schedule regardless of replies; 0: as fast as the window allows.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Characters of text in a message, at least 32.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(32..=16000))]
    pub size: u16,
    /// Send `ephemeral` messages, which the server does not store.
    #[arg(long)]
    pub ephemeral: bool,
    /// Measure a 4 KiB write with fdatasync in the store's folder before and after the load, and report latency relative to
    /// it.
    #[arg(long)]
    pub fsync: bool,
    /// Instead of pairs: one user sends to rooms with these numbers of members, of which all or half are online, and to one user. Each
    /// round has a phase of --seconds for each of them; a message costs what is reported relative to one to the user.
    #[arg(long, value_delimiter = ',', value_name = "MEMBERS,...")]
    pub rooms: Vec<usize>,
    /// Instead of sending as fast as possible: measure the latency of one pair, in turn without other load and while a room with this
    /// many members receives messages of three members at --rate per second.
    #[arg(long, default_value_t = 0, value_name = "MEMBERS")]
    pub beside_room: usize,
    /// With --beside-room: the three members edit one message each, instead of sending messages.
    #[arg(long)]
    pub edits: bool,
    /// Rounds of --rooms and --beside-room.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Instead of pairs: one user sends to a user with this many devices, all of which get each message.
    #[arg(long, default_value_t = 0)]
    pub devices: usize,
    /// Run the pairs three times: with every 16th message, a sender sends one more to one of this many further sessions, which
    /// read during the first two runs and do not read during the third.
    #[arg(long, default_value_t = 0)]
    pub stalled: usize,
    /// Instead of sending: open this many connections and report the memory of each.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// With --idle: each connection first sends one message with this many bytes of text to the next one.
    #[arg(long, default_value_t = 0)]
    pub warm: usize,
    /// With --idle: seconds without traffic before memory is measured.
    #[arg(long, default_value_t = 2.0)]
    pub quiet: f64,
    /// Instead of sending: this many users connect, receive a message and disconnect; then report the cost of reconnecting.
    #[arg(long, default_value_t = 0)]
    pub storm: usize,
    /// With --storm: connections opened concurrently.
    #[arg(long, default_value_t = 50)]
    pub concurrency: usize,
    /// Instead of pairs: back ends call `POST /v1/messages` over these numbers of connections, one request at a time on each. Each
    /// number has a phase of --seconds.
    #[arg(long, value_delimiter = ',', value_name = "CONNECTIONS,...")]
    pub api: Vec<usize>,
    /// Beside the load: read /metrics this many times a second.
    #[arg(long, default_value_t = 0.0, value_name = "PER-SECOND")]
    pub scrape: f64,
    /// The server's store: `sqlite:` for a file in a temporary folder, or `memory:`.
    #[arg(long, default_value = "sqlite:")]
    pub store: String,
    /// More arguments for the server, separated by spaces.
    #[arg(long, default_value = "")]
    pub server: String,
    /// The program to start as the server instead of the one built with this load generator, for example an earlier release.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// A server that is already running, as HOST:PORT/PATH; the user id is appended.
    #[arg(long)]
    pub at: Option<String>,
    /// The process id of that server, for measuring its CPU time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The server is a plain relay that sends no `welcome`, `synced` or `ack`.
    #[arg(long)]
    pub bare: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    pub bench: bool,
}
