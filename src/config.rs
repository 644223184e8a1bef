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
mod network;
mod origin;
mod secret;
mod show;
mod source;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;

use serde::Deserialize;

pub use command_line::{Command, CommandLine};
pub use healthcheck::healthcheck;
pub use network::Network;
pub use secret::Secret;
pub use source::ConfigError;
pub use value::{AuthMode, Auto, Days, Jwks, LogFormat, StoreUrl, Users};

use crate::limits::Allowed;
use crate::store::sqlite::Durability;
use crate::store::{Quotas, Retention};

use source::{Source, Written};
use value::Range;

const LISTENING: &str = "Listening";
const ACCESS: &str = "Who may come in";
const TLS: &str = "TLS";
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
const CONNECTIONS: Range<usize> = Range::new(1, 10_000_000, 50_000);
const BLOCKS_PER_USER: Range<u64> = Range::new(0, 100_000, 1000);
const UNCLAIMED: Range<u64> = Range::new(0, 1_000_000_000, 1_000_000);
const UNCLAIMED_PER_USER: Range<u64> = Range::new(0, 1_000_000_000, 20_000);
const INBOX_DAYS: Days = Days::new(30);
const INBOX_LIMIT: Range<u64> = Range::new(1, 100_000_000, 10_000);
const OUTBOX_BYTES: Range<usize> = Range::new(1024, 1 << 30, 1 << 20);
const BUFFER_BYTES: Range<usize> = Range::new(1 << 20, 1 << 40, 256 << 20);
const HEARTBEAT_SECONDS: Range<u64> = Range::new(1, 3600, 30);
const PING_SECONDS: Range<u64> = Range::new(1, 3600, 25);
const STALL_SECONDS: Range<u64> = Range::new(1, 3600, 60);
const JWKS_REFRESH_SECONDS: Range<u64> = Range::new(1, 86_400, 300);
const JWT_LEEWAY_SECONDS: Range<u64> = Range::new(0, 300, 2);

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
    /// How users prove who they are. [`AuthMode::Auto`] only where no setting says what a token must be: see
    /// [`Config::access`].
    pub auth: AuthMode,
    /// Secrets that tokens are signed with (HS256).
    pub jwt_secret: Vec<Secret>,
    /// Files with such secrets, one in each.
    pub jwt_secret_file: Vec<PathBuf>,
    /// Files with public keys in PEM that tokens are checked with.
    pub jwt_key: Vec<PathBuf>,
    /// A set of public keys that tokens are checked with (RFC 7517).
    pub jwks: Option<Jwks>,
    /// Certificates in PEM, by one of which the server of `jwks` must be certified; `None`: by one of the public ones.
    pub jwks_ca: Option<PathBuf>,
    /// Seconds between two looks at `jwks`.
    pub jwks_refresh_seconds: u64,
    /// Who may have issued a token; empty: anybody who holds a key.
    pub jwt_issuer: Vec<String>,
    /// Whom a token may be meant for, one of these; empty: only nobody in particular.
    pub jwt_audience: Vec<String>,
    /// Seconds by which the clocks of the server and of the issuer may differ.
    pub jwt_leeway_seconds: u64,
    /// Whether a token may stand in the address.
    pub query_token: bool,
    /// Origins of pages that may connect besides the server's own, as browsers write them: in lower case, without the
    /// scheme's default port; or `null`.
    pub allowed_origin: Vec<String>,
    /// Names by which clients may call the server where nothing but loopback protects it, in lower case, without a port.
    pub allowed_host: Vec<String>,
    /// Proxies that are believed when they say whom a connection comes from.
    pub trusted_proxy: Vec<Network>,
    /// The certificate chain in PEM, if the server speaks TLS itself.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Threads that serve connections.
    pub workers: usize,
    /// The largest client frame in bytes, its fragments together (PROTOCOL section 8, as are the limits below).
    pub max_frame_bytes: usize,
    /// Client frames per second that one session may send in the long run.
    pub messages_per_second: u32,
    /// Client frames that one session may send at once after a rest.
    pub burst: u32,
    /// Client frames per second that one user may send in the long run, over all sessions; by itself four times
    /// `messages_per_second`.
    pub user_messages_per_second: Auto,
    /// Client frames that one user may send at once after a rest; by itself four times `burst`.
    pub user_burst: Auto,
    /// Questions per second (`history`, `conversations`) that one user may ask; by itself `messages_per_second`.
    pub queries_per_second: Auto,
    /// Questions that one user may ask at once after a rest; by itself `burst`.
    pub query_burst: Auto,
    /// WebSocket connections at a time.
    pub connections: usize,
    /// WebSocket connections at a time from one address; by itself 1000, and any number from this machine.
    pub connections_per_ip: Auto,
    /// WebSocket handshakes per second from one address; by itself 50, and any number from this machine.
    pub handshakes_per_second: Auto,
    /// WebSocket handshakes at once from one address; by itself four times `handshakes_per_second`.
    pub handshake_burst: Auto,
    /// Bad frames per minute that a session survives.
    pub bad_frames_per_minute: u32,
    /// Sessions that one user may have at a time.
    pub sessions_per_user: usize,
    /// Users that one user may block.
    pub blocks_per_user: u64,
    /// Who can be written to.
    pub users: Users,
    /// Messages to users who have never connected that all together may leave.
    pub unclaimed: u64,
    /// The same of one sender.
    pub unclaimed_per_user: u64,
    /// The same of one address, within a day; by itself 100,000, and any number from this machine.
    pub unclaimed_per_ip: Auto,
    /// Bytes of free disk space below which nothing more is stored, 0 for none; by itself 256 MiB, or a 64th of a smaller
    /// disk.
    pub min_free_disk: Auto<u64>,
    /// Unsent bytes that are kept for one session; one larger frame goes when nothing else waits.
    pub outbox_bytes: usize,
    /// Bytes that may wait in memory for all sessions together, unsent or of messages that have come in part, beyond 8 KiB
    /// of each.
    pub buffer_bytes: usize,
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
            auth: AuthMode::default(),
            jwt_secret: Vec::new(),
            jwt_secret_file: Vec::new(),
            jwt_key: Vec::new(),
            jwks: None,
            jwks_ca: None,
            jwks_refresh_seconds: JWKS_REFRESH_SECONDS.default,
            jwt_issuer: Vec::new(),
            jwt_audience: Vec::new(),
            jwt_leeway_seconds: JWT_LEEWAY_SECONDS.default,
            query_token: true,
            allowed_origin: Vec::new(),
            allowed_host: Vec::new(),
            trusted_proxy: Vec::new(),
            tls_cert: None,
            tls_key: None,
            workers: available_parallelism()
                .map_or(WORKERS.default, |cpus| cpus.get().min(WORKERS.most)),
            max_frame_bytes: MAX_FRAME_BYTES.default,
            messages_per_second: MESSAGES_PER_SECOND.default,
            burst: BURST.default,
            user_messages_per_second: Auto::default(),
            user_burst: Auto::default(),
            queries_per_second: Auto::default(),
            query_burst: Auto::default(),
            connections: CONNECTIONS.default,
            connections_per_ip: Auto::default(),
            handshakes_per_second: Auto::default(),
            handshake_burst: Auto::default(),
            bad_frames_per_minute: BAD_FRAMES_PER_MINUTE.default,
            sessions_per_user: SESSIONS_PER_USER.default,
            blocks_per_user: BLOCKS_PER_USER.default,
            users: Users::default(),
            unclaimed: UNCLAIMED.default,
            unclaimed_per_user: UNCLAIMED_PER_USER.default,
            unclaimed_per_ip: Auto::default(),
            min_free_disk: Auto::default(),
            outbox_bytes: OUTBOX_BYTES.default,
            buffer_bytes: BUFFER_BYTES.default,
            heartbeat_seconds: HEARTBEAT_SECONDS.default,
            ping_seconds: PING_SECONDS.default,
            stall_seconds: STALL_SECONDS.default,
            log: "info".into(),
            log_format: LogFormat::default(),
        }
    }
}

