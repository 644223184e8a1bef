//! What a batch does: rules first, then rows. A part that is refused has changed nothing.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::pending::{PendingBatch, PendingLog, Record};
use super::{
    Cache, Conversation, Direct, User, blocks, content_eq, find_conversation, find_user, signed,
    unsigned,
};
use crate::store::{MessageRef, NewMessage, Outcome, Quotas, Received, Write};

/// Devices per user that are remembered (PROTOCOL section 2).
const MAX_DEVICES: i64 = 16;
/// Reactions of one user to one message, and as many removed ones that are remembered.
const MAX_REACTIONS: i64 = 32;
/// Commit numbers are reserved in the file this many at a time, so that a start need not look for the newest.
const RESERVE: i64 = 1_000_000;
/// Bytes of content beyond which a message goes to its table at once.
const LARGE: usize = 2048;
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
struct Found {
    conversation: i64,
    n: i64,
    sender: i64,
    from_seq: u64,
    sent_at: i64,
    content: Option<String>,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
    change_seq: Option<i64>,
    first: Option<Vec<u8>>,
    /// Who asks, and the other user.
    me: User,
    other: User,
    /// The other user takes nothing from who asks.
    blocked: bool,
    /// One of the two blocks the other.
    quiet: bool,
}

/// What a change is; in the file it is the entry's `kind`.
#[derive(Clone, Copy)]
enum Change<'a> {
    Edited,
    Deleted,
    Reacted(&'a str),
    Unreacted(&'a str),
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

    fn message(&mut self, message: &NewMessage) -> Result<Outcome> {
        let from = self.user(&message.from)?;
        let known = find_user(self.tx, self.cache, &message.to)?;
        let came = known.is_some_and(|to| to.came || to.n == from.n)
            || self.arrived.contains(&*message.to);
        let refusal = if came {
            None
        } else {
            self.refuses_unclaimed(from.n, message)?
        };
        if let Some(refusal) = refusal {
            // Who is refused makes no name known.
            return match known {
                Some(to) => self.refuse(message, from.n, to.n, refusal),
                None => Ok(refusal),
            };
        }
        let to = match known {
            Some(to) => to,
            None => self.user(&message.to)?,
        };
        let Some(conversation) = self.conversation(from.n, to.n)? else {
            return Ok(Outcome::Blocked);
        };
        if conversation.blocked(from.n, to.n) {
            return self.refuse(message, from.n, to.n, Outcome::Blocked);
        }
        let conversation = conversation.n;
        let direct = self.direct.has(&message.from, &message.to);
        if !direct && !message.fresh && self.is_taken(conversation, message)? {
            return self.taken(conversation, from.n, message);
        }
        let n = self.number()?;
        let from_seq = from.head + 1;
        let to_seq = if from.n == to.n {
            from_seq
        } else {
            to.head + 1
        };
        let outcome = Outcome::Stored {
            from_seq: Some(from_seq),
            to_seq,
            at: self.now,
            duplicate: false,
        };
        let unclaimed = !came && self.quotas.counts_unclaimed();
        // What fills pages by itself gains nothing by waiting, and would be written twice. But nothing may be in a table
        // before what came before it in its conversation: somebody may be reading.
        let direct = direct
            || message.content.len() > LARGE
                && !self.pool.waits(conversation)
                && !self.stage.has(conversation);
        if !direct {
            self.stage.add(&Record {
                conversation,
                n,
                id: message.id.as_bytes(),
                sender: from.n,
                recipient: to.n,
                from_seq,
                to_seq,
                sent_at: self.now,
                reply_to: message.reply_to.as_ref().map(Uuid::as_bytes),
                content: &message.content,
            });
            self.grown(&message.from);
            if from.n != to.n {
                self.grown(&message.to);
            }
            if unclaimed {
                self.left(message, from.n, to.n);
            }
            return Ok(outcome);
        }
        let stored = self
            .tx
            .prepare_cached(
                "INSERT INTO messages
                 (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, reply_to, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                conversation,
                n,
                message.id.as_bytes(),
                from.n,
                to.n,
                signed(from_seq),
                signed(to_seq),
                self.now,
                message.reply_to.as_ref().map(Uuid::as_bytes),
                message.content
            ])?;
        if stored == 0 {
            return self.taken(conversation, from.n, message);
        }
        self.append_message(&message.from, from, (conversation, n), true)?;
        if from.n != to.n {
            self.append_message(&message.to, to, (conversation, n), false)?;
        }
        if unclaimed {
            self.left(message, from.n, to.n);
        }
        Ok(outcome)
    }

    /// Refuses a message, unless it is one that was stored before, which is still answered as it was.
    fn refuse(
        &mut self,
        message: &NewMessage,
        from: i64,
        to: i64,
        refusal: Outcome,
    ) -> Result<Outcome> {
        if !message.fresh
            && let Some(conversation) = find_conversation(self.tx, self.cache, from, to)?
            && self.is_taken(conversation.n, message)?
        {
            let taken = self.taken(conversation.n, from, message)?;
            return Ok(taken.or(refusal));
        }
        Ok(refusal)
    }

    /// Why a message to a user who has never connected is not taken; `None`: it is.
    fn refuses_unclaimed(&mut self, from: i64, message: &NewMessage) -> Result<Option<Outcome>> {
        if self.quotas.known_only {
            return Ok(Some(Outcome::UnknownUser));
        }
        if message
            .ip_quota
            .as_ref()
            .is_some_and(|ip_quota| ip_quota.is_empty())
        {
            return Ok(Some(Outcome::LeftTooMany));
        }
        if !self.quotas.counts_unclaimed() {
            return Ok(None);
        }
        self.cache.unclaimed.refuses(self.tx, self.quotas, from)
    }

    /// Counts a message to a user who has never connected.
    fn left(&mut self, message: &NewMessage, from: i64, to: i64) {
        if let Some(ip_quota) = &message.ip_quota {
            ip_quota.spend();
        }
        self.cache.unclaimed.add(to, from);
    }

    fn is_taken(&self, conversation: i64, message: &NewMessage) -> Result<bool> {
        self.tx
            .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND id = ?2")?
            .exists(params![conversation, message.id.as_bytes()])
    }

    /// The id is taken in this conversation: by the same message sent before, or by something else.
    fn taken(&mut self, conversation: i64, from: i64, message: &NewMessage) -> Result<Outcome> {
        type Row = (i64, i64, i64, i64, Option<String>, Option<Vec<u8>>);
        let (sender, from_seq, to_seq, sent_at, content, first): Row = self
            .tx
            .prepare_cached(
                "SELECT sender, from_seq, to_seq, sent_at, content, first
                 FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation, message.id.as_bytes()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                ))
            })?;
        // An edit or a delete leaves a mark of what was first sent; without one, that is still the content.
        let is_same = match (first, content) {
            (Some(first), _) => first == content_eq::mark(&self.key()?, &message.content),
            (None, Some(content)) => content_eq::value(&content, &message.content),
            (None, None) => false,
        };
        if sender != from || !is_same {
            return Ok(Outcome::IdConflict);
        }
        Ok(Outcome::Stored {
            from_seq: Some(unsigned(from_seq)),
            to_seq: unsigned(to_seq),
            at: sent_at,
            duplicate: true,
        })
    }

    /// Makes a change, unless the other user takes none: then only what changes nothing is answered.
    fn change(
        &mut self,
        at: &MessageRef,
        make: impl FnOnce(&mut Self, Found) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let Some(found) = self.find(at)? else {
            return Ok(if self.blocked(at)? {
                Outcome::Blocked
            } else {
                Outcome::UnknownMessage
            });
        };
        let blocked = found.blocked;
        let outcome = make(self, found)?;
        Ok(if blocked {
            outcome.or(Outcome::Blocked)
        } else {
            outcome
        })
    }

    fn edit(&mut self, at: &MessageRef, found: Found, content: &str) -> Result<Outcome> {
        if found.deleted_at.is_some() {
            return Ok(Outcome::UnknownMessage);
        }
        if found.sender != found.me.n {
            return Ok(Outcome::NotAuthor);
        }
        let now = found.content.as_deref().unwrap_or_default();
        if content_eq::value(now, content) {
            return Ok(Outcome::Stored {
                from_seq: Some(found.change_seq.map_or(found.from_seq, unsigned)),
                to_seq: 0,
                at: found.edited_at.unwrap_or(found.sent_at),
                duplicate: true,
            });
        }
        if found.blocked {
            return Ok(Outcome::Blocked);
        }
        let first = self.first(&found)?;
        let outcome = self.append_change(at, &found, Change::Edited)?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = ?3, edited_at = ?4, change_seq = ?5, first = ?6
                 WHERE conversation = ?1 AND n = ?2",
            )?
            .execute(params![
                found.conversation,
                found.n,
                content,
                self.now,
                signed(found.me.head + 1),
                first
            ])?;
        Ok(outcome)
    }

    fn delete(&mut self, at: &MessageRef, found: Found) -> Result<Outcome> {
        let own = found.sender == found.me.n;
        match found.deleted_at {
            Some(deleted_at) if own => {
                return Ok(Outcome::Stored {
                    from_seq: found.change_seq.map(unsigned),
                    to_seq: 0,
                    at: deleted_at,
                    duplicate: true,
                });
            }
            Some(_) => return Ok(Outcome::UnknownMessage),
            None if !own => return Ok(Outcome::NotAuthor),
            None => {}
        }
        if found.blocked {
            return Ok(Outcome::Blocked);
        }
        let first = self.first(&found)?;
        let outcome = self.append_change(at, &found, Change::Deleted)?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = NULL, deleted_at = ?3, change_seq = ?4, first = ?5
                 WHERE conversation = ?1 AND n = ?2",
            )?
            .execute(params![
                found.conversation,
                found.n,
                self.now,
                signed(found.me.head + 1),
                first
            ])?;
        self.tx
            .prepare_cached("DELETE FROM reactions WHERE conversation = ?1 AND message = ?2")?
            .execute([found.conversation, found.n])?;
        Ok(outcome)
    }

    fn react(
        &mut self,
        at: &MessageRef,
        found: Found,
        emoji: &str,
        remove: bool,
    ) -> Result<Outcome> {
        if found.deleted_at.is_some() {
            return Ok(Outcome::UnknownMessage);
        }
        let key = params![found.conversation, found.n, found.me.n, emoji];
        let known: Option<(bool, i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT removed, seq, at FROM reactions
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND emoji = ?4",
            )?
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let already = |from_seq, at| {
            Ok(Outcome::Stored {
                from_seq,
                to_seq: 0,
                at,
                duplicate: true,
            })
        };
        match known {
            Some((removed, seq, when)) if removed == remove => {
                return already(Some(unsigned(seq)), when);
            }
            None if remove => return already(None, self.now),
            _ if found.blocked => return Ok(Outcome::Blocked),
            _ if !remove && !self.may_react(&found)? => return Ok(Outcome::TooMany),
            _ => {}
        }
        let change = if remove {
            Change::Unreacted(emoji)
        } else {
            Change::Reacted(emoji)
        };
        let outcome = self.append_change(at, &found, change)?;
        self.tx
            .prepare_cached(
                "INSERT INTO reactions (conversation, message, user, emoji, removed, seq, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET removed = ?5, seq = ?6, at = ?7",
            )?
            .execute(params![
                found.conversation,
                found.n,
                found.me.n,
                emoji,
                remove,
                signed(found.me.head + 1),
                self.now
            ])?;
        Ok(outcome)
    }

    /// Whether there is room for one more reaction of a user to a message. Removed ones make room: the oldest of them are
    /// forgotten.
    fn may_react(&self, found: &Found) -> Result<bool> {
        let key = [found.conversation, found.n, found.me.n, MAX_REACTIONS];
        self.tx
            .prepare_cached(
                "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND removed
                 AND emoji NOT IN (SELECT emoji FROM reactions
                    WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND removed
                    ORDER BY at DESC, seq DESC LIMIT ?4)",
            )?
            .execute(key)?;
        self.tx
            .prepare_cached(
                "SELECT count(*) < ?4 FROM reactions
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND NOT removed",
            )?
            .query_row(key, |row| row.get(0))
    }

    fn read(&mut self, at: &MessageRef) -> Result<Outcome> {
        let Some(found) = self.find(at)? else {
            return Ok(Outcome::UnknownMessage);
        };
        let moved = self
            .tx
            .prepare_cached(
                "INSERT INTO marks (user, conversation, read, received) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT DO UPDATE SET read = ?3, received = max(received, ?3) WHERE read < ?3",
            )?
            .execute([found.me.n, found.conversation, found.n])?;
        Ok(Outcome::Marked {
            moved: moved > 0,
            quiet: found.quiet,
        })
    }

    /// Finds a message, but for one that is not in the asker's conversation with the other user.
    fn find(&mut self, at: &MessageRef) -> Result<Option<Found>> {
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

    /// The mark of a message's first content, which its idempotency is judged by once the content changes.
    fn first(&mut self, found: &Found) -> Result<Vec<u8>> {
        match &found.first {
            Some(first) => Ok(first.clone()),
            None => Ok(content_eq::mark(
                &self.key()?,
                found.content.as_deref().unwrap_or_default(),
            )),
        }
    }

    /// The store's key for such marks: without it, a guess at deleted content cannot be tried out.
    fn key(&self) -> Result<Vec<u8>> {
        self.tx
            .query_row("SELECT value FROM meta WHERE key = 'key'", (), |row| {
                row.get(0)
            })
    }

    fn append_message(
        &mut self,
        id: &str,
        user: User,
        (conversation, n): (i64, i64),
        own: bool,
    ) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                user.n,
                signed(user.head + 1),
                self.now,
                conversation,
                n,
                own.then_some(user.n)
            ])?;
        self.grown(id);
        Ok(())
    }

    /// Appends a change to the inboxes of both sides.
    fn append_change(
        &mut self,
        at: &MessageRef,
        found: &Found,
        change: Change<'_>,
    ) -> Result<Outcome> {
        let (kind, emoji) = match change {
            Change::Edited => (1, None),
            Change::Deleted => (2, None),
            Change::Reacted(emoji) => (3, Some(emoji)),
            Change::Unreacted(emoji) => (4, Some(emoji)),
        };
        let to_oneself = found.me.n == found.other.n;
        let sides = [(&*at.from, found.me), (&*at.to, found.other)];
        for (id, user) in sides.into_iter().take(if to_oneself { 1 } else { 2 }) {
            self.tx
                .prepare_cached(
                    "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    user.n,
                    signed(user.head + 1),
                    self.now,
                    found.conversation,
                    found.n,
                    kind,
                    found.me.n,
                    emoji
                ])?;
            self.grown(id);
        }
        Ok(Outcome::Stored {
            from_seq: Some(found.me.head + 1),
            to_seq: found.other.head + 1,
            at: self.now,
            duplicate: false,
        })
    }

    /// A user's inbox has one entry more.
    fn grown(&mut self, id: &str) {
        if let Some(user) = self.cache.users.get_mut(id) {
            user.head += 1;
            let kept = user.head - user.floor;
            let slack = SLACK.min(self.inbox_limit);
            if kept > self.inbox_limit && (kept - self.inbox_limit).is_multiple_of(slack) {
                self.cache.overfull.push_back(user.n);
            }
        }
    }

    fn contact(&mut self, a: &str, b: &str) -> Result<bool> {
        let (Some(a), Some(b)) = (
            find_user(self.tx, self.cache, a)?,
            find_user(self.tx, self.cache, b)?,
        ) else {
            return Ok(false);
        };
        let conversation = find_conversation(self.tx, self.cache, a.n, b.n)?;
        Ok(conversation.is_some_and(|conversation| !conversation.is_quiet()))
    }

    /// Whether the user whom something is addressed to takes nothing from its sender.
    fn blocked(&mut self, at: &MessageRef) -> Result<bool> {
        match (
            find_user(self.tx, self.cache, &at.from)?,
            find_user(self.tx, self.cache, &at.to)?,
        ) {
            (Some(from), Some(to)) => blocks(self.tx, to.n, from.n),
            _ => Ok(false),
        }
    }

    fn block(&mut self, by: &str, other: &str, on: bool) -> Result<Outcome> {
        if !on {
            let (Some(by), Some(other)) = (
                find_user(self.tx, self.cache, by)?,
                find_user(self.tx, self.cache, other)?,
            ) else {
                return Ok(Outcome::Set);
            };
            self.tx
                .prepare_cached("DELETE FROM blocks WHERE user = ?1 AND blocked = ?2")?
                .execute([by.n, other.n])?;
            self.note_block(by.n, other.n, false);
            return Ok(Outcome::Set);
        }
        let by = self.user(by)?;
        if let Some(other) = find_user(self.tx, self.cache, other)?
            && blocks(self.tx, by.n, other.n)?
        {
            return Ok(Outcome::Set);
        }
        let count: i64 = self
            .tx
            .prepare_cached("SELECT count(*) FROM blocks WHERE user = ?1")?
            .query_row([by.n], |row| row.get(0))?;
        if unsigned(count) >= self.quotas.blocks {
            return Ok(Outcome::TooManyBlocks);
        }
        // Perhaps nobody has this name yet; whoever takes it is blocked.
        let other = self.user(other)?;
        self.tx
            .prepare_cached("INSERT INTO blocks (user, blocked) VALUES (?1, ?2)")?
            .execute([by.n, other.n])?;
        self.note_block(by.n, other.n, true);
        Ok(Outcome::Set)
    }

    /// Keeps what is remembered of a conversation true to the table.
    fn note_block(&mut self, by: i64, other: i64, on: bool) {
        let pair = (by.min(other), by.max(other));
        if let Some(conversation) = self.cache.conversations.get_mut(&pair) {
            if by < other {
                conversation.low_blocks = on;
            } else {
                conversation.high_blocks = on;
            }
        }
    }

    fn watermark(&mut self, id: &Arc<str>, device: &str, seq: u64) -> Result<Vec<Received>> {
        let user = self.user(id)?;
        let seq = signed(seq.min(user.head));
        let before: Option<i64> = self
            .tx
            .prepare_cached("SELECT max(received) FROM devices WHERE user = ?1")?
            .query_row([user.n], |row| row.get(0))?;
        let known = self
            .tx
            .prepare_cached(
                "UPDATE devices SET received = max(received, ?3), used = ?4 WHERE user = ?1 AND device = ?2",
            )?
            .execute(params![user.n, device, seq, self.now])?;
        if known == 0 {
            self.tx
                .prepare_cached(
                    "INSERT INTO devices (user, device, received, used) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![user.n, device, seq, self.now])?;
            self.tx
                .prepare_cached(
                    "DELETE FROM devices WHERE user = ?1 AND device IN
                     (SELECT device FROM devices WHERE user = ?1
                      ORDER BY used DESC, device = ?3 DESC LIMIT -1 OFFSET ?2)",
                )?
                .execute(params![user.n, MAX_DEVICES, device])?;
            if !user.came {
                self.cache.unclaimed.claimed(self.tx, user.n)?;
                if let Some(user) = self.cache.users.get_mut(id) {
                    user.came = true;
                }
            }
            self.arrived.remove(&**id);
        }
        let before = before.unwrap_or(0);
        if seq > before {
            self.received(user.n, before, seq)
        } else {
            Ok(Vec::new())
        }
    }

    /// Moves the marks of the conversations that the entries after `before`, up to `seq`, are messages of.
    fn received(&mut self, user: i64, before: i64, seq: i64) -> Result<Vec<Received>> {
        let newest: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT conversation, max(message) FROM inbox
                 WHERE user = ?1 AND seq > ?2 AND seq <= ?3 AND kind = 0 AND by IS NULL GROUP BY conversation",
            )?
            .query_map([user, before, seq], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        let mut moved = Vec::new();
        for (conversation, n) in newest {
            let changed = self
                .tx
                .prepare_cached(
                    "INSERT INTO marks (user, conversation, received) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET received = ?3 WHERE received < ?3",
                )?
                .execute([user, conversation, n])?;
            if changed > 0 {
                let (with, id, other) = self
                    .tx
                    .prepare_cached(
                        "SELECT u.id, m.id, u.n FROM messages AS m JOIN users AS u ON u.n = m.sender
                         WHERE m.conversation = ?1 AND m.n = ?2",
                    )?
                    .query_row([conversation, n], |row| {
                        let id = Uuid::from_bytes(row.get(1)?);
                        Ok((row.get(0)?, id, row.get(2)?))
                    })?;
                let known = find_conversation(self.tx, self.cache, user, other)?;
                moved.push(Received {
                    with,
                    id,
                    quiet: known.is_some_and(|conversation| conversation.is_quiet()),
                });
            }
        }
        Ok(moved)
    }

    /// Finds a user, or makes one.
    fn user(&mut self, id: &str) -> Result<User> {
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
    fn conversation(&mut self, from: i64, to: i64) -> Result<Option<Conversation>> {
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
    fn number(&mut self) -> Result<i64> {
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
}
