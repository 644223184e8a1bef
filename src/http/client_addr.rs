//! The address of the client behind a request. A reverse proxy forwards the requests of its clients, so the address of the socket is
//! the proxy's. The headers with the client's address are used only from a proxy that the operator trusts (`--trusted-proxy`),
//! because every client can send them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::config::TrustedProxies;

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client's address, for the log and for the limits per address.
    pub ip: Option<IpAddr>,
    /// Whether the client uses TLS; `None` if unknown, because a proxy that is not trusted may terminate it.
    pub secure: Option<bool>,
    /// The host, with its port, that the client addressed; empty if the request has more than one `Host`.
    pub host: Option<String>,
}

impl ClientAddr {
    /// The client of a request with these headers that arrived from `socket`, on a listener with `tls` or without.
    pub fn of(
        headers: &HeaderMap,
        socket: Option<SocketAddr>,
        trusted: &TrustedProxies,
        tls: bool,
    ) -> Self {
        let socket = socket.map(|address| address.ip().to_canonical());
        let direct = Self {
            ip: socket,
            secure: tls.then_some(true),
            host: headers
                .contains_key(header::HOST)
                .then(|| single_header(headers, &header::HOST).unwrap_or_default()),
        };
        let Some(proxy) = socket.filter(|ip| trusted.contains(*ip)) else {
            if let Some(ip) = socket
                && headers.contains_key("x-forwarded-for")
            {
                warn_of_unknown_proxy(ip);
            }
            return direct;
        };
        let forwarded = forwarded(headers);
        let of_proxy = |name| list(headers, &HeaderName::from_static(name)).pop();
        let part = |name| forwarded.last().and_then(|element| element.get(name));
        let secure = of_proxy("x-forwarded-proto").or_else(|| part("proto"));
        Self {
            ip: Some(client_ip(headers, &forwarded, proxy, trusted)),
            secure: secure
                .map(|scheme| {
                    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
                })
                .or(direct.secure),
            host: of_proxy("x-forwarded-host")
                .or_else(|| part("host"))
                .or(direct.host),
        }
    }
}

impl ClientAddr {
    /// The address for the log.
    pub fn name(&self) -> String {
        self.ip
            .map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
    }
}

/// Warns once of an address in a private network that sends `X-Forwarded-For` and is not trusted. It may be a proxy that is missing
/// in the settings; all of its clients would then share the limits of one address. On the public internet it is only a header of
/// some client.
fn warn_of_unknown_proxy(ip: IpAddr) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let private = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if private && !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(ip:% = ip; "ignoring X-Forwarded-For from this address; if it is your proxy, add it to --trusted-proxy");
    }
}

/// The last address in the chain that is not a trusted proxy. A proxy writes one of the two headers and forwards the other one
/// unchanged: if both are present and disagree, the result is the proxy itself.
fn client_ip(
    headers: &HeaderMap,
    forwarded: &[Element],
    proxy: IpAddr,
    trusted: &TrustedProxies,
) -> IpAddr {
    let x_forwarded_for = list(headers, &HeaderName::from_static("x-forwarded-for"));
    let forwarded_for: Vec<_> = forwarded
        .iter()
        .map(|element| element.get("for").unwrap_or_default())
        .collect();
    match (x_forwarded_for.is_empty(), forwarded_for.is_empty()) {
        (_, true) => walk(&x_forwarded_for, proxy, trusted),
        (true, false) => walk(&forwarded_for, proxy, trusted),
        (false, false) => {
            let (one, other) = (
                walk(&x_forwarded_for, proxy, trusted),
                walk(&forwarded_for, proxy, trusted),
            );
            if one == other { one } else { proxy }
        }
    }
}

/// Goes back along a chain of addresses for as long as they are trusted proxies.
fn walk(chain: &[String], proxy: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut at = proxy;
    for entry in chain.iter().rev() {
        if !trusted.contains(at) {
            break;
        }
        // An entry that is not an address ("unknown", "_hidden") hides the client behind it.
        let Some(next) = address(entry) else { break };
        at = next;
    }
    at
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>().ok();
    ip.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .map(|ip| ip.to_canonical())
}

