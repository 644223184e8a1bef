//! Joins and leaves rooms, and stores messages in them.

mod entries;

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use self::entries::Event;
use super::send::LARGE;
use super::{Batch, Result};
use crate::store::sqlite::cache::User;
use crate::store::sqlite::counts::Counts;
use crate::store::sqlite::entry_rate::EntryLimit;
use crate::store::sqlite::kinds;
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::sqlite::pending::{EntryRecord, Record, Tables, are_late};
use crate::store::sqlite::rooms::{Member, Room};
use crate::store::{
    Authority, Conversation, MembershipKind, MessageRef, NewMessage, Outcome, Recipients,
    RoomMembers, RoomMode,
};

/// A membership that a user has in a room.
struct Membership {
    joined_at: i64,
    seq: u64,
    is_of_session: bool,
}

impl Batch<'_> {
    /// Makes a user a member of a room.
    pub fn join(
        &mut self,
        id: &Arc<str>,
        name: &Arc<str>,
        kind: MembershipKind,
    ) -> Result<Outcome> {
        let mut user = self.user(id)?;
        let by_key = kind == MembershipKind::Assigned;
        if by_key {
            self.set_known(id, user)?;
        } else {
            self.set_connected(id, user)?;
        }
        let found = self.room(name)?;
        if let Some(room) = &found
            && let Some(membership) = self.membership(room, user.n)?
        {
            if membership.is_of_session && kind != MembershipKind::Session {
                self.tx
                    .prepare_cached("UPDATE members SET session = 0 WHERE room = ?1 AND user = ?2")?
                    .execute([room.n, user.n])?;
            }
            return Ok(Outcome::Membership {
                seq: Some(membership.seq),
                recipients: Recipients::NONE,
                at: membership.joined_at,
                members: room.count(),
                duplicate: true,
                regrouped: None,
            });
        }
        if !by_key {
            let was_removed = match &found {
                Some(room) => self.was_removed(room, user.n)?,
                None => false,
            };
            if was_removed || self.rooms.mode == RoomMode::Managed {
                return Ok(Outcome::RoomClosed);
            }
        }
        let count: i64 = self
            .tx
            .prepare_cached("SELECT count(*) FROM members WHERE user = ?1")?
            .query_row([user.n], |row| row.get(0))?;
        if unsigned(count) >= self.rooms.per_user {
            return Ok(Outcome::TooManyRooms);
        }
        let before = found.as_ref().map_or(0, Room::count);
        if before >= self.rooms.members {
            return Ok(Outcome::RoomFull);
        }
        let members = before + 1;
        let is_announced = members <= self.rooms.small;
        let entries = if is_announced { members } else { 1 };
        if !by_key && let Some(refusal) = self.exceeds_entries(user.n, entries) {
            return Ok(refusal);
        }
        let room = match found {
            Some(room) => room,
            None => self.create_room(name)?,
        };
        if by_key {
            self.tx
                .prepare_cached("DELETE FROM removed_members WHERE room = ?1 AND user = ?2")?
                .execute([room.n, user.n])?;
        }
        self.leave_deleted(id, user.n, name)?;
        user = self.user(id)?;
        let n = self.numbers.next(self.tx)?;
        let regrouped = self.regrouped(name, before == self.rooms.small, false);
        self.tx
            .prepare_cached(
                "INSERT INTO members (room, user, joined, joined_at, seq, session) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                room.n,
                user.n,
                n,
                self.now,
                signed(user.head + 1),
                kind == MembershipKind::Session
            ])?;
        let recipients = self.change_members(&Event {
            room: &room,
            user: (id, user),
            kind: kinds::JOINED,
            n,
            members,
            is_announced,
            by_key,
        })?;
        let member = Member {
            n: user.n,
            id: id.clone(),
            joined: n,
        };
        self.cache.rooms.joined(name, member);
        Ok(Outcome::Membership {
            seq: Some(user.head + 1),
            recipients,
            at: self.now,
            members,
            duplicate: false,
            regrouped,
        })
    }

    /// Ends the membership of a user.
    pub fn leave(&mut self, id: &Arc<str>, name: &str, kind: MembershipKind) -> Result<Outcome> {
        let (user, room) = (self.find_user(id)?, self.room(name)?);
        let before = room.as_ref().map_or(0, Room::count);
        let unchanged = Outcome::Membership {
            seq: None,
            recipients: Recipients::NONE,
            at: self.now,
            members: before,
            duplicate: true,
            regrouped: None,
        };
        let (Some(user), Some(room)) = (user, room) else {
            return Ok(unchanged);
        };
        let Some(membership) = self.membership(&room, user.n)? else {
            return Ok(unchanged);
        };
        let is_announced = before <= self.rooms.small;
        match kind {
            MembershipKind::Session if !membership.is_of_session => return Ok(unchanged),
            MembershipKind::Session => {}
            MembershipKind::Assigned => {
                self.set_known(id, user)?;
                self.tx
                    .prepare_cached(
                        "INSERT INTO removed_members (room, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    )?
                    .execute([room.n, user.n])?;
            }
            MembershipKind::Lasting => {
                let entries = if is_announced { before } else { 1 };
                if let Some(refusal) = self.exceeds_entries(user.n, entries) {
                    return Ok(refusal);
                }
            }
        }
        let by_key = kind == MembershipKind::Assigned;
        self.leave_room((id, user), (name, &room), by_key)
    }

    /// Ends the membership that a user has in a room.
    pub(super) fn leave_room(
        &mut self,
        (id, user): (&Arc<str>, User),
        (name, room): (&str, &Room),
        by_key: bool,
    ) -> Result<Outcome> {
        let before = room.count();
        let is_announced = before <= self.rooms.small;
        let n = self.numbers.next(self.tx)?;
        for sql in [
            "DELETE FROM marks WHERE conversation = ?1 AND user = ?2",
            "DELETE FROM listed WHERE conversation = ?1 AND user = ?2",
        ] {
            self.tx
                .prepare_cached(sql)?
                .execute([room.conversation(), user.n])?;
        }
        self.tx
            .prepare_cached("DELETE FROM members WHERE room = ?1 AND user = ?2")?
            .execute([room.n, user.n])?;
        let members = before - 1;
        let recipients = self.change_members(&Event {
            room,
            user: (id, user),
            kind: kinds::LEFT,
            n,
            members,
            is_announced,
            by_key,
        })?;
        self.cache.rooms.left(name, user.n);
        Ok(Outcome::Membership {
            seq: Some(user.head + 1),
            recipients,
            at: self.now,
            members,
            duplicate: false,
            regrouped: self.regrouped(name, members == self.rooms.small, true),
        })
    }

    /// The members of a room which becomes a small one, or a larger one.
    fn regrouped(&mut self, name: &str, does_change: bool, is_small: bool) -> Option<RoomMembers> {
        if !does_change {
            return None;
        }
        let users = self.cache.rooms.ids(name)?;
        (users.len() > 1).then_some(RoomMembers { users, is_small })
    }

    pub(super) fn room(&mut self, name: &str) -> Result<Option<Room>> {
        self.cache.rooms.find(self.tx, self.log, name)
    }

    /// True if a key has ended the last membership of a user.
    fn was_removed(&self, room: &Room, user: i64) -> Result<bool> {
        self.tx
            .prepare_cached("SELECT 1 FROM removed_members WHERE room = ?1 AND user = ?2")?
            .exists([room.n, user])
    }

    fn create_room(&mut self, name: &Arc<str>) -> Result<Room> {
        self.tx
            .prepare_cached("INSERT INTO rooms (name) VALUES (?1)")?
            .execute([&**name])?;
        let n = self.tx.last_insert_rowid();
        Ok(self.cache.rooms.add_new(name.clone(), n))
    }

    fn membership(&self, room: &Room, user: i64) -> Result<Option<Membership>> {
        if room.member(user).is_none() {
            return Ok(None);
        }
        self.tx
            .prepare_cached(
                "SELECT joined_at, seq, session FROM members WHERE room = ?1 AND user = ?2",
            )?
            .query_row([room.n, user], |row| {
                Ok(Membership {
                    joined_at: row.get(0)?,
                    seq: unsigned(row.get(1)?),
                    is_of_session: row.get(2)?,
                })
            })
            .optional()
    }

    /// The row of a member.
    pub(super) fn member_user(&mut self, member: &Member) -> Result<User> {
        self.find_user(&member.id)?
            .ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// The room of a user who is a member of it. `Err`: the answer to any other user.
    pub(super) fn room_of_member(
        &mut self,
        id: &str,
        name: &str,
    ) -> Result<std::result::Result<(User, Room), Outcome>> {
        let (Some(user), Some(room)) = (self.find_user(id)?, self.room(name)?) else {
            return Ok(Err(Outcome::NotMember));
        };
        Ok(match room.member(user.n) {
            Some(_) => Ok((user, room)),
            None => Err(Outcome::NotMember),
        })
    }

    /// The answer to a user who acts on a message of a room without being a member. `None`: there is no reason to refuse it.
    pub(super) fn refusal_in_room(&mut self, at: &MessageRef) -> Result<Option<Outcome>> {
        match &at.conversation {
            Conversation::Direct(_) => Ok(None),
            Conversation::Room(name) => Ok(self.room_of_member(&at.actor, name)?.err()),
        }
    }

    /// Stores a message in a room, unless it is a duplicate or a rule forbids it.
    pub fn room_message(&mut self, message: &NewMessage, name: &Arc<str>) -> Result<Outcome> {
        let (from, has_connected) = self.author(message)?;
        let by_key = message.authority.is_key();
        let needs_membership = message.authority != Authority::KeyOfNonMember;
        let Some(room) = self.room(name)? else {
            return Ok(if needs_membership {
                Outcome::NotMember
            } else {
                Outcome::UnknownRoom
            });
        };
        let conversation = room.conversation();
        let is_member = room.member(from.n).is_some();
        if !message.fresh && self.id_is_taken(conversation, message.id)? {
            let outcome = self.duplicate(conversation, from.n, message)?;
            return Ok(if is_member || !needs_membership {
                outcome
            } else {
                outcome.unless_duplicate(Outcome::NotMember)
            });
        }
        if !is_member && needs_membership {
            return Ok(Outcome::NotMember);
        }
        if !is_member && !self.room_exists(&room)? {
            return Ok(Outcome::UnknownRoom);
        }
        if !by_key {
            if let Some(refusal) = self.exceeds_entries(from.n, room.count()) {
                return Ok(refusal);
            }
            if let Some(refusal) = self.exceeds_bytes(from.n, &message.content)? {
                return Ok(refusal);
            }
        }
        let has_entry = is_member && has_connected;
        let (recipients, numbered) = self.next_entries(&room.members, from.n)?;
        // As for a direct message.
        let direct = self.direct.contains_room(name)
            || message.content.len() > LARGE
                && !self.log.has_conversation(conversation)
                && !self.pending.has_conversation(conversation);
        let latest = room.latest.max(self.now);
        let record = Record {
            conversation,
            n: self.numbers.next(self.tx)?,
            id: message.id.as_bytes(),
            sender: from.n,
            sender_seq: if has_entry { from.head + 1 } else { 0 },
            recipients: numbered.into(),
            sent_at: self.now,
            counts: Counts {
                latest,
                ..Counts::NONE
            },
            reply_to: message.reply_to.as_ref().map(Uuid::as_bytes),
            hash: message.content.hash(),
            content: &message.content,
        };
        if !direct {
            self.pending.add(record);
        } else if are_late(conversation, record.recipients.len()) {
            Tables::new(self.tx, &mut self.cache.trimmed_to, true)?.insert_message(&record)?;
            self.pending.add_entries(EntryRecord::of_message(record));
        } else {
            Tables::new(self.tx, &mut self.cache.trimmed_to, true)?.insert(&record)?;
        }
        self.cache.rooms.message_added(name, latest);
        for member in room.members.iter() {
            if has_entry || member.n != from.n {
                self.inbox_grown(&member.id, 0);
            }
        }
        if !by_key {
            self.count_entries(from.n, room.count());
            self.count_bytes(from.n, &message.content)?;
        }
        Ok(Outcome::Stored {
            seq: has_entry.then_some(from.head + 1),
            recipients: recipients.into(),
            at: self.now,
            duplicate: false,
            new_contact: false,
            received: None,
        })
    }

    /// True if a room has members or messages. Otherwise it may only have entries in inboxes.
    pub(super) fn room_exists(&self, room: &Room) -> Result<bool> {
        let conversation = room.conversation();
        if room.count() > 0
            || self.log.has_conversation(conversation)
            || self.pending.has_conversation(conversation)
        {
            return Ok(true);
        }
        self.tx
            .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1")?
            .exists([conversation])
    }

    /// Checks whether a user may create this many inbox entries. `None`: they may be created.
    pub(super) fn exceeds_entries(&self, user: i64, entries: u64) -> Option<Outcome> {
        let limit = self.entry_limit()?;
        let retry_after_ms = self.entry_rates.wait(user, entries, limit)?;
        Some(Outcome::TooManyEntries { retry_after_ms })
    }

    /// Counts entries that [`Batch::exceeds_entries`] has allowed.
    pub(super) fn count_entries(&mut self, user: i64, entries: u64) {
        if let Some(limit) = self.entry_limit() {
            self.entry_rates.count(user, entries, limit);
        }
    }

    fn entry_limit(&self) -> Option<EntryLimit> {
        Some(EntryLimit {
            per_second: self.rooms.entries_per_second?,
            burst: self.rooms.entries_burst,
        })
    }
}
