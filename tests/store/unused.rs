//! Names that nothing refers to any more are removed.

use std::path::{Path, PathBuf};

use dmwire::store::Outcome;
use dmwire::store::sqlite::admin;
use rusqlite::Connection;

use crate::fixture::{DAY, Fixture as _, SqliteFile, TestStore};
use crate::writes::{block, edit, message, read, receive, stored, unblock};

/// A store, and the path of its file.
fn open() -> (TestStore, PathBuf) {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    (TestStore::new(fixture), path)
}

/// All names that the store knows.
fn names(path: &Path) -> String {
    let file = Connection::open(path).expect("the file opens");
    let sql = "SELECT group_concat(id, ' ' ORDER BY id) FROM users";
    file.query_row(sql, (), |row| row.get(0))
        .expect("there are names")
}

fn conversations(path: &Path) -> i64 {
    let file = Connection::open(path).expect("the file opens");
    let sql = "SELECT count(*) FROM conversations";
    file.query_row(sql, (), |row| row.get(0))
        .expect("they are counted")
}

/// The consistency of the file.
fn verify(path: &Path) {
    let findings = admin::verify(path).expect("it is readable");
    assert_eq!(findings, [] as [&str; 0]);
}

#[test]
fn a_name_that_was_only_blocked_is_forgotten_when_unblocked() {
    let (mut store, path) = open();
    store.commit_one(receive("ada", "phone", 0));
    store.commit_one(receive("bob", "phone", 0));
    for n in 0..100 {
        let name = format!("x{n}");
        store.commit_one(block("ada", &name));
        store.commit_one(unblock("ada", &name));
    }
    assert_eq!(names(&path), "ada bob");
    // In one batch, and with a second block, a message or a session.
    store.commit(&[block("ada", "x"), unblock("ada", "x"), block("ada", "y")]);
    store.commit(&[
        block("bob", "y"),
        unblock("ada", "y"),
        message("ada", "z", 1, "x"),
        block("ada", "z"),
        unblock("ada", "z"),
        block("ada", "bob"),
        unblock("ada", "bob"),
    ]);
    assert_eq!(names(&path), "ada bob y z");
    store.open_inbox("y", "phone");
    store.commit_one(unblock("bob", "y"));
    store.commit_one(receive("y", "phone", 0));
    assert_eq!(names(&path), "ada bob y z");
    // The number of a name that was removed is used again.
    store.commit_one(block("ada", "new"));
    store.commit_one(unblock("ada", "new"));
    store.commit_one(message("ada", "next", 2, "x"));
    store.commit_one(block("bob", "new"));
    assert_eq!(store.blocks(), ["bob new"]);
    assert_eq!(store.entries("next", 1, 9).len(), 1);
    store.maintain();
    assert_eq!(names(&path), "ada bob new next y z");
    verify(&path);
}

#[test]
fn a_name_is_forgotten_when_its_messages_have_expired() {
    let (mut store, path) = open();
    for user in ["ada", "bob"] {
        store.commit_one(receive(user, "phone", 0));
    }
    for n in 0..300 {
        store.commit_one(message("ada", &format!("x{}", n % 100), n, "x"));
    }
    store.commit_one(message("ada", "bob", 400, "x"));
    store.commit_one(message("x7", "ada", 500, "x"));
    store.commit_one(edit("ada", "x8", 8, "y"));
    store.commit_one(read("ada", "x9", 9));
    store.commit_one(block("bob", "x1"));
    store.maintain();
    assert_eq!(conversations(&path), 101);
    store.now += 19 * DAY;
    store.commit_one(message("ada", "x2", 600, "new"));
    store.maintain();
    store.now += 5 * DAY;
    store.maintain();
    assert_eq!(names(&path), "ada bob x1 x2 x7");
    // The conversations of ada with bob, x2 and x7 stay.
    assert_eq!(conversations(&path), 3);
    // Such a name begins anew. Numbers that are used again have nothing of the former ones.
    for (n, name) in [(700, "x3"), (701, "x4"), (702, "x3")] {
        let outcome = store.commit_one(message("ada", name, n, "x"));
        assert!(matches!(
            outcome,
            Outcome::Stored {
                duplicate: false,
                ..
            }
        ));
    }
    assert_eq!(store.inbox_range("x3"), Some((1, 2)));
    assert_eq!(store.inbox_range("x4"), Some((1, 1)));
    let history = store.history("ada", "x3", None, 10);
    assert_eq!(history, Some((vec![700, 702], false)));
    // Users who have connected keep their numbers.
    assert_eq!(store.head("bob"), 1);
    let outcome = store.commit_one(message("ada", "bob", 703, "x"));
    assert_eq!(stored(&outcome).1, 2);
    store.reopen();
    store.maintain();
    assert_eq!(names(&path), "ada bob x1 x2 x3 x4 x7");
    assert_eq!(store.inbox_range("x3"), Some((1, 2)));
    verify(&path);
}
