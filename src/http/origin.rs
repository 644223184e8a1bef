//! Web pages that may connect, and names under which the server may be addressed. A browser lets any page open a WebSocket to any
//! server and sends the origin of the page in `Origin` (RFC 6455 section 10.2). Clients other than browsers send none.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use url::Url;

use super::client_addr::ClientAddr;
use crate::config::{Access, NetworkConfig};

/// Pages that may connect in addition to those of the server's own origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginRules<'a> {
    /// The allowed origins.
    pub allowed: &'a [String],
    /// Pages on the client's own machine may connect. Only without authentication: with tokens they have no more rights than others.
    pub loopback: bool,
}

impl<'a> OriginRules<'a> {
    /// The rules that the settings define.
    pub fn new(access: Access, config: &'a NetworkConfig) -> Self {
        Self {
            allowed: &config.allowed_origin,
            loopback: access == Access::Open,
        }
    }
}

/// Whether a page of this origin may connect: if the rules allow the origin, or if it is the origin under which `client` addressed
/// the server.
pub fn is_allowed(origin: &str, client: &ClientAddr, rules: OriginRules<'_>) -> bool {
    let origin = origin.to_ascii_lowercase();
    let Some((scheme, authority)) = origin.split_once("://") else {
        return rules.allowed.contains(&origin);
    };
    let name = without_final_dot(authority);
    let is_listed = |allowed: &String| allowed.split_once("://") == Some((scheme, &*name));
    if rules.allowed.iter().any(is_listed) {
        return true;
    }
    let Some(page) = parse(scheme, authority) else {
        return false;
    };
    if rules.loopback && page.host_str().is_some_and(is_loopback) {
        return true;
    }
    // The scheme of the server is unknown behind a proxy that terminates TLS and is not trusted.
    let differs = |secure: bool| (scheme == "https") != secure;
    if !matches!(scheme, "http" | "https") || client.secure.is_some_and(differs) {
        return false;
    }
    let host = client.host.as_deref().unwrap_or_default();
    parse(scheme, host).is_some_and(|server| server.origin() == page.origin())
}

/// Whether the server may be addressed by this `Host`, if only loopback protects it. Otherwise DNS rebinding would give a foreign page
/// access: a name that its owner resolves to 127.0.0.1 makes the page and the server the same origin.
pub fn is_allowed_host(host: &str, hosts: &[String], origins: &[String]) -> bool {
    let Some(url) = parse("http", host) else {
        return false;
    };
    let name = &*canonical_name(url.host_str().unwrap_or_default());
    let of_origin = |origin: &String| {
        origin
            .split_once("://")
            .and_then(|(scheme, authority)| parse(scheme, authority))
            .is_some_and(|origin| {
                origin
                    .host_str()
                    .is_some_and(|host| *canonical_name(host) == *name)
            })
    };
    // Nobody can register a name below `.localhost` (RFC 6761 section 6.3).
    is_loopback(name)
        || name.ends_with(".localhost")
        || hosts.iter().any(|allowed| allowed == name)
        || origins.iter().any(of_origin)
}

/// The URL of a scheme with a host and an optional port. The URL parser also accepts user names, paths, escapes and white space;
/// here they are invalid.
fn parse(scheme: &str, authority: &str) -> Option<Url> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if !authority.bytes().all(plain) {
        return None;
    }
    let authority = without_final_dot(authority);
    Url::parse(&format!("{scheme}://{authority}")).ok()
}

/// A host with an optional port, without the dot at the end of a name that is written absolutely (`localhost.`). It is the same name.
fn without_final_dot(authority: &str) -> Cow<'_, str> {
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, Some(port)),
        _ => (authority, None),
    };
    match (host.strip_suffix('.'), port) {
        (Some(host), None) if !host.is_empty() => host.into(),
        (Some(host), Some(port)) if !host.is_empty() => format!("{host}:{port}").into(),
        _ => authority.into(),
    }
}

