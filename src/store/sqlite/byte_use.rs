//! How many bytes a user has stored lately: a token bucket that is refilled evenly over a day (PROTOCOL section 8).
//!
//! The counts are kept in memory. A row of `byte_use` is written, with the messages that it counts, each time a user has stored a
//! certain part of the limit. So most users have no row and most messages write none, and a restart forgets no more than that
//! part. If a batch is rolled back, its counts are undone.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

type Result<T> = rusqlite::Result<T>;

/// Each message, edit and reaction counts as this many bytes in addition to its content, so that many small ones are limited as
/// well.
const ENTRY: usize = 64;
/// Milliseconds in which a bucket is refilled.
const DAY: f64 = 86_400_000.0;
/// A row is written when this part of the limit has been stored since the last one.
const SAVED_PART: f64 = 64.0;
/// A tolerance for rounding, in bytes.
const ROUNDING: f64 = 0.01;
/// The number of users in memory beyond which some are forgotten, and how many at once: more than one batch adds.
const MAX_USERS: usize = 100_000;
const FORGET: usize = 4096;

/// The bytes that users have stored lately, as far as they have been needed.
#[derive(Debug, Default)]
pub struct ByteUses {
    by_user: HashMap<i64, ByteUse>,
    /// What the users had before the present transaction has counted something, in reverse order to be put back.
    undo: Vec<(i64, ByteUse)>,
}

/// The present time, the limit per day, and whether the time is certain.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub now: i64,
    pub limit: u64,
    pub is_certain: bool,
}

impl ByteUses {
    /// The time in milliseconds after which a user may store content; `None`: it may be stored now.
    pub fn wait(
        &mut self,
        connection: &Connection,
        (user, content): (i64, &str),
        terms: Terms,
    ) -> Result<Option<u64>> {
        let bytes = match self.by_user.get(&user) {
            Some(bytes) => *bytes,
            None => ByteUse::load(connection, user, terms.now, terms.is_certain)?,
        };
        // If the clock was set back, the refill continues from now.
        let bytes = bytes.not_after(terms.now);
        self.by_user.insert(user, bytes);
        Ok(bytes.wait(cost(content), terms.now, terms.limit))
    }

    /// Counts content that [`ByteUses::wait`] has allowed and that is stored now.
    pub fn add(
        &mut self,
        connection: &Connection,
        (user, content): (i64, &str),
        terms: Terms,
    ) -> Result<()> {
        let Some(bytes) = self.by_user.get_mut(&user) else {
            return Ok(());
        };
        self.undo.push((user, *bytes));
        bytes.add(connection, user, (cost(content), terms.now, terms.limit))
    }

    /// Forgets some users if there are too many, within a transaction: what the table does not have of them is written.
    pub fn shrink(&mut self, connection: &Connection) -> Result<()> {
        if self.by_user.len() <= MAX_USERS {
            return Ok(());
        }
        let some: Vec<(i64, ByteUse)> = self
            .by_user
            .iter()
            .map(|(user, bytes)| (*user, *bytes))
            .take(FORGET)
            .collect();
        for (user, bytes) in some {
            if bytes.unsaved > 0.0 {
                bytes.save(connection, user)?;
            }
            self.undo.push((user, bytes));
            self.by_user.remove(&user);
        }
        Ok(())
    }

    /// The transaction was committed.
    pub fn committed(&mut self) {
        self.undo.clear();
    }

    /// The transaction was rolled back.
    pub fn rolled_back(&mut self) {
        while let Some((user, bytes)) = self.undo.pop() {
            self.by_user.insert(user, bytes);
        }
        // The table has the others. Some of these users may have been created by the transaction.
        self.by_user.retain(|_, bytes| bytes.unsaved > 0.0);
    }

    /// A user was removed, and another one may get the number.
    pub fn forget(&mut self, user: i64) {
        self.by_user.remove(&user);
    }
}

/// The bytes that a user has stored, less what has been refilled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ByteUse {
    used: f64,
    /// When `used` was computed, in milliseconds since 1970-01-01T00:00:00Z.
    at: i64,
    /// What the table does not have yet.
    unsaved: f64,
}

/// What the content of a message, an edit or a reaction counts as.
fn cost(content: &str) -> f64 {
    (content.len() + ENTRY) as f64
}

impl ByteUse {
    /// Reads a user's row. While the present time is uncertain, nothing has been refilled since it was written.
    fn load(connection: &Connection, n: i64, now: i64, is_certain: bool) -> Result<Self> {
        let row: Option<(f64, i64)> = connection
            .prepare_cached("SELECT used, at FROM byte_use WHERE user = ?1")?
            .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (used, saved_at) = row.unwrap_or((0.0, now));
        Ok(Self {
            used,
            at: if is_certain { saved_at } else { now },
            unsaved: 0.0,
        })
    }

    /// The same bytes, computed at `now` at the latest.
    fn not_after(self, now: i64) -> Self {
        Self {
            at: self.at.min(now),
            ..self
        }
    }

    /// The bytes in use. If the clock was set back, none have been refilled.
    fn used_at(&self, now: i64, limit: u64) -> f64 {
        let passed = now.saturating_sub(self.at).max(0);
        (self.used - passed as f64 * limit as f64 / DAY).max(0.0)
    }

