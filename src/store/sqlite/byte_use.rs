//! How many bytes a user has stored lately: a token bucket that is refilled evenly over a day (PROTOCOL section 8).
//!
//! The counts are kept in the cache of users. A row of `byte_use` is written, with the messages that it counts, each time a user
//! has stored a certain part of the limit. So most users have no row and most messages write none, and a crash forgets no more
//! than that part.

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

/// The bytes that a user has stored, less what has been refilled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ByteUse {
    used: f64,
    /// When `used` was computed, in milliseconds since 1970-01-01T00:00:00Z.
    at: i64,
    /// What the table does not have yet.
    unsaved: f64,
}

/// What the content of a message, an edit or a reaction counts as.
pub fn cost(content: &str) -> f64 {
    (content.len() + ENTRY) as f64
}

impl ByteUse {
    /// Reads a user's row. While the present time is uncertain, nothing has been refilled since it was written.
    pub fn load(connection: &Connection, n: i64, now: i64, is_certain: bool) -> Result<Self> {
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
    pub fn not_after(self, now: i64) -> Self {
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
    pub fn wait(&self, cost: f64, now: i64, limit: u64) -> Option<u64> {
        let used = self.used_at(now, limit);
        let excess = (used + cost - limit as f64).min(used);
        // Positive.
        #[allow(clippy::cast_sign_loss)]
        (excess > ROUNDING).then(|| (excess * DAY / limit as f64).ceil() as u64)
    }

    /// Counts bytes that are stored, and writes the user's row if it is due.
    pub fn add(
        &mut self,
        connection: &Connection,
        user: i64,
        (cost, now, limit): (f64, i64, u64),
    ) -> Result<()> {
        self.used = self.used_at(now, limit) + cost;
        self.at = now;
        self.unsaved += cost;
        if self.unsaved >= limit as f64 / SAVED_PART {
            connection
                .prepare_cached(
                    "INSERT INTO byte_use (user, used, at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET used = ?2, at = ?3",
                )?
                .execute(params![user, self.used, now])?;
            self.unsaved = 0.0;
        }
        Ok(())
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
}
