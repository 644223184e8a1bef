//! The cost of queries, as the number of steps of SQLite's virtual machine: a page costs what it contains, however much there is
//! besides it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::SqliteReader;
use crate::store::sqlite::Sqlite;
use crate::store::{
    Authority, Conversation, ConversationsPage, ConversationsQuery, DeviceRef, ExportQuery,
    HistoryQuery, InboxQuery, KnownEntry, MembershipKind, MessageRef, NewMessage, Outcome,
    Reader as _, Retention, RoomMode, RoomRules, Store as _, StoreOptions, Write,
};

/// The time of the first message, in milliseconds since 1970-01-01T00:00:00Z. Each batch is a second later.
const START: i64 = 1_800_000_000_000;

fn new_message(from: &str, to: &str) -> NewMessage {
    NewMessage {
        from: from.into(),
        to: Conversation::Direct(to.into()),
        id: Uuid::now_v7(),
        content: "\"x\"".into(),
        reply_to: None,
        fresh: true,
        ip_quota: None,
        authority: Authority::User,
    }
}

fn message(from: &str, to: &str) -> Write {
    Write::Message(new_message(from, to))
}

/// A store in which `conversations` users write to ada once, then one of them `messages` times, and then ten users again.
struct Large {
    // Before the store, which removes the file.
    reader: SqliteReader,
    store: Sqlite,
    now: i64,
    steps: Arc<AtomicU64>,
}

impl Large {
    fn new(conversations: usize, messages: usize) -> Self {
        let retention = Retention {
            inbox_limit: u64::MAX / 4,
            ..crate::config::Config::default().storage.retention()
        };
        let options = StoreOptions {
            rooms: RoomRules {
                mode: RoomMode::Open,
                ..RoomRules::default()
            },
            ..StoreOptions::new(retention)
        };
        let mut store =
            Sqlite::temporary(&std::env::temp_dir(), options).expect("a store is created");
        let mut now = START;
        let mut commit = |writes: &mut dyn Iterator<Item = Write>| loop {
            let batch: Vec<_> = writes.take(500).collect();
            if batch.is_empty() {
                return;
            }
            now += 1000;
            store
                .commit(now, &batch.iter().collect::<Vec<_>>())
                .expect("it is committed");
            store.flush().expect("the log is flushed");
        };
        commit(&mut (0..conversations).map(|n| message(&format!("peer{n}"), "ada")));
        commit(&mut (0..messages).map(|_| message("flood", "ada")));
        commit(&mut (0..10).map(|n| message(&format!("peer{n}"), "ada")));
        let mut connection = super::connect_to_read(&store.file.path).expect("the file opens");
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection
            .progress_handler(1, Some(count))
            .expect("steps are counted");
        Self {
            reader: SqliteReader::with_connection(connection),
            store,
            now,
            steps,
        }
    }

    /// Commits messages and changes of them.
    fn commit(&mut self, writes: &[Write]) {
        let outcomes = self.commit_all(writes);
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Stored { .. })),
            "{outcomes:?}"
        );
    }

    fn commit_all(&mut self, writes: &[Write]) -> Vec<Outcome> {
        self.now += 1000;
        let writes: Vec<_> = writes.iter().collect();
        let outcomes = self.store.commit(self.now, &writes);
        self.store.flush().expect("the log is flushed");
        outcomes.expect("it is committed")
    }

    fn steps<T>(&mut self, query: impl FnOnce(&mut SqliteReader) -> T) -> (T, u64) {
        self.steps.store(0, Ordering::Relaxed);
        let result = query(&mut self.reader);
        (result, self.steps.load(Ordering::Relaxed))
    }

    fn page(&mut self, cursor: Option<Uuid>, not_before: Option<i64>) -> (ConversationsPage, u64) {
        let query = ConversationsQuery {
            user: "ada".into(),
            limit: 12,
            cursor,
            not_before,
            bytes: usize::MAX,
        };
        let (page, steps) = self.steps(|reader| reader.conversations(&query));
        let page = page.expect("the list is read");
        (page.expect("the cursor is known"), steps)
    }

    /// The steps of some queries.
    fn costs(&mut self) -> Vec<u64> {
        // The first preparation of a statement has steps of its own.
        self.page(None, None);
        let (first, newest) = self.page(None, None);
        let (_, next) = self.page(first.cursor, None);
        // The flood began before it, and so did all conversations but the newest.
        let middle = self.now.midpoint(START);
        self.page(None, Some(middle));
        let (shown, hiding) = self.page(None, Some(middle));
        assert_eq!((shown.items.len(), shown.cursor), (11, None));
        let (none, all_hidden) = self.page(None, Some(self.now + 1));
        assert_eq!((none.items.len(), none.cursor), (0, None));
        let query = HistoryQuery {
            user: "ada".into(),
            conversation: Conversation::Direct("flood".into()),
            position: None,
            limit: 10,
            not_before: Some(middle),
            bytes: usize::MAX,
        };
        let (history, shown) = self.steps(|reader| reader.history(&query));
        history.expect("the history is read");
        vec![newest, next, hiding, all_hidden, shown]
    }
}

