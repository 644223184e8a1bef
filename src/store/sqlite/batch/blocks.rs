//! Blocks, and whether two users are in contact.

use super::{Result, Run};
use crate::store::sqlite::cache::{blocks, find_conversation, find_user};
use crate::store::sqlite::file::unsigned;
use crate::store::{MessageRef, Outcome};

impl Run<'_> {
    pub fn contact(&mut self, a: &str, b: &str) -> Result<bool> {
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
    pub fn blocked(&mut self, at: &MessageRef) -> Result<bool> {
        match (
            find_user(self.tx, self.cache, &at.from)?,
            find_user(self.tx, self.cache, &at.to)?,
        ) {
            (Some(from), Some(to)) => blocks(self.tx, to.n, from.n),
            _ => Ok(false),
        }
    }

    pub fn block(&mut self, by: &str, other: &str, on: bool) -> Result<Outcome> {
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
    pub fn note_block(&mut self, by: i64, other: i64, on: bool) {
        let pair = (by.min(other), by.max(other));
        if let Some(conversation) = self.cache.conversations.get_mut(&pair) {
            if by < other {
                conversation.low_blocks = on;
            } else {
                conversation.high_blocks = on;
            }
        }
    }
}
