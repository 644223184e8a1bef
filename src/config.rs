//! Every setting: its default, flag, environment variable and file key, in one place.
//!
//! The setting `max_frame_bytes` is the flag `--max-frame-bytes`, the variable `DMWIRE_MAX_FRAME_BYTES` and the key
//! `max_frame_bytes` of a TOML file. A flag is stronger than a variable, a variable than the file, and the file than
//! the default. Nothing else in dmwire reads the environment.
//!
//! A setting goes by one name throughout: a field of [`Config`] with its default, a field of `Settings`, a line in
//! [`CommandLine::resolve`] and one in `show.rs`. What its words mean is in `value.rs`, where they come from in `source.rs`.

mod command_line;
mod healthcheck;
mod origin;
mod show;
mod source;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::available_parallelism;

use serde::Deserialize;

pub use command_line::{Command, CommandLine};
pub use healthcheck::healthcheck;
pub use source::ConfigError;
pub use value::{Days, LogFormat, StoreUrl};

use crate::store::Lifetimes;
use crate::store::sqlite::Durability;

use source::{Source, Written};
use value::Range;

const LISTENING: &str = "Listening";
const DATA: &str = "Data";
const LIMITS: &str = "Limits";
const LINE: &str = "The line";
const LOGGING: &str = "Logging";

const PORT: u16 = 8080;
// From the least to the most, and the default; that of the workers stands only where the number of CPUs
// cannot be told.
const WORKERS: Range<usize> = Range::new(1, 512, 1);
const MAX_FRAME_BYTES: Range<usize> = Range::new(64, 16 << 20, 64 << 10);
const MESSAGES_PER_SECOND: Range<u32> = Range::new(1, 1_000_000, 50);
const BURST: Range<u32> = Range::new(1, 1_000_000, 100);
const BAD_FRAMES_PER_MINUTE: Range<u32> = Range::new(1, 100_000, 20);
const SESSIONS_PER_USER: Range<usize> = Range::new(1, 10_000, 16);
const INBOX_DAYS: Days = Days::new(30);
const INBOX_LIMIT: Range<u64> = Range::new(1, 100_000_000, 10_000);
const OUTBOX_BYTES: Range<usize> = Range::new(1024, 1 << 30, 1 << 20);
const HEARTBEAT_SECONDS: Range<u64> = Range::new(1, 3600, 30);
const PING_SECONDS: Range<u64> = Range::new(1, 3600, 25);
const STALL_SECONDS: Range<u64> = Range::new(1, 3600, 60);

/// What the server runs with. Every value is within its bounds; `Config::default()` is what runs when nothing is said.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The addresses to listen on: at least one, none twice. Port 0 takes a free port, another one for each address.
    pub listen: Vec<SocketAddr>,
    /// Whether nobody chose `listen`, so that a machine without IPv6 may do without `[::1]`.
    pub listen_is_default: bool,
    /// Where messages are kept.
    pub store: StoreUrl,
    /// When a message counts as stored.
    pub durability: Durability,
    /// Days that entries of an inbox are kept.
    pub inbox_days: Days,
    /// Entries of one inbox that are kept.
    pub inbox_limit: u64,
    /// Days that messages are kept; `None`: for ever.
    pub history_days: Option<Days>,
    /// What every path begins with: `/demo`, without a slash at the end, or the empty string (PROTOCOL section 2).
    pub base_path: String,
    /// Whether it is wanted that anyone who reaches the server needs no credentials.
    pub open: bool,
    /// Origins of pages that may connect besides the server's own, as browsers write them: in lower case, without the
    /// scheme's default port; or `null`.
    pub allowed_origin: Vec<String>,
    /// Threads that serve connections.
    pub workers: usize,
    /// The largest client frame in bytes, its fragments together (PROTOCOL section 8, as are the limits below).
    pub max_frame_bytes: usize,
    /// Client frames per second that one session may send in the long run.
    pub messages_per_second: u32,
    /// Client frames that one session may send at once after a rest.
    pub burst: u32,
    /// Bad frames per minute that a session survives.
    pub bad_frames_per_minute: u32,
    /// Sessions that one user may have at a time.
    pub sessions_per_user: usize,
    /// Unsent bytes that are kept for one session; one larger frame goes when nothing else waits.
    pub outbox_bytes: usize,
    /// Seconds of quiet after which a session is sent a `heartbeat`; a peer silent for twice as long is dropped.
    pub heartbeat_seconds: u64,
    /// Seconds between WebSocket pings on a quiet line.
    pub ping_seconds: u64,
    /// Seconds that a session whose client takes nothing is kept.
    pub stall_seconds: u64,
    /// Which log lines are written: `info`, or `info,dmwire::store=debug`.
    pub log: String,
    /// The form of a log line.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: value::loopbacks(PORT),
            listen_is_default: true,
            store: StoreUrl::Sqlite("dmwire.db".into()),
            durability: Durability::default(),
            inbox_days: INBOX_DAYS,
            inbox_limit: INBOX_LIMIT.default,
            history_days: None,
            base_path: String::new(),
            open: false,
            allowed_origin: Vec::new(),
            workers: available_parallelism()
                .map_or(WORKERS.default, |cpus| cpus.get().min(WORKERS.most)),
            max_frame_bytes: MAX_FRAME_BYTES.default,
            messages_per_second: MESSAGES_PER_SECOND.default,
            burst: BURST.default,
            bad_frames_per_minute: BAD_FRAMES_PER_MINUTE.default,
            sessions_per_user: SESSIONS_PER_USER.default,
            outbox_bytes: OUTBOX_BYTES.default,
            heartbeat_seconds: HEARTBEAT_SECONDS.default,
            ping_seconds: PING_SECONDS.default,
            stall_seconds: STALL_SECONDS.default,
            log: "info".into(),
            log_format: LogFormat::default(),
        }
    }
}

