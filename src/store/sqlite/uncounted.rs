//! Messages that the counts of later messages ([`super::counts`]) include, but that do not count: deleted ones, and ones that
//! retention has removed although it keeps an earlier one.
//!
//! How many of them follow a message is a sum over a tree. Its leaves (level 0) are such messages; a node of level `l` has the sum
//! of the leaves whose numbers are the same but for the lowest `6 * l` bits. So a sum reads at most 63 nodes of each level, and a
//! change writes one node of each level, however many messages there are. Nodes before the oldest message of a conversation are
//! never read, and are removed.
//!
//! Removed messages between two kept ones are one leaf, whose number is that of any of them. So there are no more leaves than
//! messages.

use rusqlite::{Connection, params};

type Result<T> = rusqlite::Result<T>;

/// How many numbers are one on the next level, as bits.
const BITS: i64 = 6;
/// The highest level. Its nodes have 2^42 numbers each.
const TOP: i64 = 7;

/// Deleted messages, and ones that were removed between others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    pub deleted: i64,
    pub removed: i64,
}

impl Uncounted {
    /// One deleted message.
    pub const DELETED: Self = Self {
        deleted: 1,
        removed: 0,
    };

    /// The number of both.
    pub fn messages(self) -> i64 {
        self.deleted + self.removed
    }

    fn negative(self) -> Self {
        Self {
            deleted: -self.deleted,
            removed: -self.removed,
        }
    }
}

/// Adds to the leaf `n` of a conversation's messages of a user.
pub fn add(
    connection: &Connection,
    (conversation, user, n): (i64, i64, i64),
    change: Uncounted,
) -> Result<()> {
    let key = params![conversation, user, n, change.deleted, change.removed];
    connection
        .prepare_cached(
            "INSERT INTO uncounted (conversation, user, level, block, deleted, removed) VALUES
                (?1, ?2, 0, ?3, ?4, ?5), (?1, ?2, 1, ?3 >> 6, ?4, ?5), (?1, ?2, 2, ?3 >> 12, ?4, ?5),
                (?1, ?2, 3, ?3 >> 18, ?4, ?5), (?1, ?2, 4, ?3 >> 24, ?4, ?5), (?1, ?2, 5, ?3 >> 30, ?4, ?5),
                (?1, ?2, 6, ?3 >> 36, ?4, ?5), (?1, ?2, 7, ?3 >> 42, ?4, ?5)
             ON CONFLICT DO UPDATE SET deleted = deleted + ?4, removed = removed + ?5",
        )?
        .execute(key)?;
    if change.deleted < 0 || change.removed < 0 {
        connection
            .prepare_cached(
                "DELETE FROM uncounted WHERE conversation = ?1 AND user = ?2 AND deleted = 0 AND removed = 0
                 AND (level, block) IN (VALUES (0, ?3), (1, ?3 >> 6), (2, ?3 >> 12), (3, ?3 >> 18), (4, ?3 >> 24),
                    (5, ?3 >> 30), (6, ?3 >> 36), (7, ?3 >> 42))",
            )?
            .execute([conversation, user, n])?;
    }
    Ok(())
}

/// The messages of a user after message `n`.
pub fn after(
    connection: &Connection,
    (conversation, user, n): (i64, i64, i64),
) -> Result<Uncounted> {
    connection
        .prepare_cached(
            "WITH parts (level, first, last) AS (VALUES (0, ?3 + 1, ?3 | 63), (1, (?3 >> 6) + 1, (?3 >> 6) | 63),
                (2, (?3 >> 12) + 1, (?3 >> 12) | 63), (3, (?3 >> 18) + 1, (?3 >> 18) | 63),
                (4, (?3 >> 24) + 1, (?3 >> 24) | 63), (5, (?3 >> 30) + 1, (?3 >> 30) | 63),
                (6, (?3 >> 36) + 1, (?3 >> 36) | 63), (7, (?3 >> 42) + 1, ?4))
             SELECT coalesce(sum(u.deleted), 0), coalesce(sum(u.removed), 0)
             FROM parts AS p CROSS JOIN uncounted AS u ON u.conversation = ?1 AND u.user = ?2 AND u.level = p.level
                AND u.block BETWEEN p.first AND p.last",
        )?
        .query_row([conversation, user, n, i64::MAX], |row| {
            Ok(Uncounted {
                deleted: row.get(0)?,
                removed: row.get(1)?,
            })
        })
}

/// Makes one leaf of the messages of a user between the messages `before` and `end`, which were all removed. `uncounted`: messages
/// among them that no leaf has yet.
pub fn merge_removed(
    connection: &Connection,
    (conversation, user): (i64, i64),
    (before, end): (i64, i64),
    (leaf, messages): (i64, i64),
) -> Result<()> {
    let leaves: Vec<(i64, Uncounted)> = connection
        .prepare_cached(
            "SELECT block, deleted, removed FROM uncounted
             WHERE conversation = ?1 AND user = ?2 AND level = 0 AND block > ?3 AND block < ?4",
        )?
        .query_map([conversation, user, before, end], |row| {
            let counts = Uncounted {
                deleted: row.get(1)?,
                removed: row.get(2)?,
            };
            Ok((row.get(0)?, counts))
        })?
        .collect::<Result<_>>()?;
    let mut merged = Uncounted {
        deleted: 0,
        removed: messages,
    };
    for (block, counts) in leaves {
        add(connection, (conversation, user, block), counts.negative())?;
        merged.removed += counts.messages();
    }
    if merged.removed == 0 {
        return Ok(());
    }
    add(connection, (conversation, user, leaf), merged)
}

