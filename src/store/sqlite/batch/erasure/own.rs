//! Ends the memberships of an erased user, and removes what belongs to the user alone.

use std::sync::Arc;

use super::super::{Batch, Result};
use super::Erasure;
use crate::store::sqlite::cache::User;
use crate::store::sqlite::listed::{self, Extent};
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::sqlite::rooms::{Member, first_membership};
use crate::store::{ErasureStep, Outcome};

impl Batch<'_> {
    /// Ends a membership as [`Write::Leave`](crate::store::Write::Leave) does, under the new name. True: there was none.
    pub(super) fn end_next_membership(
        &mut self,
        erasure: &Erasure,
        step: &mut ErasureStep,
    ) -> Result<bool> {
        let Some(n) = first_membership(self.tx, erasure.user)? else {
            return Ok(true);
        };
        let (room, is_deleted, joined): (String, bool, i64) = self
            .tx
            .prepare_cached(
                "SELECT r.name, r.deleted_at IS NOT NULL, m.joined
                 FROM members AS m JOIN rooms AS r ON r.n = m.room WHERE m.room = ?1 AND m.user = ?2",
            )?
            .query_row([n, erasure.user], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        if is_deleted {
            // The other members get no entries about this one.
            let member = Member {
                n: erasure.user,
                id: erasure.renamed_to.clone(),
                joined,
            };
            let place = self.numbers.next(self.tx)?;
            self.end_membership(n, &member, place)?;
            return Ok(false);
        }
        let (user, found) = (self.find_user(&erasure.renamed_to)?, self.room(&room)?);
        let (Some(user), Some(found)) = (user, found) else {
            return Ok(true);
        };
        let left = self.leave_room((&erasure.renamed_to, user), (&room, &found), true)?;
        if let Outcome::Membership {
            recipients,
            regrouped,
            ..
        } = left
        {
            step.left = recipients
                .iter()
                .map(|recipient| recipient.user.clone())
                .collect();
            step.entries.extend(recipients.iter().cloned());
            step.regrouped = regrouped;
        }
        Ok(false)
    }

    /// Removes entries of the inbox, whose numbers stay used.
    pub(super) fn erase_inbox(&mut self, erasure: &mut Erasure, limit: i64) -> Result<bool> {
        let user = erasure.user;
        let (last, count, superseded): (Option<i64>, i64, i64) = self
            .tx
            .prepare_cached(
                "SELECT max(seq), count(*), coalesce(sum(kind = 5), 0) FROM
                    (SELECT seq, kind FROM inbox WHERE user = ?1 ORDER BY seq LIMIT ?2)",
            )?
            .query_row([user, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let Some(last) = last else {
            // Entries of messages in rooms may move from the pending log later. They are not kept.
            self.forget_inbox_up_to_head(erasure)?;
            return Ok(true);
        };
        // The list keeps its conversations: the other users still see theirs.
        listed::settle(self.tx, self.cache, user, Extent::UpTo(last))?;
        self.tx
            .prepare_cached("DELETE FROM inbox WHERE user = ?1 AND seq <= ?2")?
            .execute([user, last])?;
        let superseded: i64 = self
            .tx
            .prepare_cached(
                "UPDATE users SET floor = ?2, superseded = superseded - ?3 WHERE n = ?1 RETURNING superseded",
            )?
            .query_row([user, last, superseded], |row| row.get(0))?;
        if let Some(floor) = self.cache.trimmed_to.get_mut(&user) {
            *floor = unsigned(last);
        }
        if let Some(user) = self.cache.users.get_mut(&erasure.renamed_to) {
            user.trimmed_to = unsigned(last);
            user.superseded = unsigned(superseded);
        }
        erasure.erased.entries += unsigned(count);
        Ok(false)
    }

    /// All entries that the inbox will ever have count as removed.
    fn forget_inbox_up_to_head(&mut self, erasure: &Erasure) -> Result<()> {
        let Some(User { head, .. }) = self.find_user(&erasure.renamed_to)? else {
            return Ok(());
        };
        self.tx
            .prepare_cached("UPDATE users SET floor = ?2 WHERE n = ?1")?
            .execute([erasure.user, signed(head)])?;
        if let Some(floor) = self.cache.trimmed_to.get_mut(&erasure.user) {
            *floor = head;
        }
        if let Some(user) = self.cache.users.get_mut(&erasure.renamed_to) {
            user.trimmed_to = head;
        }
        Ok(())
    }

    /// Removes rows of other tables.
    pub(super) fn erase_tables(
        &mut self,
        erasure: &Erasure,
        limit: i64,
        step: &mut ErasureStep,
    ) -> Result<bool> {
        let user = erasure.user;
        let mut left = limit;
        left -= self.erase_blocks(erasure, left, step)?;
        for sql in [
            "DELETE FROM marks WHERE user = ?1 AND conversation IN
                (SELECT conversation FROM marks WHERE user = ?1 LIMIT ?2)",
            "DELETE FROM deferred WHERE user = ?1 AND conversation IN
                (SELECT conversation FROM deferred WHERE user = ?1 LIMIT ?2)",
            "DELETE FROM removed_members WHERE user = ?1 AND room IN
                (SELECT room FROM removed_members WHERE user = ?1 LIMIT ?2)",
            "DELETE FROM erasure_recipients WHERE erasure = ?1 AND user IN
                (SELECT user FROM erasure_recipients WHERE erasure = ?1 LIMIT ?2)",
        ] {
            left -= self.tx.prepare_cached(sql)?.execute([user, left])? as i64;
            if left <= 0 {
                return Ok(false);
            }
        }
        self.cache.set_none_deferred(user);
        Ok(true)
    }

    /// Removes blocks of the user, and those of others against the user. Returns how many.
    fn erase_blocks(
        &mut self,
        erasure: &Erasure,
        limit: i64,
        step: &mut ErasureStep,
    ) -> Result<i64> {
        let user = erasure.user;
        let blocks: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT user, blocked FROM blocks WHERE user = ?1
                 UNION ALL SELECT user, blocked FROM blocks WHERE blocked = ?1 LIMIT ?2",
            )?
            .query_map([user, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        // Another user may have the former name already, and blocks of that user stay.
        let namesake = self.find_user(&erasure.name)?.map_or(0, |user| user.n);
        for (actor, blocked) in &blocks {
            self.tx
                .prepare_cached("DELETE FROM blocks WHERE user = ?1 AND blocked = ?2")?
                .execute([actor, blocked])?;
            self.cache.set_block(*actor, *blocked, false);
            let renamed = |n: i64| if n == user { namesake } else { n };
            let stays = self
                .tx
                .prepare_cached("SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2")?
                .exists([renamed(*actor), renamed(*blocked)])?;
            if !stays {
                let (actor, blocked) = (
                    self.former(erasure, *actor)?,
                    self.former(erasure, *blocked)?,
                );
                step.unblocked.push((actor, blocked));
            }
        }
        Ok(blocks.len() as i64)
    }

    /// The name of a user; the former one of the erased user.
    fn former(&self, erasure: &Erasure, n: i64) -> Result<Arc<str>> {
        if n == erasure.user {
            return Ok(erasure.name.clone());
        }
        self.tx
            .prepare_cached("SELECT id FROM users WHERE n = ?1")?
            .query_row([n], |row| row.get(0))
    }
}
