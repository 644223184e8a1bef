//! Moves read marks and watermarks.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::{Batch, Result};
use crate::store::sqlite::cache::User;
use crate::store::sqlite::number::signed;
use crate::store::{Conversation, MessageRef, Outcome, Received, RoomMembers};

/// The maximum number of devices per user (PROTOCOL section 2).
const MAX_DEVICES: i64 = 16;
/// A device is kept longer than required by the required time divided by this, because a session reports only from time to time
/// that it is in use.
const USE_TOLERANCE: i64 = 16;

impl Batch<'_> {
    /// Moves the read mark of the acting user. A message that was read was received, too.
    pub fn read(&mut self, at: &MessageRef) -> Result<Outcome> {
        if let Some(refusal) = self.refusal_in_room(at)? {
            return Ok(refusal);
        }
        let Some(found) = self.find(at)? else {
            return Ok(Outcome::UnknownMessage);
        };
        let moved = self
            .tx
            .prepare_cached(
                "INSERT INTO marks (user, conversation, read, received) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT DO UPDATE SET read = ?3, received = max(received, ?3) WHERE read < ?3",
            )?
            .execute([found.actor.n, found.conversation, found.n])?;
        let received = if moved > 0 {
            self.reveal_received_by(&found)?
        } else {
            None
        };
        Ok(Outcome::ReadMark {
            moved: moved > 0,
            blocked: found.has_block,
            // The read mark tells as much.
            received: received.filter(|id| *id != at.id),
            members: self.members_of_small(at),
        })
    }

    /// The members of the room of a message, if that is a small one.
    fn members_of_small(&mut self, at: &MessageRef) -> Option<RoomMembers> {
        let Conversation::Room(name) = &at.conversation else {
            return None;
        };
        let users = self.cache.rooms.ids(name)?;
        let is_small = users.len() as u64 <= self.rooms.small;
        is_small.then_some(RoomMembers { users, is_small })
    }

    /// Records that a device is in use and how far it has received its user's inbox. Returns the conversations whose received
    /// mark has moved.
    pub fn watermark(&mut self, id: &Arc<str>, device: &str, seq: u64) -> Result<Vec<Received>> {
        let user = self.user(id)?;
        self.set_connected(id, user)?;
        let seq = seq.min(user.head);
        // Not before any other device was used, also if the clock was set back.
        let updated = self
            .tx
            .prepare_cached(
                "UPDATE devices SET received = max(received, ?3),
                    used = max(?4, (SELECT max(used) FROM devices WHERE user = ?1))
                 WHERE user = ?1 AND device = ?2",
            )?
            .execute(params![user.n, device, signed(seq), self.now])?;
        if updated == 0 && seq > 0 && self.has_place(user.n)? {
            self.tx
                .prepare_cached(
                    "INSERT INTO devices (user, device, received, used)
                     SELECT ?1, ?2, ?3, max(?4, coalesce(max(used), 0)) FROM devices WHERE user = ?1",
                )?
                .execute(params![user.n, device, signed(seq), self.now])?;
        }
        // Senders get receipts also if the position of the device is not stored.
        if seq <= user.received {
            return Ok(Vec::new());
        }
        if let Some(user) = self.cache.users.get_mut(id) {
            user.received = seq;
        }
        self.move_received_marks(user, signed(seq))
    }

    /// True if a user may have one more device, for which one is forgotten if need be: one that has acknowledged nothing, or one that
    /// was not used for long. A device that may have acknowledged something and was used recently is never forgotten: it would
    /// miss what other devices have received meanwhile.
    fn has_place(&self, user: i64) -> Result<bool> {
        let count: i64 = self
            .tx
            .prepare_cached("SELECT count(*) FROM devices WHERE user = ?1")?
            .query_row([user], |row| row.get(0))?;
        if count < MAX_DEVICES {
            return Ok(true);
        }
        // Older versions stored a device when it connected, at the position where it started. One with another position than 0 may
        // have acknowledged it.
        let forgotten = self
            .tx
            .prepare_cached(
                "DELETE FROM devices WHERE user = ?1 AND device =
                    (SELECT device FROM devices WHERE user = ?1 AND received = 0 ORDER BY used LIMIT 1)",
            )?
            .execute([user])?;
        if forgotten > 0 {
            return Ok(true);
        }
        if !self.is_certain {
            return Ok(false);
        }
        // A time in the future was stored while the clock was wrong: the device has been used until now at the latest.
        self.tx
            .prepare_cached("UPDATE devices SET used = ?2 WHERE user = ?1 AND used > ?2")?
            .execute([user, self.now])?;
        let unused_for = self
            .device_ms
            .saturating_add(self.device_ms / USE_TOLERANCE);
        let forgotten = self
            .tx
            .prepare_cached(
                "DELETE FROM devices WHERE user = ?1 AND device =
                    (SELECT device FROM devices WHERE user = ?1 AND used < ?2 ORDER BY used LIMIT 1)",
            )?
            .execute([user, self.now.saturating_sub(unused_for)])?;
        Ok(forgotten > 0)
    }

    /// The message up to which a user has received a conversation.
    pub(super) fn received_message(&self, user: i64, conversation: i64) -> Result<Option<Uuid>> {
        self.tx
            .prepare_cached(
                "SELECT m.id FROM marks AS k JOIN messages AS m ON m.conversation = k.conversation AND m.n = k.received
                 WHERE k.user = ?1 AND k.conversation = ?2",
            )?
            .query_row([user, conversation], |row| Ok(Uuid::from_bytes(row.get(0)?)))
            .optional()
    }

    /// Moves the received marks of the conversations with messages of others among the entries after `user.received` up to `seq`.
    /// The inbox alone tells which these are (`by` is NULL), so no message is read. Rooms have no received marks.
    fn move_received_marks(&mut self, user: User, seq: i64) -> Result<Vec<Received>> {
        let defers = self.defers_receipts(&user);
        let (user, before) = (user.n, signed(user.received));
        let newest: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT conversation, max(message) FROM inbox
                 WHERE user = ?1 AND seq > ?2 AND seq <= ?3 AND kind = 0 AND by IS NULL AND conversation > 0
                 GROUP BY conversation",
            )?
            .query_map([user, before, seq], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        let mut moved = Vec::new();
        for (conversation, n) in newest {
            if defers {
                self.defer(user, conversation, n)?;
            }
            let changed = self
                .tx
                .prepare_cached(
                    "INSERT INTO marks (user, conversation, received) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET received = ?3 WHERE received < ?3",
                )?
                .execute([user, conversation, n])?;
            if changed > 0 {
                let (peer, id, peer_n) = self
                    .tx
                    .prepare_cached(
                        "SELECT u.id, m.id, u.n FROM messages AS m JOIN users AS u ON u.n = m.sender
                         WHERE m.conversation = ?1 AND m.n = ?2",
                    )?
                    .query_row([conversation, n], |row| {
                        let id = Uuid::from_bytes(row.get(1)?);
                        Ok((row.get(0)?, id, row.get(2)?))
                    })?;
                let known = self.find_conversation(user, peer_n)?;
                if defers {
                    self.cache.set_deferred(user, peer_n, true);
                } else if known.is_some_and(|known| known.is_deferred(user, peer_n)) {
                    self.end_deferral(conversation, (user, peer_n))?;
                }
                let relation = self.relation(known, (user, peer_n))?;
                moved.push(Received {
                    peer,
                    id,
                    visible: !defers && relation.is_visible(self.presence),
                });
            }
        }
        Ok(moved)
    }
}
