//! The secrets that sign requests, and the signatures (Standard Webhooks, "v1").

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::hmac::{HMAC_SHA256, Key, sign};

use crate::config::{encoding_fault, read_error};

/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// The length of a secret in bytes, as the specification requires.
const MIN_BYTES: usize = 24;
const MAX_BYTES: usize = 64;
/// The maximum number of secrets: each is a signature in every request.
const MAX_SECRETS: usize = 8;
/// The maximum size of the file in bytes.
const MAX_FILE: u64 = 64 << 10;

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secrets of a file.
#[derive(Debug)]
pub struct Secrets {
    file: PathBuf,
    /// Read for each request and replaced on SIGHUP. The lock is held for one clone or one replacement.
    keys: RwLock<Arc<[Key]>>,
}

impl Secrets {
    /// Reads the file.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn read(file: &Path) -> Result<Self, String> {
        Ok(Self {
            file: file.to_owned(),
            keys: RwLock::new(read(file)?.into()),
        })
    }

    /// Reads the file again. If it is invalid, the secrets that were read last stay in use.
    pub fn reload(&self) {
        match read(&self.file) {
            Ok(keys) => {
                log::info!(secrets = keys.len(); "secrets of webhooks loaded");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
            }
            Err(error) => log::error!("the secrets of webhooks stay as they were: {error}"),
        }
    }

    /// The value of `webhook-signature`: a signature with each secret.
    pub fn signatures(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.clone();
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let signatures = keys
            .iter()
            .map(|key| format!("v1,{}", STANDARD.encode(sign(key, &signed))));
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn read(file: &Path) -> Result<Vec<Key>, String> {
    use std::io::Read as _;
    let invalid = |why: String| format!("webhook_secret_file: {}: {why}", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    opened
        .and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| invalid(format!("cannot be read: {}", read_error(file, &error))))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid(format!("has more than {MAX_FILE} bytes")));
    }
    if let Some(fault) = encoding_fault(&bytes) {
        return Err(invalid(fault.to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("is not in UTF-8".to_owned()))?;
    parse(text).map_err(invalid)
}

/// The secrets of a text. The error does not repeat any of it.
fn parse(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid = |why: &str| format!("line {} {why}", number + 1);
        let encoded = line
            .strip_prefix(PREFIX)
            .ok_or_else(|| invalid("does not begin with whsec_"))?;
        let secret = BASE64
            .decode(encoded)
            .map_err(|_| invalid("is not whsec_ and a text in Base64"))?;
        if !(MIN_BYTES..=MAX_BYTES).contains(&secret.len()) {
            let why = format!(
                "has a secret of {} bytes; a secret has {MIN_BYTES} to {MAX_BYTES}",
                secret.len()
            );
            return Err(invalid(&why));
        }
        keys.push(Key::new(HMAC_SHA256, &secret));
    }
    match keys.len() {
        0 => Err("contains no secret: a secret is a line whsec_BASE64".to_owned()),
        1..=MAX_SECRETS => Ok(keys),
        count => Err(format!(
            "contains {count} secrets; at most {MAX_SECRETS} are supported"
        )),
    }
}

#[cfg(test)]
impl Secrets {
    /// Secrets without a file.
    pub fn of(text: &str) -> Self {
        Self {
            file: PathBuf::new(),
            keys: RwLock::new(parse(text).expect("a secret").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_request_is_signed_as_the_specification_says() {
        let secrets = Secrets::of("# now\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = secrets.signatures(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_file_has_a_secret_in_each_line() {
        let valid = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let count = |text: &str| parse(text).map(|keys| keys.len());
        assert_eq!(count(&format!("{valid}\r\n\n{valid}")), Ok(2));
        for invalid in [
            "",
            "# none",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La*aSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw two",
            &format!("{valid}\n").repeat(9),
        ] {
            let error = count(invalid).expect_err(invalid);
            assert!(!error.contains("MfKQ"), "{error}");
        }
    }
}
