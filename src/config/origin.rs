//! Origins of web pages, written as browsers write them (RFC 6454 section 6.2) so that they can be compared with what a
//! browser sends.

use std::net::Ipv6Addr;

use super::source::Written;

pub(super) fn list(entries: &Vec<Written>) -> Result<Vec<String>, String> {
    let mut origins = Vec::new();
    for entry in entries {
        let origin = origin(entry.as_str())?;
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    Ok(origins)
}

/// Names of hosts, without a port.
pub(super) fn hosts(entries: &[Written]) -> Result<Vec<String>, String> {
    let host = |entry: &Written| {
        canonical_host(&entry.as_str().to_ascii_lowercase()).ok_or_else(|| {
            format!("{entry} is not a host's name such as chat.example.org, 10.0.0.5 or [2001:db8::5], without a port")
        })
    };
    entries.iter().map(host).collect()
}

fn origin(entry: &str) -> Result<String, String> {
    let lower = entry.to_ascii_lowercase();
    if lower == "null" {
        return Ok(lower);
    }
    if lower.contains('*') {
        return Err(format!(
            "{entry:?}: there is no wildcard; name each origin, such as https://chat.example.org"
        ));
    }
    let refuse = |why: &str| {
        format!(
            "{entry:?} is not an origin: {why}; it looks like https://chat.example.org or http://10.0.0.5:8080"
        )
    };
    let (scheme, authority) = lower
        .split_once("://")
        .ok_or_else(|| refuse("scheme:// is missing"))?;
    let default_port = match scheme {
        "ws" | "wss" => return Err(refuse("a page comes from http:// or https://")),
        "http" => Some(80),
        "https" => Some(443),
        _ if is_scheme(scheme) => None,
        _ => return Err(refuse("the scheme is malformed")),
    };
    if authority.contains(['/', '?', '#']) {
        return Err(refuse(
            "nothing follows the host and port, not even a slash",
        ));
    }
    let (host, port) =
        split_port(authority).ok_or_else(|| refuse("the port is not a number from 1 to 65535"))?;
    let host = canonical_host(host)
        .ok_or_else(|| refuse("the host is malformed (write an IDN in its xn-- form)"))?;
    Ok(match port.filter(|port| Some(*port) != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// RFC 3986 section 3.1, already in lower case.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Host and port; nothing if what stands in the port's place is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // A colon within brackets belongs to the IPv6 address.
        Some((host, port)) if !port.ends_with(']') => {
            let digits = port.chars().all(|c| c.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port > 0)?;
            Some((host, Some(port)))
        }
        _ => Some((authority, None)),
    }
}

fn canonical_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{ip}]"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, kept) in [
            ("null", "null"),
            ("HTTPS://Chat.Example.org:443", "https://chat.example.org"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("http://[0:0::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("tauri://localhost", "tauri://localhost"),
        ] {
            assert_eq!(origin(text).unwrap(), kept);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for (text, hint) in [
            ("*", "wildcard"),
            ("https://*.example.org", "wildcard"),
            ("example.org", "scheme://"),
            ("https://a/", "slash"),
            ("https://a:0", "port"),
            ("https://a:+1", "port"),
            ("https://a:", "port"),
            ("https://", "host"),
            ("https://u@a", "host"),
            ("https://[::1", "host"),
            ("https://münchen.de", "xn--"),
            ("wss://a", "https://"),
            ("1x://a", "scheme"),
        ] {
            let error = origin(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
