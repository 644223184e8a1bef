//! Reads for operators, who need not be members of the rooms that they read.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Result, params};

use super::SqliteReader;
use super::cursor::CursorKey;
use crate::store::sqlite::number::unsigned;
use crate::store::sqlite::rooms::conversation_of;
use crate::store::{
    Conversation, HistoryAnswer, HistoryQuery, MembersAnswer, RoomItem, RoomMembersQuery, RoomMode,
    RoomsPage, RoomsQuery, UserOverview, UserQuery, UserStatus,
};

/// The number of no user: cursors of operators are not those of a member.
const OPERATOR: i64 = 0;

/// The rooms that one answer examines: those that do not exist any more are not listed.
const MAX_EXAMINED: i64 = 20_000;

/// A room exists while it has members or messages; otherwise only inboxes have entries about it.
macro_rules! exists {
    () => {
        "r.members > 0 OR EXISTS (SELECT 1 FROM messages WHERE conversation = -r.n)"
    };
}

impl SqliteReader {
    /// Reads what is known of a user, within a transaction of the caller.
    pub(super) fn read_user(&self, query: &UserQuery) -> Result<Option<UserOverview>> {
        let user = self
            .connection
            .prepare_cached(
                "SELECT n, listed, status, last_seen, first_seen FROM users WHERE id = ?1",
            )?
            .query_row([&*query.user], |row| {
                let status: i64 = row.get(2)?;
                let seen = (row.get(3)?, row.get(4)?);
                Ok(((row.get(0)?, row.get(1)?), status, seen))
            })
            .optional()?;
        let Some((user, status, (last_seen, first_seen))) = user else {
            return Ok(None);
        };
        let rooms = match self.rooms.mode {
            RoomMode::Off => Vec::new(),
            _ => self.rooms_of(user.0, query.rooms)?,
        };
        Ok(Some(UserOverview {
            status: UserStatus::of_number(status),
            last_seen,
            first_seen,
            unread: self.unread_of(user, query)?,
            rooms,
        }))
    }

    fn rooms_of(&self, user: i64, limit: usize) -> Result<Vec<Arc<str>>> {
        self.connection
            .prepare_cached(
                "SELECT r.name FROM members AS m JOIN rooms AS r ON r.n = m.room
                 WHERE m.user = ?1 AND r.deleted_at IS NULL ORDER BY r.name LIMIT ?2",
            )?
            .query_map(params![user, rows(limit)], |row| row.get(0))?
            .collect()
    }

    /// Reads the list of rooms, within a transaction of the caller.
    pub(super) fn read_rooms(&self, query: &RoomsQuery) -> Result<RoomsPage> {
        let mut page = RoomsPage {
            rooms: Vec::new(),
            next: None,
        };
        if self.rooms.mode == RoomMode::Off {
            return Ok(page);
        }
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT r.name, r.members, ",
            "r.deleted_at IS NULL AND (",
            exists!(),
            ") FROM rooms AS r WHERE r.name > ?1 ORDER BY r.name LIMIT ?2"
        ))?;
        // No name is empty.
        let after = query.after.as_deref().unwrap_or_default();
        let mut rows = statement.query(params![after, MAX_EXAMINED])?;
        let (mut examined, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            let room: Arc<str> = row.get(0)?;
            if row.get(2)? {
                // One more than requested tells that there are more.
                if page.rooms.len() == query.limit {
                    page.next = last;
                    return Ok(page);
                }
                page.rooms.push(RoomItem {
                    room: room.clone(),
                    members: unsigned(row.get(1)?),
                });
            }
            last = Some(room);
            examined += 1;
        }
        page.next = last.filter(|_| examined == MAX_EXAMINED);
        Ok(page)
    }

    /// Reads members of a room, within a transaction of the caller.
    pub(super) fn read_room_members(
        &self,
        query: &RoomMembersQuery,
        key: &CursorKey,
    ) -> Result<MembersAnswer> {
        match self.room(&query.room)? {
            Some(room) => {
                let scope = (OPERATOR, room);
                self.read_members_page(scope, (query.limit, query.cursor), key)
            }
            None => Ok(MembersAnswer::UnknownRoom),
        }
    }

    /// Reads messages of a room, within a transaction of the caller.
    pub(super) fn read_room_history(&self, query: &HistoryQuery) -> Result<HistoryAnswer> {
        let Conversation::Room(name) = &query.conversation else {
            return self.read_history(query);
        };
        match self.room(name)? {
            Some(room) => self.read_messages(query, Some((conversation_of(room), 0))),
            None => Ok(HistoryAnswer::UnknownRoom),
        }
    }

    fn room(&self, name: &str) -> Result<Option<i64>> {
        if self.rooms.mode == RoomMode::Off {
            return Ok(None);
        }
        self.connection
            .prepare_cached(concat!(
                "SELECT r.n FROM rooms AS r WHERE r.name = ?1 AND (",
                exists!(),
                ")"
            ))?
            .query_row([name], |row| row.get(0))
            .optional()
    }
}

/// A limit of rows.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX - 1)
}
