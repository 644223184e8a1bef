//! Revokes the tokens of users.

use rusqlite::params;

use super::{Batch, Result};
use crate::store::Outcome;

impl Batch<'_> {
    /// Revokes the tokens of a user that were issued up to `until`. The user need not be known. A revocation never becomes an
    /// earlier one.
    pub fn revoke(&self, user: &str, until: i64) -> Result<Outcome> {
        self.tx
            .prepare_cached(
                "INSERT INTO revocations (name, until) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = max(until, ?2)",
            )?
            .execute(params![self.names.hash(user), until])?;
        Ok(Outcome::RevocationSet { was_revoked: true })
    }

    /// Lifts the revocation of a user's tokens.
    pub fn end_revocation(&self, user: &str) -> Result<Outcome> {
        let removed = self
            .tx
            .prepare_cached("DELETE FROM revocations WHERE name = ?1")?
            .execute([self.names.hash(user)])?;
        Ok(Outcome::RevocationSet {
            was_revoked: removed > 0,
        })
    }
}
