//! Rooms. Each has a number; its messages are those of a conversation with the negative number, which no direct conversation has.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::counts::Counts;
use super::pending::PendingLog;
use crate::store::{RoomHistory, RoomMode, RoomRules};

type Result<T> = rusqlite::Result<T>;

/// The maximum number of members in the cache. Beyond it the cache is emptied.
const MAX_CACHED: usize = 200_000;

/// The rooms of users who are members of up to so many are not counted.
const FEW_ROOMS: i64 = 16;

/// In place of the number of members in an entry: the membership has ended because the room was deleted.
pub const DELETED: &str = "deleted";

/// The recipient of the messages of a room: no user has this number.
pub const NO_RECIPIENT: i64 = 0;

/// The conversation of a room, and the room of a conversation.
pub fn conversation_of(room: i64) -> i64 {
    -room
}

/// True if a conversation is that of a room.
pub fn is_room(conversation: i64) -> bool {
    conversation < 0
}

/// True if a user is a member of the room with this conversation.
pub fn is_member(connection: &Connection, conversation: i64, user: i64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM members WHERE room = ?1 AND user = ?2")?
        .exists([conversation_of(conversation), user])
}

/// The first room of which a user is a member.
pub fn first_membership(connection: &Connection, user: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT min(room) FROM members WHERE user = ?1")?
        .query_row([user], |row| row.get(0))
}

/// True if two users are members of the same small room.
pub fn share_small_room(
    connection: &Connection,
    rules: &RoomRules,
    (a, b): (i64, i64),
) -> Result<bool> {
    // The members of former rooms stay stored, those of a deleted room for a while: they do not see each other any more.
    if rules.mode == RoomMode::Off {
        return Ok(false);
    }
    let small = i64::try_from(rules.small).unwrap_or(i64::MAX);
    let (fewer, more) = by_rooms(connection, a, b)?;
    connection
        .prepare_cached(
            "SELECT 1 FROM members AS a CROSS JOIN members AS b ON b.room = a.room AND b.user = ?2
             CROSS JOIN rooms AS r ON r.n = a.room WHERE a.user = ?1 AND r.members <= ?3 AND r.deleted_at IS NULL LIMIT 1",
        )?
        .exists([fewer, more, small])
}

/// Two users, first the one who is a member of fewer rooms, as far as that makes a difference. Takes time in proportion to the fewer
/// rooms.
fn by_rooms(connection: &Connection, a: i64, b: i64) -> Result<(i64, i64)> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM members WHERE user = ?1 LIMIT 1 OFFSET ?2")?;
    let mut rooms = FEW_ROOMS;
    loop {
        if !statement.exists([a, rooms])? {
            return Ok((a, b));
        }
        if !statement.exists([b, rooms])? {
            return Ok((b, a));
        }
        rooms *= 4;
    }
}

/// A member of a room.
#[derive(Clone, Debug)]
pub struct Member {
    pub n: i64,
    pub id: Arc<str>,
    /// The place of the join among the numbers of messages.
    pub joined: i64,
}

impl Member {
    /// True if message `n` exists for this member.
    pub fn sees(&self, n: i64, rules: &RoomRules) -> bool {
        rules.history == RoomHistory::All || n > self.joined
    }
}

/// A room with its members. A cheap handle.
#[derive(Clone, Debug)]
pub struct Room {
    pub n: i64,
    /// In the order of their numbers.
    pub members: Arc<Vec<Member>>,
    /// The latest time of its messages, also of those in the pending log.
    pub latest: i64,
    ids: Option<Arc<[Arc<str>]>>,
}

impl Room {
    pub fn conversation(&self) -> i64 {
        conversation_of(self.n)
    }

    pub fn member(&self, user: i64) -> Option<&Member> {
        let index = self.index_of(user).ok()?;
        self.members.get(index)
    }

    fn index_of(&self, user: i64) -> std::result::Result<usize, usize> {
        self.members.binary_search_by_key(&user, |member| member.n)
    }

    pub fn count(&self) -> u64 {
        self.members.len() as u64
    }
}

/// The rooms that the writer has needed, with their members.
#[derive(Debug, Default)]
pub struct RoomCache {
    by_name: HashMap<Arc<str>, Room>,
    /// The number of members of all of them.
    members: usize,
}

