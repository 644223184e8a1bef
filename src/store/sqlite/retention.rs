//! Retention: removes inbox entries and messages that have expired or exceed a limit, and names that nothing refers to any more
//! ([`unused`]), and returns free space to the disk. It runs in small steps. Each is a transaction of a few milliseconds between two
//! batches, so that no write waits for long.
//!
//! A stored time may be wrong, because the clock was wrong when it was stored. So time removes only from the start: an entry
//! or a message expires when it, and everything before it in its inbox or conversation, is older than the limit. One time that
//! is too early then removes nothing that was stored before it.

mod expiry;
mod rooms;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

pub use self::expiry::{OldMessages, old_messages};
pub use self::rooms::remove_messages as remove_room_messages;
use super::byte_use;
use super::cache::Cache;
use super::events;
use super::kinds::SUPERSEDED;
use super::listed::{self, Extent};
use super::number::{signed, unsigned};
use super::pending::PendingLog;
use super::rooms::conversation_of;
use super::shared::Shared;
use super::unused;
use crate::counters::Expired;
use crate::store::{ContactObserver, LiveCursors, Retention};

/// Users or conversations that one step examines.
const EXAMINE: i64 = 128;
/// Rows that one step removes at most.
pub const REMOVE: i64 = 512;
/// Free pages that stay in the file for new rows.
const KEEP_PAGES: i64 = 256;
/// Free pages that one step returns to the disk.
const RETURN_PAGES: i64 = 128;
/// The pause after a sweep of the whole store, in milliseconds.
const REST_MS: i64 = 60_000;

/// The bound of superseded entries in an inbox: a multiple of the limit of other entries, and at least a number that one user
/// does not easily reach with small limits.
const SUPERSEDED_FACTOR: u64 = 10;
const MIN_SUPERSEDED: u64 = 10_000;

/// Entries that a connected session still needs are kept up to this multiple of the limit of an inbox.
const SLOW_READER_FACTOR: i64 = 20;

/// The rules of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules<'a> {
    pub retention: &'a Retention,
    pub live_cursors: &'a LiveCursors,
    pub lost_contacts: &'a ContactObserver,
    /// The time by which things expire, in milliseconds since 1970-01-01T00:00:00Z. `None`: nothing expires, because the
    /// present time is uncertain.
    pub expire_at: Option<i64>,
    pub log: &'a PendingLog,
    pub shared: &'a Shared,
}

/// The number of entries that an inbox keeps: superseded ones do not count towards the limit, but have a bound of their own.
pub fn kept_entries(inbox_limit: u64, superseded: u64) -> u64 {
    let bound = inbox_limit
        .saturating_mul(SUPERSEDED_FACTOR)
        .max(MIN_SUPERSEDED);
    inbox_limit.saturating_add(superseded.min(bound))
}

impl RetentionRules<'_> {
    /// Messages with an earlier time have expired. `None`: none expires.
    fn message_cutoff(&self) -> Option<i64> {
        let kept_ms = self.retention.history_ms?.max(self.retention.inbox_ms);
        Some(self.expire_at?.saturating_sub(kept_ms))
    }

    /// Entries with an earlier time have expired.
    fn inbox_cutoff(&self) -> i64 {
        let cutoff = |now: i64| now.saturating_sub(self.retention.inbox_ms);
        self.expire_at.map_or(i64::MIN, cutoff)
    }
}

/// The progress of the sweep.
#[derive(Debug, Default)]
pub struct RetentionSweeper {
    /// The last user, conversation and room that were examined, and the last message of the next conversation or room.
    user: i64,
    conversation: i64,
    room: i64,
    message: i64,
    phase: Phase,
    /// True if this sweep has returned space to the disk.
    freed_space: bool,
    /// The pause before the next sweep.
    rest: Option<Rest>,
}

/// A pause between two sweeps.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    /// The time by which things expired in the last sweep, and how far it may move until the next one.
    expired_at: Option<i64>,
    ms: i64,
}

impl Rest {
    fn new(retention: &Retention, expired_at: Option<i64>) -> Self {
        let shortest = retention.history_ms.unwrap_or(i64::MAX);
        let ms = REST_MS.min(shortest).min(retention.inbox_ms);
        Self {
            until: Instant::now() + Duration::from_millis(ms.unsigned_abs()),
            expired_at,
            ms,
        }
    }

