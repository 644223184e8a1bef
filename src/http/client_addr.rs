//! The address of the client behind a request. A reverse proxy forwards the requests of its clients, so the address of the socket is
//! the proxy's. The headers with the client's address are used only from a proxy that the operator trusts (`--trusted-proxy`),
//! because every client can send them.
//!
//! A proxy writes either the `X-Forwarded-*` headers or `Forwarded`, and may pass the other kind on from its client. Only one kind counts
//! for a request ([`Kind`]): address, scheme and host all come from it.

mod forwarded;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{self, HeaderMap, HeaderName};

use self::forwarded::{Element, elements, parameter};
use crate::config::{NetworkConfig, ProxyHeader, TrustedProxies};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client's address, for the log and for the limits per address.
    pub ip: Option<IpAddr>,
    /// Whether the request came through a trusted proxy. Its address is then limited even if it is a loopback address.
    pub proxied: bool,
    /// Whether the client uses TLS; `None` if unknown, because a proxy that is not trusted may terminate it.
    pub secure: Option<bool>,
    /// The host, with its port, that the client addressed; empty if the request has more than one `Host`.
    pub host: Option<String>,
}

/// The kind of headers of a proxy that counts.
enum Kind {
    XForwarded,
    /// With the elements of all lines.
    Forwarded(Vec<Element>),
}

impl ClientAddr {
    /// The client of a request with these headers that arrived from `socket`, on a listener with `tls` or without.
    pub fn of(
        headers: &HeaderMap,
        socket: Option<SocketAddr>,
        network: &NetworkConfig,
        tls: bool,
    ) -> Self {
        let socket = socket.map(|address| address.ip().to_canonical());
        let direct = Self {
            ip: socket,
            proxied: false,
            secure: tls.then_some(true),
            host: headers
                .contains_key(header::HOST)
                .then(|| single_header(headers, &header::HOST).unwrap_or_default()),
        };
        let trusted = &network.trusted_proxy;
        let Some(proxy) = socket.filter(|ip| trusted.contains(*ip)) else {
            if let Some(ip) = socket
                && [&X_FORWARDED_FOR, &header::FORWARDED]
                    .into_iter()
                    .any(|name| headers.contains_key(name))
            {
                warn_of_unknown_proxy(ip);
            }
            return direct;
        };
        let (chain, scheme, host) = match Kind::of(headers, network.proxy_header) {
            Kind::XForwarded => {
                let last = |name| list(headers, name).pop();
                (
                    list(headers, &X_FORWARDED_FOR),
                    last(&X_FORWARDED_PROTO),
                    last(&X_FORWARDED_HOST),
                )
            }
            Kind::Forwarded(elements) => {
                let last = |name| parameter(elements.last()?, name);
                let addresses = elements
                    .iter()
                    .map(|element| parameter(element, "for").unwrap_or_default());
                (addresses.collect(), last("proto"), last("host"))
            }
        };
        Self {
            ip: Some(walk(&chain, proxy, trusted)),
            proxied: true,
            secure: scheme
                .map(|scheme| {
                    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
                })
                .or(direct.secure),
            host: host.or(direct.host),
        }
    }
}

impl Kind {
    fn of(headers: &HeaderMap, setting: ProxyHeader) -> Self {
        let has_x_forwarded = || {
            [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST]
                .into_iter()
                .any(|name| headers.contains_key(name))
        };
        let has_forwarded = || headers.contains_key(header::FORWARDED);
        let use_forwarded = match setting {
            ProxyHeader::XForwardedFor => {
                if has_forwarded() && !has_x_forwarded() {
                    warn_of_other_kind("X-Forwarded-For", "Forwarded", "forwarded");
                }
                false
            }
            ProxyHeader::Forwarded => {
                if has_x_forwarded() && !has_forwarded() {
                    warn_of_other_kind("Forwarded", "X-Forwarded-*", "x-forwarded-for");
                }
                true
            }
            ProxyHeader::Auto => {
                let both = has_forwarded() && has_x_forwarded();
                if both {
                    warn_of_both_kinds();
                }
                has_forwarded() && !both
            }
        };
        if use_forwarded {
            let lines = lines(headers, &header::FORWARDED);
            Self::Forwarded(lines.flat_map(|line| elements(&line)).collect())
        } else {
            Self::XForwarded
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

/// Warns once that both kinds of headers came through a trusted proxy. It writes one of them, and the other one is its client's.
fn warn_of_both_kinds() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "a trusted proxy has sent both X-Forwarded-* and Forwarded; X-Forwarded-* counts. Name the header that the proxy writes with \
             --proxy-header, and let the proxy remove the other one"
        );
    }
}

