use std::sync::atomic::AtomicBool;

use uuid::Uuid;

use super::*;
use crate::limits::memory::MemoryBudget;
use crate::outbox::Outbox;
use crate::outbox::wakeup::WakeupBatch;
use crate::store::{
    ConversationsPage, ConversationsQuery, EventReader, ExportPage, ExportQuery, HistoryAnswer,
    HistoryQuery, InboxItem, InboxQuery, InboxRange, InboxState, MembersAnswer, MembersQuery,
    NameHash, Reader, RoomDeletionId, RoomMembersQuery, RoomsPage, RoomsQuery, StoreError,
    UserOverview, UserQuery, Watched,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// All users are contacts, if that can be read.
struct Relations {
    can_read: Arc<AtomicBool>,
}

fn unavailable<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("not read here".to_owned()))
}

impl EventReader for Relations {}

impl Reader for Relations {
    fn open_inboxes(&mut self, _: &[InboxQuery]) -> Result<Vec<InboxState>, StoreError> {
        unavailable()
    }

    fn entries(&mut self, _: &InboxRange) -> Result<Vec<InboxItem>, StoreError> {
        unavailable()
    }

    fn history(&mut self, _: &HistoryQuery) -> Result<HistoryAnswer, StoreError> {
        unavailable()
    }

    fn conversations(
        &mut self,
        _: &ConversationsQuery,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        unavailable()
    }

    fn is_mutual(&mut self, _: &str, _: &str) -> Result<bool, StoreError> {
        if self.can_read.load(Ordering::SeqCst) {
            Ok(true)
        } else {
            unavailable()
        }
    }

    fn members(&mut self, _: &MembersQuery) -> Result<MembersAnswer, StoreError> {
        unavailable()
    }

    fn user_overview(&mut self, _: &UserQuery) -> Result<Option<UserOverview>, StoreError> {
        unavailable()
    }

    fn rooms(&mut self, _: &RoomsQuery) -> Result<RoomsPage, StoreError> {
        unavailable()
    }

    fn room_members(&mut self, _: &RoomMembersQuery) -> Result<MembersAnswer, StoreError> {
        unavailable()
    }

    fn room_history(&mut self, _: &HistoryQuery) -> Result<HistoryAnswer, StoreError> {
        unavailable()
    }

    fn room_deletions(&mut self) -> Result<Vec<RoomDeletionId>, StoreError> {
        unavailable()
    }

    fn export(&mut self, _: &ExportQuery) -> Result<Option<ExportPage>, StoreError> {
        unavailable()
    }

    fn watched(&mut self, _: &str, _: &[Arc<str>]) -> Result<Vec<Watched>, StoreError> {
        unavailable()
    }

    fn has_online_users(&mut self) -> Result<bool, StoreError> {
        unavailable()
    }

    fn session_memberships(&mut self, _: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        unavailable()
    }

    fn revoked_until(&mut self, _: &str) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    fn revocations(&mut self, _: &mut dyn FnMut(&NameHash)) -> Result<(), StoreError> {
        Ok(())
    }

    fn blocks(&mut self, _: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        unavailable()
    }
}

/// A session that watches users.
struct Viewing {
    outbox: Arc<Outbox>,
    watches: Watches,
    received: Vec<u8>,
}

impl Viewing {
    fn new(presence: &Presence, user: &str) -> Self {
        let memory = MemoryBudget::new(1 << 30);
        let outbox = Outbox::new(Uuid::now_v7(), user.into(), 1 << 20, &memory);
        outbox.open(1, 0);
        Self {
            watches: Watches::new(presence.clone(), outbox.clone()),
            outbox,
            received: Vec::new(),
        }
    }

    fn start(&mut self, users: &[Arc<str>]) -> Result<StartedWatch, WatchError> {
        self.watches.start(users.into())
    }

    fn answer(&self, started: &StartedWatch, is_mutual: bool) {
        let found = started.users.iter().map(|_| Watched {
            is_mutual,
            last_seen: None,
        });
        self.watches.answer(started, found.collect(), None);
    }

    fn watch(&mut self, users: &[Arc<str>]) {
        let started = self.start(users).expect("the users are few");
        self.answer(&started, true);
    }

    /// The states of users in the frames since the last call.
    fn states(&mut self) -> Vec<String> {
        self.received.clear();
        self.outbox.take_into(&mut self.received);
        let text = String::from_utf8_lossy(&self.received);
        let states = text.split("\"status\":\"").skip(1);
        states
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect()
    }

    /// Runs passes until a frame has come.
    fn next_state(&mut self, presence: &Presence) -> String {
        let start = Instant::now();
        loop {
            presence.pass();
            if let Some(state) = self.states().pop() {
                return state;
            }
            assert!(start.elapsed() < TIMEOUT, "no frame has come");
            std::thread::yield_now();
        }
    }
}

fn name(user: &str) -> Arc<str> {
    user.into()
}

fn online(presence: &Presence, user: &str) -> PresentSession {
    let mut session = presence.register(&name(user));
    session.open(UserStatus::Online, None);
    session
}

/// Readers whose lookups succeed while the flag is set.
fn readers(can_read: &Arc<AtomicBool>) -> Readers {
    let reader = || -> Box<dyn Reader> {
        Box::new(Relations {
            can_read: can_read.clone(),
        })
    };
    Readers::start(vec![reader()], reader()).expect("threads start")
}

