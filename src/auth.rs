//! Authentication: from the token of a request to an [`Identity`], which every session requires.
//!
//! PROTOCOL section 2 defines the tokens. They are JSON Web Tokens (RFC 7519). `jsonwebtoken` parses them and validates their claims,
//! and `ring`, which TLS needs anyway, verifies their signatures (`ring_provider`). The algorithm is a property of the key, never of the
//! token (RFC 8725 section 3.1).

mod claims;
mod generated_secret;
mod issue;
mod jwks;
mod key_files;
mod keys;
mod ring_provider;
mod verifier;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use generated_secret::{generate as generate_secret, save as save_secret};
pub use issue::{PageLinks, issue_token};
pub(crate) use key_files::{invalid as invalid_file, read_text};
pub use verifier::TokenVerifier;

use self::jwks::Undecided;
use crate::config::{Access, AuthConfig, Secret};

/// Maximum length of a token, in bytes.
pub const MAX_TOKEN: usize = 8192;
/// Maximum lifetime of a token, in seconds: ten years.
pub const MAX_LIFETIME: u64 = 3653 * 86_400;

/// An authenticated user, or any user if authentication is off. Only this module can create one.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Arc<str>,
    /// The expiry of the token; `None` without one.
    expires: Option<SystemTime>,
    /// When the token was issued, in milliseconds since 1970-01-01T00:00:00Z; `None`: it does not say so.
    issued_at: Option<i64>,
}

impl Identity {
    /// The user.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The time until the identity expires; `None` if it never does.
    pub fn expires_in(&self) -> Option<Duration> {
        let left = |expires: SystemTime| expires.duration_since(SystemTime::now());
        self.expires
            .map(|expires| left(expires).unwrap_or_default())
    }

    /// False: authentication is off.
    pub fn has_token(&self) -> bool {
        self.expires.is_some()
    }

    /// True if the token may have been issued up to this time, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn was_issued_by(&self, time: i64) -> bool {
        self.issued_at.is_none_or(|issued_at| issued_at <= time)
    }
}

/// The reason why a client is not authenticated. The text is for the log; the client gets fewer details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no token.
    #[error("no token")]
    Missing,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// Any other reason. The text contains nothing of the token.
    #[error("{0}")]
    Invalid(&'static str),
    /// The key of the token is not known, and may be newer than the keys that were fetched last.
    #[error("the token's key is not known, and the keys cannot be fetched again yet")]
    Undecided {
        /// When another attempt makes sense, in milliseconds.
        retry_after_ms: u64,
    },
}

impl From<Undecided> for AuthError {
    fn from(Undecided(left): Undecided) -> Self {
        let ms = left.as_millis().try_into().unwrap_or(u64::MAX);
        Self::Undecided {
            retry_after_ms: ms.max(1),
        }
    }
}

/// A key or a secret cannot be used; the text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// A file cannot be read, or another operation has failed.
    #[error("{0}")]
    Failed(String),
    /// The content of a file is not what the setting requires.
    #[error("{0}")]
    Invalid(String),
}

impl AuthSetupError {
    /// Whether another attempt fails as well, unless somebody changes the file.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

/// Authenticates clients.
#[derive(Debug)]
pub enum Verifier {
    /// Authentication is off.
    Open,
    /// A token is required.
    Tokens(Box<TokenVerifier>),
}

impl Verifier {
    /// Reads the configured keys and starts to fetch remote ones. With [`Access::GeneratedSecret`], call
    /// [`Verifier::with_generated_secret`] after the store is opened.
    ///
    /// # Errors
    /// If a key cannot be read or used.
    pub fn new(access: Access, config: &AuthConfig) -> Result<Self, AuthSetupError> {
        Ok(match access {
            Access::Tokens => Self::Tokens(Box::new(TokenVerifier::new(config)?)),
            Access::Open | Access::GeneratedSecret => Self::Open,
        })
    }

    /// Requires tokens signed with the generated secret, if the settings say so. Reads the secret, or generates it at the first start.
    /// The store must be open: its lock prevents a second server from generating another secret.
    ///
    /// # Errors
    /// If the file can be neither read nor created.
    pub fn with_generated_secret(
        self,
        access: Access,
        config: &AuthConfig,
        file: Option<&Path>,
    ) -> Result<(Self, Option<PageLinks>), AuthSetupError> {
        if access != Access::GeneratedSecret {
            return Ok((self, None));
        }
        let secret = generated_secret::load_or_generate(file)?;
        let verifier = Box::new(TokenVerifier::with_secret(config, &secret));
        let links = PageLinks::new(config, &secret)?;
        Ok((Self::Tokens(verifier), Some(links)))
    }

    /// Reads and fetches the keys again.
    pub fn refresh(&self) {
        if let Self::Tokens(verifier) = self {
            verifier.refresh();
        }
    }

    /// Authenticates a request with `token`. Without authentication the identity is `user`, the user that the request names.
    ///
    /// # Errors
    /// [`AuthError`]. A valid token of another user than `user` is not an error here; the caller compares the two.
    pub async fn authenticate(
        &self,
        user: Option<&str>,
        token: Option<&str>,
    ) -> Result<Identity, AuthError> {
        match self {
            Self::Open => Ok(Identity {
                user: user.unwrap_or_default().into(),
                expires: None,
                issued_at: None,
            }),
            Self::Tokens(verifier) => verifier.verify(token.ok_or(AuthError::Missing)?).await,
        }
    }
}

/// Warns of a secret that can be found by brute force (RFC 7518 section 3.2).
fn warn_if_short(secret: &Secret, name: &str) {
    if secret.expose().len() < 32 {
        log::warn!(
            "{name} has fewer than 32 bytes; a client can find it by brute force from any token signed with it. `openssl rand -hex 32` \
             generates a good one"
        );
    }
}