    /// False when the pause is over: also if the clock has been set, or is trusted again.
    fn lasts(&self, expire_at: Option<i64>) -> bool {
        Instant::now() < self.until
            && match (self.expired_at, expire_at) {
                (Some(then), Some(now)) => (then..then.saturating_add(self.ms)).contains(&now),
                (then, now) => then == now,
            }
    }
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Inboxes,
    Messages,
    Rooms,
    Events,
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
        if self.rest.is_some_and(|rest| rest.lasts(rules.expire_at)) {
            return Ok(false);
        }
        self.rest = None;
        match self.phase {
            Phase::Inboxes => self.inboxes(connection, cache, rules)?,
            Phase::Messages => self.messages(connection, cache, rules)?,
            Phase::Rooms => self.rooms(connection, cache, rules)?,
            Phase::Events => {
                if !events::trim(connection)? {
                    self.phase = Phase::Space;
                }
            }
            Phase::Space => {
                if !return_pages(connection)? {
                    if let Some(now) = rules.expire_at {
                        byte_use::remove_full(connection, now)?;
                    }
                    *self = Self {
                        rest: Some(Rest::new(rules.retention, rules.expire_at)),
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
            Some(last) => {
                unused::remove_users(connection, cache, rules, (self.user + 1, *last))?;
                self.user = *last;
            }
            None => self.phase = Phase::Messages,
        }
        Ok(())
    }

    fn messages(
        &mut self,
        connection: &mut Connection,
        cache: &mut Cache,
        rules: &RetentionRules<'_>,
    ) -> Result<()> {
        let Some(cutoff) = rules.message_cutoff() else {
            self.phase = Phase::Rooms;
            return Ok(());
        };
        let conversations = numbers(
            connection,
            "SELECT n FROM conversations WHERE n > ?1 ORDER BY n LIMIT ?2",
            self.conversation,
        )?;
        let first = self.conversation + 1;
        let (mut work, mut after) = (0, self.message);
        self.message = 0;
        for conversation in &conversations {
            let old = expiry::old_messages(connection, (*conversation, after), cutoff)?;
            after = 0;
            work += old.work;
            if old.has_some_to_remove() {
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let lost = expiry::remove(&tx, (cache, rules.log), *conversation, &old)?;
                tx.commit()?;
                Expired::Messages.count(old.to_remove().count() as u64);
                if let Some((a, b)) = lost {
                    rules
                        .lost_contacts
                        .report(&id_of(connection, a)?, &id_of(connection, b)?);
                }
            }
            if let Some(last) = old.unfinished() {
                // More of this conversation may have expired: the next step continues there.
                self.conversation = conversation - 1;
                self.message = last;
                break;
            }
            self.conversation = *conversation;
            if work >= REMOVE {
                break;
            }
        }
        if conversations.is_empty() {
            self.phase = Phase::Rooms;
            return Ok(());
        }
        unused::remove_conversations(connection, cache, rules, (first, self.conversation))
    }

    fn rooms(
        &mut self,
        connection: &mut Connection,
        cache: &mut Cache,
        rules: &RetentionRules<'_>,
    ) -> Result<()> {
        let all = rooms::next(connection, self.room)?;
        let (mut work, mut after) = (0, self.message);
        self.message = 0;
        for (room, is_deleted) in &all {
            // Only inboxes need the messages of a deleted room.
            let cutoff = if *is_deleted {
                Some(i64::MAX)
            } else {
                rules.message_cutoff()
            };
            // A message that is in no inbox yet may be in one soon.
            let has_moved = !rules.log.has_conversation(conversation_of(*room));
            if let Some(cutoff) = cutoff.filter(|_| has_moved) {
                let place = (conversation_of(*room), after);
                let old = expiry::old_messages(connection, place, cutoff)?;
                after = 0;
                work += old.work;
                if old.has_some_to_remove() {
                    let tx =
                        connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    rooms::remove_messages(&tx, *room, &old)?;
                    tx.commit()?;
                    Expired::Messages.count(old.to_remove().count() as u64);
                }
                if let Some(last) = old.unfinished() {
                    // More of this room may have expired: the next step continues there.
                    self.room = room - 1;
                    self.message = last;
                    return Ok(());
                }
            }
            rooms::remove_unused(connection, cache, rules, *room)?;
            self.room = *room;
            if work >= REMOVE {
                return Ok(());
            }
        }
        if all.is_empty() {
            self.phase = Phase::Events;
        }
        Ok(())
    }
}

/// Trims inboxes that have grown beyond their limit until `entries` of them are removed, within the transaction of a flush.
pub fn trim_overfull(
    connection: &Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    entries: i64,
) -> Result<()> {
    let mut removed = 0;
    while removed < entries {
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

/// The beginning of an inbox that is to be removed, as far as one step goes.
#[derive(Clone, Copy)]
struct Start {
    /// Up to this entry.
    last: i64,
    /// The number of superseded entries that remain.
    superseded: i64,
}

/// `None`: nothing is to be removed.
fn expired(
    connection: &Connection,
    rules: &RetentionRules<'_>,
    user: i64,
) -> Result<Option<Start>> {
    let (id, floor, mut superseded, newest): (String, i64, i64, Option<i64>) = connection
        .prepare_cached(
            "SELECT id, floor, superseded, (SELECT max(seq) FROM inbox WHERE user = n) FROM users WHERE n = ?1",
        )?
        .query_row([user], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    let Some(newest) = newest else {
        return Ok(None);
    };
    let limit = rules.retention.inbox_limit;
    // The entries of changes in the log may supersede as many more.
    let pending = rules.log.superseding();
    let kept = |superseded: i64| {
        signed(kept_entries(
            limit,
            unsigned(superseded).saturating_add(pending),
        ))
    };
    let mut entries = newest - floor;
    let mut removable = newest;
    if entries > kept(superseded)
        && let Some(cursor) = rules.live_cursors.lowest(&id)
    {
        // Keep entries that a connected slow reader still needs, but not without a limit.
        let limit = signed(limit).saturating_mul(SLOW_READER_FACTOR);
        removable = (signed(cursor) - 1).max(newest - limit.max(kept(superseded)));
    }
    let cutoff = rules.inbox_cutoff();
    let mut statement = connection
        .prepare_cached("SELECT seq, at, kind FROM inbox WHERE user = ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query([user, REMOVE])?;
    let mut expired = None;
    while let Some(row) = rows.next()? {
        let (seq, at, kind): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let exceeds_limit = entries > kept(superseded) && seq <= removable;
        if !exceeds_limit && at >= cutoff {
            break;
        }
        entries -= 1;
        if kind == SUPERSEDED {
            superseded -= 1;
        }
        expired = Some(Start {
            last: seq,
            superseded,
        });
    }
    Ok(expired)
}

/// Trims a user's inbox as far as one step goes. Returns the number of entries removed.
fn trim(
    connection: &Connection,
    cache: &mut Cache,
    rules: &RetentionRules<'_>,
    user: i64,
) -> Result<i64> {
    let Some(Start { last, superseded }) = expired(connection, rules, user)? else {
        return Ok(0);
    };
    listed::settle(connection, cache, user, Extent::UpTo(last))?;
    connection
        .prepare_cached("UPDATE users SET floor = ?2, superseded = ?3 WHERE n = ?1")?
        .execute([user, last, superseded])?;
    let removed = connection
        .prepare_cached("DELETE FROM inbox WHERE user = ?1 AND seq <= ?2")?
        .execute([user, last])?;
    if let Some(floor) = cache.trimmed_to.get_mut(&user) {
        *floor = unsigned(last);
    }
    Expired::Entries.count(removed as u64);
    let id = id_of(connection, user)?;
    if let Some(user) = cache.users.get_mut(id.as_str()) {
        user.trimmed_to = unsigned(last);
        user.superseded = unsigned(superseded);
    }
    Ok(i64::try_from(removed).unwrap_or(i64::MAX))
}

fn id_of(connection: &Connection, user: i64) -> Result<String> {
    connection
        .prepare_cached("SELECT id FROM users WHERE n = ?1")?
        .query_row([user], |row| row.get(0))
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
