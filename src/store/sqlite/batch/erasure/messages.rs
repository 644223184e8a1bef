//! Removes the content of an erased user's messages, and the user's reactions.

use rusqlite::OptionalExtension as _;

use super::super::{Batch, Result};
use super::Erasure;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::uncounted::{self, Uncounted};

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
                    Ok(Examined {
                        n: row.get(0)?,
                        sender: row.get(1)?,
                        is_deleted: row.get(2)?,
                    })
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
            self.erase_content(erasure, conversation, message.n)?;
            if !message.is_deleted {
                let place = (conversation, erasure.user, message.n);
                uncounted::add(self.tx, place, Uncounted::DELETED)?;
            }
        } else {
            erasure.erased.reactions += self
                .tx
                .prepare_cached(
                    "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 AND user = ?3",
                )?
                .execute([conversation, message.n, erasure.user])?
                as u64;
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

    /// The message is a deleted one from then on.
    fn erase_content(&mut self, erasure: &mut Erasure, conversation: i64, n: i64) -> Result<()> {
        long_contents::remove(self.tx, n)?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = NULL, first = NULL, hash = NULL, reply_to = NULL, edited_at = NULL,
                    deleted_at = coalesce(deleted_at, ?3) WHERE conversation = ?1 AND n = ?2",
            )?
            .execute([conversation, n, erasure.at])?;
        erasure.erased.messages += 1;
        erasure.erased.reactions += self
            .tx
            .prepare_cached("DELETE FROM reactions WHERE conversation = ?1 AND message = ?2")?
            .execute([conversation, n])? as u64;
        Ok(())
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
        let messages: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT conversation, n FROM messages INDEXED BY room_authors
                 WHERE sender = ?1 AND conversation < 0 AND (conversation, n) > (?2, ?3)
                 ORDER BY conversation, n LIMIT ?4",
            )?
            .query_map([erasure.user, first(room), message, limit], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<_>>()?;
        for (conversation, n) in &messages {
            self.erase_content(erasure, *conversation, *n)?;
            erasure.cursor = [*conversation, *n, 0, 0];
        }
        Ok((messages.len() as i64) < limit)
    }

    /// Reactions to messages in rooms, also in former ones: no index has the reactions of a user. The cursor is the last message
    /// that was examined.
    pub(super) fn erase_reactions(&mut self, erasure: &mut Erasure, limit: i64) -> Result<bool> {
        for _ in 0..limit {
            let [room, message, ..] = erasure.cursor;
            let next: Option<(i64, i64)> = self
                .tx
                .prepare_cached(
                    "SELECT conversation, message FROM reactions
                     WHERE conversation < 0 AND (conversation, message) > (?1, ?2)
                     ORDER BY conversation, message LIMIT 1",
                )?
                .query_row([first(room), message], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((conversation, message)) = next else {
                return Ok(true);
            };
            erasure.erased.reactions += self
                .tx
                .prepare_cached(
                    "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 AND user = ?3",
                )?
                .execute([conversation, message, erasure.user])?
                as u64;
            erasure.cursor = [conversation, message, 0, 0];
        }
        Ok(false)
    }

    /// Entries about the user's reactions in rooms. The cursor is the last inbox that was examined: the room, the message, and the
    /// user of the inbox.
    pub(super) fn erase_reaction_entries(
        &mut self,
        erasure: &mut Erasure,
        limit: i64,
    ) -> Result<bool> {
        for _ in 0..limit {
            let [room, message, user, _] = erasure.cursor;
            let next: Option<[i64; 3]> = self
                .tx
                .prepare_cached(
                    "SELECT conversation, message, user FROM inbox INDEXED BY changes
                     WHERE kind BETWEEN 1 AND 4 AND conversation < 0 AND (conversation, message, user) > (?1, ?2, ?3)
                     ORDER BY conversation, message, user LIMIT 1",
                )?
                .query_row([first(room), message, user], |row| {
                    Ok([row.get(0)?, row.get(1)?, row.get(2)?])
                })
                .optional()?;
            let Some([room, message, user]) = next else {
                return Ok(true);
            };
            let entries: Vec<i64> = self
                .tx
                .prepare_cached(
                    "SELECT seq FROM inbox INDEXED BY changes
                     WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS NOT NULL
                        AND kind BETWEEN 1 AND 4",
                )?
                .query_map([room, message, user, erasure.user], |row| row.get(0))?
                .collect::<Result<_>>()?;
            for seq in entries {
                self.supersede_entry(user, seq)?;
            }
            erasure.cursor = [room, message, user, 0];
        }
        Ok(false)
    }
}

/// The conversation of a cursor. Those of rooms are negative, and a phase begins at 0.
fn first(room: i64) -> i64 {
    if room == 0 { i64::MIN } else { room }
}
