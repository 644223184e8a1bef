//! Commits watermarks: how far devices have received their inboxes.

use super::completed::{CompletedBatch, ReceivedUpdate};
use super::queue::Watermark;
use super::thread::{Thread, exit_if_broken};
use crate::protocol::Timestamp;
use crate::store::{Outcome, Write};

/// The maximum number of watermarks that are kept for a later attempt when the store does not accept them.
pub const MAX_KEPT: usize = 100_000;

impl<R> Thread<R> {
    /// Commits up to `limit` of the watermarks that are due.
    pub fn commit_watermarks(&mut self, limit: usize) {
        let count = self.due.watermarks.len().min(limit);
        if count == 0 {
            return;
        }
        if !self.shared.files.check_before_commit() {
            // They are committed when the files are back.
            self.shared
                .put_back(self.due.watermarks.drain(..), MAX_KEPT);
            return;
        }
        let first = self.due.watermarks.len() - count;
        let watermarks: Vec<Watermark> = self.due.watermarks.drain(first..).collect();
        let writes: Vec<Write> = watermarks
            .iter()
            .map(|((user, device), (seq, _))| Write::Watermark {
                user: user.clone(),
                device: device.clone(),
                seq: *seq,
            })
            .collect();
        let at = Timestamp(self.clock.now());
        let batch: Vec<&Write> = writes.iter().collect();
        let store = &mut self.store;
        match self.shared.health.watch(|| store.commit(at.0, &batch)) {
            Ok(outcomes) => {
                let received = received(watermarks, outcomes);
                self.observe(&CompletedBatch {
                    items: Vec::new(),
                    received,
                    at,
                });
            }
            Err(error) => {
                exit_if_broken(&error);
                log::error!("the store could not commit watermarks: {error}");
                self.shared.put_back(watermarks.into_iter(), MAX_KEPT);
            }
        }
    }
}

/// The watermarks by which a user has received more of a conversation than before.
fn received(watermarks: Vec<Watermark>, outcomes: Vec<Outcome>) -> Vec<ReceivedUpdate> {
    let mut updates = Vec::new();
    for (((user, _), (_, session)), outcome) in watermarks.into_iter().zip(outcomes) {
        if let Outcome::Received(received) = outcome
            && !received.is_empty()
        {
            updates.push(ReceivedUpdate {
                user,
                session: Some(session),
                received,
            });
        }
    }
    updates
}
