//! Sets and removes blocks.

use std::sync::Arc;

use super::{Batch, Result};
use crate::store::Outcome;
use crate::store::sqlite::cache;
use crate::store::sqlite::number::unsigned;
use crate::store::sqlite::unused;

impl Batch<'_> {
    /// Sets or removes a block.
    pub fn block(&mut self, actor: &Arc<str>, user: &Arc<str>, on: bool) -> Result<Outcome> {
        if !on {
            let (Some(actor), Some(blocked)) = (self.find_user(actor)?, self.find_user(user)?)
            else {
                return Ok(Outcome::BlockSet);
            };
            let removed = self
                .tx
                .prepare_cached("DELETE FROM blocks WHERE user = ?1 AND blocked = ?2")?
                .execute([actor.n, blocked.n])?;
            self.cache.set_block(actor.n, blocked.n, false);
            if removed > 0 {
                unused::remove_unblocked(self.tx, self.cache, user, blocked)?;
            }
            return Ok(Outcome::BlockSet);
        }
        let actor = self.user(actor)?;
        if let Some(user) = self.find_user(user)?
            && cache::blocks(self.tx, actor.n, user.n)?
        {
            return Ok(Outcome::BlockSet);
        }
        let count: i64 = self
            .tx
            .prepare_cached("SELECT count(*) FROM blocks WHERE user = ?1")?
            .query_row([actor.n], |row| row.get(0))?;
        if unsigned(count) >= self.quotas.blocks_per_user {
            return Ok(Outcome::TooManyBlocks);
        }
        // The id may be unused so far: the block then applies to the user who connects with it.
        let user = self.user(user)?;
        self.tx
            .prepare_cached("INSERT INTO blocks (user, blocked) VALUES (?1, ?2)")?
            .execute([actor.n, user.n])?;
        self.cache.set_block(actor.n, user.n, true);
        Ok(Outcome::BlockSet)
    }
}
