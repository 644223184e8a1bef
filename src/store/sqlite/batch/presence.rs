//! Records the status of users, and when they were last online.

use std::sync::Arc;

use super::{Batch, Result};
use crate::store::{Outcome, PresenceMode, UserStatus};

impl Batch<'_> {
    /// Sets the status of a user.
    pub fn set_status(&mut self, id: &Arc<str>, status: UserStatus) -> Result<Outcome> {
        let user = self.user(id)?;
        self.set_connected(id, user)?;
        let changed = self
            .tx
            .prepare_cached("UPDATE users SET status = ?2 WHERE n = ?1 AND status != ?2")?
            .execute([user.n, status.number()])?;
        // In the same commit: after a crash the user must not appear to have been online longer. A user who sends a status has a session.
        if status == UserStatus::Invisible && changed > 0 {
            self.remove_online(user.n)?;
            self.set_last_seen(user.n, self.now)?;
        }
        let is_invisible = status == UserStatus::Invisible;
        if let Some(user) = self.cache.users.get_mut(id) {
            user.is_invisible = is_invisible;
        }
        let reveals = if self.presence == PresenceMode::Off {
            false
        } else if is_invisible && !user.is_invisible {
            // What is still deferred may be known since the user became visible. Others find it in `conversations`.
            self.end_all_deferrals(user.n)?;
            false
        } else {
            !is_invisible && user.is_invisible && self.has_deferred(user.n)?
        };
        Ok(Outcome::StatusSet { reveals })
    }

    /// Records that a user is online, or until when the user was. It comes late: a user who is invisible by now was last online when
    /// the status was set.
    pub fn seen(&mut self, id: &Arc<str>, until: Option<i64>) -> Result<Outcome> {
        if let Some(at) = until {
            if let Some(user) = self.find_user(id)?
                && !user.is_invisible
            {
                self.remove_online(user.n)?;
                self.set_last_seen(user.n, at)?;
            }
            return Ok(Outcome::SeenRecorded);
        }
        let user = self.user(id)?;
        self.set_connected(id, user)?;
        if !user.is_invisible {
            self.tx
                .prepare_cached("INSERT OR IGNORE INTO online (user) VALUES (?1)")?
                .execute([user.n])?;
        }
        Ok(Outcome::SeenRecorded)
    }

    /// Records that all users who are recorded as online were last seen at this time.
    pub fn lost_sessions(&mut self, at: i64) -> Result<Outcome> {
        self.tx.execute(
            "UPDATE users SET last_seen = ?1 WHERE n IN (SELECT user FROM online)",
            [at],
        )?;
        self.tx.execute("DELETE FROM online", ())?;
        Ok(Outcome::SeenRecorded)
    }

    fn remove_online(&self, user: i64) -> Result<()> {
        self.tx
            .prepare_cached("DELETE FROM online WHERE user = ?1")?
            .execute([user])
            .map(drop)
    }

    /// The records of one user may come late, in another order than their times.
    fn set_last_seen(&self, user: i64, at: i64) -> Result<()> {
        self.tx
            .prepare_cached(
                "UPDATE users SET last_seen = max(?2, min(coalesce(last_seen, ?2), ?3)) WHERE n = ?1",
            )?
            .execute([user, at, self.now])
            .map(drop)
    }
}
