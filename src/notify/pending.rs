//! The messages that wait for their commit.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The maximum number of messages that wait for their commit.
const MAX_PENDING: usize = 1024;

/// The recipients of the messages that wait for their commit, in the order in which they were queued. Its mutex is held for one change.
#[derive(Debug, Default)]
pub struct Pending {
    users: Mutex<VecDeque<Box<str>>>,
    taken: Condvar,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<str>>> {
        // Every change leaves the list consistent, so a panic elsewhere does no harm.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more message may be queued.
    pub fn wait_for_room(&self) {
        let full = |users: &mut VecDeque<Box<str>>| users.len() >= MAX_PENDING;
        let waited = self.taken.wait_while(self.lock(), full);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// A message is queued.
    pub fn add(&self, user: &str) {
        self.lock().push_back(user.into());
    }

    /// The message that was added last was not queued.
    pub fn cancel(&self) {
        self.lock().pop_back();
    }

    /// The oldest message has been committed, or refused. Returns its recipient.
    pub fn take(&self) -> Box<str> {
        let user = self.lock().pop_front();
        self.taken.notify_one();
        user.unwrap_or_default()
    }
}
