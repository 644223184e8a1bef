//! The readers with a store that is slow.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::store::{DeviceRef, NameHash, RoomDeletionId, UserStatus};

/// Each query of a conversation list reports its start and waits until the test ends.
struct SlowReader {
    started: Sender<()>,
    end: Receiver<()>,
}

impl EventReader for SlowReader {}

impl Reader for SlowReader {
    fn open_inboxes(&mut self, queries: &[InboxQuery]) -> Result<Vec<InboxState>, StoreError> {
        let state = InboxState {
            head: 0,
            oldest: 1,
            received: 0,
            is_known: false,
            has_connected: false,
            status: UserStatus::Online,
            last_seen: None,
            epoch: uuid::Uuid::nil(),
            diverged: false,
        };
        Ok(vec![state; queries.len()])
    }

    fn entries(&mut self, _: &InboxRange) -> Result<Vec<InboxItem>, StoreError> {
        Ok(Vec::new())
    }

    fn history(&mut self, _: &HistoryQuery) -> Result<HistoryAnswer, StoreError> {
        Err(StoreError::Unavailable("not read here".to_owned()))
    }

    fn conversations(
        &mut self,
        _: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        self.started.send(()).expect("the test waits");
        let _ = self.end.recv();
        Ok(None)
    }

    fn is_mutual(&mut self, _: &str, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn members(&mut self, _: &MembersQuery) -> Result<MembersAnswer, StoreError> {
        Ok(MembersAnswer::UnknownRoom)
    }

    fn user_overview(&mut self, _: &UserQuery) -> Result<Option<UserOverview>, StoreError> {
        Ok(None)
    }

    fn rooms(&mut self, _: &RoomsQuery) -> Result<RoomsPage, StoreError> {
        Err(StoreError::Unavailable("not read here".to_owned()))
    }

    fn room_members(&mut self, _: &RoomMembersQuery) -> Result<MembersAnswer, StoreError> {
        Ok(MembersAnswer::UnknownRoom)
    }

    fn room_history(&mut self, _: &HistoryQuery) -> Result<HistoryAnswer, StoreError> {
        Ok(HistoryAnswer::UnknownRoom)
    }

    fn export(&mut self, _: &ExportQuery) -> Result<Option<ExportPage>, StoreError> {
        Ok(None)
    }

    fn watched(&mut self, _: &str, _: &[Arc<str>]) -> Result<Vec<Watched>, StoreError> {
        Ok(Vec::new())
    }

    fn has_online_users(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn session_memberships(&mut self, _: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        Ok(())
    }

    fn revoked_until(&mut self, _: &str) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    fn revocations(&mut self, _: &mut dyn FnMut(&NameHash)) -> Result<(), StoreError> {
        Ok(())
    }

    fn room_deletions(&mut self) -> Result<Vec<RoomDeletionId>, StoreError> {
        Ok(Vec::new())
    }

    fn blocks(&mut self, _: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        Ok(())
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// Three threads whose queries report when they start, and end when the returned senders are dropped.
fn start_slow() -> (Readers, Receiver<()>, Vec<Sender<()>>) {
    let (started, has_started) = channel();
    let (mut readers, mut ends) = (Vec::<Box<dyn Reader>>::new(), Vec::new());
    for _ in 0..3 {
        let (end, ended) = channel();
        ends.push(end);
        readers.push(Box::new(SlowReader {
            started: started.clone(),
            end: ended,
        }));
    }
    let short = readers.pop().expect("three readers");
    let readers = Readers::start(readers, short).expect("threads start");
    (readers, has_started, ends)
}

#[test]
fn long_queries_in_all_other_threads_do_not_delay_short_jobs() {
    let (readers, has_started, ends) = start_slow();
    let query = |user: &str| ConversationsQuery {
        user: user.into(),
        limit: 1,
        cursor: None,
        not_before: None,
        bytes: usize::MAX,
    };
    let long = ["u", "v", "w"].map(|user| readers.conversations(query(user)));
    for _ in 0..2 {
        has_started.recv_timeout(TIMEOUT).expect("a query runs");
    }
    for _ in 0..100 {
        let (opened, is_open) = channel();
        let found = opened.clone();
        let device = DeviceRef {
            user: "u".into(),
            device: "d".into(),
        };
        readers.open_inboxes(vec![device.into()], move |states| {
            opened
                .send(states.is_ok_and(|states| states.len() == 1))
                .expect("the test waits");
        });
        readers.are_contacts("u".into(), "v".into(), move |result| {
            found.send(result.is_ok()).expect("the test waits");
        });
        for _ in 0..2 {
            assert_eq!(is_open.recv_timeout(TIMEOUT), Ok(true));
        }
    }
    let third = has_started.try_recv();
    assert!(third.is_err(), "the third query waits for a thread");
    // `close` waits for the jobs that have been added.
    drop(ends);
    readers.close();
    for pending in long {
        assert!(matches!(pending.blocking_recv(), Ok(Ok(None))));
    }
}

#[test]
fn queries_of_one_user_occupy_one_thread() {
    let (readers, has_started, ends) = start_slow();
    let query = || ConversationsQuery {
        user: "u".into(),
        limit: 1,
        cursor: None,
        not_before: None,
        bytes: usize::MAX,
    };
    let slow: Vec<_> = (0..14).map(|_| readers.conversations(query())).collect();
    has_started.recv_timeout(TIMEOUT).expect("a query runs");
    for _ in 0..100 {
        let entries = readers.entries(InboxRange {
            user: "v".into(),
            first: 1,
            last: 1,
            bytes: 1,
        });
        assert!(matches!(entries.blocking_recv(), Ok(Ok(_))));
    }
    let second = has_started.try_recv();
    assert!(second.is_err(), "the second query waits for the first");
    // The others run one after the other.
    drop(ends);
    readers.close();
    assert_eq!(has_started.try_iter().count(), 13);
    drop(slow);
}
