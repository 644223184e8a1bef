//! Reads the configured secrets and keys.

use super::keys::Key;
use super::{AuthSetupError, warn_if_short};
use crate::config::{AuthConfig, Secret};

/// Maximum size of a file with a secret or a key, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The configured keys, without those of `jwks`.
pub fn keys(config: &AuthConfig) -> Result<Vec<Key>, AuthSetupError> {
    let mut keys: Vec<_> = secrets(config)?.iter().map(Key::secret).collect();
    for path in &config.jwt_key {
        let invalid =
            |reason: String| AuthSetupError(format!("jwt_key: {} {reason}", path.display()));
        let text = read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        keys.extend(Key::from_pem(&text).map_err(|reason| invalid(reason.into()))?);
    }
    Ok(keys)
}

/// The configured secrets; those from files come last.
pub fn secrets(config: &AuthConfig) -> Result<Vec<Secret>, AuthSetupError> {
    let mut secrets = config.jwt_secret.clone();
    for secret in &secrets {
        warn_if_short(secret, "a secret in jwt_secret");
    }
    for path in &config.jwt_secret_file {
        let invalid = |reason: String| {
            AuthSetupError(format!("jwt_secret_file: {} {reason}", path.display()))
        };
        let text = read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let secret =
            Secret::new(without_line_end(&text)).ok_or_else(|| invalid("is empty".into()))?;
        warn_if_short(&secret, &path.display().to_string());
        secrets.push(secret);
    }
    Ok(secrets)
}

/// A secret without the line end that editors and `echo` append.
pub fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// Reads a file of up to [`MAX_FILE`] bytes.
pub fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    read_up_to(path, MAX_FILE)
}

/// Reads a file of up to `max` bytes.
pub fn read_up_to(path: &std::path::Path, max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::other(format!(
            "it has more than {max} bytes"
        )));
    }
    Ok(bytes)
}