/// The value of a header; `None` if it occurs more than once or is not text.
pub fn single_header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::to_owned)
}

/// The entries of a header whose value is a list, over all of its lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut entries = Vec::new();
    for line in headers.get_all(name) {
        // Invalid UTF-8 affects only its own entry, not the entries that later proxies appended.
        let line = String::from_utf8_lossy(line.as_bytes());
        entries.extend(line.split(',').map(|entry| entry.trim().to_owned()));
    }
    entries
}

/// One hop of a `Forwarded` header (RFC 7239 section 4).
struct Element(String);

impl Element {
    fn get(&self, name: &str) -> Option<String> {
        self.0.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.trim().trim_matches('"');
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.to_owned())
        })
    }
}

fn forwarded(headers: &HeaderMap) -> Vec<Element> {
    let entries = list(headers, &HeaderName::from_static("forwarded"));
    entries.into_iter().map(Element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn peer(from: &str, headers: &[(&'static str, &str)]) -> ClientAddr {
        let list = ["10.0.0.0/8", "127.0.0.1/32", "::1/128"];
        let trusted = TrustedProxies::of(&list);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        ClientAddr::of(
            &map,
            Some(SocketAddr::new(from.parse().unwrap(), 1)),
            &trusted,
            false,
        )
    }

    fn ip(from: &str, headers: &[(&'static str, &str)]) -> String {
        peer(from, headers).ip.unwrap().to_string()
    }

    #[test]
    fn only_the_headers_of_a_trusted_proxy_count() {
        const XFF: &str = "x-forwarded-for";
        for (from, chain, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
            (
                "127.0.0.1",
                "198.51.100.1, 10.1.1.1,10.2.2.2",
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                "1.1.1.1, 198.51.100.1, 10.1.1.1",
                "198.51.100.1",
            ),
            ("127.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1, unknown, 10.1.1.1", "10.1.1.1"),
            ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("127.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "", "127.0.0.1"),
        ] {
            assert_eq!(ip(from, &[(XFF, chain)]), expected, "{from} {chain}");
        }
        assert_eq!(ip("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(
            ip("127.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1")]),
            "198.51.100.1"
        );
    }

    #[test]
    fn the_forwarded_header_is_read_as_well() {
        for (value, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            (
                "for=1.1.1.1, for=198.51.100.1;by=10.0.0.1, for=10.0.0.1",
                "198.51.100.1",
            ),
            ("for=198.51.100.1, proto=https", "127.0.0.1"),
            ("for=_hidden", "127.0.0.1"),
        ] {
            assert_eq!(
                ip("127.0.0.1", &[("forwarded", value)]),
                expected,
                "{value}"
            );
        }
        // The client sends one of the two headers, and its proxy writes the other one.
        for spoofed in ["for=1.1.1.1", "for=198.51.100.1"] {
            let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", spoofed)];
            let agree = spoofed.ends_with("198.51.100.1");
            assert_eq!(ip("127.0.0.1", &both) == "198.51.100.1", agree);
        }
    }

    #[test]
    fn scheme_and_host_come_from_the_trusted_proxy_too() {
        let headers = [
            ("host", "inside:8080"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example, chat.example.org"),
        ];
        let client = peer("127.0.0.1", &headers);
        assert_eq!(
            (client.secure, client.host.as_deref()),
            (Some(true), Some("chat.example.org"))
        );
        let client = peer("203.0.113.9", &headers);
        assert_eq!(
            (client.secure, client.host.as_deref()),
            (None, Some("inside:8080"))
        );
        let client = peer(
            "127.0.0.1",
            &[("forwarded", "for=1.1.1.1;host=\"a:1\";proto=http")],
        );
        assert_eq!(
            (client.secure, client.host.as_deref()),
            (Some(false), Some("a:1"))
        );
        let two = peer("127.0.0.1", &[("host", "a"), ("host", "b")]);
        assert_eq!(two.host.as_deref(), Some(""));
    }
}
