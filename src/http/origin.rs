//! Which web pages may connect. Browsers let any page open a WebSocket to any server and say in `Origin` which page it was
//! (RFC 6455 section 10.2); clients that are no browsers send none.

use std::net::IpAddr;

/// Whether a page of `origin` may connect: one of the same origin, of a loopback one, or one that is allowed by name.
pub fn admits(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    let origin = origin.to_ascii_lowercase();
    if allowed.contains(&origin) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let (name, port) = split(authority, scheme);
    if is_loopback(name) {
        return true;
    }
    // The scheme is not compared: behind a proxy that ends TLS the server does not know its own.
    let same = |host: &str| {
        let host = host.to_ascii_lowercase();
        split(&host, scheme) == (name, port)
    };
    host.is_some_and(same)
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
    use super::admits;

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
            assert!(admits(origin, host, &[]), "{origin} {host:?}");
        }
        for (origin, host) in [
            ("http://evil.example", chat),
            ("http://chat.example.org:8081", chat),
            ("http://localhost.evil.example", chat),
            ("http://127.0.0.1.evil.example", chat),
            ("http://evil.example", None),
            ("null", chat),
            ("", chat),
        ] {
            assert!(!admits(origin, host, &[]), "{origin} {host:?}");
        }
        let allowed = ["https://app.example".to_owned(), "null".to_owned()];
        assert!(admits("https://app.example", chat, &allowed));
        assert!(admits("null", chat, &allowed));
        assert!(!admits("http://app.example", chat, &allowed));
    }
}
