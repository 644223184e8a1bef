//! Erases a user in steps, so that the writes of others wait for no more than one of them.
//!
//! The first step gives the row of the user another name, in one commit. From then on the former name is that of another user, who
//! may exist already when the erasure is complete, and nobody can act as the former one. Everything else is removed by the number of
//! the row. The table `erasures` has the progress: what a crash leaves is continued by the next start. It also has the former name,
//! for the hashes in the entries of others, and for blocks, until these are removed.
//!
//! - `messages` removes the content of the user's messages and the user's reactions,
//! - `notices` gives each user who shares a conversation with the user one entry about it,
//! - `own` ends memberships, and removes what belongs to the user alone,
//! - `logs` waits until the logs have nothing of the user.

mod logs;
mod messages;
mod notices;
mod own;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::{Batch, Result};
use crate::store::sqlite::epochs;
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::{Erased, ErasureStep, Outcome};

/// What a step does. The numbers are stored.
mod phase {
    /// What the pending log has of the user.
    pub const PENDING: i64 = 0;
    /// Content and reactions in direct conversations.
    pub const DIRECT: i64 = 1;
    /// Entries about reactions in rooms, of which the user's inbox has one.
    pub const OWN_REACTIONS: i64 = 2;
    /// Reactions in rooms, and other entries about them.
    pub const REACTIONS: i64 = 3;
    /// Content in rooms.
    pub const ROOMS: i64 = 4;
    /// Entries about the erasure, for the other users of direct conversations.
    pub const DIRECT_NOTICES: i64 = 5;
    /// The same for members of rooms.
    pub const ROOM_NOTICES: i64 = 6;
    /// Memberships.
    pub const MEMBERSHIPS: i64 = 7;
    /// The inbox.
    pub const INBOX: i64 = 8;
    /// Rows of other tables.
    pub const TABLES: i64 = 9;
    /// What the write-ahead log has of the user. It is the last one.
    pub const LOG: i64 = 10;
}

/// The progress of an erasure.
#[derive(Debug)]
struct Erasure {
    /// The row of the user.
    user: i64,
    /// The former name, and the present one.
    name: Arc<str>,
    renamed_to: Arc<str>,
    at: i64,
    phase: i64,
    /// Where the phase continues. Its meaning depends on the phase; 0 at the beginning.
    cursor: [i64; 4],
    erased: Erased,
}

impl Erasure {
    /// The phase is complete.
    fn next_phase(&mut self) {
        self.phase += 1;
        self.cursor = [0; 4];
    }
}

