//! The lists of users' conversations, in the order of their newest messages.
//!
//! A new message moves its conversation to the front of the lists of all members. Each move changes two pages of the list of a
//! user, so a list is not changed for each message: the entries of a user's inbox after `users.listed` tell which conversations
//! have moved since. A query reads them in addition to the list. When there are more than [`UNSETTLED`] of them, they are
//! *settled*: the list is brought up to date.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::cache::Cache;
use super::kinds;
use super::number::unsigned;
use super::rooms::{is_member, is_room};

type Result<T> = rusqlite::Result<T>;

/// The list of a user is settled each time that the inbox has grown by this many entries.
pub const UNSETTLED: u64 = 256;
/// The number of lists that a flush of messages settles.
pub const SETTLE: usize = 64;

/// Adds all conversations with messages to the empty table.
pub const LIST_ALL: &str = "
    INSERT INTO listed (user, conversation, newest, reach)
    SELECT user, conversation, newest,
        max(latest) OVER (PARTITION BY user ORDER BY newest ROWS UNBOUNDED PRECEDING)
    FROM (SELECT c.user, c.conversation, m.n AS newest, m.sent_at + m.behind AS latest
        FROM (SELECT low AS user, n AS conversation FROM conversations
            UNION ALL SELECT high, n FROM conversations WHERE low != high) AS c
        JOIN messages AS m ON m.conversation = c.conversation
            AND m.n = (SELECT max(n) FROM messages WHERE conversation = c.conversation));";

/// As [`LIST_ALL`], for one user.
pub const LIST_OF_USER: &str = "
    INSERT INTO listed (user, conversation, newest, reach)
    SELECT ?1, conversation, newest, max(latest) OVER (ORDER BY newest ROWS UNBOUNDED PRECEDING)
    FROM (SELECT c.conversation, m.n AS newest, m.sent_at + m.behind AS latest
        FROM (SELECT n AS conversation FROM conversations WHERE low = ?1
            UNION ALL SELECT n FROM conversations WHERE high = ?1 AND low != ?1) AS c
        JOIN messages AS m ON m.conversation = c.conversation
            AND m.n = (SELECT max(n) FROM messages WHERE conversation = c.conversation))";

/// Which entries of an inbox are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those before the first one that is missing, because its message is still in the pending log.
    Complete,
    /// All up to this one. It is about to be removed with those before it.
    UpTo(i64),
}

/// Settles up to `lists` lists of users whose inboxes have grown, within the transaction of a flush. A list of which the pending log
/// still has [`UNSETTLED`] entries or more is settled again by a later flush, and so are those of further users: the inboxes of
/// all members of a room grow at the same time.
pub fn settle_grown(connection: &Connection, cache: &mut Cache, lists: usize) -> Result<()> {
    let mut again = Vec::new();
    for _ in 0..lists {
        let Some(user) = cache.unsettled.pop_first() else {
            break;
        };
        if settle(connection, cache, user, Extent::Complete)? >= UNSETTLED {
            again.push(user);
        }
    }
    cache.unsettled.extend(again);
    Ok(())
}

/// Settles the list of a user. Returns the number of entries that are not settled, if the cache has the user.
pub fn settle(
    connection: &Connection,
    cache: &mut Cache,
    user: i64,
    extent: Extent,
) -> Result<u64> {
    let (id, listed, trimmed_to): (String, i64, i64) = connection
        .prepare_cached("SELECT id, listed, floor FROM users WHERE n = ?1")?
        .query_row([user], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let before = listed.max(trimmed_to);
    let (newest, last) = moved(connection, user, before, extent)?;
    if last > listed {
        for (n, conversation) in newest {
            list(connection, user, conversation, n)?;
        }
        connection
            .prepare_cached("UPDATE users SET listed = ?2 WHERE n = ?1")?
            .execute([user, last])?;
    }
    Ok(cache.users.get_mut(id.as_str()).map_or(0, |user| {
        user.listed = unsigned(last);
        user.head.saturating_sub(user.listed)
    }))
}

/// The newest messages, or joins, of the conversations of the entries after `before`, in their order, and the last of these entries.
fn moved(
    connection: &Connection,
    user: i64,
    before: i64,
    extent: Extent,
) -> Result<(Vec<(i64, i64)>, i64)> {
    let (end, may_skip) = match extent {
        Extent::Complete => (i64::MAX, false),
        Extent::UpTo(end) => (end, true),
    };
    let mut statement = connection.prepare_cached(
        "SELECT seq, kind, conversation, message, by FROM inbox WHERE user = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
    )?;
    let mut rows = statement.query([user, before, end])?;
    let mut newest = HashMap::new();
    let mut last = before;
    while let Some(row) = rows.next()? {
        let (seq, kind): (i64, i64) = (row.get(0)?, row.get(1)?);
        if seq != last + 1 && !may_skip {
            break;
        }
        last = seq;
        let is_own_join = kind == kinds::JOINED && row.get::<_, Option<i64>>(4)? == Some(user);
        if kind == kinds::MESSAGE || is_own_join {
            newest.insert(row.get(2)?, row.get(3)?);
        }
    }
    let mut newest: Vec<(i64, i64)> = newest.into_iter().map(|(of, n)| (n, of)).collect();
    newest.sort_unstable();
    Ok((newest, last))
}

/// Moves a conversation to the front of a user's list: its newest message is `n`, or the user has joined a room then. A room that
/// the user has left since is not listed.
pub fn list(connection: &Connection, user: i64, conversation: i64, n: i64) -> Result<()> {
    if is_room(conversation) && !is_member(connection, conversation, user)? {
        return Ok(());
    }
    let latest = |row: &Row<'_>| row.get::<_, i64>(0);
    let front: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT newest, reach FROM listed WHERE user = ?1 ORDER BY newest DESC LIMIT 1",
        )?
        .query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let own = connection
        .prepare_cached("SELECT sent_at + behind FROM messages WHERE conversation = ?1 AND n = ?2")?
        .query_row([conversation, n], latest)
        .optional()?;
    connection
        .prepare_cached(
            "INSERT INTO listed (user, conversation, newest, reach) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user, conversation) DO UPDATE SET newest = ?3, reach = ?4 WHERE newest < ?3",
        )?
        .execute(params![
            user,
            conversation,
            n,
            front.map(|(_, reach)| reach).max(own).unwrap_or(i64::MIN)
        ])?;
    // It is not moved to the front if messages of other conversations have moved to their table before it.
    if let (Some((newest, reach)), Some(own)) = (front, own)
        && newest > n
        && reach < own
    {
        connection
            .prepare_cached(
                "UPDATE listed SET reach = ?3 WHERE user = ?1 AND newest > ?2 AND reach < ?3",
            )?
            .execute([user, n, own])?;
    }
    Ok(())
}

/// Removes a conversation from the lists of its two users if it has no messages in its table. One in the pending log is listed
/// later.
pub fn remove_empty(connection: &Connection, conversation: i64, pair: (i64, i64)) -> Result<()> {
    let is_empty = !connection
        .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1")?
        .exists([conversation])?;
    if is_empty {
        connection
            .prepare_cached("DELETE FROM listed WHERE user IN (?1, ?2) AND conversation = ?3")?
            .execute([pair.0, pair.1, conversation])?;
    }
    Ok(())
}