/// The name of a host; the IPv4 address for an IPv6 address that stands for one.
fn canonical_name(host: &str) -> Cow<'_, str> {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .and_then(|address| address.parse::<Ipv6Addr>().ok());
    match address.and_then(|address| address.to_ipv4_mapped()) {
        Some(address) => address.to_string().into(),
        None => host.into(),
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name == "localhost"
        || address
            .unwrap_or(name)
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(host: Option<&str>, secure: Option<bool>) -> ClientAddr {
        ClientAddr {
            ip: None,
            proxied: false,
            secure,
            host: host.map(str::to_owned),
        }
    }

    fn allowed_at(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
        let rules = OriginRules {
            allowed,
            loopback: true,
        };
        is_allowed(origin, &client(host, None), rules)
    }

    #[test]
    fn pages_of_the_same_origin_and_of_loopback_origins_may_connect() {
        let chat = Some("chat.example.org");
        for (origin, host) in [
            ("http://localhost:3000", chat),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:5173", chat),
            ("http://localhost.:3000", chat),
            ("https://chat.example.org.", chat),
            ("https://chat.example.org", Some("chat.example.org.")),
            ("http://chat.example.org.:81", Some("chat.example.org.:81")),
            ("https://chat.example.org", chat),
            ("https://CHAT.example.org", Some("chat.example.org:443")),
            (
                "http://chat.example.org:8080",
                Some("chat.example.org:8080"),
            ),
        ] {
            assert!(allowed_at(origin, host, &[]), "{origin} {host:?}");
        }
        for (origin, host) in [
            ("http://evil.example", chat),
            ("http://evil.example.", chat),
            ("http://localhost..", chat),
            ("http://.", chat),
            ("http://chat.example.org:8081", chat),
            ("ftp://chat.example.org", chat),
            ("http://localhost.evil.example", chat),
            ("http://127.0.0.1.evil.example", chat),
            ("http://evil.example", None),
            ("http://localhost/x", chat),
            ("http://user@localhost", chat),
            ("http://localho%73t", chat),
            ("http://local\thost", chat),
            ("null", chat),
            ("", chat),
        ] {
            assert!(!allowed_at(origin, host, &[]), "{origin} {host:?}");
        }
        let allowed = ["https://app.example".to_owned(), "null".to_owned()];
        assert!(allowed_at("https://app.example", chat, &allowed));
        assert!(allowed_at("https://app.example.", chat, &allowed));
        assert!(!allowed_at("https://app.example..", chat, &allowed));
        assert!(allowed_at("null", chat, &allowed));
        assert!(!allowed_at("http://app.example", chat, &allowed));
    }

    #[test]
    fn with_tokens_loopback_pages_are_not_allowed_and_a_known_scheme_must_match() {
        let rules = OriginRules {
            allowed: &[],
            loopback: false,
        };
        let chat = Some("chat.example.org");
        assert!(!is_allowed(
            "http://localhost:3000",
            &client(chat, None),
            rules
        ));
        assert!(is_allowed(
            "http://localhost:3000",
            &client(Some("localhost:3000"), None),
            rules
        ));
        assert!(is_allowed(
            "https://chat.example.org",
            &client(chat, Some(true)),
            rules
        ));
        assert!(!is_allowed(
            "http://chat.example.org",
            &client(chat, Some(true)),
            rules
        ));
        assert!(!is_allowed(
            "https://chat.example.org",
            &client(chat, Some(false)),
            rules
        ));
    }

    #[test]
    fn a_server_on_loopback_accepts_only_names_of_this_machine_and_allowed_hosts() {
        let hosts = ["chat".to_owned(), "10.0.0.5".to_owned()];
        let origins = ["https://app.example:8443".to_owned(), "null".to_owned()];
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:8080",
            "app.localhost:1",
            "localhost.",
            "localhost.:8080",
            "app.localhost.",
            "chat.:80",
            "chat:80",
            "[::ffff:10.0.0.5]:80",
            "10.0.0.5",
            "app.example",
        ] {
            assert!(is_allowed_host(host, &hosts, &origins), "{host}");
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
            "evil.",
            "localhost..",
            ".",
            "[::ffff:10.0.0.6]",
            "0.0.0.0",
        ] {
            assert!(!is_allowed_host(host, &hosts, &origins), "{host}");
        }
    }
}
