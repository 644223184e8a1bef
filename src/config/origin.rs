//! Origins of web pages and names of hosts, in the form in which browsers send them (RFC 6454 section 6.2).

use url::{Host, ParseError, Url};

use super::RawValue;

pub(super) fn origins(values: &[RawValue]) -> Result<Vec<String>, String> {
    let mut origins = Vec::new();
    for value in values {
        let origin = origin(value.as_str())?;
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    Ok(origins)
}

/// Names of hosts, without a port.
pub(super) fn hosts(values: &[RawValue]) -> Result<Vec<String>, String> {
    let host = |value: &RawValue| {
        let lower = value.as_str().to_ascii_lowercase();
        let text = lower.strip_suffix('.').unwrap_or(&lower);
        Host::parse(text)
            .ok()
            .filter(|host| is_unchanged(text, &host.to_string()))
            // An IPv4-mapped IPv6 address is the IPv4 address.
            .map(|host| match host {
                Host::Ipv6(address) => match address.to_ipv4_mapped() {
                    Some(address) => address.to_string(),
                    None => host.to_string(),
                },
                _ => host.to_string(),
            })
            .ok_or_else(|| {
                format!("{value} is not a host name such as chat.example.org, 10.0.0.5 or [2001:db8::5], without a port")
            })
    };
    values.iter().map(host).collect()
}

fn origin(entry: &str) -> Result<String, String> {
    const HOST: &str = "the host is malformed (write an IDN in its xn-- form)";
    const PORT: &str = "the port is not a number from 1 to 65535";
    let lower = entry.to_ascii_lowercase();
    if lower == "null" {
        return Ok(lower);
    }
    if lower.contains('*') {
        return Err(format!(
            "{entry:?}: wildcards are not supported; name each origin, such as https://chat.example.org"
        ));
    }
    let invalid = |why: &str| {
        format!(
            "{entry:?} is not an origin: {why}; it looks like https://chat.example.org or http://10.0.0.5:8080"
        )
    };
    let (scheme, authority) = lower
        .split_once("://")
        .ok_or_else(|| invalid("scheme:// is missing"))?;
    if matches!(scheme, "ws" | "wss") {
        return Err(invalid("a page has the scheme http:// or https://"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(invalid(
            "nothing may follow the host and port, not even a slash",
        ));
    }
    // The URL parser accepts more than an origin may contain: an empty port, user names, escapes and IDNs.
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets belongs to the IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        digits && port.parse() != Ok(0_u16)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(invalid(PORT));
    }
    let url = Url::parse(&lower).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => invalid("the scheme is malformed"),
        ParseError::InvalidPort => invalid(PORT),
        _ => invalid(HOST),
    })?;
    let host = url
        .host_str()
        .filter(|canonical| is_unchanged(host, canonical))
        .ok_or_else(|| invalid(HOST))?;
    // A name that is written absolutely (`localhost.`) is the same name.
    let host = host.strip_suffix('.').unwrap_or(host);
    Ok(match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// Whether the URL parser has kept a host as it was written, so that a setting allows no other host than the one that it
/// shows: the parser decodes escapes, and reads `010.0.0.5` and `0x8.5` as the address 8.0.0.5. An IPv6 address has many
/// spellings, which are the same address.
fn is_unchanged(written: &str, canonical: &str) -> bool {
    written == canonical || written.starts_with('[') && canonical.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, expected) in [
            ("null", "null"),
            ("HTTPS://Chat.Example.org:443", "https://chat.example.org"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
            ("http://[0:0::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("http://a_b.c-d", "http://a_b.c-d"),
            ("tauri://localhost", "tauri://localhost"),
            ("app+x.y-z://a:80", "app+x.y-z://a:80"),
        ] {
            assert_eq!(origin(text).unwrap(), expected);
        }
    }

    #[test]
    fn an_invalid_origin_is_rejected_with_the_reason() {
        for (text, hint) in [
            ("*", "wildcard"),
            ("https://*.example.org", "wildcard"),
            ("example.org", "scheme://"),
            ("https://a/", "slash"),
            ("https://a:0", "port"),
            ("https://a:00", "port"),
            ("https://a:+1", "port"),
            ("https://a:65536", "port"),
            ("https://a:", "port"),
            ("https://", "host"),
            ("https://u@a", "host"),
            ("https://u:p@a", "port"),
            ("https://a\\b", "host"),
            ("https://a b", "host"),
            ("https://%61", "host"),
            ("http://0x7f.1", "host"),
            ("http://010.0.0.5", "host"),
            ("https://[::1", "host"),
            ("https://[::1]x", "port"),
            ("https://münchen.de", "xn--"),
            ("tauri://", "host"),
            ("tauri://[x]", "host"),
            ("wss://a", "https://"),
            ("1x://a", "scheme"),
            ("é://a", "scheme"),
        ] {
            let error = origin(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        let hosts = |text: &str| hosts(&[text.into()]);
        for (text, expected) in [
            ("Chat.example.org", "chat.example.org"),
            ("10.0.0.5", "10.0.0.5"),
            ("[2001:DB8:0::5]", "[2001:db8::5]"),
        ] {
            assert_eq!(hosts(text).unwrap(), [expected]);
        }
        for invalid in [
            "",
            "a:80",
            "[::1]:80",
            "::1",
            "a/b",
            "é",
            "%61",
            "a b",
            "[::1",
            "1.2.3",
            "010.0.0.5",
            "0x7f.1",
        ] {
            assert!(hosts(invalid).is_err(), "{invalid}");
        }
    }
}
