//! Issues tokens for tests: for the `token` command and for the links that the server prints.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::key_files::secrets;
use super::{AuthSetupError, generated_secret, ring_provider};
use crate::config::{Access, AuthConfig, Secret};
use crate::protocol::types::{is_erased_name, is_name};

/// Lifetime of the tokens in [`PageLinks`], in seconds.
const LINK_LIFETIME: u64 = 24 * 3600;
/// The users of [`PageLinks`]; the examples and the chat page use the same ones.
const USERS: [&str; 2] = ["8888", "6666"];

/// Issues a token for `user` that is valid for `seconds`, signed with the first configured secret or with the generated one in `file`.
/// Also returns a description of the secret.
///
/// # Errors
/// If there is no secret to sign with, or `user` is not a user id.
pub fn issue_token(
    access: Access,
    config: &AuthConfig,
    file: Option<&Path>,
    user: &str,
    seconds: u64,
) -> Result<(String, String), AuthSetupError> {
    let error = |reason: &str| Err(AuthSetupError::Failed(reason.to_owned()));
    if !is_name(user) {
        return error("a user id is 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -");
    }
    if is_erased_name(user) {
        return error("this user was erased; nobody can connect by a name of this form");
    }
    if let Some(secret) = secrets(config)?.first() {
        let name = match (config.jwt_secret.first(), config.jwt_secret_file.first()) {
            (None, Some(path)) => format!("the secret in {}", path.display()),
            _ => "the secret of --jwt-secret".to_owned(),
        };
        return Ok((sign(config, secret, user, seconds)?, name));
    }
    if access == Access::Tokens {
        return error(
            "tokens for a public key can be signed only with its private key; this command signs tokens with --jwt-secret, \
             --jwt-secret-file or the secret that the server generated",
        );
    }
    let Some(path) = file else {
        return error("a server with --store memory: keeps its secret in no file");
    };
    if let Some(secret) = generated_secret::load(path)? {
        return Ok((
            sign(config, &secret, user, seconds)?,
            format!("the generated secret in {}", path.display()),
        ));
    }
    // The command may run in another folder than the server.
    let looked_for = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let looked_for = looked_for.display();
    let hint =
        "name the store of the server (--store sqlite:PATH) or its secret (--jwt-secret-file)";
    Err(AuthSetupError::Failed(match access {
        Access::GeneratedSecret => format!(
            "the server generates its secret at its first start, next to its store; {looked_for} does not exist yet; {hint}"
        ),
        _ => format!(
            "with these settings there is no authentication, so clients need no token; if the server requires one, {hint}: \
             {looked_for} does not exist"
        ),
    }))
}

fn sign(
    config: &AuthConfig,
    secret: &Secret,
    user: &str,
    seconds: u64,
) -> Result<String, AuthSetupError> {
    ring_provider::install();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let mut claims = json!({"sub": user, "iat": now, "exp": now + seconds});
    if let Some(issuer) = config.jwt_issuer.first() {
        claims["iss"] = json!(issuer);
    }
    if let Some(audience) = config.jwt_audience.first() {
        claims["aud"] = json!(audience);
    }
    let key = EncodingKey::from_secret(secret.expose());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| AuthSetupError::Failed(format!("cannot sign a token: {error}")))
}

/// Links to the chat page for two users. Each contains a token that is valid for a day, so they are printed once and never logged.
pub struct PageLinks {
    tokens: [String; 2],
}

impl fmt::Debug for PageLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageLinks").finish_non_exhaustive()
    }
}

impl PageLinks {
    pub(super) fn new(config: &AuthConfig, secret: &Secret) -> Result<Self, AuthSetupError> {
        let [a, b] = USERS.map(|user| sign(config, secret, user, LINK_LIFETIME));
        Ok(Self { tokens: [a?, b?] })
    }

    /// The text to print for a server that listens on `address`. The token is in the fragment of the URL, which browsers do not send.
    pub fn text(&self, scheme: &str, address: SocketAddr, base_path: &str) -> String {
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = address.port();
        let link = |user: &str, to: &str, token: &str| {
            format!("  {scheme}://{host}:{port}{base_path}/?user={user}&to={to}#token={token}\n")
        };
        let [a, b] = USERS;
        format!(
            "This server can be reached from other machines, so it requires tokens. Links for two users, valid for one day (on \
             another machine, replace {host} with the name or address of this one):\n{}{}`dmwire token --user NAME` prints \
             further tokens; README.md describes how to use your own keys.\n",
            link(a, b, &self.tokens[0]),
            link(b, a, &self.tokens[1])
        )
    }
}
