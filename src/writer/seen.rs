//! Commits when users were online.

use super::thread::{Thread, exit_if_broken};
use super::watermarks::MAX_KEPT;
use crate::store::Write;

/// The number of records that are committed in one turn.
const RECORDS: usize = 256;

impl<R> Thread<R> {
    /// Commits a part of the records that are due.
    pub fn commit_seen(&mut self) {
        let count = self.due.seen.len().min(RECORDS);
        if count == 0 {
            return;
        }
        if !self.shared.files.check_before_commit() {
            // They are committed when the files are back.
            self.shared.put_back_seen(self.due.seen.drain(..), MAX_KEPT);
            return;
        }
        let first = self.due.seen.len() - count;
        let seen: Vec<_> = self.due.seen.drain(first..).collect();
        let writes = seen.iter().map(|(user, until)| Write::Seen {
            user: user.clone(),
            until: *until,
        });
        let writes: Vec<Write> = writes.collect();
        let batch: Vec<&Write> = writes.iter().collect();
        let now = self.clock.now();
        let store = &mut self.store;
        if let Err(error) = self.shared.health.watch(|| store.commit(now, &batch)) {
            exit_if_broken(&error);
            log::error!("the store could not record who is online: {error}");
            self.shared.put_back_seen(seen.into_iter(), MAX_KEPT);
        }
    }
}
