//! The loop of the writer's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::completed::{CommitObserver, Completed, CompletedBatch, WriteError};
use super::erasing::Erasing;
use super::queue::{DueRecords, Opening, Queued, Shared};
use super::room_notices::{RoomNotice, was_member};
use crate::clock::Clock;
use crate::logging::LogLimit;
use crate::metrics;
use crate::protocol::Timestamp;
use crate::readers::Readers;
use crate::store::{InboxState, Outcome, RoomMembers, Store, StoreError, Write};
use crate::supervise::{DISK_FAILED, fail};

/// The number of watermarks that are committed in one turn while no client waits for them, and the number at shutdown.
const WATERMARKS: usize = 8;
const LAST_WATERMARKS: usize = 1024;
/// When maintenance has failed, it is tried again after this time.
const MAINTENANCE_RETRY: Duration = Duration::from_millis(500);
/// The maximum number of inboxes that one job of a reader opens, so that a large number is shared by the readers.
const OPENINGS: usize = 256;

pub struct Thread<R> {
    pub shared: Arc<Shared<R>>,
    pub store: Box<dyn Store>,
    readers: Readers,
    observers: Vec<Box<dyn CommitObserver<R>>>,
    pub clock: Arc<Clock>,
    /// When the store is to be maintained next.
    maintain_at: Instant,
    maintenance_failures: LogLimit,
    /// Records that are to be committed.
    pub due: DueRecords,
    /// Users who are not invisible any more, and whose deferred receipts are to be revealed.
    pub revealing: VecDeque<Arc<str>>,
    /// Erasures that are not complete, the oldest first.
    pub erasing: VecDeque<Erasing<R>>,
    pub erasure_failures: LogLimit,
}

impl<R> Thread<R> {
    pub fn new(
        shared: Arc<Shared<R>>,
        store: Box<dyn Store>,
        readers: Readers,
        observers: Vec<Box<dyn CommitObserver<R>>>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            shared,
            store,
            readers,
            observers,
            clock,
            maintain_at: Instant::now(),
            maintenance_failures: LogLimit::default(),
            due: DueRecords::default(),
            revealing: VecDeque::new(),
            erasing: VecDeque::new(),
            erasure_failures: LogLimit::default(),
        }
    }
}

