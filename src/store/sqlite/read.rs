//! The reading half: inboxes, histories, conversations.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::file::connect_to_read;
use super::number::{signed, unsigned};
use super::pending;
use super::shared::Shared;
use crate::store::{
    Conversation, ConversationItem, ConversationsPage, ConversationsQuery, DeviceRef, Entry,
    EntryKind, HistoryAnswer, HistoryPage, HistoryPosition, HistoryQuery, InboxRange, InboxState,
    Reader, StoreError, StoredMessage,
};

/// An upper bound of the bytes that a message takes in an answer besides its content and reactions.
const OVERHEAD: usize = 512;

/// A query of the columns of a [`StoredMessage`], from `m` (messages), `f` (its author) and `t` (its recipient).
macro_rules! select_messages {
    ($before:literal, $after:literal) => {
        concat!(
            "SELECT ",
            $before,
            "f.id, t.id, m.id, m.sent_at, m.reply_to, m.edited_at, m.deleted_at, m.content ",
            $after
        )
    };
}

/// A connection that only reads.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
    /// The tables are hidden by views that include the pending log.
    includes_pending: bool,
    /// Shared with the store; `None` for a file that no store has open here.
    shared: Option<Arc<Shared>>,
    /// The maximum number of entries of an inbox.
    inbox_limit: u64,
}

type Result<T> = rusqlite::Result<T>;

impl SqliteReader {
    /// Opens a reading connection of a store.
    pub fn open(path: &Path, shared: Arc<Shared>, inbox_limit: u64) -> Result<Self> {
        Ok(Self {
            connection: connect_to_read(path)?,
            includes_pending: false,
            shared: Some(shared),
            inbox_limit,
        })
    }

    /// Reads through a connection that is open already, and sees what it sees.
    pub fn with_connection(connection: Connection) -> Self {
        Self {
            connection,
            includes_pending: false,
            shared: None,
            inbox_limit: u64::MAX,
        }
    }

