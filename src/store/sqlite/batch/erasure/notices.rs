//! Gives each user who shares a conversation with an erased user one entry about the erasure.

use std::fmt::Write as _;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rusqlite::{OptionalExtension as _, params};

use super::super::{Batch, Result};
use super::{Erasure, is_placeholder};
use crate::store::sqlite::kinds;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::rooms::{conversation_of, is_room};
use crate::store::{ErasureStep, Recipient};

/// The columns of an entry about an erasure that are not text: it is of no conversation.
const NOTHING: i64 = 0;

/// The text of an entry about an erasure: the name that the user has got, and the hash of the former one.
pub fn text(renamed_to: &str, user_hash: &str) -> String {
    format!("{renamed_to} {user_hash}")
}

/// The hash of a former name for a user with this epoch, in hexadecimal digits.
fn user_hash(epoch: uuid::Uuid, name: &str) -> String {
    let text = format!("{}:{name}", epoch.hyphenated());
    let hash = digest(&SHA256, text.as_bytes());
    let mut digits = String::with_capacity(64);
    for byte in hash.as_ref() {
        // Writing into memory cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

impl Batch<'_> {
    /// The other users of direct conversations. The cursor is the last of them.
    pub(super) fn notify_direct(
        &mut self,
        erasure: &mut Erasure,
        limit: i64,
        step: &mut ErasureStep,
    ) -> Result<bool> {
        for _ in 0..limit {
            let next = self.next_direct(erasure.user, erasure.cursor[0])?;
            let Some((other, _)) = next else {
                return Ok(true);
            };
            self.notify_of_erasure(erasure, other, step)?;
            erasure.cursor[0] = other;
        }
        Ok(false)
    }

    /// Members of rooms that the user is a member of, or has written in. The cursor is the last complete room, and the last member of
    /// the next one.
    pub(super) fn notify_rooms(
        &mut self,
        erasure: &mut Erasure,
        limit: i64,
        step: &mut ErasureStep,
    ) -> Result<bool> {
        let mut left = limit;
        while left > 0 {
            let [after, member, ..] = erasure.cursor;
            let Some(room) = self.next_room(erasure.user, after)? else {
                return Ok(true);
            };
            let members: Vec<i64> = self
                .tx
                .prepare_cached(
                    "SELECT user FROM members WHERE room = ?1 AND user > ?2 ORDER BY user LIMIT ?3",
                )?
                .query_map([room, member, left], |row| row.get(0))?
                .collect::<Result<_>>()?;
            for member in &members {
                self.notify_of_erasure(erasure, *member, step)?;
            }
            let count = members.len() as i64;
            erasure.cursor = match members.last().filter(|_| count == left) {
                Some(last) => [after, *last, 0, 0],
                None => [room, 0, 0, 0],
            };
            left -= count.max(1);
        }
        Ok(false)
    }

    /// The next room that a user is a member of, or has written in.
    fn next_room(&self, user: i64, after: i64) -> Result<Option<i64>> {
        let joined: Option<i64> = self
            .tx
            .prepare_cached("SELECT min(room) FROM members WHERE user = ?1 AND room > ?2")?
            .query_row([user, after], |row| row.get(0))?;
        let written: Option<i64> = self
            .tx
            .prepare_cached(
                "SELECT conversation FROM messages INDEXED BY room_authors
                 WHERE sender = ?1 AND conversation < 0 AND conversation < ?2
                 ORDER BY conversation DESC LIMIT 1",
            )?
            .query_row([user, conversation_of(after)], |row| row.get(0))
            .optional()?;
        let written = written.filter(|n| is_room(*n)).map(conversation_of);
        Ok(joined.into_iter().chain(written).min())
    }

    /// Gives a user the entry, unless the user has it. A user without an inbox gets none, such as one in whose name only keys write.
    fn notify_of_erasure(
        &mut self,
        erasure: &mut Erasure,
        n: i64,
        step: &mut ErasureStep,
    ) -> Result<()> {
        if n == erasure.user {
            return Ok(());
        }
        let (id, generation): (Arc<str>, i64) = self
            .tx
            .prepare_cached("SELECT id, generation FROM users WHERE n = ?1")?
            .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(user) = self.find_user(&id)?.filter(|_| !is_placeholder(&id)) else {
            return Ok(());
        };
        if user.head == 0 && !self.has_connected(&id, user) {
            return Ok(());
        }
        let is_new = self
            .tx
            .prepare_cached(
                "INSERT INTO erasure_recipients (erasure, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?
            .execute([erasure.user, n])?;
        if is_new == 0 {
            return Ok(());
        }
        let hash = user_hash(self.epochs.of(generation), &erasure.name);
        let seq = user.head + 1;
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, kind, emoji) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
            )?
            .execute(params![
                n,
                signed(seq),
                erasure.at,
                NOTHING,
                kinds::ERASED,
                text(&erasure.renamed_to, &hash)
            ])?;
        self.inbox_grown(&id, 0);
        erasure.erased.notified += 1;
        step.entries.push(Recipient { user: id, seq });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_name_is_that_of_the_epoch_and_the_name() {
        // printf %s 00000000-0000-0000-0000-000000000001:8888 | sha256sum
        let expected = "3a54790c596ad628be2c2cad3f61ba0e12780baa14b1e3af3db4497b3bf1d121";
        assert_eq!(user_hash(uuid::Uuid::from_u128(1), "8888"), expected);
    }
}
