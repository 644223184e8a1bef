//! How many messages of each of its two users a conversation has. Each message carries the counts up to itself, so that the
//! messages between any two are counted without reading them.
//!
//! Counts do not begin at zero: only their differences matter. Retention removes messages from the start of a conversation, and
//! corrects the counts of those before a removed message if it keeps any.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::Cache;
use super::pending::PendingLog;

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

/// The counts of the newest message that a conversation has in its table.
pub fn newest(connection: &Connection, conversation: i64) -> Result<Counts> {
    connection
        .prepare_cached(
            "SELECT low_count, high_count, sent_at + behind FROM messages
             WHERE conversation = ?1 ORDER BY n DESC LIMIT 1",
        )?
        .query_row([conversation], |row| {
            Ok(Counts {
                low: row.get(0)?,
                high: row.get(1)?,
                latest: row.get(2)?,
            })
        })
        .optional()
        .map(|counts| counts.unwrap_or(Counts::NONE))
}

/// The numbers of messages of the user with the lower number and of the other one before the oldest message in the table.
/// `None`: there is no message.
pub fn before_oldest(connection: &Connection, conversation: i64) -> Result<Option<(i64, i64)>> {
    connection
        .prepare_cached(
            "SELECT low_count - (sender <= recipient), high_count - (sender > recipient) FROM messages
             WHERE conversation = ?1 ORDER BY n LIMIT 1",
        )?
        .query_row([conversation], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
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

/// One of the oldest messages of a conversation, which retention has examined.
#[derive(Clone, Copy, Debug)]
pub struct Examined {
    pub n: i64,
    /// It is of the user with the lower number.
    pub is_low: bool,
    /// It was removed.
    pub gone: bool,
}

/// Corrects the counts of the kept messages among those that retention has examined, the oldest ones of a conversation: the
/// difference to a later message no longer includes what was removed between them.
pub fn correct_kept(
    connection: &Connection,
    conversation: i64,
    examined: &[Examined],
) -> Result<()> {
    let (mut low, mut high) = (0_i64, 0_i64);
    for message in examined.iter().rev() {
        if message.gone {
            low += i64::from(message.is_low);
            high += i64::from(!message.is_low);
        } else if low + high > 0 {
            connection
                .prepare_cached(
                    "UPDATE messages SET low_count = low_count + ?3, high_count = high_count + ?4
                     WHERE conversation = ?1 AND n = ?2",
                )?
                .execute([conversation, message.n, low, high])?;
        }
    }
    Ok(())
}

/// After messages of a conversation of two users were removed, of which the newest had the counts `removed`: records which of
/// the users have messages left. Returns true if both had before and one has not any more.
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
    let before = before_oldest(connection, known.n)?.unwrap_or(removed);
    for (is_low, wrote, left) in [
        (true, known.low_wrote, known.counts.low > before.0),
        (false, known.high_wrote, known.counts.high > before.1),
    ] {
        if wrote && !left {
            set_wrote(connection, known.n, is_low, false)?;
            cache.set_wrote(pair, is_low, false);
            lost = known.is_mutual(pair.0, pair.1);
        }
    }
    Ok(lost)
}
