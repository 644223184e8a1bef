//! Edits, deletions and reactions.

use rusqlite::{OptionalExtension as _, params};

use super::{Found, Result, Run};
use crate::store::sqlite::content_eq;
use crate::store::sqlite::file::{signed, unsigned};
use crate::store::{MessageRef, Outcome};

/// Reactions of one user to one message, and as many removed ones that are remembered.
const MAX_REACTIONS: i64 = 32;

/// What a change is; in the file it is the entry's `kind`.
#[derive(Clone, Copy)]
enum Change<'a> {
    Edited,
    Deleted,
    Reacted(&'a str),
    Unreacted(&'a str),
}

impl Run<'_> {
    /// Makes a change, unless the other user takes none: then only what changes nothing is answered.
    pub fn change(
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

    pub fn edit(&mut self, at: &MessageRef, found: Found, content: &str) -> Result<Outcome> {
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

    pub fn delete(&mut self, at: &MessageRef, found: Found) -> Result<Outcome> {
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

    pub fn react(
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
    pub fn may_react(&self, found: &Found) -> Result<bool> {
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

    /// The mark of a message's first content, which its idempotency is judged by once the content changes.
    pub fn first(&mut self, found: &Found) -> Result<Vec<u8>> {
        match &found.first {
            Some(first) => Ok(first.clone()),
            None => Ok(content_eq::mark(
                &self.key()?,
                found.content.as_deref().unwrap_or_default(),
            )),
        }
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
}
