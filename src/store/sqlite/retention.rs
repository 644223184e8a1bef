//! Retention: removes inbox entries and messages that have expired or exceed a limit, and returns free space to the disk. It
//! runs in small steps. Each is a transaction of a few milliseconds between two batches, so that no write waits for long.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::cache::Cache;
use super::number::{signed, unsigned};
use crate::store::{LiveCursors, Retention};

/// Users or conversations that one step examines.
const EXAMINE: i64 = 128;
/// Rows that one step removes at most.
const REMOVE: i64 = 512;
/// Free pages that stay in the file for new rows.
const KEEP_PAGES: i64 = 256;
/// Free pages that one step returns to the disk.
const RETURN_PAGES: i64 = 128;
/// The pause after a sweep of the whole store, in milliseconds.
const REST: i64 = 60_000;

/// Entries that a connected session still needs are kept up to this multiple of the limit of an inbox.
const SLOW_READER_FACTOR: i64 = 20;

/// The rules of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules<'a> {
    pub retention: &'a Retention,
    pub live_cursors: &'a LiveCursors,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub now: i64,
}

/// The progress of the sweep.
#[derive(Debug, Default)]
pub struct RetentionSweeper {
    /// The last user and the last conversation that were examined.
    user: i64,
    conversation: i64,
    phase: Phase,
    /// True if this sweep has returned space to the disk.
    freed_space: bool,
    /// When the next sweep begins.
    rest_until: i64,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Inboxes,
    Messages,
    Space,
}

type Result<T> = rusqlite::Result<T>;

impl RetentionSweeper {
    /// Runs one step. True: there is more to do now.
    pub fn step(
        &mut self,
        connection: &mut Connection,
        cache: &mut Cache,
        rules: &RetentionRules<'_>,
    ) -> Result<bool> {
        let RetentionRules { retention, now, .. } = *rules;
        // A clock that was set back must not make the pause longer.
        if now < self.rest_until && now >= self.rest_until - REST {
            return Ok(false);
        }
        match self.phase {
            Phase::Inboxes => self.inboxes(connection, cache, rules)?,
            Phase::Messages => self.messages(connection, cache, retention, now)?,
            Phase::Space => {
                if !return_pages(connection)? {
                    let shortest = retention.history_ms.unwrap_or(i64::MAX);
                    let shortest = shortest.min(retention.inbox_ms);
                    *self = Self {
                        rest_until: now + REST.min(shortest),
                        ..Self::default()
                    };
                    return Ok(false);
                }
                self.freed_space = true;
            }
        }
        Ok(true)
    }

    /// True if the present sweep has returned space to the disk.
    pub fn freed_space(&self) -> bool {
        self.freed_space
    }

    fn inboxes(
        &mut self,
        connection: &mut Connection,
        cache: &mut Cache,
        rules: &RetentionRules<'_>,
    ) -> Result<()> {
        let users = numbers(
            connection,
            "SELECT n FROM users WHERE n > ?1 ORDER BY n LIMIT ?2",
            self.user,
        )?;
        let mut removed = 0;
        for user in &users {
            if expired(connection, rules, *user)?.is_some() {
                // A write transaction only if there is something to remove.
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let count = trim(&tx, cache, rules, *user)?;
                tx.commit()?;
                removed += count;
                if removed >= REMOVE {
                    // More entries of this user may have expired: the next step begins with the same user.
                    self.user = user - 1;
                    return Ok(());
                }
            }
        }
        match users.last() {
            Some(last) => self.user = *last,
            None => self.phase = Phase::Messages,
        }
        Ok(())
    }

    fn messages(
        &mut self,
        connection: &mut Connection,
        cache: &mut Cache,
        retention: &Retention,
        now: i64,
    ) -> Result<()> {
        let Some(history_ms) = retention.history_ms else {
            self.phase = Phase::Space;
            return Ok(());
        };
        let cutoff = now - history_ms.max(retention.inbox_ms);
        let conversations = numbers(
            connection,
            "SELECT n FROM conversations WHERE n > ?1 ORDER BY n LIMIT ?2",
            self.conversation,
        )?;
        let mut removed = 0;
        for conversation in &conversations {
            let (gone, work) = old_messages(connection, *conversation, cutoff)?;
            if gone.is_empty() {
                continue;
            }
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for n in &gone {
                let (recipient, sender) = tx
                    .prepare_cached(
                        "DELETE FROM messages WHERE conversation = ?1 AND n = ?2 RETURNING recipient, sender",
                    )?
                    .query_row([conversation, n], |row| Ok((row.get(0)?, row.get(1)?)))?;
                cache
                    .unknown_recipients
                    .message_removed(&tx, recipient, sender)?;
                tx.prepare_cached(
                    "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2",
                )?
                .execute([conversation, n])?;
            }
            tx.commit()?;
            removed += work;
            if removed >= REMOVE {
                self.conversation = conversation - 1;
                return Ok(());
            }
        }
        match conversations.last() {
            Some(last) => self.conversation = *last,
            None => self.phase = Phase::Space,
        }
        Ok(())
    }
}

