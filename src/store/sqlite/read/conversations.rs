//! Reads the list of a user's conversations.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Result};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::SqliteReader;
use super::row::{OVERHEAD, select_messages, size, stored_message};
use crate::store::sqlite::counts;
use crate::store::sqlite::number::unsigned;
use crate::store::{Conversation, ConversationItem, ConversationsPage, ConversationsQuery};

impl SqliteReader {
    pub(super) fn read_conversations(
        &self,
        query: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>> {
        let mut page = ConversationsPage {
            items: Vec::new(),
            cursor: None,
        };
        let Some(user) = self.user(&query.user)? else {
            return Ok(query.cursor.is_none().then_some(page));
        };
        let mut newest = self.newest_by_conversation(user)?;
        newest.sort_unstable_by_key(|(n, ..)| std::cmp::Reverse(*n));
        if let Some(cursor) = query.cursor {
            let Some(before) = number_in(&query.user, cursor) else {
                return Ok(None);
            };
            newest.retain(|(n, ..)| *n < before);
        }
        let mut bytes = 0;
        let mut last = 0;
        for (n, conversation, other) in newest {
            if let Some(not_before) = query.not_before
                && self.first_shown(conversation, 0, not_before)?.is_none()
            {
                continue;
            }
            let item = self.item((user, other), conversation, n, query.not_before)?;
            bytes += size(&item.last) + OVERHEAD;
            if page.items.len() == query.limit || (bytes > query.bytes && !page.items.is_empty()) {
                page.cursor = Some(cursor_at(&query.user, last));
                break;
            }
            page.items.push(item);
            last = n;
        }
        Ok(Some(page))
    }

    /// For each conversation of a user: the number of its newest message, its own, and the other user's.
    fn newest_by_conversation(&self, user: i64) -> Result<Vec<(i64, i64, i64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT (SELECT max(n) FROM messages WHERE conversation = c.n) AS newest, c.n, c.other FROM
             (SELECT n, high AS other FROM conversations WHERE low = ?1
              UNION ALL SELECT n, low FROM conversations WHERE high = ?1 AND low != ?1) AS c
             WHERE newest IS NOT NULL",
        )?;
        statement
            .query_map([user], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }

    fn item(
        &self,
        (user, other): (i64, i64),
        conversation: i64,
        n: i64,
        not_before: Option<i64>,
    ) -> Result<ConversationItem> {
        let mut last = self
            .connection
            .prepare_cached(select_messages!(
                "",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n = ?2"
            ))?
            .query_row([conversation, n], |row| stored_message(row, 0))?;
        last.reactions = self.reactions(conversation, n)?;
        let peer: Arc<str> = self
            .connection
            .prepare_cached("SELECT id FROM users WHERE n = ?1")?
            .query_row([other], |row| row.get(0))?;
        let (my_read, _) = self.marks(user, conversation)?;
        let (their_read, their_received) = if other == user || self.has_block(user, other)? {
            (0, 0)
        } else {
            self.marks(other, conversation)?
        };
        let unread = if other == user {
            0
        } else {
            self.unread((user, other), conversation, my_read, not_before)?
        };
        Ok(ConversationItem {
            conversation: Conversation::Direct(peer),
            last,
            unread: unsigned(unread.max(0)),
            my_read: self.id_of(conversation, my_read)?,
            their_read: self.id_of(conversation, their_read)?,
            their_received: self.id_of(conversation, their_received)?,
        })
    }

    /// The number of messages of the other user after the read mark, without deleted and hidden ones. Only deleted ones are
    /// counted one by one.
    fn unread(
        &self,
        (user, other): (i64, i64),
        conversation: i64,
        read: i64,
        not_before: Option<i64>,
    ) -> Result<i64> {
        let after = match not_before {
            None => read,
            Some(not_before) => match self.first_shown(conversation, read, not_before)? {
                Some(first) => first - 1,
                None => return Ok(0),
            },
        };
        let of_other = |counts: (i64, i64)| if other < user { counts.0 } else { counts.1 };
        let newest = self.counts_at(conversation, i64::MAX)?;
        let before = match self.counts_at(conversation, after)? {
            Some(counts) => Some(counts),
            None => counts::before_oldest(&self.connection, conversation)?,
        };
        let (Some(newest), Some(before)) = (newest, before) else {
            return Ok(0);
        };
        let deleted: i64 = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM messages
                 WHERE conversation = ?1 AND sender = ?2 AND n > ?3 AND deleted_at IS NOT NULL",
            )?
            .query_row([conversation, other, after], |row| row.get(0))?;
        Ok(of_other(newest) - of_other(before) - deleted)
    }

    /// The counts of the newest message up to number `n`.
    fn counts_at(&self, conversation: i64, n: i64) -> Result<Option<(i64, i64)>> {
        self.connection
            .prepare_cached(
                "SELECT low_count, high_count FROM messages
                 WHERE conversation = ?1 AND n <= ?2 ORDER BY n DESC LIMIT 1",
            )?
            .query_row([conversation, n], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    /// True if one of two users blocks the other: then neither sees the other's marks.
    fn has_block(&self, a: i64, b: i64) -> Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2)
                 OR EXISTS (SELECT 1 FROM blocks WHERE user = ?2 AND blocked = ?1)",
            )?
            .query_row([a, b], |row| row.get(0))
    }

    fn marks(&self, user: i64, conversation: i64) -> Result<(i64, i64)> {
        self.connection
            .prepare_cached(
                "SELECT read, received FROM marks WHERE user = ?1 AND conversation = ?2",
            )?
            .query_row([user, conversation], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map(Option::unwrap_or_default)
    }

    fn id_of(&self, conversation: i64, n: i64) -> Result<Option<Uuid>> {
        if n == 0 {
            return Ok(None);
        }
        self.connection
            .prepare_cached("SELECT id FROM messages WHERE conversation = ?1 AND n = ?2")?
            .query_row([conversation, n], |row| row.get(0).map(Uuid::from_bytes))
            .optional()
    }
}

/// The cursor of a user's list of conversations, in the form of an id: the number of a message, and a hash by which a cursor is
/// recognised. The id of a message would not do, because clients may use one id in several conversations.
fn cursor_at(user: &str, n: i64) -> Uuid {
    let number = n.to_be_bytes();
    let mut hash = Sha256::new();
    hash.update(number);
    hash.update(user);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number);
    bytes[8..].copy_from_slice(&hash.finalize()[..8]);
    Uuid::from_bytes(bytes)
}

/// The message number in a cursor of this user; `None`: it is not a cursor of this user.
fn number_in(user: &str, cursor: Uuid) -> Option<i64> {
    let n = i64::from_be_bytes(*cursor.as_bytes().first_chunk()?);
    (cursor_at(user, n) == cursor).then_some(n)
}
