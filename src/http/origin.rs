//! Which web pages may connect, and under which names. Browsers let any page open a WebSocket to any server and say in `Origin` which page it was
//! (RFC 6455 section 10.2); clients that are no browsers send none.

use std::net::IpAddr;

use super::client_addr::ClientAddr;
use crate::config::{Access, NetworkConfig};

/// What may connect besides the same origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginRules<'a> {
    /// Origins by name.
    pub allowed: &'a [String],
    /// Pages of this machine: they are let in where no token tells whose they are.
    pub loopback: bool,
}

impl<'a> OriginRules<'a> {
    /// The rules that the settings define. With tokens, a page on the visitor's own machine has no more rights than others.
    pub fn new(access: Access, config: &'a NetworkConfig) -> Self {
        Self {
            allowed: &config.allowed_origin,
            loopback: access == Access::Open,
        }
    }
}

/// Whether a page of `origin` may connect: one of the same origin as the server has for this `peer`, or one that the rules
/// allow.
pub fn admits(origin: &str, peer: &ClientAddr, rules: OriginRules<'_>) -> bool {
    let origin = origin.to_ascii_lowercase();
    if rules.allowed.contains(&origin) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let (name, port) = split(authority, scheme);
    if rules.loopback && is_loopback(name) {
        return true;
    }
    // Behind a proxy that ends TLS, and is not trusted, the server does not know its own scheme.
    let other_scheme = |secure: bool| (scheme == "https") != secure;
    if !matches!(scheme, "http" | "https") || peer.secure.is_some_and(other_scheme) {
        return false;
    }
    let same = |host: &String| {
        let host = host.to_ascii_lowercase();
        split(&host, scheme) == (name, port)
    };
    peer.host.as_ref().is_some_and(same)
}

/// Whether the server may be called by this name and nothing but that it is reached through loopback protects it: a page whose
/// name is made to lead here (DNS rebinding) is of the same origin as the server under that name, and all its own.
pub fn may_be_called(host: &str, hosts: &[String], origins: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let (name, _) = split(&host, "http");
    let of_origin = |origin: &String| {
        origin
            .split_once("://")
            .is_some_and(|(scheme, authority)| split(authority, scheme).0 == name)
    };
    // `.localhost` is nobody's to give away (RFC 6761 section 6.3).
    is_loopback(name)
        || name.ends_with(".localhost")
        || hosts.iter().any(|allowed| allowed == name)
        || origins.iter().any(of_origin)
}

/// Host and port, the scheme's own port if none is said.
fn split<'a>(authority: &'a str, scheme: &str) -> (&'a str, u16) {
    let default = if scheme == "https" { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().unwrap_or(0)),
        _ => (authority, default),
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name == "localhost"
        || bare
            .unwrap_or(name)
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: Option<&str>, secure: Option<bool>) -> ClientAddr {
        ClientAddr {
            ip: None,
            secure,
            host: host.map(str::to_owned),
        }
    }

    fn admitted(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
        let rules = OriginRules {
            allowed,
            loopback: true,
        };
        admits(origin, &peer(host, None), rules)
    }

    #[test]
    fn pages_of_the_same_and_of_loopback_origins_may_connect() {
        let chat = Some("chat.example.org");
        for (origin, host) in [
            ("http://localhost:3000", chat),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:5173", chat),
            ("https://chat.example.org", chat),
            ("https://CHAT.example.org", Some("chat.example.org:443")),
            (
                "http://chat.example.org:8080",
                Some("chat.example.org:8080"),
            ),
        ] {
            assert!(admitted(origin, host, &[]), "{origin} {host:?}");
        }
        for (origin, host) in [
            ("http://evil.example", chat),
            ("http://chat.example.org:8081", chat),
            ("ftp://chat.example.org", chat),
            ("http://localhost.evil.example", chat),
            ("http://127.0.0.1.evil.example", chat),
            ("http://evil.example", None),
            ("null", chat),
            ("", chat),
        ] {
            assert!(!admitted(origin, host, &[]), "{origin} {host:?}");
        }
        let allowed = ["https://app.example".to_owned(), "null".to_owned()];
        assert!(admitted("https://app.example", chat, &allowed));
        assert!(admitted("null", chat, &allowed));
        assert!(!admitted("http://app.example", chat, &allowed));
    }

    #[test]
    fn loopback_is_no_friend_where_tokens_are_asked_for_and_the_scheme_counts_where_it_is_known() {
        let rules = OriginRules {
            allowed: &[],
            loopback: false,
        };
        let chat = Some("chat.example.org");
        assert!(!admits("http://localhost:3000", &peer(chat, None), rules));
        assert!(admits(
            "http://localhost:3000",
            &peer(Some("localhost:3000"), None),
            rules
        ));
        assert!(admits(
            "https://chat.example.org",
            &peer(chat, Some(true)),
            rules
        ));
        assert!(!admits(
            "http://chat.example.org",
            &peer(chat, Some(true)),
            rules
        ));
        assert!(!admits(
            "https://chat.example.org",
            &peer(chat, Some(false)),
            rules
        ));
    }

    #[test]
    fn a_server_for_this_machine_goes_by_this_machines_names() {
        let hosts = ["chat".to_owned(), "10.0.0.5".to_owned()];
        let origins = ["https://app.example:8443".to_owned(), "null".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:8080",
            "app.localhost:1",
            "chat:80",
            "10.0.0.5",
            "app.example",
        ] {
            assert!(may_be_called(host, &hosts, &origins), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.6",
            "null",
            "[::2]",
            "evil:80",
            "0.0.0.0",
        ] {
            assert!(!may_be_called(host, &hosts, &origins), "{host}");
        }
    }
}
