//! Verifies tokens (PROTOCOL section 2).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};

use super::claims::{ClaimRules, Claims};
use super::jwks::{JwksSource, KeySet};
use super::keys::Key;
use super::{AuthError, AuthSetupError, Identity, MAX_TOKEN, key_files, ring_provider};
use crate::config::{AuthConfig, Secret};

/// Verifies tokens. The lock of the keys is held for one clone or one replacement, never across an await.
pub struct TokenVerifier {
    /// The keys from the settings.
    keys: RwLock<Arc<[Key]>>,
    /// The settings for reading the keys again; `None` for the generated secret, which does not change.
    settings: Option<AuthConfig>,
    /// The keys from `jwks`, which change over time.
    key_set: Option<KeySet>,
    /// The requirements on the claims.
    rules: ClaimRules,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}

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
        Self {
            keys: RwLock::new(keys.into()),
            settings: None,
            key_set,
            rules: ClaimRules::new(config),
        }
    }

    /// Reads the keys again. After an error, the old keys stay in use.
    pub(super) fn refresh(&self) {
        if let Some(settings) = &self.settings {
            self.refresh_files(settings);
        }
        if let Some(key_set) = &self.key_set {
            key_set.refresh();
        }
    }

    fn refresh_files(&self, settings: &AuthConfig) {
        let files = settings.jwt_secret_file.iter().chain(&settings.jwt_key);
        let files = files.count();
        match key_files::keys(settings) {
            Ok(read) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = read.into();
                if files > 0 {
                    log::info!(files = files; "reloaded the files with secrets and keys");
                }
            }
            Err(error) => log::error!(
                "cannot read the keys for tokens again, the old ones stay in use: {error}"
            ),
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
            match decode::<Claims>(token, &key.material, &signature_only(key.algorithm)) {
                Ok(decoded) => return Some(self.rules.check(&decoded.claims)),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                // The signature is valid, and the claims are not an object.
                Err(_) => {
                    return Some(Err(AuthError::Invalid("the token's claims are invalid")));
                }
            }
        }
        None
    }
}

/// The library checks the signature with this algorithm only; [`ClaimRules`] has the requirements on the claims.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
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
