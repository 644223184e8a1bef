//! The cursors of lists of conversations, and of members. A cursor carries the number of a message, which counts the messages of the
//! whole server, or of a user, so it is encrypted: with the construction of SIV (RFC 5297), on HMAC-SHA-256. A keyed hash of the user and the number
//! authenticates the number, and is the initial value from which the bits are derived that the number is encrypted with.

use ring::hmac;
use rusqlite::{Connection, Result};
use uuid::Uuid;

/// The bytes of a number, and of the hash.
const HALF: usize = 8;

/// What a cursor is valid for: a user, and a room whose members the user lists (0: the user's conversations).
pub type Scope = (i64, i64);

/// The key of a store's cursors.
#[derive(Clone, Debug)]
pub struct CursorKey(hmac::Key);

impl CursorKey {
    /// Derives the key from the key of the store.
    pub fn read(connection: &Connection) -> Result<Self> {
        let key: Vec<u8> =
            connection.query_row("SELECT value FROM meta WHERE key = 'key'", (), |row| {
                row.get(0)
            })?;
        let root = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let derived = hmac::sign(&root, b"cursors of lists of conversations");
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())))
    }

    /// The cursor at a message, or at a member.
    pub fn seal(&self, scope: Scope, n: i64) -> Uuid {
        let number = n.to_be_bytes();
        let hash = self.half("hash", scope, number);
        self.join(scope, hash, number)
    }

    /// The number in a cursor; `None`: it is not a cursor of this scope.
    pub fn open(&self, scope: Scope, cursor: Uuid) -> Option<i64> {
        let hash = *cursor.as_bytes().first_chunk()?;
        let encrypted = *cursor.as_bytes().last_chunk()?;
        // Encrypting twice with the same bits decrypts.
        let decrypted = self.join(scope, hash, encrypted);
        let n = i64::from_be_bytes(*decrypted.as_bytes().last_chunk()?);
        (self.seal(scope, n) == cursor).then_some(n)
    }

    /// The hash, followed by the number, encrypted.
    fn join(&self, scope: Scope, hash: [u8; HALF], number: [u8; HALF]) -> Uuid {
        let bits = self.half("encryption", scope, hash);
        let mut bytes = [0; 2 * HALF];
        bytes[..HALF].copy_from_slice(&hash);
        for (index, byte) in bytes[HALF..].iter_mut().enumerate() {
            *byte = number[index] ^ bits[index];
        }
        Uuid::from_bytes(bytes)
    }

    /// Half of a keyed hash for a purpose.
    fn half(&self, purpose: &str, (user, room): Scope, data: [u8; HALF]) -> [u8; HALF] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&user.to_be_bytes());
        context.update(&room.to_be_bytes());
        context.update(&data);
        context.update(purpose.as_bytes());
        let hash = context.sign();
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_only_with_its_key_and_for_its_user() {
        let key = |bytes: &[u8]| CursorKey(hmac::Key::new(hmac::HMAC_SHA256, bytes));
        let (one, other) = (key(b"one"), key(b"other"));
        for n in [0, 1, 2, 1 << 40, i64::MAX] {
            let cursor = one.seal((7, 0), n);
            assert_eq!(one.open((7, 0), cursor), Some(n));
            assert_eq!(one.open((8, 0), cursor), None);
            assert_eq!(one.open((7, 1), cursor), None);
            assert_eq!(other.open((7, 0), cursor), None);
            for bit in 0..128 {
                let changed = Uuid::from_u128(cursor.as_u128() ^ 1 << bit);
                assert_eq!(one.open((7, 0), changed), None);
            }
            assert!(!cursor.as_bytes().ends_with(&n.to_be_bytes()));
            assert_ne!(one.seal((8, 0), n).as_bytes()[8..], cursor.as_bytes()[8..]);
        }
    }
}
