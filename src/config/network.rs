//! Network: addresses to listen on, trusted proxies, and web pages that may connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::available_parallelism;

use ipnet::IpNet;

use super::setting::{choice, list, list_of, number, section, strings, text};
use super::{RawValue, origin};

const PORT: u16 = 8080;
/// The default port of the operations port.
const OPS_PORT: u16 = 8081;
/// Used where the number of CPUs cannot be determined.
const WORKERS: usize = 1;
const MAX_WORKERS: usize = 512;

section! {
    /// Addresses to listen on, trusted proxies, and web pages that may connect.
    pub struct NetworkConfig = config.network, "Network";

    /// Address to listen on; may be repeated (in the variable, separated by commas)
    ///
    /// `localhost:PORT` stands for both loopback addresses, port 0 for any free port.
    listen: Listen = Listen::default(),
        list_of("ADDR:PORT", Listen::parse, |listen| strings(&listen.addresses))
            .default_text("127.0.0.1:8080 and [::1]:8080")
            .common();

    /// Prefix of every path, such as /demo
    // Without a slash at the end; empty for the root (PROTOCOL section 2).
    base_path: String = String::new(), text("PATH", base_path);

    /// Threads that serve connections
    workers: usize = available_parallelism().map_or(WORKERS, |cpus| cpus.get().min(MAX_WORKERS)),
        number("N", 1..=MAX_WORKERS).default_text("the number of CPUs");

    /// Origin of a web page that may connect, such as `https://chat.example.org`, or null; may be repeated
    ///
    /// Pages of the server's own origin may always connect.
    // As browsers write it: in lower case, without the scheme's default port.
    allowed_origin: Vec<String> = Vec::new(), list("ORIGIN", origin::origins).common();

    /// Host name under which clients may reach a server without authentication, in addition to localhost, loopback
    /// addresses and the hosts of --allowed-origin; may be repeated
    // In lower case, without a port.
    allowed_host: Vec<String> = Vec::new(), list("NAME", origin::hosts);

    /// Address of a trusted reverse proxy, such as 127.0.0.1 or 10.0.0.0/8; may be repeated
    ///
    /// The server takes the client's address from the X-Forwarded-For, -Proto and -Host headers (or Forwarded) of such a
    /// proxy.
    trusted_proxy: TrustedProxies = TrustedProxies::default(),
        list_of("CIDR", TrustedProxies::parse, |proxies| strings(&proxies.0)).common();

    /// Header that the trusted proxies write: x-forwarded-for (with -proto and -host), forwarded (RFC 7239), or auto, the
    /// one that is present
    ///
    /// The other one is ignored, because it may come from the client. With auto and both of them, X-Forwarded-For counts.
    proxy_header: ProxyHeader = ProxyHeader::Auto, choice(&[
        ("x-forwarded-for", ProxyHeader::XForwardedFor),
        ("forwarded", ProxyHeader::Forwarded),
        ("auto", ProxyHeader::Auto),
    ]);
}

/// The addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// At least one, without duplicates; for the operations port also none. Port 0 takes a free port, a different one for each
    /// address.
    pub addresses: Vec<SocketAddr>,
    /// Whether these are the default, so that the server also starts on a machine without IPv6.
    pub is_default: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: loopback(PORT),
            is_default: true,
        }
    }
}

impl Listen {
    /// The default of the operations port.
    pub(super) fn default_ops() -> Self {
        Self {
            addresses: loopback(OPS_PORT),
            is_default: true,
        }
    }

    /// No address.
    pub(super) fn none() -> Self {
        Self {
            addresses: Vec::new(),
            is_default: false,
        }
    }

