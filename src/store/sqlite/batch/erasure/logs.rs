//! Waits until the logs have nothing of an erased user: the pending log, and SQLite's write-ahead log, which has former pages.

use super::super::{Batch, Result};
use super::Erasure;
use crate::store::ErasureStep;
use crate::store::sqlite::kinds;
use crate::store::sqlite::pending::{Item, each_item};

impl Batch<'_> {
    /// Waits until the pending log has no messages of the user, and no entries about the user's reactions. The first step of a run moves
    /// the messages. What the log has after that is removed with its rows, or moves with entries that move late.
    pub(super) fn await_pending(&self, erasure: &Erasure, step: &mut ErasureStep) -> Result<bool> {
        self.log.remove_done(self.tx)?;
        each_item(self.tx, |item| {
            step.waits |= match item {
                Item::Message(record) => record.sender == erasure.user,
                Item::Entries(record) => {
                    let is_reaction =
                        [kinds::REACTED, kinds::UNREACTED].contains(&record.about.kind);
                    is_reaction && record.about.by == erasure.user
                }
            };
        })?;
        Ok(true)
    }

    /// Waits until the write-ahead log was truncated. The cursor is the number of truncations that there were when everything had been
    /// removed, and 1. The number begins again with each run.
    pub(super) fn await_truncation(
        &mut self,
        erasure: &mut Erasure,
        is_first: bool,
        step: &mut ErasureStep,
    ) -> Result<bool> {
        let [truncations, has_begun, ..] = erasure.cursor;
        self.effects.truncates = true;
        if has_begun != 0 && !is_first {
            step.waits = self.log_truncations <= truncations;
            return Ok(!step.waits);
        }
        // The name was needed for what the steps before have done.
        self.tx
            .prepare_cached("UPDATE erasures SET name = '' WHERE user = ?1")?
            .execute([erasure.user])?;
        erasure.cursor = [self.log_truncations, 1, 0, 0];
        Ok(false)
    }
}
