//! Who may come in, and as whom: from what a request shows to an [`Identity`], without which no session can be built.
//!
//! What a token must be is said in PROTOCOL section 2. Tokens are JSON Web Tokens (RFC 7519); `jsonwebtoken` takes them
//! apart and judges their claims, `ring`, which TLS needs anyway, does the cryptography (`crypto`). Which algorithm counts is
//! a property of the key, never of the token (RFC 8725 section 3.1).

mod crypto;
mod generated_secret;
mod jwks;
mod key;
mod token;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use generated_secret::{Links, token};
pub use token::Tokens;

use crate::config::{Access, AuthConfig, Secret};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8192;

/// A user whose word is taken for it, or a token that was checked. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Arc<str>,
    /// When it stops to hold; `None`: never.
    expires: Option<SystemTime>,
}

impl Identity {
    /// The user.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// How long it still holds; `None`: for ever.
    pub fn holds_for(&self) -> Option<Duration> {
        let left = |expires: SystemTime| expires.duration_since(SystemTime::now());
        self.expires
            .map(|expires| left(expires).unwrap_or_default())
    }
}

/// Why somebody is not let in. What the client is told of it is less than what the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// There is no token.
    Missing,
    /// The token was good once.
    Expired,
    /// Anything else, in words for the log; they hold nothing of the token.
    Invalid(&'static str),
    /// The keys to check it with have not been found yet.
    NotReady,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no token",
            Self::Expired => "the token has expired",
            Self::Invalid(why) => why,
            Self::NotReady => "the keys to check tokens with are not there yet",
        })
    }
}

/// Keys, or what goes with them, that cannot be used; its text names the setting.
#[derive(Debug)]
pub struct AuthSetupError(String);

impl fmt::Display for AuthSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AuthSetupError {}

/// What the door asks for, ready to judge.
#[derive(Debug)]
pub enum Verifier {
    /// Nothing.
    Open,
    /// A token.
    Tokens(Box<Tokens>),
}

impl Verifier {
    /// Reads the keys that the settings name, and begins to fetch those that are elsewhere. Where the server is to have a
    /// secret of its own, [`Verifier::with_generated_secret`] comes once the store is open.
    ///
    /// # Errors
    /// A key that cannot be read or used.
    pub fn new(access: Access, config: &AuthConfig) -> Result<Self, AuthSetupError> {
        Ok(match access {
            Access::Tokens => Self::Tokens(Box::new(Tokens::new(config)?)),
            Access::Open | Access::GeneratedSecret => Self::Open,
        })
    }

    /// Asks for tokens that are signed with the server's own secret, if the settings want that: reads the secret, or makes it
    /// on the first start. The store must be open, whose lock keeps a second server from doing the same.
    ///
    /// # Errors
    /// A file that can be neither read nor made.
    pub fn with_generated_secret(
        self,
        access: Access,
        config: &AuthConfig,
        file: Option<&Path>,
    ) -> Result<(Self, Option<Links>), AuthSetupError> {
        if access != Access::GeneratedSecret {
            return Ok((self, None));
        }
        let secret = generated_secret::secret(file)?;
        let tokens = Box::new(Tokens::of_secret(config, &secret));
        Ok((Self::Tokens(tokens), Some(Links::new(config, &secret)?)))
    }

    /// Looks for keys again.
    pub fn refresh(&self) {
        if let Self::Tokens(tokens) = self {
            tokens.refresh();
        }
    }

    /// Judges a request that names `user`, or nobody, and shows `token`.
    ///
    /// # Errors
    /// [`AuthError`]; a token of somebody else than `user` is none of these, and for the caller to judge.
    pub async fn identify(
        &self,
        user: Option<&str>,
        token: Option<&str>,
    ) -> Result<Identity, AuthError> {
        match self {
            Self::Open => Ok(Identity {
                user: user.unwrap_or_default().into(),
                expires: None,
            }),
            Self::Tokens(tokens) => tokens.check(token.ok_or(AuthError::Missing)?).await,
        }
    }
}

/// A warning for secrets that can be guessed (RFC 7518 section 3.2).
fn warn_of_short(secret: &Secret, whose: &str) {
    if secret.expose().len() < 32 {
        log::warn!(
            "{whose} has fewer than 32 bytes and may be guessed from any token that it has signed; `openssl rand -hex 32` makes \
             a good one"
        );
    }
}
