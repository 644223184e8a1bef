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
/// The pause when a step waits for the logs of the store.
const WAIT: Duration = Duration::from_millis(50);

/// An erasure that is not complete.
pub struct Erasing<R> {
    /// The store's number of the user.
    user: i64,
    /// No step was made since the erasure has begun, or since the start.
    is_first: bool,
    /// When the next step is due.
    at: Instant,
    /// Where the reply goes; `None`: an earlier run has begun it.
    reply_to: Option<R>,
}

impl<R> Erasing<R> {
    fn new(user: i64, reply_to: Option<R>) -> Self {
        Self {
            user,
            is_first: true,
            at: Instant::now(),
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

    /// When the next step of an erasure is due.
    pub fn erase_at(&self) -> Option<Instant> {
        self.erasing.iter().map(|erasing| erasing.at).min()
    }

    /// Makes a step of the oldest erasure that is due. True: something was committed.
    pub fn erase_some(&mut self) -> bool {
        let now = Instant::now();
        let due = self.erasing.iter().position(|erasing| erasing.at <= now);
        let Some((index, erasing)) = due.and_then(|n| Some((n, self.erasing.get_mut(n)?))) else {
            return false;
        };
        if !self.shared.files.check_before_commit() {
            erasing.at = now + RETRY;
            return false;
        }
        let write = Write::EraseStep {
            user: erasing.user,
            is_first: erasing.is_first,
            limit: ROWS,
            awaits_log: true,
        };
        let at = Timestamp(self.clock.now());
        let store = &mut self.store;
        let committed = self
            .shared
            .health
            .watch(|| store.commit(at.0, &[&write]))
            .map(|outcomes| outcomes.into_iter().next());
        let step = match committed {
            Ok(Some(Outcome::Erasing(step))) => *step,
            Ok(_) => {
                self.erasing.remove(index);
                return true;
            }
            Err(error) => {
                exit_if_broken(&error);
                if self.erasure_failures.allows(now) {
                    log::error!(
                        "the store could not continue an erasure, which is tried again: {error}"
                    );
                }
                erasing.at = now + RETRY;
                return false;
            }
        };
        erasing.is_first = false;
        if step.waits {
            erasing.at = Instant::now() + WAIT;
            return true;
        }
        let done = match step.done {
            Some(erased) => {
                log::info!(name = &*step.renamed_to, messages = erased.messages; "a user was erased");
                self.erasing.remove(index)
            }
            None => None,
        };
        self.observe(&CompletedBatch {
            items: Vec::new(),
            received: Vec::new(),
            erasures: vec![ErasureUpdate {
                step,
                reply_to: done.and_then(|erasing| erasing.reply_to),
            }],
            at,
        });
        true
    }
}
