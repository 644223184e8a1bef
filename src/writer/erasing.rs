//! Continues erasures, one step in each turn.

use std::time::{Duration, Instant};

use super::completed::{Completed, CompletedBatch, ErasureUpdate};
use super::queue::Queued;
use super::thread::{Thread, exit_if_broken};
use crate::protocol::Timestamp;
use crate::store::{Outcome, Write};

/// The number of rows that a step examines: it takes a few milliseconds.
const ROWS: u32 = 256;
/// When a step has failed, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// An erasure that is not complete.
pub struct Erasing<R> {
    /// The store's number of the user.
    user: i64,
    /// No step was made since the erasure has begun, or since the start.
    is_first: bool,
    /// Where the reply goes; `None`: an earlier run has begun it.
    reply_to: Option<R>,
}

impl<R> Erasing<R> {
    fn new(user: i64, reply_to: Option<R>) -> Self {
        Self {
            user,
            is_first: true,
            reply_to,
        }
    }
}

impl<R> Thread<R> {
    /// Continues the erasures that the run before has not completed.
    pub fn load_erasures(&mut self) {
        match self.store.unfinished_erasures() {
            Ok(users) => {
                if !users.is_empty() {
                    log::info!(users = users.len(); "continuing the erasure of users");
                }
                let erasures = users.into_iter().map(|user| Erasing::new(user, None));
                self.erasing.extend(erasures);
            }
            Err(error) => {
                exit_if_broken(&error);
                log::error!("the erasures that are not complete cannot be read: {error}");
            }
        }
    }

    /// Drops what waits for a later commit of users who are about to be erased, and who have no sessions any more: it would create
    /// new users.
    pub fn forget_erased(&mut self, items: &[Queued<R>]) {
        for item in items {
            let Queued::Write(Write::Erase { user }, _) = item else {
                continue;
            };
            self.shared.forget_user(user);
            self.due.watermarks.retain(|((name, _), _)| name != user);
            self.due.seen.retain(|(name, _)| name != user);
        }
    }

    /// Takes the erasures that a batch has begun.
    pub fn add_erasures(&mut self, items: Vec<Completed<R>>) {
        for item in items {
            if let Completed::Write {
                outcome: Ok(Outcome::ErasureBegun { user }),
                reply_to,
                ..
            } = item
            {
                self.erasing.push_back(Erasing::new(user, Some(reply_to)));
            }
        }
    }

    /// Makes a step of the oldest erasure, if it is due.
    pub fn erase_some(&mut self) {
        let now = Instant::now();
        let Some(erasing) = self.erasing.front_mut().filter(|_| self.erase_at <= now) else {
            return;
        };
        if !self.shared.files.check_before_commit() {
            self.erase_at = now + RETRY;
            return;
        }
        let write = Write::EraseStep {
            user: erasing.user,
            is_first: erasing.is_first,
            limit: ROWS,
        };
        let at = Timestamp(self.clock.now());
        let store = &mut self.store;
        match self
            .shared
            .health
            .watch(|| store.commit(at.0, &[&write]))
            .map(|outcomes| outcomes.into_iter().next())
        {
            Ok(Some(Outcome::Erasing(step))) => {
                erasing.is_first = false;
                let is_done = step.done.is_some();
                let done = if is_done {
                    self.erasing.pop_front()
                } else {
                    None
                };
                if let Some(erased) = step.done {
                    log::info!(name = &*step.renamed_to, messages = erased.messages; "a user was erased");
                }
                self.observe(&CompletedBatch {
                    items: Vec::new(),
                    received: Vec::new(),
                    erasures: vec![ErasureUpdate {
                        step: *step,
                        reply_to: done.and_then(|erasing| erasing.reply_to),
                    }],
                    at,
                });
            }
            Ok(_) => drop(self.erasing.pop_front()),
            Err(error) => {
                exit_if_broken(&error);
                log::error!(
                    "the store could not continue an erasure, which is tried again: {error}"
                );
                self.erase_at = now + RETRY;
            }
        }
    }
}