impl<R: Send + 'static> Thread<R> {
    /// Runs until the queue is closed and empty. Then the store is closed.
    pub fn run(mut self) {
        let shared = self.shared.clone();
        // Before the first commit, so that the store knows whether the time is certain.
        self.maintain();
        self.load_erasures();
        while let Some(turn) = shared.take(self.wake_at(), &mut self.due) {
            let is_commit = !turn.items.is_empty();
            if is_commit {
                let writes = turn.items.len() as u64;
                self.forget_erased(&turn.items);
                self.commit(turn.items);
                if let Some(since) = turn.since {
                    metrics::DELIVERY.observe(since.elapsed(), writes);
                }
            }
            // An opening must see the watermarks before it.
            self.commit_due(match (turn.openings.is_empty(), turn.closed) {
                (true, false) => WATERMARKS,
                (true, true) => LAST_WATERMARKS,
                (false, _) => usize::MAX,
            });
            if turn.closed {
                // The next start continues them. While a step is due, there is always another turn.
                self.erasing.clear();
            }
            let has_erased = self.erase_some();
            self.open(turn.openings);
            if is_commit || has_erased || turn.maintenance || self.maintain_at <= Instant::now() {
                self.maintain();
            }
        }
        if let Err(error) = self.store.close() {
            exit_if_broken(&error);
            // Nothing is lost: the next start does the rest.
            log::warn!("the store could not be closed: {error}");
        }
    }

    /// When there is something to do although the queue is empty.
    fn wake_at(&self) -> Instant {
        if self.revealing.is_empty() {
            let erase_at = self.erase_at().into_iter();
            erase_at.fold(self.maintain_at, Instant::min)
        } else {
            Instant::now()
        }
    }

    /// Commits a batch and hands it to the observers.
    fn commit(&mut self, items: Vec<Queued<R>>) {
        let at = Timestamp(self.clock.now());
        let mut batch: Vec<&Write> = Vec::with_capacity(items.len());
        batch.extend(items.iter().filter_map(|item| match item {
            Queued::Write(write, _) => Some(write),
            Queued::Notice(_) | Queued::RoomNotice { .. } => None,
        }));
        let (outcomes, error) = if batch.is_empty() {
            (Vec::new(), None)
        } else if !self.shared.files.check_before_commit() {
            // No later start would find what is committed now.
            (Vec::new(), Some(WriteError::Overloaded))
        } else {
            let store = &mut self.store;
            let started = Instant::now();
            let committed = self.shared.health.watch(|| store.commit(at.0, &batch));
            metrics::COMMIT.observe(started.elapsed(), 1);
            match committed {
                Ok(outcomes) => (outcomes, None),
                Err(error) => {
                    metrics::COMMIT_FAILURES.add(1);
                    exit_if_broken(&error);
                    log::error!("the store could not commit: {error}");
                    (Vec::new(), Some(write_error(&error)))
                }
            }
        };
        let mut outcomes = outcomes.into_iter();
        let mut notices = Vec::new();
        let mut items: Vec<_> = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Queued::Write(write, reply_to) => {
                    let outcome = outcomes.next().ok_or(error.unwrap_or(WriteError::Internal));
                    if let (Write::Status { user, .. }, Ok(Outcome::StatusSet { reveals: true })) =
                        (&write, &outcome)
                    {
                        self.revealing.push_back(user.clone());
                    }
                    Completed::Write {
                        write,
                        reply_to,
                        outcome,
                    }
                }
                Queued::Notice(notice) => Completed::Notice(notice),
                Queued::RoomNotice {
                    room, user, notice, ..
                } => {
                    notices.push(RoomNotice { user, room, index });
                    Completed::RoomNotice {
                        notice,
                        members: Ok(None),
                    }
                }
            })
            .collect();
        if !notices.is_empty() {
            self.find_members(&notices, &mut items);
        }
        let batch = CompletedBatch {
            items,
            received: Vec::new(),
            erasures: Vec::new(),
            at,
        };
        self.observe(&batch);
        self.add_erasures(batch.items);
    }

    /// Completes the notices about rooms of a batch with the members to whom they go.
    fn find_members(&mut self, notices: &[RoomNotice], items: &mut [Completed<R>]) {
        let changes = |item: &Completed<R>| {
            matches!(
                item,
                Completed::Write {
                    write: Write::Join { .. } | Write::Leave { .. },
                    ..
                }
            )
        };
        let memberships: Vec<usize> = (0..items.len())
            .filter(|index| changes(&items[*index]))
            .collect();
        for notice in notices {
            let found = match was_member(notice, items, &memberships) {
                None => self.room_members(&notice.room, notice.user.as_deref()),
                Some(false) => Ok(None),
                // The sender may have left since, and may have been the last member.
                Some(true) => self
                    .room_members(&notice.room, None)
                    .map(|found| Some(found.unwrap_or_default())),
            };
            if let Some(Completed::RoomNotice { members, .. }) = items.get_mut(notice.index) {
                *members = found;
            }
        }
    }

    /// The members of a room, as far as `user`, if one is given, is one of them.
    fn room_members(
        &mut self,
        room: &str,
        user: Option<&str>,
    ) -> Result<Option<RoomMembers>, WriteError> {
        self.store.room_members(room, user).map_err(|error| {
            exit_if_broken(&error);
            log::error!("the store could not look up the members of a room: {error}");
            write_error(&error)
        })
    }

    /// Has the readers open inboxes.
    fn open(&self, mut openings: Vec<Opening>) {
        while !openings.is_empty() {
            let rest = openings.split_off(openings.len().min(OPENINGS));
            let part = std::mem::replace(&mut openings, rest);
            let queries = part.iter().map(|opening| opening.query.clone()).collect();
            self.readers.open_inboxes(queries, move |states| {
                reply_to_openings(part, states);
            });
        }
    }

    /// Lets the store maintain itself.
    fn maintain(&mut self) {
        match self.store.maintain(self.clock.expiry_now()) {
            Ok(next) => self.maintain_at = next,
            Err(error) => {
                exit_if_broken(&error);
                let now = Instant::now();
                // Not for each attempt. A success in between does not count: most calls have nothing to do.
                if self.maintenance_failures.allows(now) {
                    log::error!("maintenance of the store failed and is retried: {error}");
                }
                self.maintain_at = now + MAINTENANCE_RETRY;
            }
        }
    }
}

impl<R> Thread<R> {
    /// Hands a batch to the observers.
    pub fn observe(&mut self, batch: &CompletedBatch<R>) {
        for observer in &mut self.observers {
            observer.completed(batch);
        }
    }
}

/// Runs on a reader's thread.
fn reply_to_openings(openings: Vec<Opening>, states: Result<Vec<InboxState>, StoreError>) {
    match states {
        Ok(states) => {
            for (opening, state) in openings.into_iter().zip(states) {
                (opening.reply)(Ok(state));
            }
        }
        Err(error) => {
            log::error!("the store could not open inboxes: {error}");
            let error = write_error(&error);
            for opening in openings {
                (opening.reply)(Err(error));
            }
        }
    }
}

fn write_error(error: &StoreError) -> WriteError {
    match error {
        StoreError::Unavailable(_) => WriteError::Overloaded,
        StoreError::Failed(_) | StoreError::Broken(_) => WriteError::Internal,
    }
}

/// Ends the process if the disk has failed. After a failed sync the operating system may count data as written that is not on
/// the disk, and a later sync succeeds: whatever the server acknowledged from then on could be lost. Only a start that reads
/// and writes everything again can tell.
pub fn exit_if_broken(error: &StoreError) {
    if let StoreError::Broken(error) = error {
        fail(
            DISK_FAILED.into(),
            format_args!(
                "the disk of the store has failed, so nothing more can be acknowledged: {error}; exiting with code {DISK_FAILED}. \
                 Start the server again when the disk works: with --durability full, nothing that was acknowledged is lost"
            ),
        );
    }
}
