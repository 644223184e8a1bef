//! Commits what no client waits for: how far devices have received their inboxes (watermarks), when users were online, and what is to
//! be revealed of users who are not invisible any more.

use std::sync::Arc;

use super::completed::{CompletedBatch, ReceivedUpdate};
use super::queue::Watermark;
use super::thread::{Thread, exit_if_broken};
use crate::protocol::Timestamp;
use crate::store::{Outcome, Write};

/// The number of records of when users were online that are committed in one turn.
const RECORDS: usize = 256;
/// The maximum numbers of watermarks and of records that are kept for a later attempt when the store does not accept them.
const MAX_KEPT: usize = 100_000;

/// The part of what is due that is committed in one turn.
struct Part {
    watermarks: Vec<Watermark>,
    seen: Vec<(Arc<str>, Option<i64>)>,
    revealing: Option<Arc<str>>,
}

impl Part {
    fn writes(&self) -> Vec<Write> {
        let watermarks =
            self.watermarks
                .iter()
                .map(|((user, device), (seq, _))| Write::Watermark {
                    user: user.clone(),
                    device: device.clone(),
                    seq: *seq,
                });
        let seen = self.seen.iter().map(|(user, until)| Write::Seen {
            user: user.clone(),
            until: *until,
        });
        let revealing = self
            .revealing
            .iter()
            .map(|user| Write::Reveal { user: user.clone() });
        watermarks.chain(seen).chain(revealing).collect()
    }
}

impl<R> Thread<R> {
    /// Commits a part of what is due, with up to `limit` watermarks. It is one commit: a client's write waits for no more than that.
    pub fn commit_due(&mut self, limit: usize) {
        let part = Part {
            watermarks: take_last(&mut self.due.watermarks, limit),
            seen: take_last(&mut self.due.seen, RECORDS),
            revealing: self.revealing.pop_front(),
        };
        let writes = part.writes();
        if writes.is_empty() {
            return;
        }
        if !self.shared.files.check_before_commit() {
            // They are committed when the files are back.
            self.put_back(part);
            let rest = Part {
                watermarks: std::mem::take(&mut self.due.watermarks),
                seen: std::mem::take(&mut self.due.seen),
                revealing: None,
            };
            self.put_back(rest);
            return;
        }
        let at = Timestamp(self.clock.now());
        let batch: Vec<&Write> = writes.iter().collect();
        let store = &mut self.store;
        match self.shared.health.watch(|| store.commit(at.0, &batch)) {
            Ok(outcomes) => self.due_committed(part, outcomes, at),
            Err(error) => {
                exit_if_broken(&error);
                log::error!(
                    "the store could not commit watermarks, who is online, or receipts: {error}"
                );
                self.put_back(part);
            }
        }
    }

