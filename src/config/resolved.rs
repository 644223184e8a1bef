//! The effective configuration: the strongest value of each setting, and whether a server can run with all of them.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use clap::ArgMatches;

use super::auth::TOKEN_SETTINGS;
use super::setting::flag;
use super::source::{Source, Sources};
use super::{AuthMode, Config, ConfigError, ProxyHeader, settings};

/// A configuration with the source of each value. `Display` is the text of `dmwire config`.
#[derive(Debug)]
pub struct Resolved {
    /// The effective values.
    pub config: Config,
    /// The sources of the values that are not defaults.
    pub(super) sources: BTreeMap<&'static str, Source>,
}

impl Resolved {
    /// Takes the strongest value of each setting: flag, variable, file, default.
    ///
    /// # Errors
    ///
    /// The first invalid setting, or a file that cannot be read.
    pub fn new(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let given = Sources::read(matches)?;
        let mut config = Config::default();
        let mut sources = BTreeMap::new();
        for setting in settings() {
            if let Some(given) = given.find(setting)? {
                setting
                    .set(&mut config, &given.values)
                    .map_err(|problem| ConfigError::new(given.source.name(), problem))?;
                sources.insert(setting.key, given.source);
            }
        }
        if config.auth.auth == AuthMode::Auto
            && let Some(key) = TOKEN_SETTINGS.iter().find(|key| sources.contains_key(*key))
        {
            config.auth.auth = AuthMode::Jwt;
            sources.insert("auth", Source::Implied(key));
        }
        Ok(Self { config, sources })
    }

    /// The configuration, if a server can run with it.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other, or an address that other machines can reach together with `auth = none` and
    /// without `open`.
    pub fn for_serving(&self) -> Result<&Config, ConfigError> {
        self.check_auth()?;
        self.check_pairs()?;
        let auth = &self.config.auth;
        match self.config.network.listen.public_address() {
            Some(address) if auth.auth == AuthMode::None && !auth.open => self.reject(
                "listen",
                &format!(
                    "{address} is not a loopback address and authentication is disabled: anyone who can reach it could read \
                     and write as any user; listen on 127.0.0.1 or [::1], remove {}, or confirm with --open",
                    self.name("auth")
                ),
            ),
            _ => Ok(&self.config),
        }
    }

    fn check_auth(&self) -> Result<(), ConfigError> {
        let auth = &self.config.auth;
        match auth.auth {
            AuthMode::Jwt if !auth.has_keys() => self.reject(
                self.implying("auth"),
                "tokens are required, but there is no key to verify them with: set --jwt-secret, --jwt-secret-file, \
                 --jwt-key or --jwks",
            ),
            AuthMode::Jwt if auth.open => self.reject(
                "open",
                &format!(
                    "authentication is disabled, but {} requires tokens; set only one of them",
                    self.name(self.implying("auth"))
                ),
            ),
            AuthMode::None => match TOKEN_SETTINGS.iter().find(|key| self.is_given(key)) {
                Some(key) => {
                    let what = format!("has no effect, since {} disables tokens", self.name("auth"));
                    self.reject(key, &what)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Checks settings that have no effect without another one.
    fn check_pairs(&self) -> Result<(), ConfigError> {
        const PAIRS: [(&str, &str); 3] = [
            ("tls_cert", "tls_key"),
            ("tls_key", "tls_cert"),
            ("jwks_ca", "jwks"),
        ];
        for (key, needed) in PAIRS {
            if self.is_given(key) && !self.is_given(needed) {
                return self.reject(key, &format!("has no effect without {}", flag(needed)));
            }
        }
        let notify = &self.config.notify;
        let sender = super::NotifyConfig::default().notify_sender;
        // A file that `dmwire config` has written has the default.
        if notify.notify.is_none() && notify.notify_sender != sender {
            return self.reject("notify_sender", "has no effect without --notify");
        }
        self.check_webhooks()?;
        if self.config.ops.ops_tls && !self.is_given("tls_cert") {
            return self.reject("ops_tls", "has no effect without --tls-cert");
        }
        let public = &self.config.network.listen.addresses;
        let mut ops = self.config.ops.ops_listen.addresses.iter();
        if self.is_given("ops_listen")
            && let Some(address) = ops.find(|ops| ops.port() != 0 && public.contains(ops))
        {
            let what = format!(
                "{address} is an address of the public port ({}); the operations port needs another one",
                self.name("listen")
            );
            return self.reject("ops_listen", &what);
        }
        // The default may be written out.
        if self.config.network.proxy_header != ProxyHeader::Auto && !self.is_given("trusted_proxy")
        {
            let what = "has no effect without --trusted-proxy, the address of the proxy";
            return self.reject("proxy_header", what);
        }
        Ok(())
    }

    fn check_webhooks(&self) -> Result<(), ConfigError> {
        let webhooks = &self.config.webhooks;
        let default = super::WebhooksConfig::default();
        if webhooks.webhook.is_empty() {
            // A file that `dmwire config` has written has the defaults.
            let given = [
                (
                    "webhook_secret_file",
                    webhooks.webhook_secret_file != default.webhook_secret_file,
                ),
                (
                    "webhook_events",
                    webhooks.webhook_events != default.webhook_events,
                ),
                (
                    "webhook_waiting_seconds",
                    webhooks.webhook_waiting_seconds != default.webhook_waiting_seconds,
                ),
                (
                    "webhook_retry_hours",
                    webhooks.webhook_retry_hours != default.webhook_retry_hours,
                ),
                ("webhook_allow_private", webhooks.webhook_allow_private),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((key, _)) => self.reject(key, "has no effect without --webhook"),
                None => Ok(()),
            };
        }
        if webhooks.webhook_secret_file.is_none() {
            let what = "the requests must be signed: set --webhook-secret-file, a file with a line whsec_BASE64";
            return self.reject("webhook", what);
        }
        for url in &webhooks.webhook {
            if let (Some(why), false) = (url.private_reason(), webhooks.webhook_allow_private) {
                let what = format!("{url} {why}; confirm with --webhook-allow-private");
                return self.reject("webhook", &what);
            }
        }
        Ok(())
    }

    fn reject<T>(&self, key: &str, problem: &str) -> Result<T, ConfigError> {
        Err(ConfigError::new(self.name(key), problem))
    }

    /// The name of a setting in its source.
    fn name(&self, key: &str) -> String {
        self.sources
            .get(key)
            .map_or_else(|| flag(key), Source::name)
    }

    /// The setting that implies this one, else the setting itself.
    fn implying<'a>(&self, key: &'a str) -> &'a str {
        match self.sources.get(key) {
            Some(Source::Implied(by)) => by,
            _ => key,
        }
    }

    fn is_given(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }
}

/// The effective configuration as a `dmwire.toml`. A comment after each value names its source.
impl Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "# The effective settings; this text can be used as dmwire.toml, with secrets added. After each value: its source."
        )?;
        let mut section = "";
        for setting in settings() {
            if setting.heading != section {
                section = setting.heading;
                write!(f, "\n\n# {section}")?;
            }
            let key = setting.key;
            match setting.show(&self.config) {
                Some(value) => write!(f, "\n{key} = {value}")?,
                // A comment: this text is not a valid value.
                None => write!(f, "\n# {key} = (not shown)")?,
            }
            let source = self.sources.get(key);
            let source = source.map_or_else(|| "default".to_owned(), Source::describe);
            write!(f, "  # {source}")?;
        }
        writeln!(f)
    }
}
