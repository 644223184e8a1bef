//! What an erasure leaves in the tables and logs.

use std::time::{Duration, Instant};

use rusqlite::Params;
use uuid::Uuid;

use crate::store::sqlite::Sqlite;
use crate::store::{
    Authority, Conversation, Erased, ErasureStep, MembershipKind, MessageRef, NewMessage, Outcome,
    RoomMode, RoomRules, Store as _, StoreOptions, Write,
};

const NOW: i64 = 1_800_000_000_000;
const NAME: &str = "zaphod.beeblebrox";
const TEXT: &str = "heart of gold";

fn open() -> Sqlite {
    let retention = crate::config::Config::default().storage.retention();
    let options = StoreOptions {
        rooms: RoomRules {
            mode: RoomMode::Open,
            ..RoomRules::default()
        },
        ..StoreOptions::new(retention)
    };
    Sqlite::temporary(&std::env::temp_dir(), options).expect("a store is created")
}

fn commit(store: &mut Sqlite, batch: &[Write]) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().collect();
    let outcomes = store.commit(NOW, &batch);
    outcomes.expect("the batch is committed")
}

fn join(user: &str) -> Write {
    Write::Join {
        user: user.into(),
        room: "lobby".into(),
        kind: MembershipKind::Lasting,
    }
}

fn place(user: &str, to: &Conversation, id: u128) -> MessageRef {
    MessageRef {
        actor: user.into(),
        conversation: to.clone(),
        id: Uuid::from_u128(id),
    }
}