impl RoomCache {
    /// Looks a room up.
    pub fn find(
        &mut self,
        connection: &Connection,
        log: &PendingLog,
        name: &str,
    ) -> Result<Option<Room>> {
        if let Some(room) = self.by_name.get(name) {
            return Ok(Some(room.clone()));
        }
        let n: Option<i64> = connection
            .prepare_cached("SELECT n FROM rooms WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let Some(n) = n else {
            return Ok(None);
        };
        let members: Vec<Member> = connection
            .prepare_cached(
                "SELECT m.user, u.id, m.joined FROM members AS m JOIN users AS u ON u.n = m.user
                 WHERE m.room = ?1 ORDER BY m.user",
            )?
            .query_map([n], |row| {
                Ok(Member {
                    n: row.get(0)?,
                    id: row.get(1)?,
                    joined: row.get(2)?,
                })
            })?
            .collect::<Result<_>>()?;
        let stored: Option<i64> = connection
            .prepare_cached(
                "SELECT sent_at + behind FROM messages WHERE conversation = ?1 ORDER BY n DESC LIMIT 1",
            )?
            .query_row([conversation_of(n)], |row| row.get(0))
            .optional()?;
        let pending = log.newest_counts(conversation_of(n));
        let room = Room {
            n,
            members: Arc::new(members),
            latest: stored
                .max(pending.map(|counts| counts.latest))
                .unwrap_or(Counts::NONE.latest),
            ids: None,
        };
        self.add(name.into(), room.clone());
        Ok(Some(room))
    }

    fn add(&mut self, name: Arc<str>, room: Room) {
        self.members += room.members.len();
        self.by_name.insert(name, room);
    }

    /// Adds a room that has just been created, without members.
    pub fn add_new(&mut self, name: Arc<str>, n: i64) -> Room {
        let room = Room {
            n,
            members: Arc::default(),
            latest: Counts::NONE.latest,
            ids: None,
        };
        self.add(name, room.clone());
        room
    }

    /// A user has joined.
    pub fn joined(&mut self, name: &str, member: Member) {
        if let Some(room) = self.by_name.get_mut(name)
            && let Err(index) = room.index_of(member.n)
        {
            Arc::make_mut(&mut room.members).insert(index, member);
            room.ids = None;
            self.members += 1;
        }
    }

    /// A member has got another name.
    pub fn rename(&mut self, name: &str, user: i64, id: &Arc<str>) {
        if let Some(room) = self.by_name.get_mut(name)
            && let Ok(index) = room.index_of(user)
        {
            Arc::make_mut(&mut room.members)[index].id = id.clone();
            room.ids = None;
        }
    }

    /// A user has left.
    pub fn left(&mut self, name: &str, user: i64) {
        if let Some(room) = self.by_name.get_mut(name)
            && let Ok(index) = room.index_of(user)
        {
            Arc::make_mut(&mut room.members).remove(index);
            room.ids = None;
            self.members -= 1;
        }
    }

    /// A message was added to a room, whose messages have this latest time now.
    pub fn message_added(&mut self, name: &str, latest: i64) {
        if let Some(room) = self.by_name.get_mut(name) {
            room.latest = latest;
        }
    }

    /// The ids of the members of a room in the cache.
    pub fn ids(&mut self, name: &str) -> Option<Arc<[Arc<str>]>> {
        let room = self.by_name.get_mut(name)?;
        let members = &room.members;
        let ids = room
            .ids
            .get_or_insert_with(|| members.iter().map(|member| member.id.clone()).collect());
        Some(ids.clone())
    }

    /// A room was removed.
    pub fn forget(&mut self, name: &str) {
        if let Some(room) = self.by_name.remove(name) {
            self.members -= room.members.len();
        }
    }

    /// Empties the cache if it has become too large.
    pub fn shrink(&mut self) {
        if self.members + self.by_name.len() > MAX_CACHED {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_of_the_user_with_fewer_rooms_are_searched() {
        let connection = Connection::open_in_memory().expect("a database");
        connection
            .execute_batch(
                "CREATE TABLE members (room INTEGER, user INTEGER, PRIMARY KEY (room, user)) WITHOUT ROWID;
                 CREATE INDEX members_by_user ON members (user);",
            )
            .expect("the table is created");
        // User 0 is a member of no room, and each other user of so many.
        let counts = [0, 10, 17, 64, 65, 1000];
        for (user, count) in counts.into_iter().enumerate() {
            for room in 0..count {
                connection
                    .execute("INSERT INTO members VALUES (?1, ?2)", (room, user as i64))
                    .expect("the user is a member");
            }
        }
        for (a, b) in [(0, 1), (1, 2), (2, 4), (3, 5), (4, 5), (0, 5)] {
            for (first, second) in [(a, b), (b, a)] {
                let found = by_rooms(&connection, first, second);
                let is_small = counts[usize::try_from(b).expect("a user")] <= FEW_ROOMS;
                let expected = if is_small { (first, second) } else { (a, b) };
                assert_eq!(found, Ok(expected), "{first} {second}");
            }
        }
    }
}
