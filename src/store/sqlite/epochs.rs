//! The epochs of users: they identify the meaning of the numbers of an inbox.
//!
//! A user whose name an erased user had before begins with an empty inbox, whose entries have numbers that clients know from the
//! former one. So each row of `users` has a generation, the number of erasures before it was created, and the epochs of generations
//! differ. That of the first one is the epoch of the store.

use ring::hmac;
use rusqlite::{Connection, Result};
use uuid::{Builder, Uuid};

/// The generation of users who are created now, as an expression of SQL.
macro_rules! present_generation {
    () => {
        "coalesce((SELECT value FROM meta WHERE key = 'erasures'), 0)"
    };
}

pub(super) use present_generation;

/// The epochs of the users of a store. The key keeps clients from learning how many users were erased.
#[derive(Clone, Debug)]
pub struct Epochs {
    store: Uuid,
    key: hmac::Key,
}

impl Epochs {
    /// The epochs of a store with this epoch, whose key this one is derived from.
    pub fn new(store: Uuid, key: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = hmac::sign(&root, b"epochs of users");
        Self {
            store,
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    /// The epoch of the users of a generation.
    pub fn of(&self, generation: i64) -> Uuid {
        if generation == 0 {
            return self.store;
        }
        let mut context = hmac::Context::with_key(&self.key);
        context.update(self.store.as_bytes());
        context.update(&generation.to_be_bytes());
        let hash = context.sign();
        let bytes = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The generation of users who are created now.
pub fn generation_now(connection: &Connection) -> Result<i64> {
    connection
        .prepare_cached(concat!("SELECT ", present_generation!()))?
        .query_row((), |row| row.get(0))
}

/// Begins the next generation.
pub fn begin_generation(connection: &Connection) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('erasures', 1) ON CONFLICT DO UPDATE SET value = value + 1",
        )?
        .execute(())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_and_stores_have_epochs_of_their_own() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (one, other) = (Epochs::new(a, b"key"), Epochs::new(b, b"key"));
        assert_eq!(one.of(0), a);
        assert_eq!(one.of(1), Epochs::new(a, b"key").of(1));
        let all = [
            one.of(1),
            one.of(2),
            other.of(1),
            Epochs::new(a, b"").of(1),
            a,
            b,
        ];
        for (index, epoch) in all.iter().enumerate() {
            assert!(!all[..index].contains(epoch), "{index}");
        }
    }
}