#[test]
fn a_relation_that_cannot_be_read_counts_as_none_until_it_can() {
    let presence = Presence::default();
    let can_read = Arc::new(AtomicBool::new(false));
    let readers = readers(&can_read);
    presence.set_readers(readers.clone());
    let _b = online(&presence, "b");
    let mut a = Viewing::new(&presence, "a");
    a.watch(&[name("b")]);
    assert_eq!(a.states(), ["online"]);
    presence.relation_changed(&name("b"), &name("a"));
    assert_eq!(a.next_state(&presence), "offline");
    can_read.store(true, Ordering::SeqCst);
    assert_eq!(a.next_state(&presence), "online");
    // The same if the lookup is dropped.
    readers.close();
    presence.relations_changed_among(&[name("a"), name("b")]);
    assert_eq!(a.next_state(&presence), "offline");
}

#[test]
fn nothing_is_announced_while_a_relation_is_unknown() {
    let changes: [fn(&Presence); 2] = [
        |presence| presence.relation_changed(&name("a"), &name("b")),
        |presence| presence.relations_changed_among(&[name("c"), name("b"), name("a")]),
    ];
    for change in changes {
        let presence = Presence::default();
        let _b = online(&presence, "b");
        let mut a = Viewing::new(&presence, "a");
        let mut other = Viewing::new(&presence, "d");
        a.watch(&[name("b")]);
        other.watch(&[name("b")]);
        assert_eq!((a.states(), other.states()).0, ["online"]);
        // There are no readers.
        change(&presence);
        presence.set_status(&name("b"), UserStatus::Away, 1);
        presence.pass();
        assert_eq!(other.states(), ["away"]);
        assert!(a.states().is_empty());
        // What was read before the change is old, and what is read after it is not.
        a.watch(&[name("b")]);
        assert_eq!(a.states(), ["away"]);
        let started = a.start(&[name("b")]).expect("one user");
        change(&presence);
        a.answer(&started, true);
        assert_eq!(a.states(), ["offline"]);
    }
}

#[test]
fn repeated_regroupings_of_a_room_add_no_work() {
    let presence = Presence::default();
    let users: Vec<Arc<str>> = (0..101).map(|n| name(&n.to_string())).collect();
    let mut sessions: Vec<Viewing> = Vec::new();
    for user in &users {
        let mut session = Viewing::new(&presence, user);
        session.watch(&users);
        sessions.push(session);
    }
    for _ in 0..100 {
        presence.relations_changed_among(&users);
        assert_eq!(presence.work().scans.len(), users.len());
    }
    for _ in 0..3 {
        let mut passes = 0;
        while !presence.work().scans.is_empty() {
            presence.pass();
            passes += 1;
        }
        // The work of a pass is limited.
        assert_eq!(passes, 2);
        assert_eq!(presence.work().lookups.len(), 101 * 100);
        presence.relations_changed_among(&users);
    }
    // Sessions that have ended are not looked up.
    drop(sessions);
    presence.pass();
    assert!(presence.work().scans.is_empty());
    presence.set_readers(readers(&Arc::new(AtomicBool::new(true))));
    let start = Instant::now();
    while !presence.work().lookups.is_empty() {
        assert!(start.elapsed() < TIMEOUT, "the list is not emptied");
        presence.pass();
        std::thread::yield_now();
    }
}

#[test]
fn the_watches_of_all_sessions_are_limited() {
    let config = PresenceConfig::default();
    let presence = Presence::new(&config, Arc::new(Clock::new(0)), Arc::default(), 5);
    let users: Vec<Arc<str>> = (0..6).map(|n| name(&n.to_string())).collect();
    let [mut a, mut b] = ["a", "b"].map(|user| Viewing::new(&presence, user));
    a.watch(&users[..3]);
    assert_eq!(b.start(&users[..3]).err(), Some(WatchError::Server));
    b.watch(&users[..2]);
    assert_eq!(b.start(&users[2..3]).err(), Some(WatchError::Server));
    assert!(
        presence
            .shard("2")
            .get("2")
            .expect("a watches")
            .viewers
            .len()
            == 1
    );
    // Those who are watched already count once.
    b.watch(&users[..2]);
    a.watches.stop(&users[..1]);
    b.watch(&users[2..3]);
    drop((a, b));
    assert_eq!(presence.shared.watches.load(Ordering::SeqCst), 0);
    assert!(presence.shard("2").is_empty());
}

#[test]
fn a_block_is_announced_at_once_and_its_ends_together() {
    let blocks = Arc::new(Blocks::default());
    let config = PresenceConfig::default();
    let clock = Arc::new(Clock::new(0));
    let presence = Presence::new(&config, clock, blocks.clone(), usize::MAX);
    let _b = online(&presence, "b");
    let mut a = Viewing::new(&presence, "a");
    a.watch(&[name("b")]);
    assert_eq!(a.states(), ["online"]);
    for round in 0..100 {
        let mut wakeups = WakeupBatch::default();
        assert!(blocks.set("a", "b", true));
        presence.block_changed(&name("a"), &name("b"), true, &mut wakeups);
        let expected: &[&str] = if round == 0 { &["offline"] } else { &[] };
        assert_eq!(a.states(), expected);
        assert!(blocks.set("a", "b", false));
        presence.block_changed(&name("a"), &name("b"), false, &mut wakeups);
        assert!(a.states().is_empty());
        assert_eq!(presence.work().pairs.len(), 1);
    }
    assert_eq!(a.next_state(&presence), "online");
    // Also while it is not known whether the two are contacts.
    presence.relation_changed(&name("a"), &name("b"));
    blocks.set("b", "a", true);
    let mut wakeups = WakeupBatch::default();
    presence.block_changed(&name("b"), &name("a"), true, &mut wakeups);
    assert_eq!(a.states(), ["offline"]);
}