/// What one user and one address may ask (PROTOCOL section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Client frames of a user.
    pub frames: Allowed,
    /// Questions of a user.
    pub queries: Allowed,
    /// Handshakes of an address.
    pub handshakes: Allowed,
    /// Connections of an address, at a time.
    pub connections_per_ip: u32,
    /// Messages that an address may leave within a day for users who have never connected.
    pub unclaimed_per_ip: u64,
}

/// What the door asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: everybody is whom they say they are.
    Open,
    /// A token that the configured keys can check.
    Tokens,
    /// A token that is signed with a secret of the server's own, made at its first start.
    OwnSecret,
}

impl Config {
    /// What the door asks for (PROTOCOL section 2). Where others can reach the server and nobody has said how they prove
    /// who they are, it asks for tokens of its own.
    pub fn access(&self) -> Access {
        match self.auth {
            AuthMode::Jwt => Access::Tokens,
            AuthMode::None => Access::Open,
            AuthMode::Auto if self.open || self.public_address().is_none() => Access::Open,
            AuthMode::Auto => Access::OwnSecret,
        }
    }

    /// Where the server's own secret is kept: beside the store. `None` if the store is not kept either.
    pub fn own_secret_file(&self) -> Option<PathBuf> {
        let StoreUrl::Sqlite(path) = &self.store else {
            return None;
        };
        // By its real name, so that the same store under another name has the same secret.
        let mut name = std::fs::canonicalize(path)
            .unwrap_or_else(|_| path.clone())
            .into_os_string();
        name.push("-secret");
        Some(name.into())
    }

