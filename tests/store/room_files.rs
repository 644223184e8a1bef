//! Rooms in a file: after a crash, and with damage.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use dmwire::store::RoomRules;
use dmwire::store::sqlite::admin;

use crate::fixture::{Fixture as _, SqliteFile, TestStore};
use crate::rooms::{RULES, delete, edit, inbox, join, leave, react, read, say, unreact};

fn file(name: &std::path::Path, end: &str) -> std::path::PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(end);
    name.into()
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
    let crashed = SqliteFile::copy_of(&path);
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

/// A crash while the entries of messages in a large room move to the inboxes: some have moved, and none is lost or there twice.
#[test]
fn entries_that_move_in_portions_are_there_after_a_crash() {
    const MEMBERS: usize = 60;
    const MESSAGES: usize = 20;
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    let rules = RoomRules {
        members: MEMBERS as u64,
        ..RULES
    };
    store.set_rooms(rules);
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("user{n}")).collect();
    store.commit(
        &names
            .iter()
            .map(|name| join(name, "lobby"))
            .collect::<Vec<_>>(),
    );
    let messages = (1..=MESSAGES as u32).map(|n| say("user0", "lobby", n, "x"));
    store.commit(&messages.collect::<Vec<_>>());
    let deadline = Instant::now() + Duration::from_secs(30);
    let connection = Connection::open(&path).expect("it opens");
    let moved = || {
        let entries = "SELECT count(*) FROM inbox WHERE kind = 0";
        let count = connection.query_row(entries, (), |row| row.get::<_, u32>(0));
        count.expect("they are counted") as usize
    };
    while moved() == 0 {
        assert!(Instant::now() < deadline, "no entry moves");
        let next = store.with_store(|store| store.maintain(None));
        let next = next.expect("the store is maintained");
        if moved() == 0 {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    assert!(moved() < MEMBERS * MESSAGES, "they move in portions");
    // What changes meanwhile.
    store.commit(&[
        edit("user0", "lobby", 1, "y"),
        delete("user0", "lobby", 2),
        leave("user1", "lobby"),
        say("user2", "lobby", 21, "x"),
    ]);
    assert!(
        moved() < MEMBERS * MESSAGES,
        "the changes wait for no entry"
    );
    let crashed = SqliteFile::copy_of(&path);
    assert_eq!(
        admin::verify(&crashed.path()).expect("it is read"),
        Vec::<String>::new()
    );
    let mut after = TestStore::new(crashed);
    after.set_rooms(rules);
    for store in [&mut after, &mut store] {
        for (n, name) in names.iter().enumerate() {
            // The rooms of a large room have the entries of others' joins only while it is small.
            let own = inbox(store, name);
            let mut expected: Vec<String> =
                (1..=MESSAGES).map(|n| format!("message {n}")).collect();
            expected.extend(["edited 1".to_owned(), "deleted 2".to_owned()]);
            expected.extend((n != 1).then(|| "message 21".to_owned()));
            let about = |item: &&String| !item.starts_with("joined") && !item.starts_with("left");
            let found: Vec<&String> = own.iter().filter(about).collect();
            assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{name}");
        }
        store.verify();
    }
}

/// The number of entries in the table of a store that fulfil a condition.
fn entries(path: &std::path::Path, condition: &str) -> usize {
    let connection = Connection::open(path).expect("it opens");
    let sql = format!("SELECT count(*) FROM inbox WHERE {condition}");
    let count = connection.query_row(&sql, (), |row| row.get::<_, u32>(0));
    count.expect("they are counted") as usize
}

/// Maintains a store until entries that fulfil a condition have moved.
fn maintain_until_some_move(store: &mut TestStore, path: &std::path::Path, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while entries(path, condition) == 0 {
        assert!(Instant::now() < deadline, "no entry moves");
        let next = store.with_store(|store| store.maintain(None));
        let next = next.expect("the store is maintained");
        if entries(path, condition) == 0 {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// Edits, deletions and reactions in a large room are committed without the entries of its members. A crash may come before these
/// move, and in between.
#[test]
fn changes_in_a_large_room_are_there_after_a_crash() {
    const MEMBERS: usize = 60;
    const CHANGES: &str = "kind BETWEEN 1 AND 5";
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    let rules = RoomRules {
        members: MEMBERS as u64,
        ..RULES
    };
    store.set_rooms(rules);
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("user{n}")).collect();
    let joins: Vec<_> = names.iter().map(|name| join(name, "lobby")).collect();
    store.commit(&joins);
    let messages: Vec<_> = (1..=4).map(|n| say("user0", "lobby", n, "x")).collect();
    store.commit(&messages);
    // The first edit and the first reactions are in the inboxes before the others.
    store.commit(&[
        edit("user0", "lobby", 1, "1"),
        react("user7", "lobby", 2),
        react("user8", "lobby", 2),
    ]);
    assert_eq!(inbox(&mut store, "user7").len(), 8);
    assert_eq!(entries(&path, CHANGES), 3 * MEMBERS);
    store.commit(&[
        edit("user0", "lobby", 1, "2"),
        edit("user0", "lobby", 1, "3"),
    ]);
    store.commit(&[
        unreact("user7", "lobby", 2),
        delete("user0", "lobby", 3),
        say("user9", "lobby", 5, &"long".repeat(1000)),
    ]);
    store.commit(&[
        edit("user0", "lobby", 4, "1"),
        say("user0", "lobby", 6, "x"),
    ]);
    let messages = |n: u32| entries(&path, "kind = 0") == n as usize * MEMBERS;
    assert_eq!(entries(&path, CHANGES), 3 * MEMBERS, "a commit is small");
    assert!(messages(4), "so it is with messages");
    let mut crashed = vec![SqliteFile::copy_of(&path)];
    maintain_until_some_move(&mut store, &path, "kind = 5");
    let moved = entries(&path, CHANGES);
    assert!(moved < 8 * MEMBERS, "they move in portions");
    crashed.push(SqliteFile::copy_of(&path));
    store.commit(&[edit("user0", "lobby", 1, "4"), react("user7", "lobby", 2)]);
    assert_eq!(
        entries(&path, CHANGES),
        moved,
        "a commit waits for no entry"
    );
    crashed.push(SqliteFile::copy_of(&path));
    let mut expected = [
        "message 1",
        "message 2",
        "message 3",
        "message 4",
        "superseded",
        "superseded",
        "reacted 2",
        "superseded",
        "edited 1",
        "reacted 2",
        "deleted 3",
        "message 5",
        "edited 4",
        "message 6",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut stores = Vec::new();
    for (n, crashed) in crashed.into_iter().enumerate() {
        // As the commands see it, and as a server does.
        let findings = admin::verify(&crashed.path()).expect("it is read");
        assert_eq!(findings, Vec::<String>::new(), "copy {n}");
        let mut after = TestStore::new(crashed);
        after.set_rooms(rules);
        stores.push(after);
    }
    stores.push(store);
    for (n, mut store) in stores.into_iter().enumerate() {
        if n == 2 {
            expected[8..10].fill("superseded".to_owned());
            expected.extend(["edited 1", "reacted 2"].map(str::to_owned));
        }
        for name in &names {
            let own = inbox(&mut store, name);
            let found: Vec<_> = own
                .iter()
                .filter(|item| !item.starts_with("joined"))
                .collect();
            assert_eq!(
                found,
                expected.iter().collect::<Vec<_>>(),
                "copy {n}: {name}"
            );
        }
        store.verify();
        store.reopen();
        store.verify();
    }
}

/// So are the entries about members of a room, if many get them.
#[test]
fn announced_joins_are_there_after_a_crash() {
    const MEMBERS: usize = 60;
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    let rules = RoomRules {
        members: MEMBERS as u64,
        small: MEMBERS as u64,
        ..RULES
    };
    store.set_rooms(rules);
    for n in 0..MEMBERS {
        store.commit_one(join(&format!("user{n}"), "lobby"));
    }
    store.commit_one(leave("user1", "lobby"));
    // Each has the own entry, which is the source of an event.
    let own = "kind IN (6, 7) AND by = user";
    assert_eq!(entries(&path, own), MEMBERS + 1);
    let others = "kind IN (6, 7) AND by != user";
    assert!(entries(&path, others) < 10, "those of others move later");
    let mut crashed = vec![SqliteFile::copy_of(&path)];
    maintain_until_some_move(&mut store, &path, "kind = 6 AND by != user AND user > 10");
    crashed.push(SqliteFile::copy_of(&path));
    for crashed in crashed {
        let findings = admin::verify(&crashed.path()).expect("it is read");
        assert_eq!(findings, Vec::<String>::new());
        let mut after = TestStore::new(crashed);
        after.set_rooms(rules);
        for n in (0..MEMBERS).filter(|n| *n != 1) {
            let mut expected: Vec<_> = (n..MEMBERS)
                .map(|other| format!("joined user{other} {}", other + 1))
                .collect();
            expected.push(format!("left user1 {}", MEMBERS - 1));
            assert_eq!(inbox(&mut after, &format!("user{n}")), expected);
        }
        after.verify();
    }
}

/// When the entries have moved, the log has no message any more, also if it never was empty since: content may be deleted, and a
/// user removed, whom nothing but the log would refer to.
#[test]
fn the_log_keeps_no_message_whose_entries_have_moved() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    let members = ["a", "b", "c", "d", "e"];
    store.commit(&members.map(|user| join(user, "lobby")));
    let rows = |path: &std::path::Path| {
        let connection = Connection::open(path).expect("it opens");
        let rows = "SELECT count(*) FROM pending";
        let count = connection.query_row(rows, (), |row| row.get::<_, i64>(0));
        count.expect("they are counted")
    };
    store.commit_one(say("a", "lobby", 1, "top secret"));
    assert_eq!(rows(&path), 1);
    assert_eq!(
        inbox(&mut store, "e").last().map(String::as_str),
        Some("message 1")
    );
    assert_eq!(rows(&path), 0);
    for n in 2..5 {
        store.commit_one(say("a", "lobby", n, "top secret"));
        store.commit_one(delete("a", "lobby", n));
    }
    store.close();
    assert_eq!(rows(&path), 0);
    for end in ["", "-wal"] {
        let bytes = std::fs::read(file(&path, end)).unwrap_or_default();
        let found = bytes
            .windows(10)
            .filter(|part| part == b"top secret")
            .count();
        // The first message was not deleted.
        assert!(
            found <= usize::from(end.is_empty()),
            "{found} in the file {end:?}"
        );
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
