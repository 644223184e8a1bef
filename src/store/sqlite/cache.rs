//! Users and conversations that the writer remembers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::file::unsigned;
use super::pending::Floors;
use super::unknown_recipients::UnknownRecipients;

/// Users and conversations that are remembered. Beyond it they are forgotten together and looked up again.
pub const MAX_CACHED: usize = 100_000;

/// What the hot path would otherwise have to look up. True to the file after each commit; forgotten when one fails.
#[derive(Debug, Default)]
pub struct Cache {
    pub users: HashMap<Arc<str>, User>,
    pub conversations: HashMap<(i64, i64), Conversation>,
    /// Users whose inbox has grown beyond what is kept.
    pub overfull: VecDeque<i64>,
    /// Of users with messages in the pool.
    pub floors: Floors,
    /// Messages to users who have never connected.
    pub unclaimed: UnknownRecipients,
    /// The newest entries that are in the pool, of users who were forgotten while they were there.
    pub heads: HashMap<i64, u64>,
}

/// A direct conversation of two users.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    pub n: i64,
    /// Whether the user with the lower number blocks the other, and the other way round. Kept here, where each message looks
    /// anyway.
    pub low_blocks: bool,
    pub high_blocks: bool,
}

impl Conversation {
    /// Whether `to` blocks `from`.
    pub fn blocked(&self, from: i64, to: i64) -> bool {
        if to < from {
            self.low_blocks
        } else {
            self.high_blocks
        }
    }

    /// Whether one of the two blocks the other.
    pub fn is_quiet(&self) -> bool {
        self.low_blocks || self.high_blocks
    }
}

#[derive(Clone, Copy, Debug)]
pub struct User {
    pub n: i64,
    /// The newest entry.
    pub head: u64,
    /// The newest entry that is not kept any more.
    pub floor: u64,
    /// They have connected.
    pub came: bool,
}

pub fn find_user(
    connection: &Connection,
    cache: &mut Cache,
    id: &str,
) -> rusqlite::Result<Option<User>> {
    if let Some(user) = cache.users.get(id) {
        return Ok(Some(*user));
    }
    let user = connection
        .prepare_cached(
            "SELECT n, floor, (SELECT max(seq) FROM inbox WHERE user = users.n),
                EXISTS (SELECT 1 FROM devices WHERE user = users.n) FROM users WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let floor = unsigned(row.get(1)?);
            let newest: Option<i64> = row.get(2)?;
            Ok(User {
                n: row.get(0)?,
                floor,
                // An inbox from which everything was removed goes on where it was.
                head: newest.map_or(floor, unsigned),
                came: row.get(3)?,
            })
        })
        .optional()?;
    let user = user.map(|user| User {
        head: user
            .head
            .max(cache.heads.get(&user.n).copied().unwrap_or(0)),
        ..user
    });
    if let Some(user) = user {
        cache.users.insert(id.into(), user);
    }
    Ok(user)
}

pub fn find_conversation(
    connection: &Connection,
    cache: &mut Cache,
    a: i64,
    b: i64,
) -> rusqlite::Result<Option<Conversation>> {
    let pair = (a.min(b), a.max(b));
    if let Some(conversation) = cache.conversations.get(&pair) {
        return Ok(Some(*conversation));
    }
    let conversation = connection
        .prepare_cached(
            "SELECT n, EXISTS (SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2),
                EXISTS (SELECT 1 FROM blocks WHERE user = ?2 AND blocked = ?1)
             FROM conversations WHERE low = ?1 AND high = ?2",
        )?
        .query_row([pair.0, pair.1], |row| {
            Ok(Conversation {
                n: row.get(0)?,
                low_blocks: row.get(1)?,
                high_blocks: row.get(2)?,
            })
        })
        .optional()?;
    if let Some(conversation) = conversation {
        cache.conversations.insert(pair, conversation);
    }
    Ok(conversation)
}

/// Whether a user blocks another one.
pub fn blocks(connection: &Connection, user: i64, other: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2")?
        .exists([user, other])
}
