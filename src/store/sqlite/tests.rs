//! What a batch that fails leaves in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::{Sqlite, Upkeep};
use crate::store::{
    Authority, Conversation, DeviceRef, EventWrite, MembershipKind, MessageRef, NewMessage,
    Outcome, Quotas, RecipientQuota, RoomMode, RoomRules, Store as _, StoreOptions, WaitingMessage,
    WaitingMessages, Write,
};

const NOW: i64 = 1_800_000_000_000;

fn open(quotas: Quotas) -> Sqlite {
    open_with(quotas, RoomRules::default())
}

fn open_with(quotas: Quotas, rooms: RoomRules) -> Sqlite {
    let retention = crate::config::Config::default().storage.retention();
    let options = StoreOptions {
        quotas,
        rooms,
        ..StoreOptions::new(retention)
    };
    Sqlite::temporary(&std::env::temp_dir(), options).expect("a store is created")
}

fn message(from: &str, to: &str, id: u128, bytes: usize) -> Write {
    Write::Message(NewMessage {
        from: from.into(),
        to: Conversation::Direct(to.into()),
        id: Uuid::from_u128(id),
        content: format!("\"{}\"", "x".repeat(bytes)).into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn react(id: u128, remove: bool) -> Write {
    Write::React {
        message: MessageRef {
            actor: "bob".into(),
            conversation: Conversation::Direct("ada".into()),
            id: Uuid::from_u128(id),
        },
        emoji: "+".into(),
        remove,
    }
}

fn commit(store: &mut Sqlite, batch: &[Write]) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().collect();
    let outcomes = store.commit(NOW, &batch);
    outcomes.expect("the batch is committed")
}

/// Commits a batch that fails at its end: the message to eve cannot be stored.
fn fail(store: &mut Sqlite, batch: &[Write]) {
    store
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER fail BEFORE INSERT ON users WHEN NEW.id = 'eve'
             BEGIN SELECT RAISE (ABORT, 'this batch fails'); END",
        )
        .expect("the trigger is created");
    let last = message("eve", "eve", 1, 1);
    let batch: Vec<_> = batch.iter().chain([&last]).collect();
    store.commit(NOW, &batch).expect_err("the batch fails");
    let removed = store.connection.execute_batch("DROP TRIGGER fail");
    removed.expect("the trigger is removed");
}

fn is_stored(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Stored {
            duplicate: false,
            ..
        }
    )
}

#[test]
fn the_lists_of_many_members_are_settled_in_parts() {
    const MEMBERS: usize = 100;
    let rooms = RoomRules {
        mode: RoomMode::Open,
        ..RoomRules::default()
    };
    let mut store = open_with(Quotas::default(), rooms);
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("user{n}")).collect();
    let join = |name: &String| Write::Join {
        user: name.as_str().into(),
        room: "lobby".into(),
        kind: MembershipKind::Lasting,
    };
    commit(&mut store, &names.iter().map(join).collect::<Vec<_>>());
    store.flush().expect("it is flushed");
    store.cache.unsettled.clear();
    let say = |id: u128| {
        Write::Message(NewMessage {
            from: "user0".into(),
            to: Conversation::Room("lobby".into()),
            id: Uuid::from_u128(id),
            content: "\"x\"".into(),
            reply_to: None,
            fresh: true,
            ip_quota: None,
            authority: Authority::User,
        })
    };
    commit(&mut store, &(1..=256).map(say).collect::<Vec<_>>());
    assert_eq!(store.cache.unsettled.len(), MEMBERS);
    // The messages move first, and then their entries in portions.
    let selection = store.log.select(usize::MAX, true);
    store.flush_selection(&selection).expect("they move");
    assert_eq!(store.cache.unsettled.len(), MEMBERS);
    let mut left = MEMBERS;
    while store.flush_portion(false).expect("a portion moves") {
        let lists = left - store.cache.unsettled.len();
        assert!(lists <= Upkeep::SMALL.lists);
        left -= lists;
    }
    assert_eq!(left, 0);
}

