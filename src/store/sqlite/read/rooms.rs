//! Reads rooms as their members see them.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Result, params};
use uuid::Uuid;

use super::SqliteReader;
use super::cursor::{CursorKey, Scope};
use super::hidden::Latest;
use crate::store::sqlite::number::unsigned;
use crate::store::sqlite::rooms::conversation_of;
use crate::store::{
    Conversation, ConversationItem, MemberItem, MembersAnswer, MembersPage, MembersQuery,
    RoomHistory, RoomMode,
};

/// The highest number of unread messages that is counted in a room.
const MAX_UNREAD: i64 = 1000;
/// The number of messages that are examined for it at most: a user's own and deleted ones do not count.
const MAX_EXAMINED: i64 = 20_000;

/// A member, with the room.
pub(super) struct Member {
    room: i64,
    user: i64,
    /// The place of the join among the numbers of messages.
    joined: i64,
}

impl Member {
    pub fn conversation(&self) -> i64 {
        conversation_of(self.room)
    }
}

impl SqliteReader {
    /// A member of a room. `None`: the user is not one, or there is no such room.
    pub(super) fn member(&self, user: &str, room: &str) -> Result<Option<Member>> {
        self.connection
            .prepare_cached(
                "SELECT m.room, m.user, m.joined FROM rooms AS r CROSS JOIN users AS u
                 CROSS JOIN members AS m ON m.room = r.n AND m.user = u.n WHERE r.name = ?1 AND u.id = ?2",
            )?
            .query_row([room, user], |row| {
                Ok(Member {
                    room: row.get(0)?,
                    user: row.get(1)?,
                    joined: row.get(2)?,
                })
            })
            .optional()
    }

    /// Messages with lower numbers do not exist for a member.
    pub(super) fn first_visible(&self, member: &Member) -> i64 {
        match self.rooms.history {
            RoomHistory::All => 0,
            RoomHistory::Joined => member.joined + 1,
        }
    }

    /// The first message that a user may read in a room. `None`: the user is not a member, or the room was deleted.
    pub(super) fn first_readable(&self, user: i64, room: i64) -> Result<Option<i64>> {
        let joined = self.joined(user, room)?;
        Ok(joined.map(|joined| self.first_visible(&Member { room, user, joined })))
    }

    /// The place of a user's join to a room. `None`: the user is not a member, or the room was deleted.
    fn joined(&self, user: i64, room: i64) -> Result<Option<i64>> {
        self.connection
            .prepare_cached(
                "SELECT m.joined FROM members AS m JOIN rooms AS r ON r.n = m.room
                 WHERE m.room = ?1 AND m.user = ?2 AND r.deleted_at IS NULL",
            )?
            .query_row([room, user], |row| row.get(0))
            .optional()
    }

    /// The name of the room of a conversation.
    pub(super) fn room_name(&self, conversation: i64) -> Result<Arc<str>> {
        self.connection
            .prepare_cached("SELECT coalesce(former, name) FROM rooms WHERE n = ?1")?
            .query_row([conversation_of(conversation)], |row| row.get(0))
    }

