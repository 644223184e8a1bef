//! Secrets among the settings. They are never displayed.

use std::fmt;

use super::RawValue;
use super::key_text::key_fault;
use super::text_file::encoding_fault;

/// Bytes that only this server and the issuers of tokens may know.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of these bytes; `None` if there are none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// The secret in a text from a file or a setting: without the line end that editors and `echo` append. A text that looks like a secret
    /// with something added is rejected with the reason, because tokens are signed with the secret that its author sees. So is a key or a
    /// certificate: others than the issuers of tokens may have it.
    ///
    /// # Errors
    /// What is wrong with the text, as a continuation of its name.
    pub fn from_text(text: &[u8]) -> Result<Self, &'static str> {
        if let Some(fault) = encoding_fault(text) {
            return Err(fault);
        }
        if let Some(fault) = key_fault(text) {
            return Err(fault);
        }
        let line = text
            .strip_suffix(b"\n")
            .map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line));
        let invisible = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{FEFF}')
        };
        // Only the bytes at the ends matter. A secret that is not UTF-8 consists of any bytes.
        let shown = String::from_utf8_lossy(line);
        if !line.is_empty() && shown.ends_with(invisible) {
            return Err(
                "has blanks, line breaks or invisible characters at its end, beyond one line break; remove them",
            );
        }
        if shown.starts_with(invisible) {
            return Err(
                "has blanks, line breaks or invisible characters at its start; remove them",
            );
        }
        Self::new(line).ok_or("is empty")
    }

    /// The bytes, for cryptographic functions.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn list(values: &[RawValue]) -> Result<Vec<Self>, String> {
        let secret = |value: &RawValue| {
            Self::from_text(value.whole().as_bytes()).map_err(|why| format!("a secret {why}"))
        };
        values.iter().map(secret).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Takes the same time wherever two secrets of one length differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let differences = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0, |all, (a, b)| all | (a ^ b));
        self.0.len() == other.0.len() && differences == 0
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_displayed() {
        let secret = Secret::new(b"hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(not shown)");
        assert_eq!(secret.expose(), b"hunter2");
        assert!(Secret::new(b"").is_none());
    }

    #[test]
    fn secrets_are_equal_if_all_bytes_are() {
        let of = |text: &str| Secret::new(text.as_bytes()).unwrap();
        assert_eq!(of("abc"), of("abc"));
        for other in ["abd", "bbc", "ab", "abcd"] {
            assert_ne!(of("abc"), of(other));
        }
    }
}
