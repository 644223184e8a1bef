//! Where a client may put its token (PROTOCOL section 2): the `Authorization` header, a subprotocol (browsers cannot set headers),
//! or the URL. In this order the first one counts.

use std::borrow::Cow;
use std::fmt;

use actix_http::RequestHead;
use actix_web::http::header;
use percent_encoding::percent_decode_str;

use super::rejection::Rejection;

/// The token of a request. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The request has no token.
    Missing,
    /// The only token is in the URL, and the settings do not allow that (`query_token`).
    InUrlOnly,
    /// A token, not verified.
    Present(String),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::InUrlOnly => "InUrlOnly",
            Self::Present(_) => "Present(..)",
        })
    }
}

impl Token {
    /// The token, if it may be used.
    pub fn get(&self) -> Option<&str> {
        match self {
            Self::Present(token) => Some(token),
            Self::Missing | Self::InUrlOnly => None,
        }
    }
}

/// The token of a request.
///
/// # Errors
/// If there are two tokens in the same place: another program on the way may have checked the other one.
pub fn token(head: &RequestHead, query_token: bool) -> Result<Token, Rejection> {
    let twice = |place: &str| {
        Rejection::invalid_request(format!(
            "{place} occurs twice in the request; it is unclear which one counts"
        ))
    };
    let present = |token: &str| Ok(Token::Present(token.to_owned()));
    let mut headers = head.headers().get_all(&header::AUTHORIZATION);
    if let Some(value) = headers.next() {
        if headers.next().is_some() {
            return Err(twice("`Authorization`"));
        }
        // A value that is not text is handled as an invalid token.
        let value = value.to_str().unwrap_or("Bearer ?").trim();
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        // Another scheme is ignored: it may be for a proxy.
        if scheme.eq_ignore_ascii_case("bearer") {
            return present(rest.trim());
        }
    }
    let mut bearers = bearer_subprotocols(head);
    if let Some(token) = bearers.next() {
        return match bearers.next() {
            Some(_) => Err(twice("a `bearer.` subprotocol")),
            None => present(token),
        };
    }
    let mut in_url = query_tokens(head);
    match (in_url.next(), in_url.next()) {
        (None, _) => Ok(Token::Missing),
        (Some(_), _) if !query_token => Ok(Token::InUrlOnly),
        (Some(_), Some(_)) => Err(twice("`token`")),
        (Some(token), None) => present(&decoded(token)),
    }
}

/// The subprotocols that the client offers.
pub fn subprotocols(head: &RequestHead) -> impl Iterator<Item = &str> {
    head.headers()
        .get_all(&header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Whether a subprotocol contains a token.
pub fn has_bearer_subprotocol(head: &RequestHead) -> bool {
    bearer_subprotocols(head).next().is_some()
}

/// The tokens among the subprotocols.
fn bearer_subprotocols(head: &RequestHead) -> impl Iterator<Item = &str> {
    subprotocols(head).filter_map(|offered| offered.strip_prefix("bearer."))
}

/// The tokens in the URL, percent-encoded.
fn query_tokens(head: &RequestHead) -> impl Iterator<Item = &str> {
    let pairs = head.uri.query().unwrap_or("").split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| decoded(name) == "token")
        .map(|(_, token)| token)
}

/// Percent-decoded once. `+` is not decoded to a space, because it is a character of user ids. Bytes that are not UTF-8 become
/// U+FFFD, which no user id contains.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
