//! Removes the content of an erased user's messages, and the user's reactions.

use rusqlite::{CachedStatement, OptionalExtension as _, Row, params_from_iter};

use super::super::{Batch, Result};
use super::Erasure;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::uncounted::{self, Uncounted};

/// The number of entries of the user's own inbox that are examined at once.
const OWN_ENTRIES: i64 = 4096;

/// A message of a conversation of an erased user.
struct Examined {
    n: i64,
    sender: i64,
    is_deleted: bool,
}

impl Batch<'_> {
    /// Direct conversations, by the number of the other user. The cursor is the other user of the last complete one, and the last
    /// message of the next one. True: all are complete.
    pub(super) fn erase_in_direct(&mut self, erasure: &mut Erasure, limit: i64) -> Result<bool> {
        let mut left = limit;
        while left > 0 {
            let [after, message, ..] = erasure.cursor;
            let Some((other, conversation)) = self.next_direct(erasure.user, after)? else {
                return Ok(true);
            };
            let messages: Vec<Examined> = self
                .tx
                .prepare_cached(
                    "SELECT n, sender, deleted_at IS NOT NULL FROM messages
                     WHERE conversation = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
                )?
                .query_map([conversation, message, left], |row| {
                    Examined::of_row(row, 0)
                })?
                .collect::<Result<_>>()?;
            for message in &messages {
                self.erase_in_message(erasure, conversation, message)?;
            }
            // An empty conversation is work as well.
            let examined = messages.len() as i64;
            erasure.cursor = match messages.last().filter(|_| examined == left) {
                Some(last) => [after, last.n, 0, 0],
                None => [other, 0, 0, 0],
            };
            left -= examined.max(1);
        }
        Ok(false)
    }

    /// The next direct conversation of a user, by the number of the other user.
    pub(super) fn next_direct(&self, user: i64, after: i64) -> Result<Option<(i64, i64)>> {
        let pair = |sql: &str, first: i64, last: i64| {
            self.tx
                .prepare_cached(sql)?
                .query_row([user, first, last], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        };
        if after < user
            && let Some(found) = pair(
                "SELECT low, n FROM conversations WHERE high = ?1 AND low > ?2 AND low < ?3 ORDER BY low LIMIT 1",
                after,
                user,
            )?
        {
            return Ok(Some(found));
        }
        pair(
            "SELECT high, n FROM conversations WHERE low = ?1 AND high > ?2 AND high < ?3 ORDER BY high LIMIT 1",
            after.max(user - 1),
            i64::MAX,
        )
    }

    /// A message of the user loses its content, any other one the reactions of the user.
    fn erase_in_message(
        &mut self,
        erasure: &mut Erasure,
        conversation: i64,
        message: &Examined,
    ) -> Result<()> {
        if message.sender == erasure.user {
            self.erase_content(erasure, conversation, message)?;
            if !message.is_deleted {
                let place = (conversation, erasure.user, message.n);
                uncounted::add(self.tx, place, Uncounted::DELETED)?;
            }
        } else {
            self.remove_reactions(erasure, conversation, message.n)?;
        }
        let entries: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT user, seq FROM inbox INDEXED BY changes
                 WHERE conversation = ?1 AND message = ?2 AND by = ?3 AND emoji IS NOT NULL AND kind BETWEEN 1 AND 4",
            )?
            .query_map([conversation, message.n, erasure.user], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_>>()?;
        for (user, seq) in entries {
            self.supersede_entry(user, seq)?;
        }
        Ok(())
    }

    /// The message is a deleted one from then on. Returns the number of rows that have changed.
    fn erase_content(
        &mut self,
        erasure: &mut Erasure,
        conversation: i64,
        message: &Examined,
    ) -> Result<i64> {
        long_contents::remove(self.tx, message.n)?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = NULL, first = NULL, hash = NULL, reply_to = NULL, edited_at = NULL,
                    deleted_at = coalesce(deleted_at, ?3) WHERE conversation = ?1 AND n = ?2",
            )?
            .execute([conversation, message.n, erasure.at])?;
        if !message.is_deleted {
            erasure.erased.messages += 1;
        }
        let (removed, counted) = removed_reactions(self.tx.prepare_cached(
            "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 RETURNING NOT removed",
        )?, &[conversation, message.n])?;
        erasure.erased.reactions += counted;
        Ok(1 + removed)
    }

    /// Removes the reactions of the user to a message. Returns the number of rows.
    fn remove_reactions(
        &self,
        erasure: &mut Erasure,
        conversation: i64,
        message: i64,
    ) -> Result<i64> {
        let (removed, counted) = removed_reactions(self.tx.prepare_cached(
            "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 AND user = ?3 RETURNING NOT removed",
        )?, &[conversation, message, erasure.user])?;
        erasure.erased.reactions += counted;
        Ok(removed)
    }

    /// An entry about a reaction keeps only its number, like a superseded change.
    fn supersede_entry(&mut self, user: i64, seq: i64) -> Result<()> {
        self.tx
            .prepare_cached(
                "UPDATE inbox SET kind = 5, by = NULL, emoji = NULL WHERE user = ?1 AND seq = ?2",
            )?
            .execute([user, seq])?;
        let id: String = self
            .tx
            .prepare_cached(
                "UPDATE users SET superseded = superseded + 1 WHERE n = ?1 RETURNING id",
            )?
            .query_row([user], |row| row.get(0))?;
        if let Some(user) = self.cache.users.get_mut(id.as_str()) {
            user.superseded += 1;
        }
        Ok(())
    }

    /// Messages in rooms. The cursor is the last one.
    pub(super) fn erase_in_rooms(&mut self, erasure: &mut Erasure, limit: i64) -> Result<bool> {
        let [room, message, ..] = erasure.cursor;
        let messages: Vec<(i64, Examined)> = self
            .tx
            .prepare_cached(
                "SELECT conversation, n, sender, deleted_at IS NOT NULL FROM messages INDEXED BY room_authors
                 WHERE sender = ?1 AND conversation < 0 AND (conversation, n) > (?2, ?3)
                 ORDER BY conversation, n LIMIT ?4",
            )?
            .query_map([erasure.user, first(room), message, limit], |row| {
                Ok((row.get(0)?, Examined::of_row(row, 1)?))
            })?
            .collect::<Result<_>>()?;
        let mut left = limit;
        for (conversation, message) in &messages {
            if left <= 0 {
                return Ok(false);
            }
            left -= self.erase_content(erasure, *conversation, message)?;
            erasure.cursor = [*conversation, message.n, 0, 0];
        }
        Ok((messages.len() as i64) < limit)
    }

    /// Reactions to messages in rooms, also in former ones. The cursor is the message of the next ones, and the inbox that was examined
    /// last for it.
    pub(super) fn erase_reactions(&mut self, erasure: &mut Erasure, limit: i64) -> Result<bool> {
        let mut left = limit;
        while left > 0 {
            let next: Option<(i64, i64)> = self
                .tx
                .prepare_cached(
                    "SELECT conversation, message FROM reactions INDEXED BY room_reactions
                     WHERE user = ?1 AND conversation < 0 ORDER BY conversation, message LIMIT 1",
                )?
                .query_row([erasure.user], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((room, message)) = next else {
                return Ok(true);
            };
            if erasure.cursor[..2] != [room, message] {
                erasure.cursor = [room, message, 0, 0];
            }
            match self.erase_reaction_entries(
                erasure,
                (room, message),
                erasure.cursor[2],
                &mut left,
            )? {
                Some(inbox) => erasure.cursor[2] = inbox,
                None => left -= self.remove_reactions(erasure, room, message)?.max(1),
            }
        }
        Ok(false)
    }

    /// Entries about the user's reactions in rooms to messages that were deleted since, whose reactions were removed then. They are found
    /// by those in the user's own inbox. The cursor is the entry of that inbox that was examined last; or the next one, the inbox that was
    /// examined last for it, and 1.
    pub(super) fn erase_own_reactions(
        &mut self,
        erasure: &mut Erasure,
        limit: i64,
    ) -> Result<bool> {
        let mut left = limit;
        while left > 0 {
            let [seq, inbox, has_begun, _] = erasure.cursor;
            let next = if has_begun == 0 {
                self.next_own_reaction(erasure.user, seq)?
            } else {
                self.own_entry(erasure.user, seq)?
            };
            let (seq, place) = match next {
                OwnReaction::None => return Ok(true),
                OwnReaction::NoneUpTo(seq) => (seq, None),
                OwnReaction::Entry(seq, place) => (seq, Some(place)),
            };
            // A search without a result has read many entries.
            left -= if place.is_some() { 1 } else { limit / 16 + 1 };
            let rest = match place {
                Some(place) => self.erase_reaction_entries(erasure, place, inbox, &mut left)?,
                None => None,
            };
            erasure.cursor = match rest {
                Some(inbox) => [seq, inbox, 1, 0],
                None => [seq, 0, 0, 0],
            };
        }
        Ok(false)
    }

    /// Looks for the first entry about a reaction of the user in the user's own inbox.
    fn next_own_reaction(&self, user: i64, after: i64) -> Result<OwnReaction> {
        let first: Option<i64> = self
            .tx
            .prepare_cached("SELECT min(seq) FROM inbox WHERE user = ?1 AND seq > ?2")?
            .query_row([user, after], |row| row.get(0))?;
        let Some(first) = first else {
            return Ok(OwnReaction::None);
        };
        let last = first.saturating_add(OWN_ENTRIES);
        let found = self
            .tx
            .prepare_cached(
                "SELECT seq, conversation, message FROM inbox
                 WHERE user = ?1 AND seq BETWEEN ?2 AND ?3 AND by = ?1 AND kind IN (3, 4) AND conversation < 0
                 ORDER BY seq LIMIT 1",
            )?
            .query_row([user, first, last], |row| {
                Ok(OwnReaction::Entry(row.get(0)?, (row.get(1)?, row.get(2)?)))
            })
            .optional()?;
        Ok(found.unwrap_or(OwnReaction::NoneUpTo(last)))
    }

    /// An entry of the user's own inbox, which may be superseded by now.
    fn own_entry(&self, user: i64, seq: i64) -> Result<OwnReaction> {
        let found = self
            .tx
            .prepare_cached("SELECT conversation, message FROM inbox WHERE user = ?1 AND seq = ?2")?
            .query_row([user, seq], |row| {
                Ok(OwnReaction::Entry(seq, (row.get(0)?, row.get(1)?)))
            })
            .optional()?;
        Ok(found.unwrap_or(OwnReaction::NoneUpTo(seq)))
    }

    /// Entries about the user's reactions to a message, in inboxes after that of the user `after`. Returns the last one that was examined,
    /// if nothing is left of the limit; otherwise all were.
    fn erase_reaction_entries(
        &mut self,
        erasure: &Erasure,
        (conversation, message): (i64, i64),
        after: i64,
        left: &mut i64,
    ) -> Result<Option<i64>> {
        let mut after = after;
        loop {
            let next: Option<i64> = self
                .tx
                .prepare_cached(
                    "SELECT min(user) FROM inbox INDEXED BY changes
                     WHERE conversation = ?1 AND message = ?2 AND user > ?3 AND kind BETWEEN 1 AND 4",
                )?
                .query_row([conversation, message, after], |row| row.get(0))?;
            let Some(user) = next else {
                return Ok(None);
            };
            let entries: Vec<i64> = self
                .tx
                .prepare_cached(
                    "SELECT seq FROM inbox INDEXED BY changes
                     WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS NOT NULL
                        AND kind BETWEEN 1 AND 4",
                )?
                .query_map([conversation, message, user, erasure.user], |row| row.get(0))?
                .collect::<Result<_>>()?;
            for seq in entries {
                self.supersede_entry(user, seq)?;
            }
            after = user;
            *left -= 1;
            if *left <= 0 {
                return Ok(Some(after));
            }
        }
    }
}

