//! Authentication: how users prove their identity.

use std::fmt::{self, Display};
use std::path::PathBuf;

use url::Url;

use super::setting::{Kind, choice, file, files, list, number, quoted, secrets, section, switch};
use super::{RawValue, Secret, value};

section! {
    /// How users prove their identity, and the keys that tokens are verified with.
    pub struct AuthConfig = config.auth, "Authentication";

    /// Disable authentication: anyone who can reach the server can read and write as any user
    ///
    /// Without --open and --auth, the server requires tokens if it listens on more than loopback.
    open: bool = false, switch().flag_alone().common();

    /// How users prove their identity: jwt, by a token; none; or auto
    ///
    /// auto is jwt if a --jwt or --jwks setting is given. Without one, it is none on loopback; a server that listens on
    /// more than loopback generates a secret and requires tokens signed with it.
    // `auto` remains in a `Config` only if no setting about tokens is given: see `Config::access`.
    auth: AuthMode = AuthMode::Auto,
        choice(&[("jwt", AuthMode::Jwt), ("none", AuthMode::None), ("auto", AuthMode::Auto)]);

    /// Secret that tokens are signed with (HS256); may be repeated
    ///
    /// A token signed with any of the secrets is valid. A line break at its end is ignored. Other users of this machine
    /// can see flags: prefer the variable or a file.
    jwt_secret: Vec<Secret> = Vec::new(), secrets("SECRET");

    /// File with a secret that tokens are signed with (HS256); a line break at its end is ignored; may be repeated
    jwt_secret_file: Vec<PathBuf> = Vec::new(), files().common();

    /// File with a public key in PEM that tokens are verified with: RSA (RS256), P-256 (ES256) or Ed25519 (`EdDSA`); may
    /// be repeated
    jwt_key: Vec<PathBuf> = Vec::new(), files().common();

    /// Set of public keys (RFC 7517) that tokens are verified with: a file, or an `http://` or `https://` URL
    jwks: Option<Jwks> = None, Kind::one("FILE|URL", jwks, |jwks: &Option<Jwks>| {
        jwks.as_ref().map_or_else(|| quoted(""), quoted)
    });

    /// File with CA certificates in PEM that the server of --jwks must be certified by, instead of the built-in public
    /// ones
    jwks_ca: Option<PathBuf> = None, file();

    /// Time between two downloads of --jwks
    ///
    /// A token signed with an unknown key causes an additional download, at most one in 5 seconds.
    jwks_refresh_seconds: u64 = 300, number("SECONDS", 1..=86_400);

    /// Required issuer of a token (its iss claim); may be repeated, one of them must match
    jwt_issuer: Vec<String> = Vec::new(), list("ISS", value::strings);

    /// Required audience of a token (its aud claim); may be repeated, one of them must match
    ///
    /// Without this setting a token with an aud claim is rejected.
    jwt_audience: Vec<String> = Vec::new(), list("AUD", value::strings);

    /// Accepted difference between the clocks of the server and of the issuer
    jwt_leeway_seconds: u64 = 2, number("SECONDS", 0..=300);

    /// Accept a token in the URL, as ?token=..., where proxies may log it
    query_token: bool = true, switch();
}

/// Settings that only make sense with tokens, so that each of them implies `auth = "jwt"`.
pub(super) const TOKEN_SETTINGS: [&str; 6] = [
    "jwt_secret",
    "jwt_secret_file",
    "jwt_key",
    "jwks",
    "jwt_issuer",
    "jwt_audience",
];

impl AuthConfig {
    /// Whether there is a key to verify tokens with.
    pub(super) fn has_keys(&self) -> bool {
        let files = [&self.jwt_secret_file, &self.jwt_key];
        !self.jwt_secret.is_empty()
            || files.iter().any(|files| !files.is_empty())
            || self.jwks.is_some()
    }
}

/// How users prove their identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// Depends on the other settings.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// By a token (RFC 7519).
    Jwt,
}

/// Where a set of public keys is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// In a file.
    File(PathBuf),
    /// At an `http://` or `https://` URL.
    Url(String),
}

impl Jwks {
    /// The location without the query of a URL, which may hold a secret. For the log.
    pub fn redacted(&self) -> String {
        let whole = self.to_string();
        match (self, whole.split_once('?')) {
            (Self::Url(_), Some((path, _))) => format!("{path}?..."),
            _ => whole,
        }
    }
}

impl Display for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A file or a URL; an empty text stands for none.
fn jwks(raw: &RawValue) -> Result<Option<Jwks>, String> {
    let text = raw.as_str();
    let Some((_, rest)) = text.split_once("://") else {
        return Ok(value::file(raw)?.map(Jwks::File));
    };
    let invalid = || {
        format!(
            "{raw} is neither a file nor an address such as https://id.example.org/.well-known/jwks.json"
        )
    };
    // A URL parser would skip spaces and further slashes.
    if rest.starts_with('/') || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(invalid());
    }
    let url = Url::parse(text).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "an address with a password in it would be displayed; remove the password".into(),
        );
    }
    Ok(Some(Jwks::Url(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_is_a_file_or_a_url() {
        let jwks = |text: &str| jwks(&text.into());
        for (text, expected) in [
            ("keys.json", Some(Jwks::File("keys.json".into()))),
            ("https://a/b?c", Some(Jwks::Url("https://a/b?c".into()))),
            ("http://[::1]:80", Some(Jwks::Url("http://[::1]:80".into()))),
            ("", None),
        ] {
            assert_eq!(jwks(text).unwrap(), expected);
        }
        for invalid in [
            "ftp://a/b",
            "https://",
            "https:///b",
            "https://a b",
            "https://u:p@a/b",
        ] {
            let error = jwks(invalid).unwrap_err();
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