#[test]
fn a_failed_batch_changes_no_room() {
    let rooms = RoomRules {
        mode: RoomMode::Open,
        entries_per_second: Some(1),
        entries_burst: 5,
        ..RoomRules::default()
    };
    let mut store = open_with(Quotas::default(), rooms);
    let member = |user: &str, room: &str| Write::Join {
        user: user.into(),
        room: room.into(),
        kind: MembershipKind::Lasting,
    };
    let say = |id: u128| {
        Write::Message(NewMessage {
            from: "ada".into(),
            to: Conversation::Room("lobby".into()),
            id: Uuid::from_u128(id),
            content: "\"x\"".into(),
            reply_to: None,
            fresh: false,
            ip_quota: None,
            authority: Authority::User,
        })
    };
    let join = |store: &mut Sqlite, user: &str, room: &str| match commit(
        store,
        &[member(user, room)],
    )[0]
    {
        Outcome::Membership {
            seq,
            members,
            duplicate,
            ..
        } => (seq, members, duplicate),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(join(&mut store, "ada", "lobby"), (Some(1), 1, false));
    for _ in 0..3 {
        let leave = Write::Leave {
            user: "ada".into(),
            room: "lobby".into(),
            kind: MembershipKind::Lasting,
        };
        fail(
            &mut store,
            &[member("bob", "lobby"), say(2), member("bob", "new"), leave],
        );
    }
    assert_eq!(join(&mut store, "ada", "lobby"), (Some(1), 1, true));
    assert_eq!(join(&mut store, "bob", "new"), (Some(1), 1, false));
    assert_eq!(join(&mut store, "bob", "lobby"), (Some(2), 2, false));
    // Two entries each; one of five was the join, and may have been refilled.
    let outcomes = commit(&mut store, &[say(2), say(3), say(4)]);
    assert!(is_stored(&outcomes[0]) && is_stored(&outcomes[1]));
    assert!(matches!(outcomes[2], Outcome::TooManyEntries { .. }));
    assert_eq!(store.log.heads().len(), 2);
}

#[test]
fn a_failed_batch_does_not_change_the_use_of_bytes() {
    // 64 bytes are added to each message, and two are quotation marks. The first one is too small to be written to the table.
    const LIMIT: u64 = 1_000_000;
    let quotas = Quotas {
        user_bytes_per_day: Some(LIMIT),
        ..Quotas::default()
    };
    for fails in [0, 1, 3] {
        let mut store = open(quotas);
        let first = message("ada", "bob", 1, 10_000 - 66);
        assert!(is_stored(
            &commit(&mut store, std::slice::from_ref(&first))[0]
        ));
        for n in 0..fails {
            // Of three sizes: the row is written, is not written, and does not change.
            let bytes = [500_000, 100, 0][n];
            fail(&mut store, &[message("ada", "bob", 2, bytes)]);
            // A duplicate counts nothing either.
            assert!(!is_stored(
                &commit(&mut store, std::slice::from_ref(&first))[0]
            ));
        }
        let rest = message("ada", "bob", 3, 990_000 - 66);
        assert!(is_stored(&commit(&mut store, &[rest])[0]), "{fails}");
        let outcomes = commit(&mut store, &[message("ada", "bob", 4, 10)]);
        assert!(
            matches!(outcomes[0], Outcome::TooManyBytes { .. }),
            "{outcomes:?}"
        );
        fail(&mut store, &[message("bob", "ada", 5, 900_000)]);
        let all = message("bob", "ada", 6, LIMIT as usize - 66);
        assert!(is_stored(&commit(&mut store, &[all])[0]));
    }
}

#[test]
fn a_failed_batch_does_not_count_changes() {
    let mut store = open(Quotas {
        changes_per_message: Some(2),
        ..Quotas::default()
    });
    commit(&mut store, &[message("ada", "bob", 1, 1)]);
    fail(&mut store, &[react(1, false), react(1, true)]);
    assert!(is_stored(&commit(&mut store, &[react(1, false)])[0]));
    fail(&mut store, &[react(1, true)]);
    assert!(is_stored(&commit(&mut store, &[react(1, true)])[0]));
    let outcomes = commit(&mut store, &[react(1, false)]);
    assert!(
        matches!(outcomes[0], Outcome::TooManyChanges { .. }),
        "{outcomes:?}"
    );
}

/// Allows one message.
#[derive(Debug, Default)]
struct Single(AtomicU64);

impl RecipientQuota for Single {
    fn is_exhausted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn consume(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_failed_batch_does_not_count_unknown_recipients() {
    let mut store = open(Quotas {
        unknown_recipients: 2,
        unknown_recipients_per_user: 2,
        ..Quotas::default()
    });
    let quota = Arc::new(Single::default());
    let limited = |id: u128| {
        let Write::Message(message) = message("ada", "nobody", id, 1) else {
            unreachable!("it is a message");
        };
        Write::Message(NewMessage {
            ip_quota: Some(quota.clone()),
            authority: Authority::User,
            ..message
        })
    };
    for _ in 0..3 {
        fail(&mut store, &[limited(1), message("ada", "noone", 2, 1)]);
        assert!(!quota.is_exhausted());
    }
    let outcomes = commit(
        &mut store,
        &[
            limited(1),
            limited(2),
            message("ada", "noone", 3, 1),
            message("ada", "noone", 4, 1),
        ],
    );
    let stored: Vec<_> = outcomes.iter().map(is_stored).collect();
    assert_eq!(stored, [true, false, true, false], "{outcomes:?}");
}

#[test]
fn a_failed_batch_does_not_forget_who_has_connected() {
    let mut store = open(Quotas {
        known_only: true,
        ..Quotas::default()
    });
    let device = DeviceRef {
        user: "bob".into(),
        device: "phone".into(),
    };
    let mut reader = store.reader().expect("a reader opens");
    reader
        .open_inboxes(&[device.into()])
        .expect("the inbox opens");
    fail(
        &mut store,
        &[Write::Watermark {
            user: "bob".into(),
            device: "phone".into(),
            seq: 0,
        }],
    );
    assert!(is_stored(
        &commit(&mut store, &[message("ada", "bob", 1, 1)])[0]
    ));
}

#[test]
fn numbers_and_counts_continue_after_a_failed_batch() {
    let mut store = open(Quotas::default());
    commit(&mut store, &[message("ada", "bob", 1, 1)]);
    for bytes in [1, 5000] {
        fail(
            &mut store,
            &[
                message("ada", "bob", 2, bytes),
                message("bob", "ada", 3, bytes),
            ],
        );
    }
    let outcomes = commit(
        &mut store,
        &[message("ada", "bob", 2, 1), message("ada", "bob", 4, 5000)],
    );
    let numbers: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Stored { seq, .. } => *seq,
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [Some(2), Some(3)]);
    store.flush().expect("the log is flushed");
    let counts = store.connection.query_row(
        "SELECT group_concat(low_count || ' ' || high_count) FROM (SELECT * FROM messages ORDER BY n)",
        (),
        |row| row.get::<_, String>(0),
    );
    assert_eq!(counts.expect("they are counted"), "1 0,2 0,3 0");
}

#[test]
fn statements_are_not_prepared_again_for_other_parameters() {
    let store = open(Quotas::default());
    let reader = super::file::connect_to_read(&store.file.path).expect("the file opens");
    for connection in [&store.connection, &reader] {
        // All of these tables have partial indexes.
        for sql in [
            "SELECT id FROM messages WHERE conversation = ?1 AND n <= ?2 ORDER BY n DESC LIMIT ?2",
            "SELECT conversation FROM inbox WHERE user = ?1 AND seq > ?2 LIMIT ?2",
            "SELECT 1 FROM inbox WHERE conversation = ?1 AND message = ?2",
        ] {
            let mut statement = connection.prepare(sql).expect("it is prepared");
            for n in [1, -1, 1, -1] {
                assert!(!statement.exists([n, n]).expect("it is executed"));
            }
            let count = statement.get_status(rusqlite::StatementStatus::RePrepare);
            assert_eq!(count, 0, "{sql}");
        }
    }
}

#[test]
fn a_repeated_write_adds_no_event_twice() {
    let mut store = open(Quotas::default());
    let key = [7; 32];
    let waiting = |first, position| {
        let message = WaitingMessage {
            conversation: 1,
            message: first,
            users: vec![2],
        };
        let found = WaitingMessages {
            messages: vec![message],
            first,
            position,
            next: None,
        };
        Write::Events(EventWrite::Waiting(key, found))
    };
    commit(
        &mut store,
        &[Write::Events(EventWrite::Receivers(vec![key]))],
    );
    for write in [waiting(1, 5), waiting(1, 5), waiting(1, 9), waiting(5, 9)] {
        commit(&mut store, &[write]);
    }
    let number = |sql: &str| {
        let number = store
            .connection
            .query_row(sql, (), |row| row.get::<_, i64>(0));
        number.expect("a number")
    };
    assert_eq!(number("SELECT count(*) FROM events"), 2);
    assert_eq!(number("SELECT count(DISTINCT message) FROM events"), 2);
    assert_eq!(number("SELECT position FROM receivers"), 9);
}