    /// Informs users of what others have received more than before.
    fn due_committed(&mut self, part: Part, outcomes: Vec<Outcome>, at: Timestamp) {
        let mut updates = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (((user, _), (_, session)), outcome) in part.watermarks.into_iter().zip(&mut outcomes) {
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
        if let Some(user) = part.revealing
            && let Some(Outcome::Revealed { received, more }) = outcomes.nth(part.seen.len())
        {
            if more {
                self.revealing.push_back(user.clone());
            }
            updates.push(ReceivedUpdate {
                user,
                session: None,
                received,
            });
        }
        if !updates.is_empty() {
            self.observe(&CompletedBatch {
                items: Vec::new(),
                received: updates,
                erasures: Vec::new(),
                at,
            });
        }
    }

    /// Watermarks and records are committed later. What could not be revealed is not: the other users find it in their conversations.
    fn put_back(&mut self, part: Part) {
        self.shared.put_back(part.watermarks.into_iter(), MAX_KEPT);
        self.shared.put_back_seen(part.seen.into_iter(), MAX_KEPT);
    }
}

/// Removes up to `count` items from the end.
fn take_last<T>(items: &mut Vec<T>, count: usize) -> Vec<T> {
    items.split_off(items.len() - items.len().min(count))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use uuid::Uuid;

    use super::super::completed::CommitObserver;
    use super::super::queue::Shared;
    use super::*;
    use crate::clock::Clock;
    use crate::readers::Readers;
    use crate::store::{
        ContentHasher, NameHasher, Reader, Received, RoomMembers, Store, StoreError, StoreFiles,
        StoredTimes, Waker,
    };

    /// Answers each write, and records the sizes of the commits.
    #[derive(Clone, Default)]
    struct Commits(Arc<Mutex<Vec<usize>>>);

    impl Commits {
        fn take(&self) -> Vec<usize> {
            std::mem::take(&mut *self.0.lock().expect("no test has failed"))
        }
    }

    fn received(peer: &str) -> Received {
        Received {
            peer: peer.into(),
            id: Uuid::nil(),
            visible: true,
        }
    }

    impl Store for Commits {
        fn content_hasher(&self) -> ContentHasher {
            unreachable!("no content is hashed")
        }

        fn name_hasher(&self) -> NameHasher {
            unreachable!("no name is hashed")
        }

        fn files(&self) -> Arc<StoreFiles> {
            Arc::default()
        }

        fn commit(&mut self, _: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
            self.0.lock().expect("no test has failed").push(batch.len());
            let outcome = |write: &&Write| match write {
                Write::Watermark { user, .. } => Outcome::Received(vec![received(user)]),
                Write::Reveal { user } => Outcome::Revealed {
                    received: vec![received(user)],
                    more: **user == *"more",
                },
                _ => Outcome::SeenRecorded,
            };
            Ok(batch.iter().map(outcome).collect())
        }

        fn room_members(
            &mut self,
            _: &str,
            _: Option<&str>,
        ) -> Result<Option<RoomMembers>, StoreError> {
            Ok(None)
        }

        fn maintain(&mut self, _: Option<i64>) -> Result<Instant, StoreError> {
            Ok(Instant::now() + Duration::from_secs(3600))
        }

        fn unfinished_erasures(&mut self) -> Result<Vec<i64>, StoreError> {
            Ok(Vec::new())
        }

        fn stored_times(&self) -> Result<Option<StoredTimes>, StoreError> {
            Ok(None)
        }

        fn close(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn set_waker(&mut self, _: Waker) {}

        fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
            Err(StoreError::Failed("nothing can be read".into()))
        }
    }

    /// Records who has received something of whom.
    #[derive(Clone, Default)]
    struct Updates(Arc<Mutex<Vec<String>>>);

    impl CommitObserver<()> for Updates {
        fn completed(&mut self, batch: &CompletedBatch<()>) {
            let mut updates = self.0.lock().expect("no test has failed");
            for update in &batch.received {
                let has_session = update.session.is_some();
                let peers = update.received.iter().map(|one| &*one.peer);
                let peers: Vec<&str> = peers.collect();
                updates.push(format!("{} {has_session} {}", update.user, peers.join(" ")));
            }
        }
    }

    #[test]
    fn what_is_due_in_a_turn_is_one_commit() {
        let (commits, updates) = (Commits::default(), Updates::default());
        let mut thread = Thread::new(
            Arc::new(Shared::<()>::new(Arc::default())),
            Box::new(commits.clone()),
            Readers::default(),
            vec![Box::new(updates.clone())],
            Arc::new(Clock::new(0)),
        );
        thread.commit_due(8);
        assert_eq!(commits.take(), [] as [usize; 0]);
        for n in 0..10 {
            let user: Arc<str> = format!("user{n}").into();
            let device = (user.clone(), "phone".into());
            thread.due.watermarks.push((device, (1, Uuid::nil())));
        }
        for n in 0..RECORDS + 3 {
            let user = format!("user{n}").into();
            thread.due.seen.push((user, None));
        }
        thread.revealing.push_back("more".into());
        thread.revealing.push_back("last".into());
        for size in [8 + RECORDS + 1, 2 + 3 + 1, 1] {
            thread.commit_due(8);
            assert_eq!(commits.take(), [size]);
        }
        let mut found = std::mem::take(&mut *updates.0.lock().expect("no test has failed"));
        let revealed: Vec<String> = found
            .extract_if(.., |update| !update.starts_with("user"))
            .collect();
        assert_eq!(
            revealed,
            ["more false more", "last false last", "more false more"]
        );
        found.sort_unstable();
        let expected: Vec<String> = (0..10).map(|n| format!("user{n} true user{n}")).collect();
        assert_eq!(found, expected);
        // `more` is due once more.
        assert_eq!(thread.revealing.len(), 1);
    }
}
