//! Secrets among the settings. They are never displayed.

use std::fmt;

use super::RawValue;

/// Bytes that only this server and the issuers of tokens may know.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of these bytes; `None` if there are none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// The bytes, for cryptographic functions.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn list(values: &[RawValue]) -> Result<Vec<Self>, String> {
        let secret = |value: &RawValue| Self::new(value.as_str().as_bytes());
        let secrets: Option<Vec<_>> = values.iter().map(secret).collect();
        secrets.ok_or_else(|| "a secret is empty".to_owned())
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
