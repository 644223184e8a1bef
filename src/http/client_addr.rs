//! Whom a request comes from. A proxy speaks for others, so its own address tells nothing, and what it says of theirs counts
//! only if it is one that the operator trusts (`--trusted-proxy`): anybody can send these headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::config::TrustedProxies;

/// What is known of the other end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client's address: what is logged, and what limits go by.
    pub ip: Option<IpAddr>,
    /// Whether the client speaks TLS, if that is known: a proxy that is not trusted may end it unseen.
    pub secure: Option<bool>,
    /// The host, and port, that the client has asked for.
    pub host: Option<String>,
}

impl ClientAddr {
    /// Reads off a request that came from `socket` what it says.
    pub fn of(
        headers: &HeaderMap,
        socket: Option<SocketAddr>,
        trusted: &TrustedProxies,
        tls: bool,
    ) -> Self {
        let socket = socket.map(|address| address.ip().to_canonical());
        let own = Self {
            ip: socket,
            secure: tls.then_some(true),
            // Two are none that anybody may be called by, which is something else than none.
            host: headers
                .contains_key(header::HOST)
                .then(|| single_header(headers, &header::HOST).unwrap_or_default()),
        };
        let Some(proxy) = socket.filter(|ip| trusted.contains(*ip)) else {
            if let Some(ip) = socket
                && headers.contains_key("x-forwarded-for")
            {
                doubt(ip);
            }
            return own;
        };
        let forwarded = forwarded(headers);
        let of_proxy = |name| list(headers, &HeaderName::from_static(name)).pop();
        let part = |name| forwarded.last().and_then(|element| element.get(name));
        let secure = of_proxy("x-forwarded-proto").or_else(|| part("proto"));
        Self {
            ip: Some(client(headers, &forwarded, proxy, trusted)),
            secure: secure
                .map(|scheme| {
                    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
                })
                .or(own.secure),
            host: of_proxy("x-forwarded-host")
                .or_else(|| part("host"))
                .or(own.host),
        }
    }
}

impl ClientAddr {
    /// Its address, for the log.
    pub fn name(&self) -> String {
        self.ip
            .map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
    }
}

/// Says once that somebody near speaks for others and is not believed: it may be a proxy that the settings have forgotten, and
/// then all its clients share one address and its limits. From afar it is nothing but somebody's header.
fn doubt(ip: IpAddr) {
    static SAID: AtomicBool = AtomicBool::new(false);
    let near = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if near && !SAID.swap(true, Ordering::Relaxed) {
        log::warn!(ip:% = ip; "this address sends X-Forwarded-For and is not believed; if it is your proxy, name it in --trusted-proxy");
    }
}

/// The nearest address that is no trusted proxy's, going back along the chain. Of the two headers a proxy writes one and hands
/// the other on as it came: where both are there and do not agree, neither is believed.
fn client(
    headers: &HeaderMap,
    forwarded: &[Element],
    proxy: IpAddr,
    trusted: &TrustedProxies,
) -> IpAddr {
    let plain = list(headers, &HeaderName::from_static("x-forwarded-for"));
    let named: Vec<_> = forwarded
        .iter()
        .map(|element| element.get("for").unwrap_or_default())
        .collect();
    match (plain.is_empty(), named.is_empty()) {
        (_, true) => walk(&plain, proxy, trusted),
        (true, false) => walk(&named, proxy, trusted),
        (false, false) => {
            let (one, other) = (walk(&plain, proxy, trusted), walk(&named, proxy, trusted));
            if one == other { one } else { proxy }
        }
    }
}

fn walk(chain: &[String], proxy: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut at = proxy;
    for entry in chain.iter().rev() {
        if !trusted.contains(at) {
            break;
        }
        // What is no address ("unknown", "_hidden") hides whoever is behind it.
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

/// The value of a header that may stand there once.
pub fn single_header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::to_owned)
}

/// The entries of a header that is a list, over all its lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut entries = Vec::new();
    for line in headers.get_all(name) {
        // What is no text spoils its own entry, not what the next proxy has written behind it.
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
    fn only_a_trusted_proxy_speaks_for_others() {
        const XFF: &str = "x-forwarded-for";
        for (from, chain, client) in [
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
            assert_eq!(ip(from, &[(XFF, chain)]), client, "{from} {chain}");
        }
        assert_eq!(ip("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(
            ip("127.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1")]),
            "198.51.100.1"
        );
    }

    #[test]
    fn the_standard_header_is_read_as_well() {
        for (value, client) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            (
                "for=1.1.1.1, for=198.51.100.1;by=10.0.0.1, for=10.0.0.1",
                "198.51.100.1",
            ),
            ("for=198.51.100.1, proto=https", "127.0.0.1"),
            ("for=_hidden", "127.0.0.1"),
        ] {
            assert_eq!(ip("127.0.0.1", &[("forwarded", value)]), client, "{value}");
        }
        // A client sends one of the two, and its proxy writes the other.
        for spoofed in ["for=1.1.1.1", "for=198.51.100.1"] {
            let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", spoofed)];
            let agree = spoofed.ends_with("198.51.100.1");
            assert_eq!(ip("127.0.0.1", &both) == "198.51.100.1", agree);
        }
    }

    #[test]
    fn scheme_and_host_are_the_proxys_word_too() {
        let headers = [
            ("host", "inside:8080"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example, chat.example.org"),
        ];
        let told = peer("127.0.0.1", &headers);
        assert_eq!(
            (told.secure, told.host.as_deref()),
            (Some(true), Some("chat.example.org"))
        );
        let told = peer("203.0.113.9", &headers);
        assert_eq!(
            (told.secure, told.host.as_deref()),
            (None, Some("inside:8080"))
        );
        let told = peer(
            "127.0.0.1",
            &[("forwarded", "for=1.1.1.1;host=\"a:1\";proto=http")],
        );
        assert_eq!(
            (told.secure, told.host.as_deref()),
            (Some(false), Some("a:1"))
        );
        let two = peer("127.0.0.1", &[("host", "a"), ("host", "b")]);
        assert_eq!(two.host.as_deref(), Some(""));
    }
}
