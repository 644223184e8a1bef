//! Moves read marks and watermarks.

use std::sync::Arc;

use rusqlite::params;
use uuid::Uuid;

use super::{Batch, Result};
use crate::store::sqlite::number::signed;
use crate::store::{MessageRef, Outcome, Received};

/// The maximum number of devices per user; the least recently used is forgotten (PROTOCOL section 2).
const MAX_DEVICES: i64 = 16;

impl Batch<'_> {
    /// Moves the read mark of the acting user. A message that was read was received, too.
    pub fn read(&mut self, at: &MessageRef) -> Result<Outcome> {
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
        Ok(Outcome::ReadMark {
            moved: moved > 0,
            blocked: found.has_block,
        })
    }

    /// Records how far a device has received its user's inbox, and the device itself. Returns the conversations whose
    /// received mark has moved.
    pub fn watermark(&mut self, id: &Arc<str>, device: &str, seq: u64) -> Result<Vec<Received>> {
        let user = self.user(id)?;
        let seq = signed(seq.min(user.head));
        let (before, last_used): (Option<i64>, Option<i64>) = self
            .tx
            .prepare_cached("SELECT max(received), max(used) FROM devices WHERE user = ?1")?
            .query_row([user.n], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Later than any other device was used, also if the clock was set back: the order decides which one is forgotten.
        let use_time = last_used.map_or(self.now, |last| self.now.max(last.saturating_add(1)));
        let updated = self
            .tx
            .prepare_cached(
                "UPDATE devices SET received = max(received, ?3), used = ?4 WHERE user = ?1 AND device = ?2",
            )?
            .execute(params![user.n, device, seq, use_time])?;
        if updated == 0 {
            self.tx
                .prepare_cached(
                    "INSERT INTO devices (user, device, received, used) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![user.n, device, seq, use_time])?;
            self.tx
                .prepare_cached(
                    "DELETE FROM devices WHERE user = ?1 AND device IN
                     (SELECT device FROM devices WHERE user = ?1
                      ORDER BY used DESC, device = ?3 DESC LIMIT -1 OFFSET ?2)",
                )?
                .execute(params![user.n, MAX_DEVICES, device])?;
            if !user.connected {
                let unknown = &mut self.cache.unknown_recipients;
                unknown.recipient_connected(self.tx, user.n)?;
                if let Some(user) = self.cache.users.get_mut(id) {
                    user.connected = true;
                }
            }
            self.shared.remove_newly_connected(id);
        }
        let before = before.unwrap_or(0);
        if seq > before {
            self.move_received_marks(user.n, before, seq)
        } else {
            Ok(Vec::new())
        }
    }

    /// Moves the received marks of the conversations with messages of others among the entries after `before` up to `seq`.
    /// The inbox alone tells which these are (`by` is NULL), so no message is read.
    fn move_received_marks(&mut self, user: i64, before: i64, seq: i64) -> Result<Vec<Received>> {
        let newest: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT conversation, max(message) FROM inbox
                 WHERE user = ?1 AND seq > ?2 AND seq <= ?3 AND kind = 0 AND by IS NULL GROUP BY conversation",
            )?
            .query_map([user, before, seq], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        let mut moved = Vec::new();
        for (conversation, n) in newest {
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
                moved.push(Received {
                    peer,
                    id,
                    blocked: known.is_some_and(|conversation| conversation.has_block()),
                });
            }
        }
        Ok(moved)
    }
}