    /// An address to listen on that others than this machine can reach.
    fn public_address(&self) -> Option<&SocketAddr> {
        let public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        self.listen.iter().find(public)
    }

    fn has_keys(&self) -> bool {
        let Self {
            jwt_secret,
            jwt_secret_file,
            jwt_key,
            jwks,
            ..
        } = self;
        !(jwt_secret.is_empty() && jwt_secret_file.is_empty() && jwt_key.is_empty())
            || jwks.is_some()
    }

    /// What one user and one address may ask, where that follows from other settings.
    pub fn rates(&self) -> Rates {
        const CONNECTIONS: u32 = 1000;
        const HANDSHAKES: u32 = 50;
        const UNCLAIMED: u32 = 100_000;
        let or = |said: Auto, otherwise: u32| said.0.unwrap_or(otherwise);
        let handshakes = or(self.handshakes_per_second, HANDSHAKES);
        Rates {
            frames: Allowed {
                per_second: or(
                    self.user_messages_per_second,
                    self.messages_per_second.saturating_mul(4),
                ),
                burst: or(self.user_burst, self.burst.saturating_mul(4)),
            },
            queries: Allowed {
                per_second: or(self.queries_per_second, self.messages_per_second),
                burst: or(self.query_burst, self.burst),
            },
            handshakes: Allowed {
                per_second: handshakes,
                burst: or(self.handshake_burst, handshakes.saturating_mul(4)),
            },
            connections_per_ip: or(self.connections_per_ip, CONNECTIONS),
            unclaimed_per_ip: or(self.unclaimed_per_ip, UNCLAIMED).into(),
        }
    }

    /// What users may ask of the store.
    pub fn quotas(&self) -> Quotas {
        Quotas {
            blocks: self.blocks_per_user,
            known_only: self.users == Users::Known,
            unclaimed: self.unclaimed,
            unclaimed_of_one: self.unclaimed_per_user,
        }
    }

    /// A folder on the disk that messages are written to.
    pub fn data_folder(&self) -> PathBuf {
        match &self.store {
            StoreUrl::Memory => temporary_folder(),
            StoreUrl::Sqlite(path) => {
                // By its real name: it may be a link to another disk.
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                folder.map_or_else(|| ".".into(), Into::into)
            }
        }
    }

    /// How long things are kept.
    pub fn lifetimes(&self) -> Retention {
        Retention {
            inbox_ms: self.inbox_days.0,
            inbox_limit: self.inbox_limit,
            history_ms: self.history_days.map(|days| days.0),
        }
    }
}