impl Batch<'_> {
    /// Begins to erase a user.
    pub fn erase(&mut self, name: &Arc<str>) -> Result<Outcome> {
        let Some(user) = self.find_user(name)?.filter(|_| !is_placeholder(name)) else {
            return Ok(Outcome::NoSuchUser);
        };
        // The form that `protocol::types::is_erased_name` recognizes, so that nobody can connect by this name.
        let renamed_to: Arc<str> = format!("erased.{}", Uuid::new_v4().simple()).into();
        let unknown = &mut self.cache.unknown_recipients;
        unknown.recipient_known(self.tx, user.n)?;
        unknown.sender_removed(self.tx, user.n)?;
        self.tx
            .prepare_cached(
                "UPDATE users SET id = ?2, connected = 0, known = 0, status = 0, last_seen = NULL,
                    first_seen = NULL WHERE n = ?1",
            )?
            .execute(params![user.n, renamed_to])?;
        for sql in [
            "DELETE FROM devices WHERE user = ?1",
            "DELETE FROM online WHERE user = ?1",
            "DELETE FROM byte_use WHERE user = ?1",
        ] {
            self.tx.prepare_cached(sql)?.execute([user.n])?;
        }
        self.tx
            .prepare_cached("INSERT INTO erasures (user, name, at) VALUES (?1, ?2, ?3)")?
            .execute(params![user.n, name, self.now])?;
        // The next user of the name gets another epoch.
        epochs::begin_generation(self.tx)?;
        self.rename_in_cache(name, &renamed_to, user.n)?;
        // The record that a session was opened may still wait for its commit. It is removed at once: a later write of this batch may
        // create another user of the name, who must not get the epoch of the former one. After a rollback, the next opening adds it.
        self.shared.remove_newly_connected(name);
        Ok(Outcome::ErasureBegun { user: user.n })
    }

    fn rename_in_cache(&mut self, name: &str, renamed_to: &Arc<str>, n: i64) -> Result<()> {
        if let Some(mut user) = self.cache.users.remove(name) {
            user.connected = false;
            user.named = false;
            user.is_invisible = false;
            user.received = 0;
            self.cache.users.insert(renamed_to.clone(), user);
        }
        self.cache.bytes.forget(n);
        let rooms: Vec<String> = self
            .tx
            .prepare_cached(
                "SELECT r.name FROM members AS m JOIN rooms AS r ON r.n = m.room WHERE m.user = ?1",
            )?
            .query_map([n], |row| row.get(0))?
            .collect::<Result<_>>()?;
        for room in rooms {
            self.cache.rooms.rename(&room, n, renamed_to);
        }
        Ok(())
    }

    /// Continues the erasure of a user, with about `limit` rows. `is_first`: it is the first step of this run. `awaits_log`: it
    /// is complete when the write-ahead log was truncated.
    pub fn erase_step(
        &mut self,
        user: i64,
        (is_first, awaits_log): (bool, bool),
        limit: u32,
    ) -> Result<Outcome> {
        let limit = i64::from(limit.max(1));
        let Some(mut erasure) = self.erasure(user)? else {
            // It is complete.
            let step = ErasureStep {
                done: Some(Erased::default()),
                ..ErasureStep::default()
            };
            return Ok(Outcome::Erasing(Box::new(step)));
        };
        let mut step = ErasureStep {
            name: erasure.name.clone(),
            renamed_to: erasure.renamed_to.clone(),
            ..ErasureStep::default()
        };
        let is_complete = match erasure.phase {
            phase::PENDING => self.await_pending(&erasure, &mut step)?,
            phase::DIRECT => self.erase_in_direct(&mut erasure, limit)?,
            phase::OWN_REACTIONS => self.erase_own_reactions(&mut erasure, limit)?,
            phase::REACTIONS => self.erase_reactions(&mut erasure, limit)?,
            phase::ROOMS => self.erase_in_rooms(&mut erasure, limit)?,
            phase::DIRECT_NOTICES => self.notify_direct(&mut erasure, limit, &mut step)?,
            phase::ROOM_NOTICES => self.notify_rooms(&mut erasure, limit, &mut step)?,
            phase::MEMBERSHIPS => self.end_next_membership(&erasure, &mut step)?,
            phase::INBOX => self.erase_inbox(&mut erasure, limit)?,
            phase::TABLES => self.erase_tables(&erasure, limit, &mut step)?,
            _ if awaits_log => self.await_truncation(&mut erasure, is_first, &mut step)?,
            _ => true,
        };
        if step.waits {
            return Ok(Outcome::Erasing(Box::new(step)));
        }
        if is_complete && erasure.phase == phase::LOG {
            self.tx
                .prepare_cached("DELETE FROM erasures WHERE user = ?1")?
                .execute([user])?;
            step.done = Some(erasure.erased);
            return Ok(Outcome::Erasing(Box::new(step)));
        }
        if is_complete {
            erasure.next_phase();
        }
        self.save(&erasure)?;
        Ok(Outcome::Erasing(Box::new(step)))
    }

    fn erasure(&self, user: i64) -> Result<Option<Erasure>> {
        self.tx
            .prepare_cached(
                "SELECT e.name, u.id, e.at, e.phase, e.first, e.second, e.third, e.fourth,
                    e.messages, e.reactions, e.entries, e.notified
                 FROM erasures AS e JOIN users AS u ON u.n = e.user WHERE e.user = ?1",
            )?
            .query_row([user], |row| {
                Ok(Erasure {
                    user,
                    name: row.get(0)?,
                    renamed_to: row.get(1)?,
                    at: row.get(2)?,
                    phase: row.get(3)?,
                    cursor: [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?],
                    erased: Erased {
                        messages: unsigned(row.get(8)?),
                        reactions: unsigned(row.get(9)?),
                        entries: unsigned(row.get(10)?),
                        notified: unsigned(row.get(11)?),
                    },
                })
            })
            .optional()
    }

    fn save(&self, erasure: &Erasure) -> Result<()> {
        let [first, second, third, fourth] = erasure.cursor;
        self.tx
            .prepare_cached(
                "UPDATE erasures SET phase = ?2, first = ?3, second = ?4, third = ?5, fourth = ?6,
                    messages = ?7, reactions = ?8, entries = ?9, notified = ?10 WHERE user = ?1",
            )?
            .execute([
                erasure.user,
                erasure.phase,
                first,
                second,
                third,
                fourth,
                signed(erasure.erased.messages),
                signed(erasure.erased.reactions),
                signed(erasure.erased.entries),
                signed(erasure.erased.notified),
            ])
            .map(drop)
    }
}

/// Whether a name is one that an erased user has got.
fn is_placeholder(name: &str) -> bool {
    name.strip_prefix("erased.").is_some_and(|hex| {
        hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