impl Config {
    /// How long things are kept.
    pub fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            inbox_ms: self.inbox_days.0,
            inbox_limit: self.inbox_limit,
            history_ms: self.history_days.map(|days| days.0),
        }
    }
}

/// Where the private database of `--store memory:` is made.
pub fn temporary_folder() -> std::path::PathBuf {
    std::env::temp_dir()
}

/// The settings as one source gave them, not looked at yet. What they mean is found out when it is known which source
/// counts, so that an error can name the setting as it was written there. No `Debug`: it is no place for a secret.
#[derive(Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    #[arg(long, env = "DMWIRE_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',', help_heading = LISTENING,
        help = "Address to listen on; may be repeated (in the variable: separated by commas). localhost:PORT is both \
                loopback addresses, port 0 any free port [default: 127.0.0.1:8080 and [::1]:8080]")]
    #[serde(deserialize_with = "source::one_or_many")]
    listen: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_BASE_PATH", value_name = "PATH", help_heading = LISTENING,
        help = "What every path begins with, such as /demo [default: none]")]
    base_path: Option<Written>,

    #[arg(long, env = "DMWIRE_OPEN", value_name = "BOOL", help_heading = LISTENING,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help = "No authentication is wanted: anyone who reaches the server may read and write as anybody. Without it \
                only loopback addresses are listened on [default: false]")]
    open: Option<Written>,

    #[arg(long, env = "DMWIRE_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', help_heading = LISTENING,
        help = "Origin of a web page that may connect, such as https://chat.example.org, or null; may be repeated (in \
                the variable: separated by commas) [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    allowed_origin: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_WORKERS", value_name = "N", help_heading = LISTENING,
        help = "Threads that serve connections, 1 to 512 [default: the number of CPUs]")]
    workers: Option<Written>,

    #[arg(long, env = "DMWIRE_STORE", value_name = "URL", help_heading = DATA,
        help = "Where messages are kept: sqlite:PATH, or memory: for nothing that lasts [default: sqlite:dmwire.db]")]
    store: Option<Written>,

    #[arg(long, env = "DMWIRE_DURABILITY", value_name = "HOW", help_heading = DATA,
        help = "When a message counts as stored: full, when it is on disk; normal, when the operating system has it, so \
                that a power cut may take the newest [default: full]")]
    durability: Option<Written>,

    #[arg(long, env = "DMWIRE_INBOX_DAYS", value_name = "DAYS", help_heading = DATA,
        help = "Days that entries of an inbox are kept for those who come back [default: 30]")]
    inbox_days: Option<Written>,

    #[arg(long, env = "DMWIRE_INBOX_LIMIT", value_name = "N", help_heading = DATA,
        help = INBOX_LIMIT.help("Entries of an inbox that are kept"))]
    inbox_limit: Option<Written>,

    #[arg(long, env = "DMWIRE_HISTORY_DAYS", value_name = "DAYS", help_heading = DATA,
        help = "Days that messages stand in histories, or forever [default: forever]")]
    history_days: Option<Written>,

    #[arg(long, env = "DMWIRE_MAX_FRAME_BYTES", value_name = "BYTES", help_heading = LIMITS,
        help = MAX_FRAME_BYTES.help("Largest client frame, its fragments together"))]
    max_frame_bytes: Option<Written>,

    #[arg(long, env = "DMWIRE_MESSAGES_PER_SECOND", value_name = "N", help_heading = LIMITS,
        help = MESSAGES_PER_SECOND.help("Frames per second that a session may send in the long run"))]
    messages_per_second: Option<Written>,

    #[arg(long, env = "DMWIRE_BURST", value_name = "N", help_heading = LIMITS,
        help = BURST.help("Frames that a session may send at once after a rest"))]
    burst: Option<Written>,

    #[arg(long, env = "DMWIRE_BAD_FRAMES_PER_MINUTE", value_name = "N", help_heading = LIMITS,
        help = BAD_FRAMES_PER_MINUTE.help("Bad frames per minute that a session survives"))]
    bad_frames_per_minute: Option<Written>,

    #[arg(long, env = "DMWIRE_SESSIONS_PER_USER", value_name = "N", help_heading = LIMITS,
        help = SESSIONS_PER_USER.help("Sessions that a user may have; one more closes the oldest"))]
    sessions_per_user: Option<Written>,

    #[arg(long, env = "DMWIRE_OUTBOX_BYTES", value_name = "BYTES", help_heading = LIMITS,
        help = OUTBOX_BYTES.help("Unsent bytes kept for a slow reader, who reads the rest from the store"))]
    outbox_bytes: Option<Written>,

    #[arg(long, env = "DMWIRE_HEARTBEAT_SECONDS", value_name = "SECONDS", help_heading = LINE,
        help = HEARTBEAT_SECONDS.help("Quiet after which a heartbeat is sent; a peer silent for twice as long is dropped"))]
    heartbeat_seconds: Option<Written>,

    #[arg(long, env = "DMWIRE_PING_SECONDS", value_name = "SECONDS", help_heading = LINE,
        help = PING_SECONDS.help("Time between WebSocket pings on a quiet line"))]
    ping_seconds: Option<Written>,

    #[arg(long, env = "DMWIRE_STALL_SECONDS", value_name = "SECONDS", help_heading = LINE,
        help = STALL_SECONDS.help("Time after which a session whose client takes nothing is closed"))]
    stall_seconds: Option<Written>,

    #[arg(long, env = "DMWIRE_LOG", value_name = "FILTER", help_heading = LOGGING,
        help = "Least level that is logged (off, error, warn, info, debug or trace), or levels by module, such as \
                info,dmwire::store=debug [default: info]")]
    log: Option<Written>,

    #[arg(long, env = "DMWIRE_LOG_FORMAT", value_name = "FORMAT", help_heading = LOGGING,
        help = "Form of a log line: plain, or json for one object a line [default: plain]")]
    log_format: Option<Written>,
}