/// Networks, for the tests of those who go by them.
#[cfg(test)]
pub(crate) fn networks(texts: &[&str]) -> Vec<Network> {
    let written = texts.iter().map(|text| (*text).to_owned().into());
    network::list(&written.collect::<Vec<_>>()).unwrap_or_default()
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
        help = "No authentication is wanted: anyone who reaches the server may read and write as anybody. Without it, \
                and without --auth, tokens are asked for as soon as more than loopback is listened on [default: false]")]
    open: Option<Written>,

    #[arg(long, env = "DMWIRE_AUTH", value_name = "HOW", help_heading = ACCESS,
        help = "How users prove who they are: jwt, by a token; none; or auto: jwt once a --jwt or --jwks setting is given, \
                and with a secret of the server's own where more than loopback is listened on [default: auto]")]
    auth: Option<Written>,

    #[arg(long, env = "DMWIRE_JWT_SECRET", value_name = "SECRET", help_heading = ACCESS,
        help = "Secret that tokens are signed with (HS256); may be repeated, and a token of any of them is taken. Others on \
                this machine can see flags: better a variable or a file [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    jwt_secret: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_JWT_SECRET_FILE", value_name = "FILE", value_delimiter = ',', help_heading = ACCESS,
        help = "File with such a secret; one line end at its end does not count. May be repeated [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    jwt_secret_file: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_JWT_KEY", value_name = "FILE", value_delimiter = ',', help_heading = ACCESS,
        help = "File with a public key in PEM that tokens are checked with: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA); \
                may be repeated [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    jwt_key: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_JWKS", value_name = "FILE|URL", help_heading = ACCESS,
        help = "Set of public keys (RFC 7517) that tokens are checked with: a file, or an http:// or https:// address \
                [default: none]")]
    jwks: Option<Written>,

    #[arg(long, env = "DMWIRE_JWKS_CA", value_name = "FILE", help_heading = ACCESS,
        help = "Certificates in PEM of those who certify the server of --jwks, instead of the public ones that are built in \
                [default: none]")]
    jwks_ca: Option<Written>,

    #[arg(long, env = "DMWIRE_JWKS_REFRESH_SECONDS", value_name = "SECONDS", help_heading = ACCESS,
        help = JWKS_REFRESH_SECONDS.help("Time between two looks at --jwks; a token of an unknown key causes one more look in between"))]
    jwks_refresh_seconds: Option<Written>,

    #[arg(long, env = "DMWIRE_JWT_ISSUER", value_name = "ISS", value_delimiter = ',', help_heading = ACCESS,
        help = "Who must have issued a token (its iss); may be repeated, one of them suffices [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    jwt_issuer: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_JWT_AUDIENCE", value_name = "AUD", value_delimiter = ',', help_heading = ACCESS,
        help = "Whom a token must be meant for (its aud); may be repeated, one of them suffices. Without it a token with an \
                aud is refused [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    jwt_audience: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_JWT_LEEWAY_SECONDS", value_name = "SECONDS", help_heading = ACCESS,
        help = JWT_LEEWAY_SECONDS.help("By how much the issuer's clock may be off"))]
    jwt_leeway_seconds: Option<Written>,

    #[arg(long, env = "DMWIRE_QUERY_TOKEN", value_name = "BOOL", help_heading = ACCESS,
        help = "Whether a token may stand in the address, as ?token=..., where proxies may log it [default: true]")]
    query_token: Option<Written>,

    #[arg(long, env = "DMWIRE_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', help_heading = ACCESS,
        help = "Origin of a web page that may connect, such as https://chat.example.org, or null; may be repeated (in \
                the variable: separated by commas) [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    allowed_origin: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',', help_heading = ACCESS,
        help = "Name by which clients may call a server without authentication, besides localhost, loopback addresses and \
                those of --allowed-origin; may be repeated [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    allowed_host: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', help_heading = ACCESS,
        help = "Address of a proxy, such as 127.0.0.1 or 10.0.0.0/8, whose X-Forwarded-For, -Proto and -Host (or Forwarded) \
                are believed; may be repeated [default: none]")]
    #[serde(deserialize_with = "source::one_or_many")]
    trusted_proxy: Option<Vec<Written>>,

    #[arg(long, env = "DMWIRE_TLS_CERT", value_name = "FILE", help_heading = TLS,
        help = "Certificate chain in PEM; with --tls-key the server speaks TLS (https://, wss://). Read again on SIGHUP and \
                when it changes [default: none]")]
    tls_cert: Option<Written>,

    #[arg(long, env = "DMWIRE_TLS_KEY", value_name = "FILE", help_heading = TLS,
        help = "The certificate's private key in PEM [default: none]")]
    tls_key: Option<Written>,

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

    #[arg(long, env = "DMWIRE_USER_MESSAGES_PER_SECOND", value_name = "N|auto", help_heading = LIMITS,
        help = "Frames per second that a user may send in the long run, over all sessions; auto: four times \
                --messages-per-second [default: auto]")]
    user_messages_per_second: Option<Written>,

    #[arg(long, env = "DMWIRE_USER_BURST", value_name = "N|auto", help_heading = LIMITS,
        help = "Frames that a user may send at once after a rest; auto: four times --burst [default: auto]")]
    user_burst: Option<Written>,

    #[arg(long, env = "DMWIRE_QUERIES_PER_SECOND", value_name = "N|auto", help_heading = LIMITS,
        help = "Times per second that a user may ask for history or conversations in the long run, over all sessions; auto: \
                as --messages-per-second [default: auto]")]
    queries_per_second: Option<Written>,

    #[arg(long, env = "DMWIRE_QUERY_BURST", value_name = "N|auto", help_heading = LIMITS,
        help = "Times that a user may ask at once after a rest; auto: as --burst [default: auto]")]
    query_burst: Option<Written>,

    #[arg(long, env = "DMWIRE_CONNECTIONS", value_name = "N", help_heading = LIMITS,
        help = CONNECTIONS.help("WebSocket connections at a time"))]
    connections: Option<Written>,

    #[arg(long, env = "DMWIRE_CONNECTIONS_PER_IP", value_name = "N|auto", help_heading = LIMITS,
        help = "WebSocket connections at a time from one address, or one /64 of IPv6; auto: 1000, and any number from this \
                machine itself [default: auto]")]
    connections_per_ip: Option<Written>,

    #[arg(long, env = "DMWIRE_HANDSHAKES_PER_SECOND", value_name = "N|auto", help_heading = LIMITS,
        help = "WebSocket handshakes per second from one address, in the long run, and a fourth of the connections of any kind; auto: \
                50, and any number from this machine itself [default: auto]")]
    handshakes_per_second: Option<Written>,

    #[arg(long, env = "DMWIRE_HANDSHAKE_BURST", value_name = "N|auto", help_heading = LIMITS,
        help = "WebSocket handshakes at once from one address after a rest; auto: four times --handshakes-per-second \
                [default: auto]")]
    handshake_burst: Option<Written>,

    #[arg(long, env = "DMWIRE_BAD_FRAMES_PER_MINUTE", value_name = "N", help_heading = LIMITS,
        help = BAD_FRAMES_PER_MINUTE.help("Bad frames per minute that a session survives"))]
    bad_frames_per_minute: Option<Written>,

    #[arg(long, env = "DMWIRE_SESSIONS_PER_USER", value_name = "N", help_heading = LIMITS,
        help = SESSIONS_PER_USER.help("Sessions that a user may have; one more closes the oldest"))]
    sessions_per_user: Option<Written>,

    #[arg(long, env = "DMWIRE_BLOCKS_PER_USER", value_name = "N", help_heading = LIMITS,
        help = BLOCKS_PER_USER.help("Users that a user may block"))]
    blocks_per_user: Option<Written>,

    #[arg(long, env = "DMWIRE_USERS", value_name = "WHO", help_heading = LIMITS,
        help = "Who can be written to: any, or known, those who have connected before [default: any]")]
    users: Option<Written>,

    #[arg(long, env = "DMWIRE_UNCLAIMED", value_name = "N", help_heading = LIMITS,
        help = UNCLAIMED.help("Messages that may wait, in all, for users who have never connected"))]
    unclaimed: Option<Written>,

    #[arg(long, env = "DMWIRE_UNCLAIMED_PER_USER", value_name = "N", help_heading = LIMITS,
        help = UNCLAIMED_PER_USER.help("Messages of one sender that may wait for users who have never connected"))]
    unclaimed_per_user: Option<Written>,

    #[arg(long, env = "DMWIRE_UNCLAIMED_PER_IP", value_name = "N|auto", help_heading = LIMITS,
        help = "Messages that may be left from one address within a day for users who have never connected; auto: 100000, \
                and any number from this machine itself [default: auto]")]
    unclaimed_per_ip: Option<Written>,

    #[arg(long, env = "DMWIRE_MIN_FREE_DISK", value_name = "BYTES|auto", help_heading = LIMITS,
        help = "Free disk space below which nothing more is stored, 0 for none; auto: 256 MiB, or a 64th of a smaller disk \
                [default: auto]")]
    min_free_disk: Option<Written>,

    #[arg(long, env = "DMWIRE_OUTBOX_BYTES", value_name = "BYTES", help_heading = LIMITS,
        help = OUTBOX_BYTES.help("Unsent bytes kept for a slow reader, who reads the rest from the store"))]
    outbox_bytes: Option<Written>,

    #[arg(long, env = "DMWIRE_BUFFER_BYTES", value_name = "BYTES", help_heading = LIMITS,
        help = BUFFER_BYTES.help("Memory for what waits for all sessions together, unsent or received in part, beyond 8 KiB of each"))]
    buffer_bytes: Option<Written>,

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
            auth: value::auth,
            jwt_secret: |said| secret::list(said),
            jwt_secret_file: |said| value::files(said),
            jwt_key: |said| value::files(said),
            jwks: value::jwks,
            jwks_ca: value::file,
            jwks_refresh_seconds: JWKS_REFRESH_SECONDS.parser(),
            jwt_issuer: |said| value::words(said),
            jwt_audience: |said| value::words(said),
            jwt_leeway_seconds: JWT_LEEWAY_SECONDS.parser(),
            query_token: value::switch,
            allowed_origin: origin::list,
            allowed_host: |said| origin::hosts(said),
            trusted_proxy: |said| network::list(said),
            tls_cert: value::file,
            tls_key: value::file,
            workers: WORKERS.parser(),
            store: value::store,
            durability: value::durability,
            inbox_days: value::days,
            inbox_limit: INBOX_LIMIT.parser(),
            history_days: value::days_or_forever,
            max_frame_bytes: MAX_FRAME_BYTES.parser(),
            messages_per_second: MESSAGES_PER_SECOND.parser(),
            burst: BURST.parser(),
            user_messages_per_second: value::auto,
            user_burst: value::auto,
            queries_per_second: value::auto,
            query_burst: value::auto,
            connections: CONNECTIONS.parser(),
            connections_per_ip: value::auto,
            handshakes_per_second: value::auto,
            handshake_burst: value::auto,
            bad_frames_per_minute: BAD_FRAMES_PER_MINUTE.parser(),
            sessions_per_user: SESSIONS_PER_USER.parser(),
            blocks_per_user: BLOCKS_PER_USER.parser(),
            users: value::users,
            unclaimed: UNCLAIMED.parser(),
            unclaimed_per_user: UNCLAIMED_PER_USER.parser(),
            unclaimed_per_ip: value::auto,
            min_free_disk: value::auto_bytes,
            outbox_bytes: OUTBOX_BYTES.parser(),
            buffer_bytes: BUFFER_BYTES.parser(),
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
        if resolved.config.auth == AuthMode::Auto {
            let key = TOKEN_SETTINGS
                .into_iter()
                .find(|key| *resolved.source(key) != Source::Default);
            if let Some(key) = key {
                resolved.config.auth = AuthMode::Jwt;
                resolved.sources.insert("auth", Source::Implied(key));
            }
        }
        Ok(resolved)
    }
}

