//! How many messages of each of its two users a conversation has. Each message carries the counts up to itself, so that the
//! messages between any two are counted without reading them.
//!
//! Counts do not begin at zero: only their differences matter. They never change. Messages that they include and that do not count
//! are subtracted ([`uncounted`]): retention removes messages from the start of a conversation, but keeps some for longer.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::Cache;
use super::pending::PendingLog;
use super::uncounted;

type Result<T> = rusqlite::Result<T>;

/// The number of messages of each user up to and including a message, and the latest time of these messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Messages of the user with the lower number. In the conversation of a user with oneself all messages are of this kind.
    pub low: i64,
    /// Messages of the user with the higher number.
    pub high: i64,
    /// The latest time, in milliseconds since 1970-01-01T00:00:00Z. It never decreases from one message to the next, although
    /// the clock may have been set back.
    pub latest: i64,
}

impl Counts {
    /// The counts before the first message.
    pub const NONE: Self = Self {
        low: 0,
        high: 0,
        latest: i64::MIN,
    };

    /// The counts of the next message, of the user with the lower number or of the other one.
    pub fn next(self, is_low: bool, sent_at: i64) -> Self {
        Self {
            low: self.low + i64::from(is_low),
            high: self.high + i64::from(!is_low),
            latest: self.latest.max(sent_at),
        }
    }

    /// The number of messages of both users. Of two messages of a conversation, the later one has the larger number.
    pub fn messages(self) -> i64 {
        self.low + self.high
    }

    /// By how much an earlier message has a later time than the message with these counts.
    pub fn behind(self, sent_at: i64) -> i64 {
        self.latest.saturating_sub(sent_at)
    }
}

/// The counts at the end of a conversation of two users, as far as it is in its table: those of the newest message, and of
/// messages after it that were removed.
pub fn newest(connection: &Connection, conversation: i64, pair: (i64, i64)) -> Result<Counts> {
    let newest = connection
        .prepare_cached(
            "SELECT n, low_count, high_count, sent_at + behind FROM messages
             WHERE conversation = ?1 ORDER BY n DESC LIMIT 1",
        )?
        .query_row([conversation], |row| {
            let counts = Counts {
                low: row.get(1)?,
                high: row.get(2)?,
                latest: row.get(3)?,
            };
            Ok((row.get::<_, i64>(0)?, counts))
        })
        .optional()?;
    let Some((n, counts)) = newest else {
        return Ok(Counts::NONE);
    };
    let removed = |user| uncounted::after(connection, (conversation, user, n));
    let is_of_two = pair.0 != pair.1;
    Ok(Counts {
        low: counts.low + removed(pair.0)?.removed,
        high: counts.high
            + if is_of_two {
                removed(pair.1)?.removed
            } else {
                0
            },
        latest: counts.latest,
    })
}

/// The numbers of messages of the user with the lower number and of the other one before the oldest message in the table.
/// `None`: there is no message.
pub fn before_oldest(connection: &Connection, conversation: i64) -> Result<Option<BeforeOldest>> {
    connection
        .prepare_cached(
            "SELECT n - 1, low_count - (sender <= recipient), high_count - (sender > recipient) FROM messages
             WHERE conversation = ?1 ORDER BY n LIMIT 1",
        )?
        .query_row([conversation], |row| {
            Ok(BeforeOldest {
                n: row.get(0)?,
                low: row.get(1)?,
                high: row.get(2)?,
            })
        })
        .optional()
}

/// The place before the oldest message of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct BeforeOldest {
    /// A number that is lower than that of the oldest message, by one.
    pub n: i64,
    pub low: i64,
    pub high: i64,
}

/// Records that a conversation has messages of one of its users, or none any more.
pub fn set_wrote(
    connection: &Connection,
    conversation: i64,
    is_low: bool,
    wrote: bool,
) -> Result<()> {
    let sql = if is_low {
        "UPDATE conversations SET low_wrote = ?2 WHERE n = ?1"
    } else {
        "UPDATE conversations SET high_wrote = ?2 WHERE n = ?1"
    };
    connection
        .prepare_cached(sql)?
        .execute(params![conversation, wrote])
        .map(drop)
}

/// Records which of the users of a conversation have messages left after some were removed. `removed`: the counts up to the newest
/// of these, with the messages after it that had been removed before. They are used if the table has no message any more. Returns
/// true if both had some before and one has none any more.
pub fn update_wrote(
    connection: &Connection,
    (cache, log): (&mut Cache, &PendingLog),
    pair: (i64, i64),
    removed: (i64, i64),
) -> Result<bool> {
    let Some(known) = cache.find_conversation(connection, log, pair.0, pair.1)? else {
        return Ok(false);
    };
    let mut lost = false;
    // The counts of the cache include messages in the log.
    let (low, high) = match before_oldest(connection, known.n)? {
        None => removed,
        Some(before) => {
            let removed = |user| uncounted::after(connection, (known.n, user, before.n));
            (
                before.low + removed(pair.0)?.removed,
                before.high + removed(pair.1)?.removed,
            )
        }
    };
    for (is_low, wrote, left) in [
        (true, known.low_wrote, known.counts.low > low),
        (false, known.high_wrote, known.counts.high > high),
    ] {
        if wrote && !left {
            set_wrote(connection, known.n, is_low, false)?;
            cache.set_wrote(pair, is_low, false);
            lost = known.is_mutual(pair.0, pair.1);
        }
    }
    Ok(lost)
}