/// A configuration, and where each of its values came from. `Display` is the text of `dmwire config`.
#[derive(Debug)]
pub struct Resolved {
    /// What is in force.
    pub config: Config,
    /// Where each came from that is not left at its default.
    sources: BTreeMap<&'static str, Source>,
}

impl CommandLine {
    /// Takes the strongest word on each setting from flags, variables, file and defaults.
    ///
    /// # Errors
    ///
    /// The first setting that cannot stand, or a file that cannot be read.
    pub fn resolve(&self) -> Result<Resolved, ConfigError> {
        let mut config = Config::default();
        let mut sources = self.sources()?;
        macro_rules! settle {
            ($($key:ident: $parse:expr,)*) => {
                $(sources.settle(stringify!($key), |said| said.$key.as_ref(), $parse, &mut config.$key)?;)*
            };
        }
        settle! {
            listen: value::listen,
            base_path: value::base_path,
            open: value::switch,
            allowed_origin: origin::list,
            workers: WORKERS.parser(),
            store: value::store,
            durability: value::durability,
            inbox_days: value::days,
            inbox_limit: INBOX_LIMIT.parser(),
            history_days: value::days_or_forever,
            max_frame_bytes: MAX_FRAME_BYTES.parser(),
            messages_per_second: MESSAGES_PER_SECOND.parser(),
            burst: BURST.parser(),
            bad_frames_per_minute: BAD_FRAMES_PER_MINUTE.parser(),
            sessions_per_user: SESSIONS_PER_USER.parser(),
            outbox_bytes: OUTBOX_BYTES.parser(),
            heartbeat_seconds: HEARTBEAT_SECONDS.parser(),
            ping_seconds: PING_SECONDS.parser(),
            stall_seconds: STALL_SECONDS.parser(),
            log: value::log_filter,
            log_format: value::log_format,
        }
        let mut resolved = Resolved {
            config,
            sources: sources.into_settled(),
        };
        resolved.config.listen_is_default = *resolved.source("listen") == Source::Default;
        Ok(resolved)
    }
}

impl Resolved {
    /// The configuration, if a server may run with it: without authentication nothing but loopback may be listened on
    /// unless `open` says so.
    ///
    /// # Errors
    ///
    /// An address that others can reach, while `open` is off.
    pub fn for_serving(&self) -> Result<&Config, ConfigError> {
        let private = |address: &&SocketAddr| address.ip().to_canonical().is_loopback();
        match self.config.listen.iter().find(|address| !private(address)) {
            Some(address) if !self.config.open => Err(ConfigError::new(
                self.source("listen").name("listen"),
                format_args!(
                    "{address} is not a loopback address and the server has no authentication configured: anyone who \
                     can reach it could read and write as anybody; listen on 127.0.0.1 or [::1], or say with --open \
                     that this is wanted"
                ),
            )),
            _ => Ok(&self.config),
        }
    }

    fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }
}

#[cfg(test)]
mod tests;
