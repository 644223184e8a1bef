//! Reads the configured secrets and keys.

use std::fmt::Display;
use std::path::Path;

use super::keys::Key;
use super::{AuthSetupError, warn_if_short};
use crate::config::{AuthConfig, Secret, encoding_fault, read_error};

/// Maximum size of a file with a secret or a key, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The configured keys, without those of `jwks`.
pub fn keys(config: &AuthConfig) -> Result<Vec<Key>, AuthSetupError> {
    let mut keys: Vec<_> = secrets(config)?.iter().map(Key::secret).collect();
    for path in &config.jwt_key {
        let text = read_text("jwt_key", path)?;
        keys.extend(Key::from_pem(&text).map_err(|why| invalid("jwt_key", path, why))?);
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
        let text = read_text("jwt_secret_file", path)?;
        let secret =
            Secret::from_text(&text).map_err(|why| invalid("jwt_secret_file", path, why))?;
        warn_if_short(&secret, &path.display().to_string());
        secrets.push(secret);
    }
    Ok(secrets)
}

/// Reads the file of a setting, which has to be text.
pub fn read_text(setting: &str, path: &Path) -> Result<Vec<u8>, AuthSetupError> {
    let text = read(path).map_err(|error| {
        // The command may run in another folder than the one that the operator expects.
        let looked_for = match std::path::absolute(path) {
            Ok(whole) if path.is_relative() => {
                format!("; it was looked for at {}", whole.display())
            }
            _ => String::new(),
        };
        AuthSetupError::Failed(format!(
            "{setting}: {} cannot be read: {}{looked_for}",
            path.display(),
            read_error(path, &error)
        ))
    })?;
    match encoding_fault(&text) {
        Some(fault) => Err(invalid(setting, path, fault)),
        None => Ok(text),
    }
}

/// The error for the content of the file of a setting.
pub fn invalid(setting: &str, path: &Path, why: impl Display) -> AuthSetupError {
    AuthSetupError::Invalid(format!("{setting}: {} {why}", path.display()))
}

/// Reads a file of up to [`MAX_FILE`] bytes.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    read_up_to(path, MAX_FILE)
}

/// Reads a file of up to `max` bytes.
pub fn read_up_to(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
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
