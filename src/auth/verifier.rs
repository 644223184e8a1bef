//! Verifies tokens (PROTOCOL section 2).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};

use super::jwks::{JwksSource, KeySet};
use super::keys::Key;
use super::{
    AuthError, AuthSetupError, Identity, MAX_LIFETIME, MAX_TOKEN, key_files, ring_provider,
};
use crate::config::{AuthConfig, Secret};
use crate::protocol::types::is_name;

/// Verifies tokens. The lock of the keys is held for one clone or one replacement, never across an await.
pub struct TokenVerifier {
    /// The keys from the settings.
    keys: RwLock<Arc<[Key]>>,
    /// The settings for reading the keys again; `None` for the generated secret, which does not change.
    settings: Option<AuthConfig>,
    /// The keys from `jwks`, which change over time.
    key_set: Option<KeySet>,
    /// The requirements on the claims. Each key adds its algorithm.
    validation: Validation,
    leeway: u64,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}

/// A map, because a struct would also be deserialized from a list.
type Claims = serde_json::Map<String, serde_json::Value>;

impl TokenVerifier {
    /// Reads the configured keys and starts to fetch remote ones.
    pub(super) fn new(config: &AuthConfig) -> Result<Self, AuthSetupError> {
        let keys = key_files::keys(config)?;
        let key_set = match &config.jwks {
            Some(source) => Some(KeySet::start(
                JwksSource::new(source.clone(), config.jwks_ca.as_deref())?,
                Duration::from_secs(config.jwks_refresh_seconds),
            )?),
            None => None,
        };
        Ok(Self {
            settings: Some(config.clone()),
            ..Self::with_keys(config, keys, key_set)
        })
    }

    /// Accepts tokens signed with one secret only.
    pub(super) fn with_secret(config: &AuthConfig, secret: &Secret) -> Self {
        Self::with_keys(config, vec![Key::secret(secret)], None)
    }

    fn with_keys(config: &AuthConfig, keys: Vec<Key>, key_set: Option<KeySet>) -> Self {
        ring_provider::install();
        let mut validation = Validation {
            leeway: config.jwt_leeway_seconds,
            validate_nbf: true,
            ..Validation::default()
        };
        // A leaked token without an expiry would be valid forever, because there is no revocation list.
        let mut required = vec!["exp", "sub"];
        if !config.jwt_issuer.is_empty() {
            required.push("iss");
            validation.set_issuer(&config.jwt_issuer);
        }
        // Without `set_audience`, tokens with an audience are rejected (RFC 7519 section 4.1.3).
        if !config.jwt_audience.is_empty() {
            required.push("aud");
            validation.set_audience(&config.jwt_audience);
        }
        validation.set_required_spec_claims(&required);
        Self {
            keys: RwLock::new(keys.into()),
            settings: None,
            key_set,
            validation,
            leeway: config.jwt_leeway_seconds,
        }
    }

    /// Reads the keys again. After an error, the old keys stay in use.
    pub(super) fn refresh(&self) {
        match self.settings.as_ref().map(key_files::keys) {
            Some(Ok(read)) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = read.into();
            }
            Some(Err(error)) => log::error!(
                "cannot read the keys for tokens again, the old ones stay in use: {error}"
            ),
            None => {}
        }
        if let Some(key_set) = &self.key_set {
            key_set.refresh();
        }
    }

    /// Verifies a token and returns the identity of its user.
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Invalid("the token is too long"));
        }
        let header = decode_header(token).map_err(|error| {
            AuthError::Invalid(match error.kind() {
                ErrorKind::InvalidToken => "the token does not have three parts",
                // This includes the algorithm `none`.
                _ => "the token's header is invalid or names an unsupported algorithm",
            })
        })?;
        // A header that lists extensions which must be understood; none is supported (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(AuthError::Invalid("the token's header has `crit`"));
        }
        let keys = self.keys.read();
        let keys = keys.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(result) = self.verify_with(token, &header, &keys) {
            return result;
        }
        let Some(key_set) = &self.key_set else {
            return Err(no_matching_key(&header, &keys, &[]));
        };
        // The set has public keys only.
        if header.alg == Algorithm::HS256 {
            return Err(no_matching_key(&header, &keys, &[]));
        }
        let candidates = key_set.find(header.kid.as_deref(), token).await?;
        if let Some(result) = self.verify_with(token, &header, &candidates) {
            return result;
        }
        Err(no_matching_key(&header, &keys, &candidates))
    }

    /// Verifies a token with each of these keys. Returns `None` if none of them signed it.
    fn verify_with(
        &self,
        token: &str,
        header: &Header,
        keys: &[Key],
    ) -> Option<Result<Identity, AuthError>> {
        for key in keys.iter().filter(|key| key.algorithm == header.alg) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match decode::<Claims>(token, &key.material, &validation) {
                Ok(decoded) => return Some(self.identity(&decoded.claims)),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                // The signature is valid, and the claims are not.
                Err(error) => {
                    return Some(Err(claims_error(&error, self.validation.aud.is_some())));
                }
            }
        }
        None
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, AuthError> {
        let user = claims.get("sub").and_then(serde_json::Value::as_str);
        let Some(user) = user.filter(|user| is_name(user)) else {
            return Err(AuthError::Invalid("the token's `sub` is not a user id"));
        };
        // `jsonwebtoken` also accepts a list, but an issuer is a single value (RFC 7519 section 4.1.1).
        let issuer = claims.get("iss");
        if self.validation.iss.is_some() && !issuer.is_some_and(serde_json::Value::is_string) {
            return Err(AuthError::Invalid("the token is from another issuer"));
        }
        let exp = claims.get("exp").and_then(serde_json::Value::as_f64);
        let now = SystemTime::now();
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
        // Any number is valid JSON, so this comes before the conversion to a time. A time in milliseconds would be valid for
        // tens of thousands of years.
        let latest = since_1970.unwrap_or_default().as_secs() + MAX_LIFETIME + self.leeway;
        let exp = exp.unwrap_or_default().max(0.0);
        if exp > latest as f64 {
            return Err(AuthError::Invalid(
                "the token's `exp` is more than ten years ahead; it must be in seconds since 1970",
            ));
        }
        let expires = SystemTime::UNIX_EPOCH
            + Duration::from_secs_f64(exp)
            + Duration::from_secs(self.leeway);
        if expires <= now {
            return Err(AuthError::Expired);
        }
        Ok(Identity {
            user: user.into(),
            expires: Some(expires),
        })
    }
}

/// The error for a token that none of these keys signed.
fn no_matching_key(header: &Header, keys: &[Key], from_set: &[Key]) -> AuthError {
    let mut tried = keys.iter().chain(from_set);
    AuthError::Invalid(if tried.any(|key| key.algorithm == header.alg) {
        "the token is not signed with a known key"
    } else {
        "no key is known for the token's `kid` and `alg`"
    })
}

/// The error for a token with a valid signature.
fn claims_error(error: &Error, has_audience: bool) -> AuthError {
    let missing = |claim: &str| match claim {
        "exp" => "the token has no `exp`, or it is not a number",
        "iss" => "the token has no `iss`",
        "aud" => "the token has no `aud`",
        _ => "the token has no `sub`, or it is not a string",
    };
    AuthError::Invalid(match error.kind() {
        ErrorKind::ExpiredSignature => return AuthError::Expired,
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::InvalidAudience if has_audience => "the token is for another audience",
        ErrorKind::InvalidAudience => {
            "the token is for a specific audience, and --jwt-audience is not set"
        }
        ErrorKind::MissingRequiredClaim(claim) => missing(claim),
        _ => "the token's claims are invalid",
    })
}
