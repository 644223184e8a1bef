//! Deletes rooms. The first step takes the name from the room, so that it does not exist any more for anybody, and its messages count as
//! deleted from then on. The steps after it end the memberships, and remove the messages: each is a write of its own, so that a
//! large room does not occupy the writer's thread. `room_deletions` records which rooms have steps left.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};

use super::{Batch, Result};
use crate::store::sqlite::kinds;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::retention::{OldMessages, old_messages, remove_room_messages};
use crate::store::sqlite::rooms::{DELETED, Member, conversation_of};
use crate::store::{Outcome, Recipient, RoomDeletionId, RoomDeletionStep, RoomMembers};

/// The members of whom one step ends the memberships. Each of them changes several pages, for which the writes of others wait.
const MEMBERS: i64 = 32;
/// The users whom one step forgets who could not join the room.
const REMOVED: i64 = 1000;

/// A room that is being deleted.
#[derive(Clone, Copy)]
struct DeletedRoom {
    n: i64,
    deleted_at: i64,
    /// Messages up to this one are removed.
    after: i64,
}

impl Batch<'_> {
    /// Deletes a room, and ends the first memberships.
    pub fn delete_room(&mut self, name: &Arc<str>) -> Result<Outcome> {
        let Some(room) = self.room(name)? else {
            return Ok(Outcome::UnknownRoom);
        };
        if !self.room_exists(&room)? {
            return Ok(Outcome::UnknownRoom);
        }
        let is_small = room.count() <= self.rooms.small;
        let regrouped = self
            .cache
            .rooms
            .ids(name)
            .filter(|users| is_small && users.len() > 1);
        self.tx
            .prepare_cached("INSERT INTO room_deletions (room) VALUES (?1)")?
            .execute([room.n])?;
        self.tx
            .prepare_cached(
                "UPDATE rooms SET former = name, name = '/' || n, deleted_at = ?2 WHERE n = ?1",
            )?
            .execute([room.n, self.now])?;
        self.cache.rooms.forget(name);
        let deleted = DeletedRoom {
            n: room.n,
            deleted_at: self.now,
            after: 0,
        };
        let mut step = self.step(name, deleted);
        step.members = self.end_memberships(deleted)?;
        step.regrouped = regrouped.map(|users| RoomMembers {
            users,
            is_small: false,
        });
        Ok(Outcome::RoomDeletion(Box::new(step)))
    }

    /// The next step of a deletion. Repeating the last one changes nothing.
    pub fn continue_deletion(&mut self, RoomDeletionId(n): RoomDeletionId) -> Result<Outcome> {
        let found = self
            .tx
            .prepare_cached(
                "SELECT r.former, r.deleted_at, d.after FROM room_deletions AS d JOIN rooms AS r ON r.n = d.room
                 WHERE d.room = ?1",
            )?
            .query_row([n], |row| {
                let deleted = DeletedRoom {
                    n,
                    deleted_at: row.get(1)?,
                    after: row.get(2)?,
                };
                Ok((row.get::<_, Arc<str>>(0)?, deleted))
            })
            .optional()?;
        let Some((name, deleted)) = found else {
            return Ok(Outcome::UnknownRoom);
        };
        let mut step = self.step(&name, deleted);
        step.members = self.end_memberships(deleted)?;
        if step.members.is_empty() && !self.forget_removed_members(deleted)? {
            (step.messages, step.more) = self.remove_messages(deleted)?;
        }
        Ok(Outcome::RoomDeletion(Box::new(step)))
    }

    fn step(&self, name: &Arc<str>, deleted: DeletedRoom) -> RoomDeletionStep {
        RoomDeletionStep {
            id: RoomDeletionId(deleted.n),
            room: name.clone(),
            members: Vec::new(),
            messages: 0,
            at: self.now,
            regrouped: None,
            more: true,
        }
    }

    /// Ends memberships, as far as one step goes. Each user gets an entry about the own one only. Returns the users with the entries.
    fn end_memberships(&mut self, deleted: DeletedRoom) -> Result<Vec<Recipient>> {
        let members: Vec<Member> = self
            .tx
            .prepare_cached(
                "SELECT m.user, u.id, m.joined FROM members AS m JOIN users AS u ON u.n = m.user
                 WHERE m.room = ?1 ORDER BY m.user LIMIT ?2",
            )?
            .query_map([deleted.n, MEMBERS], |row| {
                Ok(Member {
                    n: row.get(0)?,
                    id: row.get(1)?,
                    joined: row.get(2)?,
                })
            })?
            .collect::<Result<_>>()?;
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.numbers.next(self.tx)?;
        let mut recipients = Vec::with_capacity(members.len());
        for member in &members {
            recipients.push(Recipient {
                user: member.id.clone(),
                seq: self.end_membership(deleted.n, member, place)?,
            });
        }
        Ok(recipients)
    }

    /// Ends one membership in a deleted room. Returns the entry.
    pub(super) fn end_membership(&mut self, room: i64, member: &Member, place: i64) -> Result<u64> {
        let seq = self.member_user(member)?.head + 1;
        let key = [conversation_of(room), member.n];
        for sql in [
            "DELETE FROM marks WHERE conversation = ?1 AND user = ?2",
            "DELETE FROM listed WHERE conversation = ?1 AND user = ?2",
            "DELETE FROM members WHERE room = -?1 AND user = ?2",
        ] {
            self.tx.prepare_cached(sql)?.execute(key)?;
        }
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?1, ?7)",
            )?
            .execute(params![
                member.n,
                signed(seq),
                self.now,
                conversation_of(room),
                place,
                kinds::LEFT,
                DELETED
            ])?;
        self.inbox_grown(&member.id, 0);
        Ok(seq)
    }

    /// Ends the membership that a user who joins a room still has in a deleted room of the same name, so that the entries have the
    /// right order.
    pub(super) fn leave_deleted(&mut self, id: &Arc<str>, user: i64, name: &str) -> Result<()> {
        let left: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT r.n, m.joined FROM room_deletions AS d CROSS JOIN rooms AS r ON r.n = d.room
                 CROSS JOIN members AS m ON m.room = r.n AND m.user = ?1 WHERE r.former = ?2",
            )?
            .query_map(params![user, name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        for (room, joined) in left {
            let place = self.numbers.next(self.tx)?;
            let member = Member {
                n: user,
                id: id.clone(),
                joined,
            };
            self.end_membership(room, &member, place)?;
        }
        Ok(())
    }

    /// Forgets who could not join the room, as far as one step goes. False: nobody is left.
    fn forget_removed_members(&self, deleted: DeletedRoom) -> Result<bool> {
        let removed = self
            .tx
            .prepare_cached(
                "DELETE FROM removed_members WHERE room = ?1 AND user IN
                    (SELECT user FROM removed_members WHERE room = ?1 ORDER BY user LIMIT ?2)",
            )?
            .execute([deleted.n, REMOVED])?;
        Ok(removed > 0)
    }

    /// Removes messages, as far as one step goes, or their content if an inbox has an entry of them. Returns the number of those that
    /// were not deleted before, and whether there are more.
    fn remove_messages(&self, deleted: DeletedRoom) -> Result<(u64, bool)> {
        let conversation = conversation_of(deleted.n);
        let mut old = old_messages(self.tx, (conversation, deleted.after), i64::MAX)?;
        if self.log.has_conversation(conversation) {
            // Entries move after their messages. The sweep removes a message that no inbox has any more.
            old.keep_all();
        }
        for n in old.to_clear() {
            self.tx
                .prepare_cached(
                    "UPDATE messages SET content = NULL, hash = NULL, first = NULL, change_seq = NULL, deleted_at = ?3
                     WHERE conversation = ?1 AND n = ?2",
                )?
                .execute([conversation, n, deleted.deleted_at])?;
            self.tx
                .prepare_cached("DELETE FROM reactions WHERE conversation = ?1 AND message = ?2")?
                .execute([conversation, n])?;
            long_contents::remove(self.tx, n)?;
        }
        remove_room_messages(self.tx, deleted.n, &old)?;
        self.record_progress(deleted, &old)?;
        Ok((old.not_deleted(), old.unfinished().is_some()))
    }

    /// The recorded number of members is that of the room before until the end. So a larger room is not a small one meanwhile.
    fn record_progress(&self, deleted: DeletedRoom, old: &OldMessages) -> Result<()> {
        if let Some(last) = old.unfinished() {
            self.tx
                .prepare_cached("UPDATE room_deletions SET after = ?2 WHERE room = ?1")?
                .execute([deleted.n, last])?;
        } else {
            self.tx
                .prepare_cached("UPDATE rooms SET members = 0 WHERE n = ?1")?
                .execute([deleted.n])?;
            self.tx
                .prepare_cached("DELETE FROM room_deletions WHERE room = ?1")?
                .execute([deleted.n])?;
        }
        Ok(())
    }
}
