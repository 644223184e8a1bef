//! Settings: their names, defaults, checks and sources.
//!
//! The setting `max_frame_bytes` is the flag `--max-frame-bytes`, the variable `DMWIRE_MAX_FRAME_BYTES` and the key
//! `max_frame_bytes` of a TOML file. Flags take precedence over variables, variables over the file, and the file over the
//! defaults. No other module reads the environment.
//!
//! Settings are grouped into sections, one file each. An entry there holds all facts about a setting, so that a new one
//! is a single edit (see `setting::section!`). Modules receive only the sections that concern them.

mod auth;
mod content;
mod global_address;
mod keepalive;
mod key_text;
mod limits;
mod logging;
mod network;
mod notify;
mod ops;
mod origin;
mod presence;
mod recipients;
mod resolved;
mod rooms;
mod secret;
mod setting;
mod source;
mod storage;
mod text_file;
mod tls;
mod value;
mod webhooks;

use std::ffi::OsString;
use std::fmt::Display;
use std::sync::LazyLock;

use clap::{Arg, value_parser};

pub use auth::{AuthConfig, AuthMode, Jwks};
pub use content::ContentConfig;
pub use global_address::is_global;
pub use keepalive::KeepaliveConfig;
pub use limits::{LimitsConfig, RateLimit};
pub use logging::{LogFormat, LoggingConfig, stderr_shows_colors};
pub use network::{Listen, NetworkConfig, ProxyHeader, TrustedProxies};
pub use notify::{NotifyConfig, RedisUrl};
pub use ops::{ApiAccess, OpsConfig};
pub use presence::{PresenceConfig, PresenceMode};
pub use recipients::{Quotas, RecipientsConfig, Users};
pub use resolved::Resolved;
pub use rooms::{RoomHistory, RoomMode, RoomRules, RoomsConfig};
pub use secret::Secret;
pub use storage::{Durability, Retention, StorageConfig, StoreUrl, temporary_directory};
pub use text_file::{encoding_fault, read_error};
pub use tls::TlsConfig;
pub use value::{Auto, Days, Span};
pub use webhooks::{Hours, WebhookEvent, WebhookUrl, WebhooksConfig};

use setting::Setting;
use source::RawValue;

/// All settings. Every value is within its bounds; `Config::default()` is the configuration without any source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Addresses, proxies and origins.
    pub network: NetworkConfig,
    /// The operations port.
    pub ops: OpsConfig,
    /// Authentication.
    pub auth: AuthConfig,
    /// The server's certificate.
    pub tls: TlsConfig,
    /// Where and how long messages are stored.
    pub storage: StorageConfig,
    /// The content of messages.
    pub content: ContentConfig,
    /// Users who can receive messages.
    pub recipients: RecipientsConfig,
    /// Rooms.
    pub rooms: RoomsConfig,
    /// Presence.
    pub presence: PresenceConfig,
    /// Messages that an application publishes.
    pub notify: NotifyConfig,
    /// HTTP requests about events.
    pub webhooks: WebhooksConfig,
    /// Limits of connections, rates and memory.
    pub limits: LimitsConfig,
    /// Detection of idle and unresponsive connections.
    pub keepalive: KeepaliveConfig,
    /// Logging.
    pub logging: LoggingConfig,
}

/// All settings in the order of the help.
fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let sections = [
            network::settings(),
            ops::settings(),
            auth::settings(),
            tls::settings(),
            storage::settings(),
            content::settings(),
            recipients::settings(),
            rooms::settings(),
            presence::settings(),
            notify::settings(),
            webhooks::settings(),
            limits::settings(),
            keepalive::settings(),
            logging::settings(),
        ];
        sections.into_iter().flatten().collect()
    });
    &SETTINGS
}

/// The credentials that the server requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None: clients state their user id.
    Open,
    /// A token that the configured keys can verify.
    Tokens,
    /// A token signed with a secret that the server generates at its first start.
    GeneratedSecret,
}

impl Config {
    /// The credentials that the server requires (PROTOCOL section 2). A server that other machines can reach, without any
    /// setting about authentication, requires tokens signed with its own secret.
    pub fn access(&self) -> Access {
        match self.auth.auth {
            AuthMode::Jwt => Access::Tokens,
            AuthMode::None => Access::Open,
            AuthMode::Auto => match self.network.listen.public_address() {
                Some(_) if !self.auth.open => Access::GeneratedSecret,
                _ => Access::Open,
            },
        }
    }
}

/// An invalid setting. The text names the setting as the operator wrote it (flag, variable, or file and key) and says what
/// would be valid.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    name: String,
    problem: String,
}

impl ConfigError {
    fn new(name: impl Into<String>, problem: impl Display) -> Self {
        Self {
            name: name.into(),
            problem: problem.to_string(),
        }
    }
}

/// The command-line arguments of all settings, and `--config`. Each is also an environment variable.
pub fn args() -> impl Iterator<Item = Arg> {
    let help =
        "TOML file with settings [default: dmwire.toml in the working directory, if it exists]";
    let file = Arg::new(source::FILE_KEY)
        .long(source::FILE_KEY)
        .env(setting::variable(source::FILE_KEY))
        .hide_env(true)
        .hide_env_values(true)
        .value_name("FILE")
        // Not a path: clap rejects an empty path, but an empty variable counts as absent.
        .value_parser(value_parser!(OsString))
        .help(format!(
            "{help} [env: {}]",
            setting::variable(source::FILE_KEY)
        ));
    std::iter::once(file).chain(settings().iter().flat_map(Setting::args))
}

/// Whether `flag` is one that has the meaning of `true` without a value and `value` a value that it takes only after `=`. Clap takes such
/// a value, separated by a blank, for a command.
pub fn needs_equals(flag: &str, value: &str) -> bool {
    let is_switch = |setting: &Setting| {
        let mut keys = setting.keys();
        setting.shape == setting::Shape::Switch && keys.any(|key| setting::flag(key) == flag)
    };
    settings().iter().any(is_switch) && value::switch(&value.into()).is_ok()
}

/// Whether `flag` takes a secret. Clap takes a following argument that begins with a hyphen for a flag, and would print it.
pub fn takes_secret(flag: &str) -> bool {
    // Only secrets may hold commas.
    let is_secret = |setting: &Setting| {
        let mut keys = setting.keys();
        setting.shape == setting::Shape::List { commas: false }
            && keys.any(|key| setting::flag(key) == flag)
    };
    settings().iter().any(is_secret)
}

/// Environment variables that are named like a setting but are not one: they may be misspelt. Variables that Kubernetes
/// sets for a service called `dmwire` are left out.
pub fn unknown_variables() -> Vec<String> {
    const PREFIX: &str = "DMWIRE_";
    let keys = settings().iter().flat_map(Setting::keys);
    let known: Vec<_> = keys
        .chain([source::FILE_KEY])
        .map(setting::variable)
        .collect();
    let mut unknown: Vec<_> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            let rest = name.strip_prefix(PREFIX);
            rest.is_some_and(|rest| !rest.starts_with("PORT") && !rest.starts_with("SERVICE_"))
        })
        .filter(|name| !known.contains(name))
        .collect();
    unknown.sort();
    unknown
}

/// The environment variable of a setting whose value is not in UTF-8.
pub fn variable_not_in_utf8() -> Option<String> {
    let variables = settings().iter().flat_map(Setting::keys);
    variables
        .map(setting::variable)
        .find(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()))
}

#[cfg(test)]
mod tests;
