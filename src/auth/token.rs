//! What a token must be (PROTOCOL section 2).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Header, Validation, decode, decode_header};

use super::jwks::{JwksSource, KeySet};
use super::key::Key;
use super::{AuthError, AuthSetupError, Identity, MAX_TOKEN, crypto, warn_of_short};
use crate::config::{AuthConfig, Secret};
use crate::protocol::types::is_name;

/// Longest file with a secret or a key, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// A token that holds for longer holds for this long: nobody stays connected for a hundred years, and times stay within
/// bounds.
const FOR_EVER: u64 = 100 * 365 * 86_400;

/// Judges tokens. The lock of its keys is held for one clone or one exchange, never across an await.
pub struct Tokens {
    /// The keys of the settings.
    keys: RwLock<Arc<[Key]>>,
    /// The settings that they are read by again; `None`: they are the server's own.
    settings: Option<AuthConfig>,
    /// Those that come and go.
    set: Option<KeySet>,
    /// What the claims must be; which algorithm counts, each key adds.
    rules: Validation,
    leeway: u64,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// A map, as a struct would take a list as well.
type Claims = serde_json::Map<String, serde_json::Value>;

impl Tokens {
    /// Reads the keys that the settings name, and begins to fetch those that are elsewhere.
    pub(super) fn new(config: &AuthConfig) -> Result<Self, AuthSetupError> {
        let keys = keys(config)?;
        let set = match &config.jwks {
            Some(source) => Some(KeySet::start(
                JwksSource::new(source.clone(), config.jwks_ca.as_deref())?,
                Duration::from_secs(config.jwks_refresh_seconds),
            )?),
            None => None,
        };
        Ok(Self {
            settings: Some(config.clone()),
            ..Self::with(config, keys, set)
        })
    }

    /// Takes tokens of one secret only.
    pub(super) fn of_secret(config: &AuthConfig, secret: &Secret) -> Self {
        Self::with(config, vec![Key::secret(secret)], None)
    }

    fn with(config: &AuthConfig, keys: Vec<Key>, set: Option<KeySet>) -> Self {
        crypto::install();
        let mut rules = Validation {
            leeway: config.jwt_leeway_seconds,
            validate_nbf: true,
            ..Validation::default()
        };
        // Without an expiry a token that has leaked is good for ever: there is no list of those that are not.
        let mut required = vec!["exp", "sub"];
        if !config.jwt_issuer.is_empty() {
            required.push("iss");
            rules.set_issuer(&config.jwt_issuer);
        }
        // Without `set_audience` a token that is meant for somebody is refused (RFC 7519 section 4.1.3).
        if !config.jwt_audience.is_empty() {
            required.push("aud");
            rules.set_audience(&config.jwt_audience);
        }
        rules.set_required_spec_claims(&required);
        Self {
            keys: RwLock::new(keys.into()),
            settings: None,
            set,
            rules,
            leeway: config.jwt_leeway_seconds,
        }
    }

    /// Reads the keys again. What cannot be read takes nothing away.
    pub(super) fn refresh(&self) {
        match self.settings.as_ref().map(keys) {
            Some(Ok(read)) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = read.into();
            }
            Some(Err(error)) => log::error!("the keys for tokens stay as they were: {error}"),
            None => {}
        }
        if let Some(set) = &self.set {
            set.refresh();
        }
    }

