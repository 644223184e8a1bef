//! Rooms in a file: after a crash, and with damage.

use rusqlite::Connection;

use dmwire::store::sqlite::admin;

use crate::fixture::{Fixture as _, SqliteFile, TestStore};
use crate::rooms::{RULES, inbox, join, leave, read, say};

fn file(name: &std::path::Path, end: &str) -> std::path::PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Copies the files of a store that is open and idle, as a killed process leaves them.
fn copy_of(path: &std::path::Path) -> SqliteFile {
    let copy = SqliteFile::new();
    for end in ["", "-wal", "-lock"] {
        std::fs::copy(file(path, end), file(&copy.path(), end)).expect("the files are copied");
    }
    copy
}

#[test]
fn pending_messages_in_rooms_are_there_after_a_crash() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    store.commit(&[join("a", "lobby"), join("b", "lobby")]);
    store.commit(&[
        say("a", "lobby", 1, "x"),
        join("c", "lobby"),
        say("b", "lobby", 2, "x"),
    ]);
    store.commit(&[leave("b", "lobby"), say("c", "lobby", 3, "x")]);
    let pending = Connection::open(&path).and_then(|connection| {
        let rows = "SELECT count(*) FROM pending";
        connection.query_row(rows, (), |row| row.get::<_, i64>(0))
    });
    assert_eq!(pending.expect("they are counted"), 2);
    let crashed = copy_of(&path);
    // As the commands see it, and as a server does.
    assert_eq!(
        admin::verify(&crashed.path()).expect("it is read"),
        Vec::<String>::new()
    );
    let mut after = TestStore::new(crashed);
    after.set_rooms(RULES);
    for store in [&mut after, &mut store] {
        let c = ["joined c 3", "message 2", "left b 2", "message 3"];
        assert_eq!(inbox(store, "c"), c);
        let b = [
            "joined b 2",
            "message 1",
            "joined c 3",
            "message 2",
            "left b 2",
        ];
        assert_eq!(inbox(store, "b"), b);
        store.commit_one(say("a", "lobby", 4, "x"));
        assert_eq!(inbox(store, "a").len(), 8);
        store.verify();
    }
}

/// Statements that damage a file, each with a part of the finding.
const DAMAGE: [(&str, &str); 12] = [
    ("UPDATE rooms SET members = 7", "another number of members"),
    (
        "INSERT INTO members VALUES (9, 1, 1, 1, 1, 0)",
        "of no room, or no user",
    ),
    (
        "UPDATE messages SET recipient = 1 WHERE conversation < 0",
        "has a recipient",
    ),
    ("DELETE FROM rooms", "message in a room is of no room"),
    (
        "UPDATE messages SET behind = -1 WHERE conversation < 0",
        "decreases",
    ),
    (
        "UPDATE inbox SET emoji = NULL WHERE kind = 6",
        "entry about a member",
    ),
    (
        "UPDATE inbox SET by = 99 WHERE kind = 7",
        "entry about a member",
    ),
    (
        "UPDATE inbox SET by = NULL WHERE conversation < 0 AND kind = 0",
        "not its user's",
    ),
    (
        "UPDATE inbox SET conversation = -2 WHERE user = 1 AND kind = 0 AND seq > 3",
        "not in the inbox of a member",
    ),
    ("INSERT INTO marks VALUES (2, -1, 1, 1)", "not a member"),
    ("INSERT INTO listed VALUES (2, -1, 1, 1)", "not a member"),
    (
        "UPDATE users SET listed = (SELECT max(seq) FROM inbox WHERE user = users.n)",
        "not in the list of a member",
    ),
];

#[test]
fn damaged_rooms_are_found() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("a", "lobby", 1, "x"),
        say("b", "lobby", 2, "x"),
        read("a", "lobby", 2),
        leave("b", "lobby"),
    ]);
    store.verify();
    store.close();
    for (sql, expected) in DAMAGE {
        let copy = SqliteFile::new();
        std::fs::copy(&path, copy.path()).expect("it is copied");
        let damaged = Connection::open(copy.path()).expect("it opens");
        damaged.execute_batch(sql).expect("the damage is done");
        damaged.close().expect("it closes");
        let findings = admin::verify(&copy.path()).expect("it is read");
        let is_found = findings.iter().any(|finding| finding.contains(expected));
        assert!(is_found, "{sql}: {findings:?}");
    }
}
