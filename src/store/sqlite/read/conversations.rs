//! Reads the list of a user's conversations.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Result, params};
use uuid::Uuid;

use super::SqliteReader;
use super::hidden::Latest;
use super::row::{OVERHEAD, select_messages, size, stored_message};
use crate::store::sqlite::counts;
use crate::store::sqlite::number::unsigned;
use crate::store::sqlite::rooms::{is_room, share_small_room};
use crate::store::sqlite::uncounted::{self, Uncounted};
use crate::store::{
    Conversation, ConversationItem, ConversationsPage, ConversationsQuery, ReceivedView, Relation,
    StoredMessage, UserQuery, UserStatus,
};

/// A place in a user's list of conversations.
struct Place {
    /// The number of the newest message.
    newest: i64,
    conversation: i64,
}

impl SqliteReader {
    pub(super) fn read_conversations(
        &self,
        query: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>> {
        let mut page = ConversationsPage {
            items: Vec::new(),
            cursor: None,
        };
        let user: Option<(i64, i64)> = self
            .connection
            .prepare_cached("SELECT n, listed FROM users WHERE id = ?1")?
            .query_row([&*query.user], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (Some((user, listed)), Some(key)) = (user, &self.cursor_key) else {
            return Ok(query.cursor.is_none().then_some(page));
        };
        let before = match query.cursor {
            None => i64::MAX,
            Some(cursor) => match key.open((user, 0), cursor) {
                Some(n) => n,
                None => return Ok(None),
            },
        };
        let mut bytes = 0;
        let mut last = 0;
        self.each_place((user, listed), before, query.not_before, |place| {
            let Some(item) = self.item(user, place.conversation, query.not_before)? else {
                return Ok(true);
            };
            bytes += item.last.as_ref().map_or(0, size) + OVERHEAD;
            if page.items.len() == query.limit || (bytes > query.bytes && !page.items.is_empty()) {
                page.cursor = Some(key.seal((user, 0), last));
                return Ok(false);
            }
            page.items.push(item);
            last = place.newest;
            Ok(true)
        })?;
        Ok(Some(page))
    }

    /// Calls `each` with the places of a user's list whose newest message is before number `before`, the newest first, until it
    /// returns false. Places from which on all direct conversations are hidden may be left out.
    fn each_place(
        &self,
        (user, listed): (i64, i64),
        before: i64,
        not_before: Option<i64>,
        mut each: impl FnMut(&Place) -> Result<bool>,
    ) -> Result<()> {
        let moved = self.moved(user, listed)?;
        let mut moved_places = moved
            .iter()
            .map(|(conversation, newest)| Place {
                newest: *newest,
                conversation: *conversation,
            })
            .filter(|place| place.newest < before)
            .collect::<Vec<_>>();
        moved_places.sort_unstable_by_key(|place| std::cmp::Reverse(place.newest));
        let mut moved_places = moved_places.into_iter().peekable();
        // Those that have moved come in between.
        let mut visit = |place: Place| -> Result<bool> {
            if moved.contains_key(&place.conversation) {
                return Ok(true);
            }
            while let Some(newer) = moved_places.next_if(|moved| moved.newest > place.newest) {
                if !each(&newer)? {
                    return Ok(false);
                }
            }
            each(&place)
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT newest, conversation, reach FROM listed WHERE user = ?1 AND newest < ?2 ORDER BY newest DESC",
        )?;
        let mut rows = statement.query([user, before])?;
        let mut hidden_from = None;
        while let Some(row) = rows.next()? {
            let place = Place {
                newest: row.get(0)?,
                conversation: row.get(1)?,
            };
            if not_before.is_some_and(|time| row.get(2).is_ok_and(|reach: i64| reach < time)) {
                hidden_from = Some(place.newest);
                break;
            }
            if !visit(place)? {
                return Ok(());
            }
        }
        if let Some(newest) = hidden_from {
            // Rooms are listed without messages, too.
            let mut statement = self.connection.prepare_cached(
                "SELECT l.newest, l.conversation FROM members AS m
                 CROSS JOIN listed AS l ON l.user = m.user AND l.conversation = -m.room
                 WHERE m.user = ?1 AND l.newest <= ?2 ORDER BY l.newest DESC",
            )?;
            let mut rows = statement.query([user, newest])?;
            while let Some(row) = rows.next()? {
                let place = Place {
                    newest: row.get(0)?,
                    conversation: row.get(1)?,
                };
                if !visit(place)? {
                    return Ok(());
                }
            }
        }
        for place in moved_places {
            if !each(&place)? {
                break;
            }
        }
        Ok(())
    }

    /// The conversations that have moved to the front of a user's list since it was settled, with their newest messages.
    fn moved(&self, user: i64, listed: i64) -> Result<HashMap<i64, i64>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT conversation, max(message) FROM inbox
             WHERE user = ?1 AND seq > ?2 AND (kind = 0 OR kind = 6 AND by = ?1) GROUP BY conversation",
        )?;
        statement
            .query_map([user, listed], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// A conversation as one of its users sees it. `None`: all of its messages are hidden, or the user has left the room.
    fn item(
        &self,
        user: i64,
        conversation: i64,
        not_before: Option<i64>,
    ) -> Result<Option<ConversationItem>> {
        if is_room(conversation) {
            return self.room_item(user, conversation, not_before);
        }
        let newest = self.newest_latest(conversation)?;
        let is_shown = |at: i64| not_before.is_none_or(|not_before| at >= not_before);
        let Some(Latest { n, .. }) = newest.filter(|newest| is_shown(newest.at)) else {
            return Ok(None);
        };
        let other = self.other_user(user, conversation)?;
        let last = self.read_message(conversation, n)?;
        let (peer, status): (Arc<str>, i64) = self
            .connection
            .prepare_cached("SELECT id, status FROM users WHERE n = ?1")?
            .query_row([other], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (my_read, _) = self.marks(user, conversation)?;
        let has_block = self.has_block(user, other)?;
        let relation = Relation::of(self.presence, (other == user, has_block), || {
            if self.has_messages_of_both(conversation)? {
                return Ok(true);
            }
            share_small_room(&self.connection, &self.rooms, (user, other))
        })?;
        let is_invisible = UserStatus::of_number(status) == UserStatus::Invisible;
        let view = relation.received_view(self.presence, is_invisible);
        let (their_read, their_received) = self.marks_shown(other, conversation, view)?;
        let unread = if other == user {
            0
        } else {
            self.unread((user, other), conversation, my_read, not_before)?
        };
        Ok(Some(ConversationItem {
            conversation: Conversation::Direct(peer),
            last: Some(last),
            members: None,
            unread: unsigned(unread.max(0)),
            my_read: self.id_of(conversation, my_read)?,
            their_read: self.id_of(conversation, their_read)?,
            their_received: self.id_of(conversation, their_received)?,
        }))
    }

    /// The number of unread messages in the newest conversations of a user, as [`SqliteReader::item`] counts them.
    pub(super) fn unread_of(&self, user: (i64, i64), query: &UserQuery) -> Result<u64> {
        let (mut unread, mut counted) = (0, 0);
        self.each_place(user, i64::MAX, query.not_before, |place| {
            if counted == query.conversations {
                return Ok(false);
            }
            counted += 1;
            let in_this = self.unread_in(user.0, place.conversation, query.not_before)?;
            unread += unsigned(in_this.max(0));
            Ok(true)
        })?;
        Ok(unread)
    }

    fn unread_in(&self, user: i64, conversation: i64, not_before: Option<i64>) -> Result<i64> {
        let newest = self
            .newest_latest(conversation)?
            .filter(|newest| not_before.is_none_or(|not_before| newest.at >= not_before));
        let Some(newest) = newest else {
            return Ok(0);
        };
        let (read, _) = self.marks(user, conversation)?;
        if is_room(conversation) {
            return self.unread_of_member(user, conversation, (read, newest.n), not_before);
        }
        match self.other_user(user, conversation)? {
            other if other == user => Ok(0),
            other => self.unread((user, other), conversation, read, not_before),
        }
    }

    fn other_user(&self, user: i64, conversation: i64) -> Result<i64> {
        self.connection
            .prepare_cached("SELECT iif(low = ?2, high, low) FROM conversations WHERE n = ?1")?
            .query_row([conversation, user], |row| row.get(0))
    }

    /// A message with its reactions.
    pub(super) fn read_message(&self, conversation: i64, n: i64) -> Result<StoredMessage> {
        let mut message = self
            .connection
            .prepare_cached(select_messages!(
                "",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n = ?2"
            ))?
            .query_row([conversation, n], |row| stored_message(row, 0))?;
        message.reactions = self.reactions(conversation, n)?;
        Ok(message)
    }

    /// The number of messages of the other user after the read mark, without deleted and hidden ones. It takes time logarithmic in
    /// the number of messages.
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
        let is_low = other < user;
        let Some((end, newest)) = self.count_at(conversation, i64::MAX, is_low)? else {
            return Ok(0);
        };
        let (start, before) = match self.count_at(conversation, after, is_low)? {
            Some(place) => place,
            None => match counts::before_oldest(&self.connection, conversation)? {
                Some(before) => (before.n, if is_low { before.low } else { before.high }),
                None => return Ok(0),
            },
        };
        let uncounted_after = |n| {
            uncounted::after(&self.connection, (conversation, other, n)).map(Uncounted::messages)
        };
        // Also messages after the newest one may have been removed.
        let uncounted = match uncounted_after(start)? {
            0 => 0,
            uncounted => uncounted - uncounted_after(end)?,
        };
        Ok(newest - before - uncounted)
    }

    /// The number of the newest message up to number `n`, and its count of the messages of one of the users.
    fn count_at(&self, conversation: i64, n: i64, is_low: bool) -> Result<Option<(i64, i64)>> {
        self.connection
            .prepare_cached(
                "SELECT n, iif(?3, low_count, high_count) FROM messages
                 WHERE conversation = ?1 AND n <= ?2 ORDER BY n DESC LIMIT 1",
            )?
            .query_row(params![conversation, n, is_low], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
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

    pub(super) fn marks(&self, user: i64, conversation: i64) -> Result<(i64, i64)> {
        self.connection
            .prepare_cached(
                "SELECT read, received FROM marks WHERE user = ?1 AND conversation = ?2",
            )?
            .query_row([user, conversation], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map(Option::unwrap_or_default)
    }

    /// What a user may know of the marks of the other one: read, received.
    fn marks_shown(&self, other: i64, conversation: i64, view: ReceivedView) -> Result<(i64, i64)> {
        let (read, received) = self.marks(other, conversation)?;
        Ok(match view {
            ReceivedView::Nothing => (0, 0),
            ReceivedView::Read => (read, read),
            ReceivedView::Shown => {
                let shown = self
                    .connection
                    .prepare_cached(
                        "SELECT shown FROM deferred WHERE user = ?1 AND conversation = ?2",
                    )?
                    .query_row([other, conversation], |row| row.get(0))
                    .optional()?;
                (read, shown.unwrap_or(received))
            }
            ReceivedView::All => (read, received),
        })
    }

    pub(super) fn id_of(&self, conversation: i64, n: i64) -> Result<Option<Uuid>> {
        if n == 0 {
            return Ok(None);
        }
        self.connection
            .prepare_cached("SELECT id FROM messages WHERE conversation = ?1 AND n = ?2")?
            .query_row([conversation, n], |row| row.get(0).map(Uuid::from_bytes))
            .optional()
    }
}