fn say(user: &str, to: &Conversation, id: u128) -> Write {
    Write::Message(NewMessage {
        from: user.into(),
        to: to.clone(),
        id: Uuid::from_u128(id),
        content: format!("\"{TEXT} {id}\"").into(),
        reply_to: None,
        fresh: true,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn react(user: &str, to: &Conversation, id: u128, emoji: &str) -> Write {
    Write::React {
        message: place(user, to, id),
        emoji: emoji.into(),
        remove: false,
    }
}

fn lobby() -> Conversation {
    Conversation::Room("lobby".into())
}

fn number(store: &Sqlite, sql: &str, key: impl Params) -> i64 {
    let found = store.connection.query_row(sql, key, |row| row.get(0));
    found.expect("a number")
}

/// A store with a room of several members.
fn with_room() -> Sqlite {
    let mut store = open();
    let users = ["ann", "ben", "cid", "dan", NAME];
    commit(&mut store, &users.map(join));
    store.flush().expect("it is flushed");
    store
}

/// An erasure that has begun.
struct Erasing {
    user: i64,
    is_first: bool,
    limit: u32,
}

impl Erasing {
    fn begin(store: &mut Sqlite, limit: u32) -> Self {
        let outcomes = commit(store, &[Write::Erase { user: NAME.into() }]);
        let [Outcome::ErasureBegun { user }] = outcomes[..] else {
            panic!("{outcomes:?}");
        };
        Self {
            user,
            is_first: true,
            limit,
        }
    }

    fn step(&mut self, store: &mut Sqlite) -> ErasureStep {
        let step = Write::EraseStep {
            user: self.user,
            is_first: std::mem::replace(&mut self.is_first, false),
            limit: self.limit,
            awaits_log: true,
        };
        match commit(store, &[step]).pop() {
            Some(Outcome::Erasing(step)) => *step,
            other => panic!("{other:?}"),
        }
    }

    /// Runs the steps that need not wait. Returns the last one.
    fn until_waiting(&mut self, store: &mut Sqlite) -> ErasureStep {
        loop {
            let step = self.step(store);
            if step.waits || step.done.is_some() {
                return step;
            }
        }
    }

    /// Runs all steps.
    fn finish(&mut self, store: &mut Sqlite) -> Erased {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let step = self.until_waiting(store);
            if let Some(erased) = step.done {
                return erased;
            }
            assert!(Instant::now() < until, "the logs are not emptied");
            store.maintain(None).expect("it is maintained");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// True if a file beside the database has this text.
fn log_has(store: &Sqlite, text: &str) -> bool {
    let log = format!("{}-wal", store.file.path.display());
    let bytes = std::fs::read(log).expect("there is a log");
    let mut parts = bytes.windows(text.len());
    parts.any(|part| part == text.as_bytes())
}

#[test]
fn entries_that_move_late_are_not_kept_in_the_inbox_of_an_erased_user() {
    let mut store = with_room();
    commit(&mut store, &[say("ann", &lobby(), 1)]);
    let mut erasing = Erasing::begin(&mut store, 256);
    // The message moves, and its entries do not.
    assert!(erasing.until_waiting(&mut store).waits && store.log.has_late_entries());
    store.flush().expect("it is flushed");
    let entries = "SELECT count(*) FROM inbox WHERE user = ?1";
    assert_eq!(number(&store, entries, [erasing.user]), 0);
    erasing.finish(&mut store);
    assert_eq!(number(&store, entries, [erasing.user]), 0);
    let ann = "SELECT count(*) FROM inbox WHERE user = (SELECT n FROM users WHERE id = 'ann') AND kind = 0";
    assert_eq!(number(&store, ann, ()), 1);
}

#[test]
fn an_erasure_is_complete_when_no_log_has_copies() {
    let mut store = with_room();
    commit(
        &mut store,
        &[say(NAME, &lobby(), 1), say("ann", &lobby(), 2)],
    );
    let mut erasing = Erasing::begin(&mut store, 256);
    assert!(erasing.until_waiting(&mut store).waits);
    let copies = "SELECT count(*) FROM pending WHERE instr(records, ?1)";
    let key = [format!("{TEXT} 1").into_bytes()];
    assert_eq!(number(&store, copies, key.clone()), 1);
    assert!(log_has(&store, &format!("{TEXT} 1")) && log_has(&store, NAME));
    // The entries of the messages have not moved, so waiting does not help.
    assert!(erasing.until_waiting(&mut store).waits);
    store.flush().expect("it is flushed");
    assert!(erasing.until_waiting(&mut store).waits);
    assert_eq!(number(&store, copies, key.clone()), 0);
    let erased = erasing.finish(&mut store);
    assert_eq!((erased.messages, erased.notified), (1, 4));
    assert_eq!(number(&store, copies, key), 0);
    assert!(!log_has(&store, &format!("{TEXT} 1")) && !log_has(&store, NAME));
    assert_eq!(number(&store, "SELECT count(*) FROM erasures", ()), 0);
}

#[test]
fn messages_that_were_deleted_before_are_not_counted() {
    let mut store = with_room();
    let ann = Conversation::Direct("ann".into());
    for (id, to) in [(1, &ann), (3, &lobby())] {
        commit(&mut store, &[say(NAME, to, id), say(NAME, to, id + 1)]);
        commit(&mut store, &[Write::Delete(place(NAME, to, id))]);
    }
    let mut erasing = Erasing::begin(&mut store, 256);
    assert_eq!(erasing.finish(&mut store).messages, 2);
}

#[test]
fn reactions_and_entries_about_them_are_removed_however_small_the_steps_are() {
    for limit in [1, 2, 3, 256] {
        let mut store = with_room();
        let zaphod = Conversation::Direct(NAME.into());
        let ann = Conversation::Direct("ann".into());
        commit(
            &mut store,
            &[
                say("ann", &lobby(), 1),
                say("ann", &lobby(), 2),
                say(NAME, &lobby(), 3),
                say("ann", &zaphod, 4),
            ],
        );
        let mut reactions = vec![react(NAME, &ann, 4, "+")];
        for id in 1..=3 {
            reactions.extend(["+", "-"].map(|emoji| react(NAME, &lobby(), id, emoji)));
            reactions.push(react("ben", &lobby(), id, "+"));
        }
        commit(&mut store, &reactions);
        let removed = Write::React {
            message: place(NAME, &lobby(), 1),
            emoji: "-".into(),
            remove: true,
        };
        // Its reactions are removed, and the entries about them stay.
        let deleted = Write::Delete(place("ann", &lobby(), 2));
        commit(&mut store, &[removed, deleted]);
        let mut erasing = Erasing::begin(&mut store, limit);
        let erased = erasing.finish(&mut store);
        // One to message 1; two of the user and one of Ben to message 3; one to message 4.
        assert_eq!((erased.reactions, erased.messages), (5, 1), "{limit}");
        let own = "SELECT count(*) FROM reactions WHERE user = ?1";
        assert_eq!(number(&store, own, [erasing.user]), 0, "{limit}");
        let entries = "SELECT count(*) FROM inbox WHERE by = ?1 AND kind IN (3, 4)";
        assert_eq!(number(&store, entries, [erasing.user]), 0, "{limit}");
        let ben =
            "SELECT count(*) FROM reactions WHERE user = (SELECT n FROM users WHERE id = 'ben')";
        assert_eq!(number(&store, ben, ()), 1, "{limit}");
        let superseded = "SELECT count(*) FROM users WHERE superseded !=
            (SELECT count(*) FROM inbox WHERE user = n AND kind = 5)";
        assert_eq!(number(&store, superseded, ()), 0, "{limit}");
    }
}