    /// Makes sure that the next query sees all messages: has the pending log flushed, or, if that fails, includes it.
    fn see_all_messages(&mut self) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        if shared.flush() {
            self.exclude_pending()
        } else {
            self.exclude_pending()?;
            let tx = self.connection.unchecked_transaction()?;
            pending::include(&tx)?;
            self.includes_pending = true;
            tx.commit()
        }
    }

    fn exclude_pending(&mut self) -> Result<()> {
        if self.includes_pending {
            pending::exclude(&self.connection)?;
            self.includes_pending = false;
        }
        Ok(())
    }

    /// Reads the state of inboxes. The newest entry of an inbox may be in the pending log only; the log is read, but not
    /// flushed, because a session that has nothing to replay does not read its messages.
    fn read_inboxes(&self, devices: &[DeviceRef]) -> Result<Vec<InboxState>> {
        let heads = pending::read_heads(&self.connection)?;
        let mut statement = self.connection.prepare_cached(
            "SELECT u.n, u.floor, (SELECT max(seq) FROM inbox WHERE user = u.n),
                (SELECT max(received) FROM devices WHERE user = u.n),
                (SELECT received FROM devices WHERE user = u.n AND device = ?2)
             FROM users AS u WHERE u.id = ?1",
        )?;
        let mut states = Vec::with_capacity(devices.len());
        for DeviceRef { user, device } in devices {
            let found = statement
                .query_row(params![user, device], |row| {
                    let n: i64 = row.get(0)?;
                    let trimmed_to = unsigned(row.get(1)?);
                    let newest: Option<i64> = row.get(2)?;
                    let furthest: Option<i64> = row.get(3)?;
                    let received: Option<i64> = row.get(4)?;
                    let head = newest.map_or(trimmed_to, unsigned);
                    let head = head.max(heads.get(&n).copied().unwrap_or(0));
                    // Entries beyond the limit count as removed before the sweep has removed them.
                    let oldest = trimmed_to.max(head.saturating_sub(self.inbox_limit)) + 1;
                    let state = InboxState {
                        head,
                        oldest,
                        received: unsigned(received.or(furthest).unwrap_or(0)),
                    };
                    Ok((state, furthest.is_some()))
                })
                .optional()?;
            let (state, has_device) = found.unwrap_or((
                InboxState {
                    head: 0,
                    oldest: 1,
                    received: 0,
                },
                false,
            ));
            if !has_device && let Some(shared) = &self.shared {
                shared.add_newly_connected(user);
            }
            states.push(state);
        }
        Ok(states)
    }

    fn read_entries(&self, range: &InboxRange) -> Result<Vec<Entry>> {
        let mut statement = self.connection.prepare_cached(select_messages!(
            "i.seq, i.kind, i.emoji, i.at, b.id, ",
            "FROM inbox AS i
             JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
             JOIN users AS f ON f.n = m.sender
             JOIN users AS t ON t.n = m.recipient
             JOIN users AS b ON b.n = coalesce(i.by, m.sender)
             WHERE i.user = (SELECT n FROM users WHERE id = ?1) AND i.seq BETWEEN ?2 AND ?3 ORDER BY i.seq"
        ))?;
        let mut rows =
            statement.query(params![range.user, signed(range.first), signed(range.last)])?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let emoji: Option<String> = row.get(2)?;
            let entry = Entry {
                seq: unsigned(row.get(0)?),
                kind: match (row.get(1)?, emoji) {
                    (1, _) => EntryKind::Edited,
                    (2, _) => EntryKind::Deleted,
                    (kind @ (3 | 4), Some(emoji)) => EntryKind::Reacted {
                        emoji,
                        removed: kind == 4,
                    },
                    _ => EntryKind::Message,
                },
                at: row.get(3)?,
                actor: row.get(4)?,
                message: stored_message(row, 5)?,
            };
            bytes += entry.message.content.len() + OVERHEAD;
            entries.push(entry);
            if bytes >= range.bytes {
                break;
            }
        }
        Ok(entries)
    }

    pub(super) fn user(&self, id: &str) -> Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT n FROM users WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()
    }

    fn conversation(&self, a: &str, b: &str) -> Result<Option<i64>> {
        let (Some(a), Some(b)) = (self.user(a)?, self.user(b)?) else {
            return Ok(None);
        };
        self.connection
            .prepare_cached("SELECT n FROM conversations WHERE low = ?1 AND high = ?2")?
            .query_row([a.min(b), a.max(b)], |row| row.get(0))
            .optional()
    }

    fn read_history(&self, query: &HistoryQuery) -> Result<HistoryAnswer> {
        let Conversation::Direct(peer) = &query.conversation else {
            return Ok(HistoryAnswer::UnknownRoom);
        };
        let Some(conversation) = self.conversation(&query.user, peer)? else {
            return Ok(match query.position {
                // A conversation without messages is empty, and has no message to start from.
                Some(_) => HistoryAnswer::UnknownMessage,
                None => HistoryAnswer::Page(HistoryPage {
                    messages: Vec::new(),
                    more: false,
                }),
            });
        };
        let forwards = matches!(query.position, Some(HistoryPosition::After(_)));
        let from = match query.position {
            None => i64::MAX,
            Some(HistoryPosition::Before(id) | HistoryPosition::After(id)) => {
                let n: Option<i64> = self
                    .connection
                    .prepare_cached("SELECT n FROM messages WHERE conversation = ?1 AND id = ?2")?
                    .query_row(params![conversation, id.as_bytes()], |row| row.get(0))
                    .optional()?;
                match n {
                    Some(n) => n,
                    None => return Ok(HistoryAnswer::UnknownMessage),
                }
            }
        };
        let sql = if forwards {
            select_messages!(
                "m.n, ",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n > ?2 AND m.sent_at >= ?3 ORDER BY m.n ASC LIMIT ?4"
            )
        } else {
            select_messages!(
                "m.n, ",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n < ?2 AND m.sent_at >= ?3 ORDER BY m.n DESC LIMIT ?4"
            )
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        // One more than requested tells whether there are more.
        let limit = query.limit as i64 + 1;
        let mut rows = statement.query([conversation, from, query.not_before, limit])?;
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let mut message = stored_message(row, 1)?;
            message.reactions = self.reactions(conversation, n)?;
            bytes += size(&message);
            if messages.len() == query.limit || (bytes > query.bytes && !messages.is_empty()) {
                more = true;
                break;
            }
            messages.push(message);
        }
        if !forwards {
            messages.reverse();
        }
        Ok(HistoryAnswer::Page(HistoryPage { messages, more }))
    }

    fn reactions(&self, conversation: i64, n: i64) -> Result<Vec<(String, Vec<String>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT r.emoji, u.id FROM reactions AS r JOIN users AS u ON u.n = r.user
             WHERE r.conversation = ?1 AND r.message = ?2 AND NOT r.removed ORDER BY r.at, r.seq",
        )?;
        let mut rows = statement.query([conversation, n])?;
        let mut reactions: Vec<(String, Vec<String>)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (emoji, user): (String, String) = (row.get(0)?, row.get(1)?);
            match reactions.iter_mut().find(|(known, _)| *known == emoji) {
                Some((_, users)) => users.push(user),
                None => reactions.push((emoji, vec![user])),
            }
        }
        Ok(reactions)
    }

    fn read_conversations(&self, query: &ConversationsQuery) -> Result<Option<ConversationsPage>> {
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
            let item = self.item(user, conversation, other, n)?;
            if item.last.sent_at < query.not_before {
                break;
            }
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

    fn item(&self, user: i64, conversation: i64, other: i64, n: i64) -> Result<ConversationItem> {
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
        let unread: i64 = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM messages
                 WHERE conversation = ?1 AND n > ?2 AND sender != ?3 AND deleted_at IS NULL",
            )?
            .query_row([conversation, my_read, user], |row| row.get(0))?;
        Ok(ConversationItem {
            conversation: Conversation::Direct(peer),
            last,
            unread: unsigned(unread),
            my_read: self.id_of(conversation, my_read)?,
            their_read: self.id_of(conversation, their_read)?,
            their_received: self.id_of(conversation, their_received)?,
        })
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

impl Reader for SqliteReader {
    fn open_inboxes(
        &mut self,
        devices: &[DeviceRef],
    ) -> std::result::Result<Vec<InboxState>, StoreError> {
        self.exclude_pending()?;
        // All queries see the same state of the store.
        let view = self.connection.unchecked_transaction()?;
        let states = self.read_inboxes(devices)?;
        view.finish()?;
        Ok(states)
    }

    fn entries(&mut self, range: &InboxRange) -> std::result::Result<Vec<Entry>, StoreError> {
        self.see_all_messages()?;
        Ok(self.read_entries(range)?)
    }

    fn history(&mut self, query: &HistoryQuery) -> std::result::Result<HistoryAnswer, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let answer = self.read_history(query)?;
        view.finish()?;
        Ok(answer)
    }

    fn conversations(
        &mut self,
        query: &ConversationsQuery,
    ) -> std::result::Result<Option<ConversationsPage>, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let page = self.read_conversations(query)?;
        view.finish()?;
        Ok(page)
    }

    fn have_conversation(&mut self, a: &str, b: &str) -> std::result::Result<bool, StoreError> {
        // Conversations are in their table as soon as they are committed.
        Ok(self.conversation(a, b)?.is_some())
    }

    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> std::result::Result<(), StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT u.id, o.id FROM blocks AS b JOIN users AS u ON u.n = b.user JOIN users AS o ON o.n = b.blocked",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            each(text(0)?, text(1)?);
        }
        Ok(())
    }
}

/// Reads the message whose columns begin at `at`.
fn stored_message(row: &Row<'_>, at: usize) -> Result<StoredMessage> {
    let content: Option<String> = row.get(at + 7)?;
    Ok(StoredMessage {
        from: row.get(at)?,
        to: Conversation::Direct(row.get(at + 1)?),
        id: row.get(at + 2).map(Uuid::from_bytes)?,
        sent_at: row.get(at + 3)?,
        reply_to: row
            .get::<_, Option<[u8; 16]>>(at + 4)?
            .map(Uuid::from_bytes),
        edited_at: row.get(at + 5)?,
        deleted_at: row.get(at + 6)?,
        content: content.unwrap_or_default(),
        reactions: Vec::new(),
    })
}

/// An upper bound of the bytes that a message takes in an answer.
fn size(message: &StoredMessage) -> usize {
    let users = |users: &Vec<String>| users.iter().map(|user| user.len() + 3).sum::<usize>();
    let reactions = message.reactions.iter();
    // An escaped character of a reaction takes up to six bytes.
    let reactions: usize = reactions
        .map(|(emoji, by)| 6 * emoji.len() + 24 + users(by))
        .sum();
    message.content.len() + OVERHEAD + reactions
}