    /// Whose token this is.
    pub(super) async fn check(&self, token: &str) -> Result<Identity, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Invalid("the token is too long"));
        }
        let header = decode_header(token).map_err(|error| {
            AuthError::Invalid(match error.kind() {
                ErrorKind::InvalidToken => "the token does not have three parts",
                // `none` is among what it does not know.
                _ => "the token's header cannot be read, or names an algorithm that is not taken here",
            })
        })?;
        // What must be understood and is not (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(AuthError::Invalid("the token's header has `crit`"));
        }
        let keys = self.keys.read();
        let keys = keys.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(judged) = self.judge(token, &header, &keys) {
            return judged;
        }
        let Some(set) = &self.set else {
            return Err(unknown(&header, &keys, &[]));
        };
        let mut known = set.get();
        let named = known.iter().any(|key| key.id == header.kid);
        if known.is_empty() || header.kid.is_some() && !named {
            // It may be of a key that is newer than the set. Right after the start all are.
            known = set.newer().await;
        }
        let candidates: Vec<_> = known
            .iter()
            .filter(|key| header.kid.is_none() || key.id == header.kid)
            .cloned()
            .collect();
        if let Some(judged) = self.judge(token, &header, &candidates) {
            return judged;
        }
        if known.is_empty() && keys.is_empty() {
            return Err(AuthError::NotReady);
        }
        Err(unknown(&header, &keys, &candidates))
    }

    /// Judges a token that one of these keys has signed; `None`: none has.
    fn judge(
        &self,
        token: &str,
        header: &Header,
        keys: &[Key],
    ) -> Option<Result<Identity, AuthError>> {
        for key in keys.iter().filter(|key| key.algorithm == header.alg) {
            let mut rules = self.rules.clone();
            rules.algorithms = vec![key.algorithm];
            match decode::<Claims>(token, &key.material, &rules) {
                Ok(decoded) => return Some(self.identity(&decoded.claims)),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                // The signature is good, and the token is not.
                Err(error) => return Some(Err(judged(&error, self.rules.aud.is_some()))),
            }
        }
        None
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, AuthError> {
        let user = claims.get("sub").and_then(serde_json::Value::as_str);
        let Some(user) = user.filter(|user| is_name(user)) else {
            return Err(AuthError::Invalid("the token's `sub` is no user id"));
        };
        // `jsonwebtoken` takes a list with one of them as well; an issuer is one (RFC 7519 section 4.1.1).
        let issuer = claims.get("iss");
        if self.rules.iss.is_some() && !issuer.is_some_and(serde_json::Value::is_string) {
            return Err(AuthError::Invalid("the token is of another issuer"));
        }
        let exp = claims.get("exp").and_then(serde_json::Value::as_f64);
        let now = SystemTime::now();
        // What was signed may be any number; as a time it is cut to one that can be computed with.
        let most = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
            + FOR_EVER;
        let exp = Duration::from_secs_f64(exp.unwrap_or_default().clamp(0.0, most as f64));
        let expires = SystemTime::UNIX_EPOCH + exp + Duration::from_secs(self.leeway);
        if expires <= now {
            return Err(AuthError::Expired);
        }
        Ok(Identity {
            user: user.into(),
            expires: Some(expires),
        })
    }
}

/// What to say of a token that none of these keys has signed.
fn unknown(header: &Header, keys: &[Key], of_set: &[Key]) -> AuthError {
    let mut tried = keys.iter().chain(of_set);
    AuthError::Invalid(if tried.any(|key| key.algorithm == header.alg) {
        "the token's signature is of no known key"
    } else {
        "no key is known for the token's `kid` and `alg`"
    })
}

/// Why a token of a known key is not good.
fn judged(error: &Error, has_audience: bool) -> AuthError {
    let missing = |claim: &str| match claim {
        "exp" => "the token has no `exp`, or one that is no number",
        "iss" => "the token has no `iss`",
        "aud" => "the token has no `aud`",
        _ => "the token has no `sub`, or one that is no text",
    };
    AuthError::Invalid(match error.kind() {
        ErrorKind::ExpiredSignature => return AuthError::Expired,
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience if has_audience => "the token is meant for another audience",
        ErrorKind::InvalidAudience => {
            "the token is meant for an audience, and --jwt-audience is not set"
        }
        ErrorKind::MissingRequiredClaim(claim) => missing(claim),
        _ => "the token's claims cannot be read",
    })
}

/// The keys that the settings name, but for those of `jwks`.
fn keys(config: &AuthConfig) -> Result<Vec<Key>, AuthSetupError> {
    let mut keys: Vec<_> = secrets(config)?.iter().map(Key::secret).collect();
    for path in &config.jwt_key {
        let wrong = |what: String| AuthSetupError(format!("jwt_key: {} {what}", path.display()));
        let text = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        keys.extend(Key::from_pem(&text).map_err(|what| wrong(what.into()))?);
    }
    Ok(keys)
}

/// The secrets of the settings, those in files behind the others.
pub(super) fn secrets(config: &AuthConfig) -> Result<Vec<Secret>, AuthSetupError> {
    let mut secrets = config.jwt_secret.clone();
    for secret in &secrets {
        warn_of_short(secret, "a secret of jwt_secret");
    }
    for path in &config.jwt_secret_file {
        let wrong =
            |what: String| AuthSetupError(format!("jwt_secret_file: {} {what}", path.display()));
        let text = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let secret =
            Secret::new(without_line_end(&text)).ok_or_else(|| wrong("is empty".into()))?;
        warn_of_short(&secret, &path.display().to_string());
        secrets.push(secret);
    }
    Ok(secrets)
}

/// Editors and `echo` put a line end behind a secret that is none of it.
pub(super) fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// A small file.
pub(super) fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    read_up_to(path, MAX_FILE)
}

/// A file of up to so many bytes.
pub(super) fn read_up_to(path: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!(
            "it has more than {most} bytes"
        )));
    }
    Ok(bytes)
}
