//! The server's own secret, for those who have none, and tokens for trying out.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::token::{read, secrets, without_line_end};
use super::{AuthSetupError, crypto, warn_of_short};
use crate::config::{Access, AuthConfig, Secret};
use crate::protocol::types::is_name;

/// How long the tokens in [`Links`] hold, in seconds.
const LINKS_HOLD: u64 = 24 * 3600;
/// The users of [`Links`], who are also those of the chat page.
const USERS: [&str; 2] = ["8888", "6666"];

/// Reads the server's own secret, or makes it. Without a store that lasts it does not last either.
pub(super) fn secret(file: Option<&Path>) -> Result<Secret, AuthSetupError> {
    let Some(path) = file else {
        return made().map_err(|error| AuthSetupError(format!("no secret can be made: {error}")));
    };
    let wrong = |error: io::Error| AuthSetupError(format!("{}: {error}", path.display()));
    match kept(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        kept => {
            let secret = kept.map_err(wrong)?;
            warn_of_short(&secret, &path.display().to_string());
            return Ok(secret);
        }
    }
    let secret = made().map_err(wrong)?;
    keep(path, &secret).map_err(wrong)?;
    log::info!(file:% = path.display(); "made a secret for tokens");
    Ok(secret)
}

fn kept(path: &Path) -> io::Result<Secret> {
    let text = read(path)?;
    Secret::new(without_line_end(&text)).ok_or_else(|| io::Error::other("it has no secret in it"))
}

/// 256 random bits, in letters that can be handed on as they are.
fn made() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    let random = SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    Secret::new(text.as_bytes()).ok_or_else(|| io::Error::other("no bytes"))
}

/// Whole or not at all: a file cut short by a crash would be a secret that is easily guessed.
fn keep(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    // What an earlier crash left: the store's lock says that nobody else is at work.
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part)?;
    file.write_all(secret.expose())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(part, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A token of `user` that holds for `seconds`, signed with the first secret of the settings, or with the server's own; and
/// which of them it was, in words.
///
/// # Errors
/// Where there is no secret to sign with, or `user` is no user id.
pub fn token(
    access: Access,
    config: &AuthConfig,
    file: Option<&Path>,
    user: &str,
    seconds: u64,
) -> Result<(String, String), AuthSetupError> {
    let error = |what: &str| Err(AuthSetupError(what.to_owned()));
    if !is_name(user) {
        return error("a user id is 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -");
    }
    if let Some(secret) = secrets(config)?.first() {
        let name = match (config.jwt_secret.first(), config.jwt_secret_file.first()) {
            (None, Some(path)) => format!("the secret in {}", path.display()),
            _ => "the secret of --jwt-secret".to_owned(),
        };
        return Ok((signed(config, secret, user, seconds)?, name));
    }
    if access == Access::Tokens {
        return error(
            "only who has the private key can sign tokens for a public one; a token can be made here for --jwt-secret, \
             --jwt-secret-file and the server's own secret",
        );
    }
    let Some(path) = file else {
        return error("the secret of a server with --store memory: is in no file");
    };
    match kept(path) {
        Ok(secret) => Ok((
            signed(config, &secret, user, seconds)?,
            format!("the server's own secret in {}", path.display()),
        )),
        Err(found) if found.kind() != io::ErrorKind::NotFound => {
            Err(AuthSetupError(format!("{}: {found}", path.display())))
        }
        Err(_) if access == Access::GeneratedSecret => Err(AuthSetupError(format!(
            "the server makes its secret when it first starts, beside its store (--store), and {} is not there yet",
            path.display()
        ))),
        Err(_) => error("with these settings there is no authentication, and nobody needs a token"),
    }
}

fn signed(
    config: &AuthConfig,
    secret: &Secret,
    user: &str,
    seconds: u64,
) -> Result<String, AuthSetupError> {
    crypto::install();
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
        .map_err(|error| AuthSetupError(format!("no token can be made: {error}")))
}

/// Links to the chat page for two users, ready to be opened. Whoever has one is that user for a day, which is what they are
/// for: so they are printed once, and logged nowhere.
pub struct Links {
    tokens: [String; 2],
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

impl Links {
    pub(super) fn new(config: &AuthConfig, secret: &Secret) -> Result<Self, AuthSetupError> {
        let [a, b] = USERS.map(|user| signed(config, secret, user, LINKS_HOLD));
        Ok(Self { tokens: [a?, b?] })
    }

    /// What to print, for a server that listens there. The token stands in the fragment, which browsers keep to themselves.
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
            "This server asks for tokens, as others than this machine can reach it. For a first try, as two users, for a day \
             (from elsewhere, with this machine's name or address in place of {host}):\n{}{}`dmwire token --user NAME` makes \
             more; README.md says how to bring your own.\n",
            link(a, b, &self.tokens[0]),
            link(b, a, &self.tokens[1])
        )
    }
}