    /// A room in the list of a user's conversations. `None`: the user is not a member any more, or there are no rooms.
    pub(super) fn room_item(
        &self,
        user: i64,
        conversation: i64,
        not_before: Option<i64>,
    ) -> Result<Option<ConversationItem>> {
        if self.rooms.mode == RoomMode::Off {
            return Ok(None);
        }
        let found = self
            .connection
            .prepare_cached(
                "SELECT m.joined, r.name, r.members FROM members AS m JOIN rooms AS r ON r.n = m.room
                 WHERE m.room = ?1 AND m.user = ?2 AND r.deleted_at IS NULL",
            )?
            .query_row([conversation_of(conversation), user], |row| {
                let member = Member {
                    room: conversation_of(conversation),
                    user,
                    joined: row.get(0)?,
                };
                Ok((member, row.get::<_, Arc<str>>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?;
        let Some((member, name, members)) = found else {
            return Ok(None);
        };
        let newest = self.newest_latest(conversation)?.filter(|newest| {
            newest.n >= self.first_visible(&member)
                && not_before.is_none_or(|not_before| newest.at >= not_before)
        });
        let last = match newest {
            Some(Latest { n, .. }) => Some(self.read_message(conversation, n)?),
            None => None,
        };
        let (my_read, _) = self.marks(user, conversation)?;
        let unread = match last {
            Some(_) => self.unread_in_room(&member, my_read, not_before)?,
            None => 0,
        };
        Ok(Some(ConversationItem {
            conversation: Conversation::Room(name),
            last,
            members: Some(unsigned(members)),
            unread: unsigned(unread),
            my_read: self.id_of(conversation, my_read)?,
            their_read: None,
            their_received: None,
        }))
    }

    /// The number of unread messages in a room whose newest message is given, for a user who may not be a member any more.
    pub(super) fn unread_of_member(
        &self,
        user: i64,
        conversation: i64,
        (read, newest): (i64, i64),
        not_before: Option<i64>,
    ) -> Result<i64> {
        if self.rooms.mode == RoomMode::Off {
            return Ok(0);
        }
        let room = conversation_of(conversation);
        let Some(joined) = self.joined(user, room)? else {
            return Ok(0);
        };
        let member = Member { room, user, joined };
        if newest < self.first_visible(&member) {
            return Ok(0);
        }
        self.unread_in_room(&member, read, not_before)
    }

    /// The number of messages of other members after the read mark and after the join, without deleted and hidden ones.
    fn unread_in_room(&self, member: &Member, read: i64, not_before: Option<i64>) -> Result<i64> {
        let conversation = member.conversation();
        let mut after = read.max(member.joined);
        if let Some(not_before) = not_before {
            match self.first_shown(conversation, after, not_before)? {
                Some(first) => after = first - 1,
                None => return Ok(0),
            }
        }
        self.connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM (
                    SELECT sender, deleted_at FROM messages WHERE conversation = ?1 AND n > ?2 ORDER BY n LIMIT ?3)
                 WHERE sender != ?4 AND deleted_at IS NULL LIMIT ?5)",
            )?
            .query_row(
                [conversation, after, MAX_EXAMINED, member.user, MAX_UNREAD],
                |row| row.get(0),
            )
    }

    /// Reads members of a room, within a transaction of the caller.
    pub(super) fn read_members(
        &self,
        query: &MembersQuery,
        key: &CursorKey,
    ) -> Result<MembersAnswer> {
        if self.rooms.mode == RoomMode::Off {
            return Ok(MembersAnswer::UnknownRoom);
        }
        let Some(member) = self.member(&query.user, &query.room)? else {
            return Ok(MembersAnswer::NotMember);
        };
        self.read_members_page((member.user, member.room), (query.limit, query.cursor), key)
    }

    /// Reads members of the room of a scope, for the user of that scope.
    pub(super) fn read_members_page(
        &self,
        scope: Scope,
        (limit, cursor): (usize, Option<Uuid>),
        key: &CursorKey,
    ) -> Result<MembersAnswer> {
        let (_, room) = scope;
        let after = match cursor {
            None => None,
            Some(cursor) => match self.user_at(key.open(scope, cursor))? {
                Some(user) => Some(user),
                None => return Ok(MembersAnswer::UnknownCursor),
            },
        };
        let total: i64 = self
            .connection
            .prepare_cached("SELECT members FROM rooms WHERE n = ?1")?
            .query_row([room], |row| row.get(0))?;
        let mut page = MembersPage {
            members: Vec::new(),
            total: unsigned(total),
            is_small: unsigned(total) <= self.rooms.small,
            cursor: None,
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT u.id, m.joined_at, u.n, CASE WHEN ?4 THEN
                (SELECT x.id FROM marks AS k JOIN messages AS x ON x.conversation = k.conversation AND x.n = k.read
                    WHERE k.user = m.user AND k.conversation = -m.room) END
             FROM members AS m JOIN users AS u ON u.n = m.user
             WHERE m.room = ?1 AND (?2 IS NULL OR u.id > ?2) ORDER BY u.id LIMIT ?3",
        )?;
        // One more than requested tells whether there are more.
        let rows_limit = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let mut rows = statement.query(params![room, after, rows_limit, page.is_small])?;
        let mut last = 0;
        while let Some(row) = rows.next()? {
            if page.members.len() == limit {
                page.cursor = Some(key.seal(scope, last));
                break;
            }
            last = row.get(2)?;
            page.members.push(MemberItem {
                user: row.get(0)?,
                joined_at: row.get(1)?,
                read: row.get::<_, Option<[u8; 16]>>(3)?.map(Uuid::from_bytes),
            });
        }
        Ok(MembersAnswer::Page(page))
    }

    fn user_at(&self, n: Option<i64>) -> Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT id FROM users WHERE n = ?1")?
            .query_row([n], |row| row.get(0))
            .optional()
    }
}