/// Trims inboxes that have grown beyond their limit, within the transaction of a flush.
pub fn trim_overfull(
    connection: &Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
) -> Result<()> {
    let mut removed = 0;
    while removed < REMOVE {
        let Some(user) = cache.overfull.pop_front() else {
            break;
        };
        removed += trim(connection, cache, rules, user)?;
    }
    Ok(())
}

fn numbers(connection: &Connection, sql: &str, after: i64) -> Result<Vec<i64>> {
    connection
        .prepare_cached(sql)?
        .query_map([after, EXAMINE], |row| row.get(0))?
        .collect()
}

/// The newest entry up to which a user's inbox is to be trimmed, as far as one step goes. `None`: nothing is to be removed.
fn expired(connection: &Connection, rules: &RetentionRules<'_>, user: i64) -> Result<Option<i64>> {
    let (id, newest): (String, Option<i64>) = connection
        .prepare_cached(
            "SELECT id, (SELECT max(seq) FROM inbox WHERE user = n) FROM users WHERE n = ?1",
        )?
        .query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(newest) = newest else {
        return Ok(None);
    };
    let limit = signed(rules.retention.inbox_limit);
    let mut beyond = newest - limit;
    if beyond > 0
        && let Some(cursor) = rules.live_cursors.lowest(&id)
    {
        // Keep entries that a connected slow reader still needs, but not without a limit.
        beyond =
            beyond.min((signed(cursor) - 1).max(newest - limit.saturating_mul(SLOW_READER_FACTOR)));
    }
    connection
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq, at FROM inbox WHERE user = ?1 ORDER BY seq LIMIT ?4)
             WHERE at < ?2 OR seq <= ?3",
        )?
        .query_row(
            params![user, rules.now - rules.retention.inbox_ms, beyond, REMOVE],
            |row| row.get(0),
        )
        .optional()
        .map(Option::flatten)
}

/// Trims a user's inbox as far as one step goes. Returns the number of entries removed.
fn trim(
    connection: &Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    user: i64,
) -> Result<i64> {
    let Some(last) = expired(connection, rules, user)? else {
        return Ok(0);
    };
    connection
        .prepare_cached("UPDATE users SET floor = ?2 WHERE n = ?1")?
        .execute([user, last])?;
    let removed = connection
        .prepare_cached("DELETE FROM inbox WHERE user = ?1 AND seq <= ?2")?
        .execute([user, last])?;
    if let Some(floor) = cache.trimmed_to.get_mut(&user) {
        *floor = unsigned(last);
    }
    let id: String = connection
        .prepare_cached("SELECT id FROM users WHERE n = ?1")?
        .query_row([user], |row| row.get(0))?;
    if let Some(user) = cache.users.get_mut(id.as_str()) {
        user.trimmed_to = unsigned(last);
    }
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

/// The oldest messages of a conversation that have expired and are in no inbox. Returns with them the work of removing them,
/// of which `REMOVE` is enough for one step: a long message occupies many pages.
fn old_messages(
    connection: &Connection,
    conversation: i64,
    cutoff: i64,
) -> Result<(Vec<i64>, i64)> {
    let mut statement = connection.prepare_cached(
        "SELECT n, 1 + coalesce(octet_length(content), 0) / 4096
         FROM (SELECT * FROM messages WHERE conversation = ?1 ORDER BY n LIMIT ?3)
         WHERE sent_at < ?2
         AND from_seq <= (SELECT floor FROM users WHERE users.n = sender)
         AND to_seq <= (SELECT floor FROM users WHERE users.n = recipient)
         AND NOT EXISTS (SELECT 1 FROM inbox AS i
            WHERE i.conversation = ?1 AND i.message = n AND i.kind != 0)",
    )?;
    let mut rows = statement.query([conversation, cutoff, REMOVE])?;
    let (mut gone, mut work) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        gone.push(row.get(0)?);
        work += row.get::<_, i64>(1)?;
        if work >= REMOVE {
            break;
        }
    }
    Ok((gone, work))
}

/// Returns some free pages to the disk. False: there are none to return.
fn return_pages(connection: &Connection) -> Result<bool> {
    let free: i64 = connection.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
    if free <= KEEP_PAGES {
        return Ok(false);
    }
    let pages = (free - KEEP_PAGES).min(RETURN_PAGES);
    // It frees one page for each row that is read.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(true)
}