    /// The time in milliseconds after which `cost` more bytes may be stored; `None`: they may be stored now. Content that is
    /// larger than the limit may be stored when nothing is in use.
    fn wait(&self, cost: f64, now: i64, limit: u64) -> Option<u64> {
        let used = self.used_at(now, limit);
        let excess = (used + cost - limit as f64).min(used);
        // Positive.
        #[allow(clippy::cast_sign_loss)]
        (excess > ROUNDING).then(|| (excess * DAY / limit as f64).ceil() as u64)
    }

    /// Counts bytes that are stored, and writes the user's row if it is due.
    fn add(
        &mut self,
        connection: &Connection,
        user: i64,
        (cost, now, limit): (f64, i64, u64),
    ) -> Result<()> {
        self.used = self.used_at(now, limit) + cost;
        self.at = now;
        self.unsaved += cost;
        if self.unsaved >= limit as f64 / SAVED_PART {
            self.save(connection, user)?;
            self.unsaved = 0.0;
        }
        Ok(())
    }

    /// Writes the user's row.
    fn save(&self, connection: &Connection, user: i64) -> Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO byte_use (user, used, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET used = ?2, at = ?3",
            )?
            .execute(params![user, self.used, self.at])
            .map(drop)
    }
}

/// Removes the rows of users whose buckets are full again.
pub fn remove_full(connection: &Connection, now: i64) -> Result<()> {
    let day_ago = now.saturating_sub(DAY as i64);
    connection
        .prepare_cached("DELETE FROM byte_use WHERE at < ?1")?
        .execute([day_ago])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 86_400;

    fn used(used: f64) -> ByteUse {
        ByteUse {
            used,
            at: 1_000_000,
            unsaved: 0.0,
        }
    }

    #[test]
    fn after_the_wait_the_bytes_may_be_stored() {
        // A byte a second.
        let bucket = used(86_000.0);
        assert_eq!(bucket.wait(400.0, 1_000_000, LIMIT), None);
        assert_eq!(bucket.wait(500.0, 1_000_000, LIMIT), Some(100_000));
        assert_eq!(bucket.wait(500.0, 1_099_500, LIMIT), Some(500));
        assert_eq!(bucket.wait(500.0, 1_100_000, LIMIT), None);
        for limit in [1, 1000, 268_435_456, 1 << 50] {
            let full = used(limit as f64);
            let wait = full.wait(164.0, 1_000_000, limit).expect("it is full");
            let at = 1_000_000 + i64::try_from(wait).expect("a time");
            assert_eq!(full.wait(164.0, at, limit), None, "{limit}");
        }
    }

    #[test]
    fn content_beyond_the_limit_waits_until_nothing_is_in_use() {
        assert_eq!(used(0.0).wait(1e6, 1_000_000, LIMIT), None);
        assert_eq!(used(1.0).wait(1e6, 1_000_000, LIMIT), Some(1000));
    }

    #[test]
    fn a_clock_that_was_set_back_neither_refills_nor_locks() {
        let mut bucket = used(86_400.0).not_after(0);
        assert_eq!(bucket.wait(1.0, 0, LIMIT), Some(1000));
        assert_eq!(bucket.wait(1.0, 1000, LIMIT), None);
        let connection = Connection::open_in_memory().expect("it opens");
        bucket
            .add(&connection, 1, (1.0, 0, LIMIT))
            .expect("no row is due");
        assert!((bucket.used_at(0, LIMIT) - 86_401.0).abs() < ROUNDING);
        assert_eq!(bucket.wait(1.0, 2000, LIMIT), None);
    }

    #[test]
    fn users_in_memory_are_bounded_and_what_they_have_stored_is_kept() {
        let connection = Connection::open_in_memory().expect("it opens");
        let table = "CREATE TABLE byte_use (user INTEGER PRIMARY KEY, used REAL NOT NULL, at INTEGER NOT NULL)";
        connection
            .execute_batch(table)
            .expect("the table is created");
        let terms = Terms {
            now: 1_000_000,
            limit: LIMIT,
            is_certain: true,
        };
        let mut uses = ByteUses::default();
        let end = MAX_USERS as i64 + 2 * FORGET as i64;
        for user in 0..end {
            // Too little to be written at once.
            for _ in 0..3 {
                let wait = uses.wait(&connection, (user, "x"), terms);
                assert_eq!(wait.expect("it is read"), None);
                uses.add(&connection, (user, "x"), terms)
                    .expect("it is counted");
            }
            if user % 1000 == 0 {
                uses.shrink(&connection).expect("it is written");
                uses.committed();
            }
        }
        assert!(uses.by_user.len() <= MAX_USERS + 1000);
        assert!(uses.undo.len() <= 3000);
        for user in (0..end).step_by(997) {
            let wait = uses.wait(&connection, (user, "x"), terms);
            assert_eq!(wait.expect("it is read"), None);
            assert!(
                (uses.by_user[&user].used - 195.0).abs() < ROUNDING,
                "{user}"
            );
        }
    }
}
