//! Revoked tokens: the tokens of a user that were issued up to a time are not accepted any more.
//!
//! The store has a time for each such user. So that a handshake needs no query, 64 bits of the hash of each name are in memory: only
//! if these are those of the user, the time is read. Beyond a maximum number of names, it is read for each handshake.
//!
//! A name is added before the commit of its revocation, and the sessions of the user are listed and closed after the commit. A session is
//! registered before it is checked. So a session either is in that list, or finds the revocation.

use std::collections::HashSet;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::auth::Identity;
use crate::readers::Readers;
use crate::store::{NameHash, NameHasher, Reader, StoreError};

/// The maximum number of names in memory, each of which takes up to 18 bytes.
const MAX_NAMES: usize = 1_000_000;

/// The revocations of a server. Its lock is held for one lookup or change.
#[derive(Debug)]
pub struct Revocations {
    hasher: NameHasher,
    readers: OnceLock<Readers>,
    /// The difference of clocks that is tolerated, in milliseconds.
    leeway_ms: i64,
    names: RwLock<Names>,
}

/// The users whose tokens may be revoked.
#[derive(Debug, Default)]
struct Names {
    hashes: HashSet<u64>,
    /// There are more names than [`MAX_NAMES`].
    is_incomplete: bool,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// It was issued before the tokens of its user were revoked.
    Revoked {
        /// In this time, in milliseconds, new tokens are accepted. `None`: they are already.
        retry_after_ms: Option<u64>,
    },
    /// The store could not be read.
    Unavailable,
}

impl Names {
    fn add(&mut self, name: &NameHash) {
        if self.hashes.len() < MAX_NAMES {
            self.hashes.insert(bits(name));
        } else {
            self.is_incomplete = true;
        }
    }
}

impl Revocations {
    /// No revocations of users whose names the store hashes with `hasher`.
    pub fn new(hasher: NameHasher, leeway_seconds: u64) -> Self {
        Self {
            hasher,
            readers: OnceLock::new(),
            leeway_ms: i64::try_from(leeway_seconds.saturating_mul(1000)).unwrap_or(i64::MAX),
            names: RwLock::default(),
        }
    }

    /// Reads the names of all users whose tokens are revoked.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn load(&self, reader: &mut dyn Reader) -> Result<(), StoreError> {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        reader.revocations(&mut |name| names.add(name))
    }

    /// Sets the readers that look up when the tokens of a user were revoked. Without them, such a lookup fails.
    pub fn set_readers(&self, readers: Readers) {
        drop(self.readers.set(readers));
    }

    /// The time up to which tokens are revoked by a revocation at `now`, both in milliseconds since 1970-01-01T00:00:00Z.
    pub fn until(&self, now: i64) -> i64 {
        now.saturating_add(self.leeway_ms)
    }

    /// A revocation of the user is about to be stored. When it is lifted, the name stays: the store is asked again.
    pub fn add(&self, user: &str) {
        let name = self.hasher.hash(user);
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.add(&name);
    }

    /// Checks the token of a registered session at `now`.
    ///
    /// # Errors
    /// [`RevocationError`]
    pub async fn check(&self, identity: &Identity, now: i64) -> Result<(), RevocationError> {
        if !identity.has_token() || !self.may_contain(identity.user()) {
            return Ok(());
        }
        let Some(readers) = self.readers.get() else {
            return Err(RevocationError::Unavailable);
        };
        let until = match readers.revoked_until(identity.user().clone()).await {
            Ok(Ok(until)) => until,
            Ok(Err(error)) => {
                log::error!("cannot read whether a token is revoked: {error}");
                return Err(RevocationError::Unavailable);
            }
            // The server shuts down.
            Err(_) => return Err(RevocationError::Unavailable),
        };
        match until {
            Some(until) if identity.was_issued_by(until) => {
                log::info!(user = &**identity.user(); "handshake rejected: the token was revoked");
                Err(RevocationError::Revoked {
                    retry_after_ms: retry_after(until, now),
                })
            }
            _ => Ok(()),
        }
    }

    fn may_contain(&self, user: &str) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.is_incomplete
            || !names.hashes.is_empty() && names.hashes.contains(&bits(&self.hasher.hash(user)))
    }
}

/// The part of a hash that is kept in memory.
fn bits(name: &NameHash) -> u64 {
    name.first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The time after `now` from which new tokens are accepted. Issuers round the time of issue down to seconds. `None`: it has come.
fn retry_after(until: i64, now: i64) -> Option<u64> {
    let accepted_from = until
        .div_euclid(1000)
        .saturating_add(1)
        .saturating_mul(1000);
    u64::try_from(accepted_from.saturating_sub(now))
        .ok()
        .filter(|left| *left > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_accepted_from_the_first_second_after_the_revoked_time() {
        assert_eq!(retry_after(2_500, 500), Some(2_500));
        assert_eq!(retry_after(2_000, 2_999), Some(1));
        assert_eq!(retry_after(2_000, 3_000), None);
        assert_eq!(retry_after(2_000, i64::MAX), None);
        assert_eq!(retry_after(i64::MAX, 0), Some(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn beyond_the_maximum_every_name_may_be_revoked() {
        let mut names = Names::default();
        names.hashes.extend(0..MAX_NAMES as u64 - 1);
        names.add(&[255; 16]);
        assert!(!names.is_incomplete && names.hashes.len() == MAX_NAMES);
        names.add(&[254; 16]);
        assert!(names.is_incomplete && names.hashes.len() == MAX_NAMES);
    }
}
