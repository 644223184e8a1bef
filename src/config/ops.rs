//! The operations port: its addresses, and the keys of its API.

use std::path::PathBuf;

use super::network::Listen;
use super::setting::{file, list_of, number, quoted, section, strings, switch};
use super::{Access, Config, RateLimit, RawValue};

section! {
    /// The operations port, and the keys of its API.
    pub struct OpsConfig = config.ops, "Operations";

    /// Address of the operations port, which serves the HTTP API, metrics and health checks, or off; may be repeated
    ///
    /// The public port serves none of these except health checks. If a default address is in use, the server runs without an
    /// operations port.
    ops_listen: Listen = Listen::default_ops(), list_of("ADDR:PORT|off", ops_listen, show_ops_listen)
        .default_text("127.0.0.1:8081 and [::1]:8081");

    /// Speak TLS on the operations port too, with the certificate of --tls-cert
    ops_tls: bool = false, switch().flag_alone();

    /// File with the keys of the HTTP API: one line `NAME SHA256-HEX [SCOPE,...]` for each key, with the scopes read, write
    /// and admin; `dmwire api-key NAME` prints one
    ///
    /// The file is read again on SIGHUP. Without it, no key is needed if the server has no authentication and can be reached
    /// from this machine only; a server whose operations port listens on more than loopback generates a key.
    api_key_file: Option<PathBuf> = None, file();

    /// Average number of requests per second with one key, and twice as many at once after a pause
    api_requests_per_second: u32 = 1000, number("N", 1..=1_000_000);
}

/// How callers of the HTTP API are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiAccess {
    /// By the keys of `--api-key-file`.
    KeyFile,
    /// By a key that the server generates at its first start.
    GeneratedKey,
    /// Not at all: the server can be reached from this machine only. Requests of web pages and of proxies are rejected.
    Loopback,
    /// No key is valid.
    Closed,
}

impl OpsConfig {
    /// The rate of requests with one key.
    pub fn request_rate(&self) -> RateLimit {
        RateLimit {
            per_second: self.api_requests_per_second,
            burst: self.api_requests_per_second.saturating_mul(2),
        }
    }
}

impl Config {
    /// How callers of the HTTP API are authenticated. Without keys the API is as open as the public port: it is usable only if
    /// neither other machines nor the clients of a proxy can reach any port, and if that is not an effect of `--open`.
    pub fn api_access(&self) -> ApiAccess {
        let network = &self.network;
        if self.ops.api_key_file.is_some() {
            return ApiAccess::KeyFile;
        }
        if self.ops.ops_listen.public_address().is_some() {
            return ApiAccess::GeneratedKey;
        }
        let is_local = network.listen.public_address().is_none()
            && network.trusted_proxy.is_empty()
            && !self.auth.open;
        if is_local && self.access() == Access::Open {
            ApiAccess::Loopback
        } else {
            ApiAccess::Closed
        }
    }
}

/// Addresses, or `off`.
fn ops_listen(values: &[RawValue]) -> Result<Listen, String> {
    let is_off = |value: &RawValue| value.as_str().eq_ignore_ascii_case("off");
    match values {
        [value] if is_off(value) => Ok(Listen::none()),
        _ if values.iter().any(is_off) => {
            Err("off stands alone, without addresses beside it".into())
        }
        _ => Listen::parse(values),
    }
}

fn show_ops_listen(listen: &Listen) -> String {
    if listen.addresses.is_empty() {
        format!("[{}]", quoted("off"))
    } else {
        strings(&listen.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_port_is_off_or_has_addresses() {
        let parse = |texts: &[&str]| {
            let values: Vec<_> = texts.iter().map(|text| RawValue::from(*text)).collect();
            ops_listen(&values).map(|listen| show_ops_listen(&listen))
        };
        assert_eq!(parse(&["off"]), Ok("[\"off\"]".into()));
        assert_eq!(parse(&["Off"]), Ok("[\"off\"]".into()));
        assert_eq!(
            parse(&["127.0.0.1:1", "[::1]:1"]),
            Ok("[\"127.0.0.1:1\", \"[::1]:1\"]".into())
        );
        for invalid in [&["off", "127.0.0.1:1"][..], &["off", "off"], &["on"]] {
            assert!(parse(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn no_key_is_needed_only_on_a_server_that_this_machine_alone_can_reach() {
        let access = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.api_access()
        };
        let public = || Listen::parse(&["0.0.0.0:1".into()]).expect("an address");
        assert_eq!(access(|_| ()), ApiAccess::Loopback);
        assert_eq!(access(|config| config.auth.open = true), ApiAccess::Closed);
        assert_eq!(
            access(|config| config.auth.auth = super::super::AuthMode::Jwt),
            ApiAccess::Closed
        );
        assert_eq!(
            access(|config| config.network.trusted_proxy =
                super::super::TrustedProxies::of(&["10.0.0.1"])),
            ApiAccess::Closed
        );
        let mut config = Config::default();
        config.network.listen = public();
        assert_eq!(config.api_access(), ApiAccess::Closed);
        config.ops.ops_listen = public();
        assert_eq!(config.api_access(), ApiAccess::GeneratedKey);
        config.ops.api_key_file = Some("keys".into());
        assert_eq!(config.api_access(), ApiAccess::KeyFile);
    }
}