#[test]
fn a_page_costs_what_it_contains() {
    let small = Large::new(1000, 2000).costs();
    let large = Large::new(8000, 16_000).costs();
    let is_alike = |(small, large): (&u64, &u64)| *large < small + small / 2 + 500;
    assert!(
        small.iter().zip(&large).all(is_alike),
        "steps with eight times as much: {large:?}, {small:?}"
    );
}

#[test]
fn an_opening_costs_the_same_whatever_the_client_says_that_it_knows() {
    let changes = |count: usize| {
        let mut store = Large::new(10, 10);
        let id = Uuid::now_v7();
        let reaction = |remove| Write::React {
            message: MessageRef {
                actor: "peer1".into(),
                conversation: Conversation::Direct("ada".into()),
                id,
            },
            emoji: "+".into(),
            remove,
        };
        store.commit(&[Write::Message(NewMessage {
            id,
            ..new_message("peer1", "ada")
        })]);
        for _ in 0..count / 500 {
            let writes: Vec<_> = (0..500).map(|n| reaction(n % 2 == 1)).collect();
            store.commit(&writes);
        }
        // The first superseded reaction, with a time that no entry has.
        let query = |id: Uuid, at: i64| InboxQuery {
            device: DeviceRef {
                user: "ada".into(),
                device: "phone".into(),
            },
            known: Some(KnownEntry {
                seq: 32,
                id: Some(id),
                at: Some(at),
                epoch: None,
            }),
        };
        [(id, 1), (id, store.now + 1), (Uuid::nil(), store.now)].map(|(id, at)| {
            let open = |reader: &mut SqliteReader| reader.open_inboxes(&[query(id, at)]);
            store.steps(open).0.expect("it opens");
            let (states, steps) = store.steps(open);
            assert!(states.expect("it opens")[0].diverged);
            steps
        })
    };
    let (few, many) = (changes(500), changes(5000));
    assert!(
        few.iter().zip(&many).all(|(few, many)| *many < few + 200),
        "steps: {few:?}, with ten times as many changes {many:?}"
    );
}

#[test]
fn unread_messages_cost_the_same_however_many_are_deleted() {
    let costs = |deleted: usize| {
        let mut store = Large::new(10, 0);
        let ids: Vec<_> = (0..deleted).map(|_| Uuid::now_v7()).collect();
        for ids in ids.chunks(500) {
            let send = |id: &Uuid| {
                Write::Message(NewMessage {
                    id: *id,
                    ..new_message("flood", "ada")
                })
            };
            let delete = |id: &Uuid| {
                Write::Delete(MessageRef {
                    actor: "flood".into(),
                    conversation: Conversation::Direct("ada".into()),
                    id: *id,
                })
            };
            store.commit(&ids.iter().map(send).collect::<Vec<_>>());
            store.commit(&ids.iter().map(delete).collect::<Vec<_>>());
        }
        let middle = store.now.midpoint(START);
        for not_before in [None, Some(middle)] {
            store.page(None, not_before);
        }
        [None, Some(middle)].map(|not_before| {
            let (page, steps) = store.page(None, not_before);
            assert_eq!(page.items[0].unread, 0);
            steps
        })
    };
    let (few, many) = (costs(1000), costs(8000));
    assert!(
        few.iter()
            .zip(&many)
            .all(|(few, many)| *many < few + few / 2 + 2000),
        "steps: {few:?}, with eight times as many deleted {many:?}"
    );
}

#[test]
fn a_page_of_an_export_costs_what_it_contains() {
    let in_room = |from: &str, room: &str, count: usize| -> Vec<Write> {
        (0..count)
            .map(|_| {
                Write::Message(NewMessage {
                    to: Conversation::Room(room.into()),
                    ..new_message(from, "")
                })
            })
            .collect()
    };
    let membership = |user: &str, room: &str, joins: bool| {
        let (user, room, kind) = (user.into(), room.into(), MembershipKind::Lasting);
        if joins {
            Write::Join { user, room, kind }
        } else {
            Write::Leave { user, room, kind }
        }
    };
    // Rooms with many messages of others between those of ada, who has left two of them.
    let costs = |size: usize| {
        let mut store = Large::new(10, size);
        for room in ["one", "two", "three"] {
            let joins: Vec<_> = ["ada", "peer1"]
                .map(|user| membership(user, room, true))
                .into();
            store.commit_all(&joins);
            for _ in 0..10 {
                store.commit(&in_room("ada", room, size / 20));
                store.commit(&in_room("peer1", room, size / 10));
                store.commit(&in_room("ada", room, 2));
            }
        }
        store.commit_all(&[
            membership("ada", "one", false),
            membership("ada", "three", false),
        ]);
        let mut costs = Vec::new();
        let mut after = None;
        loop {
            let query = ExportQuery {
                user: "ada".into(),
                after,
                limit: 20,
                bytes: usize::MAX,
            };
            let read = |reader: &mut SqliteReader| reader.export(&query);
            let (page, steps) = store.steps(read);
            let page = page.expect("it is read").expect("ada is known");
            costs.push(steps);
            after = page.next;
            if after.is_none() {
                return costs;
            }
        }
    };
    let most = |costs: Vec<u64>| *costs.iter().skip(1).max().expect("there are pages");
    let (small, large) = (most(costs(400)), most(costs(4000)));
    assert!(
        large < small + small / 2 + 500,
        "the most steps of a page with ten times as much: {large}, {small}"
    );
}