/// What a part of the inbox of an erased user has.
enum OwnReaction {
    /// The inbox has no more entries.
    None,
    /// There is no entry about a reaction of the user up to this one.
    NoneUpTo(i64),
    /// An entry, with conversation and message.
    Entry(i64, (i64, i64)),
}

impl Examined {
    /// From the columns `n`, `sender` and whether it is deleted, of which the first has this index.
    fn of_row(row: &Row<'_>, index: usize) -> Result<Self> {
        Ok(Self {
            n: row.get(index)?,
            sender: row.get(index + 1)?,
            is_deleted: row.get(index + 2)?,
        })
    }
}

/// Runs a statement that removes reactions. Returns the number of rows, and how many of them a user had not removed before.
fn removed_reactions(mut statement: CachedStatement<'_>, key: &[i64]) -> Result<(i64, u64)> {
    let mut rows = statement.query(params_from_iter(key))?;
    let (mut removed, mut counted) = (0, 0);
    while let Some(row) = rows.next()? {
        removed += 1;
        counted += u64::from(row.get::<_, bool>(0)?);
    }
    Ok((removed, counted))
}

/// The conversation of a cursor. Those of rooms are negative, and a phase begins at 0.
fn first(room: i64) -> i64 {
    if room == 0 { i64::MIN } else { room }
}
