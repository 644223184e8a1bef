//! Response headers that restrict what a browser does with a response. The chat page adds its own policy (`routes/page`).

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// A response without a policy of its own is data: a browser that displays it runs nothing and loads nothing.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// One year. Only the host itself, because the server knows nothing of other hosts of its domain.
const HSTS: &str = "max-age=31536000";

/// Headers of every response, if it does not have them. `tls`: the connection is encrypted by this server; browsers ignore the header for
/// HTTPS on other connections, and a proxy may have a policy of its own.
const COMMON: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, DATA_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the headers to a response.
pub fn add(headers: &mut HeaderMap, tls: bool) {
    for (name, value) in COMMON {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if tls {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static(HSTS),
        );
    }
}

/// The headers as lines of a response that is written without actix.
pub fn lines(tls: bool) -> String {
    let own = tls.then_some((header::STRICT_TRANSPORT_SECURITY, HSTS));
    let mut lines = String::new();
    for (name, value) in COMMON.into_iter().chain(own) {
        for part in [name.as_str(), ": ", value, "\r\n"] {
            lines.push_str(part);
        }
    }
    lines
}