    /// The addresses of all entries without duplicates. Port 0 asks for another free port each time, so it may be repeated.
    pub(super) fn parse(values: &[RawValue]) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for value in values {
            for address in listen_entry(value.as_str())? {
                if address.port() == 0 || !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.is_empty() {
            return Err("at least one address is needed, such as 127.0.0.1:8080".into());
        }
        Ok(Self {
            addresses,
            is_default: false,
        })
    }

    /// The first address that other machines can reach.
    pub fn public_address(&self) -> Option<&SocketAddr> {
        let public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        self.addresses.iter().find(public)
    }
}

/// Both loopback addresses: the meaning of `localhost`.
fn loopback(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

fn listen_entry(entry: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = entry.parse::<SocketAddr>() {
        // An IPv4-mapped address is the IPv4 address: a socket of IPv6 that takes no IPv4 cannot be bound to it.
        let ip = address.ip().to_canonical();
        return Ok(vec![if ip.is_ipv4() {
            SocketAddr::new(ip, address.port())
        } else {
            // With the scope of a link-local address.
            address
        }]);
    }
    let named = entry
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match named {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => Ok(loopback(port)),
        _ => Err(format!(
            "{entry:?} is not ADDR:PORT; {}",
            listen_hint(entry, named)
        )),
    }
}

/// A suggestion for an entry that is not an address with a port.
fn listen_hint(entry: &str, named: Option<(&str, u16)>) -> String {
    match (entry.parse::<IpAddr>(), named) {
        (Ok(IpAddr::V4(ip)), _) => format!("the port is missing: {ip}:8080"),
        (Ok(IpAddr::V6(ip)), _) => format!("an IPv6 address needs brackets and a port: [{ip}]:8080"),
        (_, Some(("" | "*", port))) => {
            format!("every address of this machine is 0.0.0.0:{port} (IPv4) or [::]:{port} (IPv6)")
        }
        (_, Some((_, port))) => {
            format!("it needs an IP address or localhost, such as 127.0.0.1:{port} or localhost:{port}")
        }
        _ => match entry.parse::<u16>() {
            Ok(port) => format!("the address is missing: localhost:{port}"),
            Err(_) => "it looks like 127.0.0.1:8080, [::1]:8080 or localhost:8080, with a port up to 65535".into(),
        },
    }
}

/// `/a/b` without a slash at the end, or empty for the root.
fn base_path(raw: &RawValue) -> Result<String, String> {
    let trimmed = raw.as_str().trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let valid = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(allowed);
    if trimmed.split('/').all(valid) {
        Ok(format!("/{trimmed}"))
    } else {
        Err(format!(
            "{raw} is not a path such as /demo, of letters, digits and - . _ ~ between single slashes"
        ))
    }
}

/// The header that tells the address of a trusted proxy's client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The one that is present; if both are, `X-Forwarded-For`.
    #[default]
    Auto,
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Networks of the reverse proxies whose headers are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether `address` belongs to a trusted proxy. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    fn parse(values: &[RawValue]) -> Result<Self, String> {
        let network = |value: &RawValue| {
            parse_network(value.as_str()).map_err(|why| {
                format!("{value} is not a network: {why}; it looks like 127.0.0.1, 10.0.0.0/8 or fd00::/8")
            })
        };
        let networks: Result<_, _> = values.iter().map(network).collect();
        networks.map(Self)
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The proxies with these addresses.
    #[cfg(test)]
    pub(crate) fn of(texts: &[&str]) -> Self {
        let values: Vec<_> = texts.iter().map(|text| RawValue::from(*text)).collect();
        Self::parse(&values).expect("addresses")
    }
}

/// `ADDRESS/BITS` or a single address.
fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "it has no IP address")?;
    let Some(bits) = bits else {
        return Ok(address.to_canonical().into());
    };
    let network = Some(bits)
        .filter(|bits| bits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|bits| IpNet::new(address, bits.parse().ok()?).ok())
        .ok_or("the number of bits is wrong")?;
    // It is unclear whether the network or the address is meant, and trust depends on it.
    if network.network() != address {
        return Err("its address has bits beyond the prefix");
    }
    Ok(canonical(network))
}

/// A network of IPv4-mapped IPv6 addresses as the network of IPv4: that is how addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    let mapped = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), mapped) {
        (address @ IpAddr::V4(_), Some(bits)) => IpNet::new(address, bits).unwrap_or(network),
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Result<Vec<String>, String> {
        let values: Vec<_> = text.split(' ').map(RawValue::from).collect();
        let listen = Listen::parse(&values)?;
        Ok(listen.addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn listen_accepts_addresses_and_localhost() {
        assert_eq!(
            listen("127.0.0.1:0 [::1]:80").unwrap(),
            ["127.0.0.1:0", "[::1]:80"]
        );
        assert_eq!(
            listen("LocalHost:81 127.0.0.1:81").unwrap(),
            ["127.0.0.1:81", "[::1]:81"]
        );
        assert_eq!(listen("127.0.0.1:0 127.0.0.1:0").unwrap().len(), 2);
        assert_eq!(
            listen("[::ffff:127.0.0.1]:81 127.0.0.1:81").unwrap(),
            ["127.0.0.1:81"]
        );
    }

    #[test]
    fn an_invalid_address_is_answered_with_a_suggestion() {
        for (text, hint) in [
            ("127.0.0.1", "127.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            (":80", "0.0.0.0:80 (IPv4)"),
            ("*:80", "[::]:80"),
            ("80", "localhost:80"),
            ("example.org:80", "127.0.0.1:80"),
            ("127.0.0.1:65536", "up to 65535"),
            ("localhost", "localhost:8080"),
            ("", "127.0.0.1:8080"),
        ] {
            let error = listen(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(Listen::parse(&[]).unwrap_err().contains("at least one"));
    }

    #[test]
    fn a_base_path_starts_with_a_slash_and_does_not_end_with_one() {
        let base_path = |text: &str| base_path(&text.into());
        for (text, path) in [
            ("", ""),
            ("/", ""),
            ("demo", "/demo"),
            ("/demo/", "/demo"),
            ("/a/b.c~d_e-f", "/a/b.c~d_e-f"),
        ] {
            assert_eq!(base_path(text).unwrap(), path);
        }
        for invalid in [
            "/a//b", "/a b", "/{id}", "/..", "/a/./b", "/é", "/a?b", "/%41",
        ] {
            assert!(base_path(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_network_is_an_address_with_the_length_of_its_prefix() {
        for (text, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("::1", "::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fc00::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1", "::1"),
            ("::ffff:127.0.0.1/128", "127.0.0.1", "127.0.0.2"),
            ("::ffff:10.1.0.0/112", "10.1.255.9", "10.2.0.0"),
            ("::ffff:0:0/96", "203.0.113.9", "2001:db8::1"),
            ("::FFFF:a01:0/112", "::ffff:10.1.0.7", "10.2.0.0"),
        ] {
            let proxies = TrustedProxies::parse(&[text.into()]).unwrap();
            assert!(proxies.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(
                !proxies.contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
        }
    }

    #[test]
    fn an_invalid_network_is_rejected() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::/129",
            "::ffff:10.1.0.1/112",
            "localhost",
            "10/8",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
