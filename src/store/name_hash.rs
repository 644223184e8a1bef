//! Hashes of names of users that must be recognised after the names themselves have been removed.

use ring::hmac;

/// A keyed hash of a user's name. Without the key of the store it reveals nothing about the name.
pub type NameHash = [u8; 16];

/// Hashes the names of users with a key of a store. A cheap handle.
#[derive(Clone)]
pub struct NameHasher(hmac::Key);

impl std::fmt::Debug for NameHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameHasher").finish_non_exhaustive()
    }
}

impl NameHasher {
    /// Derives the key of the hashes from the key of a store.
    pub fn new(store_key: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, store_key);
        let derived = hmac::sign(&root, b"names of users");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The hash of a name.
    pub fn hash(&self, name: &str) -> NameHash {
        let hash = hmac::sign(&self.0, name.as_bytes());
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::NameHasher;

    #[test]
    fn a_hash_depends_on_the_name_and_the_key() {
        let (one, other) = (NameHasher::new(b"one"), NameHasher::new(b"other"));
        assert_eq!(one.hash("8888"), one.clone().hash("8888"));
        assert_ne!(one.hash("8888"), one.hash("6666"));
        assert_ne!(one.hash("8888"), other.hash("8888"));
    }
}
