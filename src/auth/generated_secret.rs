//! The secret that a server generates for itself if it needs tokens and no key is configured.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::key_files::read;
use super::{AuthSetupError, warn_if_short};
use crate::config::Secret;

/// Reads the secret, or generates it. Without a file (`--store memory:`) it lasts until the server stops.
pub fn load_or_generate(file: Option<&Path>) -> Result<Secret, AuthSetupError> {
    let Some(path) = file else {
        return generate()
            .map_err(|error| AuthSetupError::Failed(format!("cannot generate a secret: {error}")));
    };
    if let Some(secret) = load(path)? {
        warn_if_short(&secret, &path.display().to_string());
        return Ok(secret);
    }
    let failed = |error: io::Error| AuthSetupError::Failed(format!("{}: {error}", path.display()));
    let secret = generate().map_err(failed)?;
    save(path, &secret).map_err(failed)?;
    log::info!(file:% = path.display(); "generated a secret for tokens");
    Ok(secret)
}

/// Reads the secret; `None` if there is no file.
pub fn load(path: &Path) -> Result<Option<Secret>, AuthSetupError> {
    match read(path) {
        Ok(text) => Secret::from_text(&text)
            .map(Some)
            .map_err(|why| AuthSetupError::Invalid(format!("{}: the file {why}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AuthSetupError::Failed(format!(
            "{}: {error}",
            path.display()
        ))),
    }
}

/// 256 random bits as base64url text, so that the secret can be copied into other programs.
///
/// # Errors
/// If the system provides no random bytes.
pub fn generate() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system provides no random bytes"))?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    Secret::new(text.as_bytes()).ok_or_else(|| io::Error::other("the secret is empty"))
}

/// Writes the secret completely or not at all: a file truncated by a crash would be a secret that is easy to guess.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    // An earlier crash may have left the file. No other server writes it, because this one holds the store's lock.
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
