//! Informs others of what users have received while they were invisible.

use super::completed::{CompletedBatch, ReceivedUpdate};
use super::thread::{Thread, exit_if_broken};
use crate::protocol::Timestamp;
use crate::store::{Outcome, Write};

impl<R> Thread<R> {
    /// Commits a part of what is to be revealed of a user who is not invisible any more. If that fails, the other users find it in
    /// their conversations.
    pub fn reveal(&mut self) {
        let Some(user) = self.revealing.pop_front() else {
            return;
        };
        if !self.shared.files.check_before_commit() {
            return;
        }
        let at = Timestamp(self.clock.now());
        let write = Write::Reveal { user: user.clone() };
        let store = &mut self.store;
        match self.shared.health.watch(|| store.commit(at.0, &[&write])) {
            Ok(outcomes) => {
                let Some(Outcome::Revealed { received, more }) = outcomes.into_iter().next() else {
                    return;
                };
                if more {
                    self.revealing.push_back(user.clone());
                }
                self.observe(&CompletedBatch {
                    items: Vec::new(),
                    received: vec![ReceivedUpdate {
                        user,
                        session: None,
                        received,
                    }],
                    at,
                });
            }
            Err(error) => {
                exit_if_broken(&error);
                log::error!("the store could not reveal receipts: {error}");
            }
        }
    }
}