/// Settings that make sense with tokens only, so that giving one asks for them.
const TOKEN_SETTINGS: [&str; 6] = [
    "jwt_secret",
    "jwt_secret_file",
    "jwt_key",
    "jwks",
    "jwt_issuer",
    "jwt_audience",
];

impl Resolved {
    /// The configuration, if a server may run with it.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other, or an address that others can reach while somebody has said `auth = none` and
    /// nobody `open`.
    pub fn for_serving(&self) -> Result<&Config, ConfigError> {
        let config = &self.config;
        let refuse = |key: &str, what: &str| Err(ConfigError::new(self.name(key), what));
        let given = |key: &&&'static str| *self.source(key) != Source::Default;
        match config.auth {
            AuthMode::Jwt if !config.has_keys() => {
                let key = match self.source("auth") {
                    Source::Implied(key) => key,
                    _ => "auth",
                };
                return refuse(
                    key,
                    "tokens are to be checked, but there is no key to check them with: give --jwt-secret, \
                     --jwt-secret-file, --jwt-key or --jwks",
                );
            }
            AuthMode::Jwt if config.open => {
                return refuse(
                    "open",
                    &format!(
                        "no authentication is wanted, but {} asks for tokens; only one of them can be meant",
                        self.name(match self.source("auth") {
                            Source::Implied(key) => key,
                            _ => "auth",
                        })
                    ),
                );
            }
            AuthMode::None => {
                if let Some(key) = TOKEN_SETTINGS.iter().find(given) {
                    return refuse(
                        key,
                        &format!("{} says that there are no tokens", self.name("auth")),
                    );
                }
            }
            _ => {}
        }
        for (one, other) in [
            ("tls_cert", "tls_key"),
            ("tls_key", "tls_cert"),
            ("jwks_ca", "jwks"),
        ] {
            if given(&&one) && !given(&&other) {
                let what = format!("means nothing without {}", source::flag(other));
                return refuse(one, &what);
            }
        }
        match config.public_address() {
            Some(address) if config.auth == AuthMode::None && !config.open => {
                Err(ConfigError::new(
                    self.name("listen"),
                    format_args!(
                        "{address} is not a loopback address and there is to be no authentication: anyone who can reach it \
                     could read and write as anybody; listen on 127.0.0.1 or [::1], leave {} away, or say with --open that \
                     this is wanted",
                        self.name("auth")
                    ),
                ))
            }
            _ => Ok(config),
        }
    }

    /// A setting by the name that it has where it was given.
    fn name(&self, key: &str) -> String {
        self.source(key).name(key)
    }

    fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }
}

#[cfg(test)]
mod tests;
