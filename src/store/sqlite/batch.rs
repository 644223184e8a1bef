//! What a batch does: rules first, then rows. A part that is refused has changed nothing.

mod blocks;
mod change;
mod receipts;
mod send;

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::{Cache, Conversation, User, blocks, find_conversation, find_user};
use super::file::unsigned;
use super::pending::{PendingBatch, PendingLog};
use super::plan::Direct;
use crate::store::{MessageRef, Outcome, Quotas, Write};

/// Commit numbers are reserved in the file this many at a time, so that a start need not look for the newest.
const RESERVE: i64 = 1_000_000;

/// An inbox may grow by so many entries beyond its limit before the keeper is called, so that it is not called for each.
const SLACK: u64 = 256;

/// One batch under way.
pub struct Run<'a> {
    pub tx: &'a Connection,
    pub cache: &'a mut Cache,
    pub next: &'a mut i64,
    pub reserved: &'a mut i64,
    pub inbox_limit: u64,
    pub quotas: &'a Quotas,
    /// Users who have connected, and whose devices are not noted yet.
    pub arrived: &'a mut HashSet<Box<str>>,
    pub now: i64,
    pub direct: &'a Direct<'a>,
    pub pool: &'a PendingLog,
    /// Messages that are to wait in the pool.
    pub stage: PendingBatch,
}

/// A message that a change is about.
pub struct Found {
    pub conversation: i64,
    pub n: i64,
    pub sender: i64,
    pub from_seq: u64,
    pub sent_at: i64,
    pub content: Option<String>,
    pub edited_at: Option<i64>,
    pub deleted_at: Option<i64>,
    pub change_seq: Option<i64>,
    pub first: Option<Vec<u8>>,
    /// Who asks, and the other user.
    pub me: User,
    pub other: User,
    /// The other user takes nothing from who asks.
    pub blocked: bool,
    /// One of the two blocks the other.
    pub quiet: bool,
}

type Result<T> = rusqlite::Result<T>;

impl Run<'_> {
    pub fn write(&mut self, write: &Write) -> Result<Outcome> {
        match write {
            Write::Message(message) => self.message(message),
            Write::Edit(at, content) => self.change(at, |run, found| run.edit(at, found, content)),
            Write::Delete(at) => self.change(at, |run, found| run.delete(at, found)),
            Write::React { at, emoji, remove } => {
                self.change(at, |run, found| run.react(at, found, emoji, *remove))
            }
            Write::Read(at) => self.read(at),
            Write::Contact(a, b) => self.contact(a, b).map(Outcome::Contact),
            Write::Block { by, user, on } => self.block(by, user, *on),
            Write::Watermark { user, device, seq } => {
                self.watermark(user, device, *seq).map(Outcome::Received)
            }
        }
    }

    /// Finds a message, but for one that is not in the asker's conversation with the other user.
    pub fn find(&mut self, at: &MessageRef) -> Result<Option<Found>> {
        let (Some(me), Some(other)) = (
            find_user(self.tx, self.cache, &at.from)?,
            find_user(self.tx, self.cache, &at.to)?,
        ) else {
            return Ok(None);
        };
        let Some(conversation) = find_conversation(self.tx, self.cache, me.n, other.n)? else {
            return Ok(None);
        };
        self.tx
            .prepare_cached(
                "SELECT n, sender, from_seq, sent_at, content, edited_at, deleted_at, change_seq, first
                 FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation.n, at.id.as_bytes()], |row| {
                Ok(Found {
                    conversation: conversation.n,
                    n: row.get(0)?,
                    sender: row.get(1)?,
                    from_seq: unsigned(row.get(2)?),
                    sent_at: row.get(3)?,
                    content: row.get(4)?,
                    edited_at: row.get(5)?,
                    deleted_at: row.get(6)?,
                    change_seq: row.get(7)?,
                    first: row.get(8)?,
                    me,
                    other,
                    blocked: conversation.blocked(me.n, other.n),
                    quiet: conversation.is_quiet(),
                })
            })
            .optional()
    }

    /// A user's inbox has one entry more.
    pub fn grown(&mut self, id: &str) {
        if let Some(user) = self.cache.users.get_mut(id) {
            user.head += 1;
            let kept = user.head - user.floor;
            let slack = SLACK.min(self.inbox_limit);
            if kept > self.inbox_limit && (kept - self.inbox_limit).is_multiple_of(slack) {
                self.cache.overfull.push_back(user.n);
            }
        }
    }

    /// Finds a user, or makes one.
    pub fn user(&mut self, id: &str) -> Result<User> {
        if let Some(user) = find_user(self.tx, self.cache, id)? {
            return Ok(user);
        }
        self.tx
            .prepare_cached("INSERT INTO users (id) VALUES (?1)")?
            .execute([id])?;
        let user = User {
            n: self.tx.last_insert_rowid(),
            head: 0,
            floor: 0,
            came: false,
        };
        self.cache.users.insert(id.into(), user);
        Ok(user)
    }

    /// Finds the conversation of two users, or makes one. `None`: there is none, and `to` blocks `from`.
    pub fn conversation(&mut self, from: i64, to: i64) -> Result<Option<Conversation>> {
        if let Some(conversation) = find_conversation(self.tx, self.cache, from, to)? {
            return Ok(Some(conversation));
        }
        if blocks(self.tx, to, from)? {
            return Ok(None);
        }
        let own = blocks(self.tx, from, to)?;
        let pair = (from.min(to), from.max(to));
        self.tx
            .prepare_cached("INSERT INTO conversations (low, high) VALUES (?1, ?2)")?
            .execute([pair.0, pair.1])?;
        let conversation = Conversation {
            n: self.tx.last_insert_rowid(),
            low_blocks: own && from < to,
            high_blocks: own && to < from,
        };
        self.cache.conversations.insert(pair, conversation);
        Ok(Some(conversation))
    }

    /// The next commit number.
    pub fn number(&mut self) -> Result<i64> {
        if *self.next == *self.reserved {
            *self.next =
                self.tx
                    .query_row("SELECT value FROM meta WHERE key = 'next'", (), |row| {
                        row.get(0)
                    })?;
            *self.reserved = *self.next + RESERVE;
            self.tx.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'next'",
                [*self.reserved],
            )?;
        }
        let n = *self.next;
        *self.next += 1;
        Ok(n)
    }

    /// The store's key for such marks: without it, a guess at deleted content cannot be tried out.
    pub fn key(&self) -> Result<Vec<u8>> {
        self.tx
            .query_row("SELECT value FROM meta WHERE key = 'key'", (), |row| {
                row.get(0)
            })
    }
}