/// Warns once that a trusted proxy has sent only the kind of headers that the settings ignore. All of its clients then share the limits of
/// the proxy's address.
fn warn_of_other_kind(expected: &str, sent: &str, value: &str) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "a trusted proxy has sent {sent} without {expected}, which --proxy-header names; its clients count as one address. If the proxy \
             writes {sent}, set --proxy-header {value}"
        );
    }
}

/// Warns once of an address in a private network that sends `X-Forwarded-For` or `Forwarded` and is not trusted. It may be a proxy that is missing
/// in the settings; all of its clients would then share the limits of one address. On the public internet it is only a header of
/// some client.
fn warn_of_unknown_proxy(ip: IpAddr) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let private = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if private && !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(ip:% = ip; "ignoring the forwarded client address (X-Forwarded-For or Forwarded) from this address; if it is your proxy, add it to --trusted-proxy");
    }
}

/// The last address in the chain that is not a trusted proxy; the proxy itself if the chain is empty.
fn walk(chain: &[String], proxy: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut at = proxy;
    for entry in chain.iter().rev() {
        if !trusted.contains(at) {
            break;
        }
        // An entry that is not an address ("unknown", "_hidden", nothing) hides the client behind it.
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

/// The lines of a header. Bytes that are not UTF-8 become U+FFFD, so that they affect only their own entry and not those that later proxies
/// appended.
fn lines(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let lines = headers.get_all(name);
    lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
}

/// The entries of a header whose value is a list, over all of its lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut entries = Vec::new();
    for line in lines(headers, name) {
        entries.extend(line.split(',').map(|entry| entry.trim().to_owned()));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn peer(from: &str, headers: &[(&'static str, &str)]) -> ClientAddr {
        peer_with(ProxyHeader::Auto, from, headers)
    }

    fn peer_with(
        proxy_header: ProxyHeader,
        from: &str,
        headers: &[(&'static str, &str)],
    ) -> ClientAddr {
        let network = NetworkConfig {
            trusted_proxy: TrustedProxies::of(&["10.0.0.0/8", "127.0.0.1/32", "::1/128"]),
            proxy_header,
            ..NetworkConfig::default()
        };
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
            &network,
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
    }

    #[test]
    fn one_kind_of_headers_counts_for_address_scheme_and_host() {
        let x = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "x.example"),
        ];
        let forwarded = [("forwarded", "for=203.0.113.2;proto=http;host=f.example")];
        let both = [&x[..], &forwarded].concat();
        let of_x = (Some("198.51.100.1"), Some(true), Some("x.example"));
        let of_forwarded = (Some("203.0.113.2"), Some(false), Some("f.example"));
        let of_proxy = (Some("127.0.0.1"), None, None);
        for (setting, headers, expected) in [
            (ProxyHeader::Auto, &x[..], of_x),
            (ProxyHeader::Auto, &forwarded, of_forwarded),
            (ProxyHeader::Auto, &both, of_x),
            (
                ProxyHeader::Auto,
                &[x[1], forwarded[0]],
                (Some("127.0.0.1"), Some(true), None),
            ),
            (ProxyHeader::Auto, &[], of_proxy),
            (ProxyHeader::XForwardedFor, &both, of_x),
            (ProxyHeader::XForwardedFor, &forwarded, of_proxy),
            (ProxyHeader::Forwarded, &both, of_forwarded),
            (ProxyHeader::Forwarded, &x, of_proxy),
        ] {
            let client = peer_with(setting, "127.0.0.1", headers);
            let ip = client.ip.map(|ip| ip.to_string());
            let found = (ip.as_deref(), client.secure, client.host.as_deref());
            assert_eq!(found, expected, "{setting:?} {headers:?}");
            assert!(client.proxied);
        }
        assert!(!peer("203.0.113.9", &both).proxied);
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