/// Removes the nodes before the oldest message `oldest` of a conversation; all of them if there is no message.
pub fn forget_before(
    connection: &Connection,
    conversation: i64,
    pair: (i64, i64),
    oldest: Option<i64>,
) -> Result<()> {
    let Some(oldest) = oldest else {
        return connection
            .prepare_cached("DELETE FROM uncounted WHERE conversation = ?1")?
            .execute([conversation])
            .map(drop);
    };
    for user in [pair.0, pair.1] {
        for level in 0..=TOP {
            connection
                .prepare_cached(
                    "DELETE FROM uncounted WHERE conversation = ?1 AND user = ?2 AND level = ?3 AND block < ?4",
                )?
                .execute([conversation, user, level, oldest >> (BITS * level)])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE uncounted (
        conversation INTEGER NOT NULL, user INTEGER NOT NULL, level INTEGER NOT NULL, block INTEGER NOT NULL,
        deleted INTEGER NOT NULL, removed INTEGER NOT NULL, PRIMARY KEY (conversation, user, level, block)
    ) STRICT, WITHOUT ROWID";

    #[test]
    fn the_sum_after_a_number_is_that_of_the_leaves_after_it() {
        let connection = Connection::open_in_memory().expect("it opens");
        connection
            .execute_batch(TABLE)
            .expect("the table is created");
        // Numbers of all magnitudes.
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64
        };
        let mut leaves = vec![0, 1, 63, 64, 65, 4095, 4096, 1 << 42, (1 << 48) - 1];
        for bits in [5, 8, 14, 20, 27, 31] {
            leaves.extend((0..40).map(|_| random() & ((1 << bits) - 1)));
        }
        for n in &leaves {
            add(&connection, (1, 2, *n), Uncounted::DELETED).expect("it is added");
            add(&connection, (1, 3, *n), Uncounted::DELETED).expect("it is added");
        }
        let check = |leaves: &[i64]| {
            for n in leaves {
                for n in [n - 1, *n, n + 1] {
                    let sum = after(&connection, (1, 2, n)).expect("it is read");
                    let expected = leaves.iter().filter(|leaf| **leaf > n).count();
                    assert_eq!(sum.deleted, expected as i64, "after {n}");
                }
            }
        };
        check(&leaves);
        let half = leaves.split_off(leaves.len() / 2);
        for n in half {
            add(&connection, (1, 2, n), Uncounted::DELETED.negative()).expect("it is removed");
        }
        check(&leaves);
        leaves.sort_unstable();
        let oldest = leaves[leaves.len() / 2];
        forget_before(&connection, 1, (2, 2), Some(oldest)).expect("they are removed");
        leaves.retain(|leaf| *leaf >= oldest);
        let sum = after(&connection, (1, 2, oldest - 1)).expect("it is read");
        assert_eq!(sum.deleted, leaves.len() as i64);
        for n in leaves {
            add(&connection, (1, 2, n), Uncounted::DELETED.negative()).expect("it is removed");
        }
        forget_before(&connection, 1, (2, 2), Some(i64::MAX)).expect("they are removed");
        let left =
            connection.query_row("SELECT count(*) FROM uncounted WHERE user = 2", (), |row| {
                row.get::<_, i64>(0)
            });
        assert_eq!(left.expect("it is read"), 0);
    }

    #[test]
    fn removed_messages_between_two_others_have_one_leaf() {
        let connection = Connection::open_in_memory().expect("it opens");
        connection
            .execute_batch(TABLE)
            .expect("the table is created");
        for n in [11, 12, 30] {
            add(&connection, (1, 2, n), Uncounted::DELETED).expect("it is added");
        }
        // 11 to 19 were removed, then 20 to 25: 15 messages of which 11 and 12 were deleted before.
        merge_removed(&connection, (1, 2), (10, 20), (19, 7)).expect("they are merged");
        merge_removed(&connection, (1, 2), (10, 26), (25, 6)).expect("they are merged");
        let sum = |n| after(&connection, (1, 2, n)).expect("it is read");
        let expected = Uncounted {
            deleted: 1,
            removed: 15,
        };
        assert_eq!(sum(10), expected);
        assert_eq!(sum(26), Uncounted::DELETED);
        assert_eq!(sum(30), Uncounted::default());
        let leaves = connection.query_row(
            "SELECT count(*) FROM uncounted WHERE level = 0",
            (),
            |row| row.get::<_, i64>(0),
        );
        assert_eq!(leaves.expect("it is read"), 2);
    }
}
