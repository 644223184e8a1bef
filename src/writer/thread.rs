//! The loop of the thread that writes.

use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::queue::{Mark, Opening, Shared, content_bytes};
use super::{Batch, CompletedWrite, WriteError};
use crate::protocol::Timestamp;
use crate::store::{Store, StoreError, Write};

/// Writes of one transaction: more would make the first of them wait for the last.
const BATCH: usize = 1024;
/// Watermarks that are written in one turn, while no client waits for them.
const NOTE: usize = 8;
/// Messages that are settled in one turn, at the least.
const SETTLE: usize = 128;
/// When settling has failed, it is tried again after so long.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// Time between two looks at what is to be removed, and at the least between two steps of it.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_PAUSE: Duration = Duration::from_millis(20);

pub struct Thread<O, D> {
    pub shared: Arc<Shared<O>>,
    pub store: Box<dyn Store>,
    pub deliver: D,
    /// When the store is next to remove what is too old.
    pub keep_at: Instant,
    /// When it is next to settle what was committed, if there is anything.
    pub settle_at: Option<Instant>,
    /// Watermarks that are due.
    pub noting: Vec<Mark>,
}

struct Work<O> {
    pub writes: Vec<(Write, O)>,
    pub openings: Vec<Opening>,
    pub waiting: Vec<SyncSender<Result<(), StoreError>>>,
    /// No more will come.
    pub closed: bool,
}

impl<O, D: FnMut(Batch<O>)> Thread<O, D> {
    /// One batch. False: there is no more, and there will be none.
    pub fn turn(&mut self) -> bool {
        let Some(work) = self.wait() else {
            return false;
        };
        let count = work.writes.len();
        if count > 0 {
            self.commit(work.writes);
        }
        // An opening has to know of the watermarks before it.
        self.note(match (work.openings.is_empty(), work.closed) {
            (true, false) => NOTE,
            (true, true) => BATCH,
            (false, _) => usize::MAX,
        });
        self.open(work.openings);
        self.settle(count, work.waiting);
        self.maintain();
        true
    }

    fn commit(&mut self, writes: Vec<(Write, O)>) {
        let at = Timestamp::now();
        let batch: Vec<&Write> = writes.iter().map(|(write, _)| write).collect();
        let store = &mut self.store;
        let outcomes = self.shared.pulse.over(|| store.commit(at.0, &batch));
        let failure = outcomes.as_ref().err().map(|error| {
            log::error!("the store: {error}");
            failure_of(error)
        });
        // Before anybody hears of it: whoever does may ask a reader.
        self.unsettled();
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        let done = writes
            .into_iter()
            .map(|(write, origin)| CompletedWrite {
                write,
                origin,
                outcome: outcomes
                    .next()
                    .ok_or(failure.unwrap_or(WriteError::Internal)),
            })
            .collect();
        (self.deliver)(Batch {
            done,
            noted: Vec::new(),
            at,
        });
    }

    /// Notes that something may be committed that readers do not see.
    fn unsettled(&mut self) {
        self.shared.unsettled.store(true, Ordering::Release);
        self.settle_at.get_or_insert_with(Instant::now);
    }

    /// Shows readers what was committed: all of it if any wait, or else about as much as comes in, when it is time.
    fn settle(&mut self, count: usize, waiting: Vec<SyncSender<Result<(), StoreError>>>) {
        let all = !waiting.is_empty();
        if !all && self.settle_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let settled = self.store.settle(SETTLE.max(count + count / 4), all);
        if let Ok(next) = &settled {
            self.settle_at = *next;
            if next.is_none() {
                self.shared.unsettled.store(false, Ordering::Release);
            }
        } else {
            self.settle_at = Some(Instant::now() + SETTLE_AGAIN);
        }
        let error = settled.err().map(|error| {
            log::error!("showing readers what was committed: {error}");
            error.to_string()
        });
        for tell in waiting {
            // It may have given up.
            let _ = tell.send(error.clone().map_or(Ok(()), |e| Err(StoreError::Failed(e))));
        }
    }

    /// The last turn is done.
    pub fn end(&mut self) {
        let mut queue = self.shared.lock();
        queue.ended = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.settle_at = Some(Instant::now());
        let settled = self.store.settle(usize::MAX, true);
        match &settled {
            Ok(_) => self.shared.unsettled.store(false, Ordering::Release),
            Err(error) => log::error!("showing readers what was committed: {error}"),
        }
        for tell in waiting {
            let failed = |e: &StoreError| Err(StoreError::Failed(e.to_string()));
            let _ = tell.send(settled.as_ref().err().map_or(Ok(()), failed));
        }
    }

    /// Lets the store remove what is too old, a little at a time.
    fn maintain(&mut self) {
        let now = Instant::now();
        if now < self.keep_at {
            return;
        }
        let pause = match self.store.maintain(Timestamp::now().0) {
            Ok(true) => KEEP_PAUSE,
            Ok(false) => KEEP_EVERY,
            Err(error) => {
                log::error!("removing what is old: {error}");
                KEEP_EVERY
            }
        };
        self.keep_at = Instant::now() + pause;
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> Option<Work<O>> {
        let mut queue = self.shared.lock();
        let now = loop {
            let now = Instant::now();
            let due = [queue.marks_due, self.settle_at]
                .into_iter()
                .flatten()
                .fold(self.keep_at, Instant::min);
            let asked =
                !queue.writes.is_empty() || !queue.openings.is_empty() || !queue.waiting.is_empty();
            if asked || !self.noting.is_empty() || due <= now {
                break now;
            }
            if queue.closed {
                if queue.marks.is_empty() {
                    return None;
                }
                break now;
            }
            let wait = due.saturating_duration_since(now);
            let waited = self.shared.filled.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        let take = queue.writes.len().min(BATCH);
        let rest = queue.writes.split_off(take);
        let writes = std::mem::replace(&mut queue.writes, rest);
        queue.bytes -= writes
            .iter()
            .map(|(write, _)| content_bytes(write))
            .sum::<usize>();
        queue.taken += writes.len() as u64;
        let taken = queue.taken;
        let ready = queue
            .openings
            .partition_point(|opening| opening.after <= taken);
        let later = queue.openings.split_off(ready);
        let openings = std::mem::replace(&mut queue.openings, later);
        // Not while there are others, so that each device has one here at the most.
        let due = self.noting.is_empty() && queue.marks_due.is_some_and(|due| due <= now);
        if due || queue.closed || !openings.is_empty() {
            queue.marks_due = None;
            self.noting.extend(std::mem::take(&mut queue.marks));
        }
        Some(Work {
            writes,
            openings,
            waiting: std::mem::take(&mut queue.waiting),
            closed: queue.closed,
        })
    }

    fn open(&mut self, openings: Vec<Opening>) {
        for opening in openings {
            let opened = self.store.open_inbox(&opening.user, &opening.device);
            if let Ok(opened) = &opened {
                // The device is in use from now on, also if it never receives anything.
                let mut queue = self.shared.lock();
                queue.mark(
                    opening.user,
                    opening.device,
                    opening.session,
                    opened.received,
                );
            }
            (opening.reply)(opened.map_err(|error| {
                log::error!("the store: {error}");
                failure_of(&error)
            }));
        }
    }
}

fn failure_of(error: &StoreError) -> WriteError {
    match error {
        StoreError::Unavailable(_) => WriteError::Overloaded,
        StoreError::Failed(_) => WriteError::Internal,
    }
}
