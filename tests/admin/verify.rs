//! `dmwire verify`.

use rusqlite::Connection;

use crate::helpers::{FAST, assert_failed, assert_verified, listing, used_store};
use crate::support::{Client, Folder, Server, dmwire, to};

#[test]
fn a_valid_store_is_verified_also_while_it_is_in_use() {
    let folder = used_store();
    assert_verified(&folder.0, "dmwire.db");
    let server = Server::start_in(&folder, &FAST);
    let mut a = Client::connect(&server, "a", "?ack=manual");
    a.until("synced");
    for _ in 0..5 {
        for _ in 0..50 {
            a.send(&to("b", "more"));
        }
        assert_verified(&folder.0, "dmwire.db");
        (0..50).for_each(|_| drop(a.expect("ack")));
    }
}

/// The number of the user b.
const USER_B: &str = "(SELECT n FROM users WHERE id = 'b')";

/// Copies the files of a store, changes each copy by SQL, and checks that the finding is reported.
fn check(plants: &[(String, &str)]) {
    let healthy = used_store();
    for (n, (sql, finding)) in plants.iter().enumerate() {
        let name = format!("{n}.db");
        std::fs::copy(healthy.0.join("dmwire.db"), healthy.0.join(&name)).expect("a copy");
        let damaged = Connection::open(healthy.0.join(&name)).expect("it opens");
        damaged.execute_batch(sql).expect("the damage is done");
        damaged.close().expect("it closes");
        let output = dmwire(
            &healthy.0,
            &["verify", "--store", &format!("sqlite:{name}")],
        );
        assert_eq!(output.code, Some(1), "{sql}: {output:?}");
        assert!(
            format!("{}{}", output.out, output.err).contains(finding),
            "{sql}: {output:?}"
        );
        assert!(output.err.contains(&name), "{output:?}");
    }
}

#[test]
fn inconsistent_rows_are_found_and_reported() {
    let b = USER_B;
    let plants = [
        (format!("DELETE FROM inbox WHERE user = {b} AND seq = 3"), "gap"),
        (format!("DELETE FROM inbox WHERE user = {b} AND seq = 1"), "gap"),
        (
            format!("DELETE FROM inbox WHERE user = {b} AND seq >= 10"),
            "not in its recipient's inbox",
        ),
        (
            "DELETE FROM inbox WHERE user = (SELECT n FROM users WHERE id = 'a')".to_owned(),
            "not in its author's inbox",
        ),
        (
            format!("DELETE FROM messages WHERE recipient = {b} AND content LIKE '%text 5%'"),
            "an entry's message does not exist",
        ),
        (
            format!("UPDATE inbox SET user = 999 WHERE user = {b}"),
            "of no user",
        ),
        (
            "UPDATE inbox SET user = (SELECT n FROM users WHERE id = 'c'), seq = seq + 1 WHERE user = \
             (SELECT n FROM users WHERE id = 'a')"
                .to_owned(),
            "neither from nor to",
        ),
        (
            format!("UPDATE messages SET content = NULL WHERE recipient = {b}"),
            "although it was not",
        ),
        (
            "UPDATE messages SET content = '\"back\"' WHERE deleted_at IS NOT NULL".to_owned(),
            "although it was deleted",
        ),
        ("UPDATE conversations SET low = 77".to_owned(), "of no conversation"),
        (
            "UPDATE meta SET value = 1 WHERE key = 'next'".to_owned(),
            "not reserved",
        ),
        ("UPDATE devices SET received = 999".to_owned(), "a device holds more"),
        ("UPDATE marks SET read = received + 1".to_owned(), "read mark"),
        (
            "UPDATE reactions SET message = 999".to_owned(),
            "reaction is to no message",
        ),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema \
             WHERE name = 'conversations_by_high') WHERE name = 'messages_by_id'"
                .to_owned(),
            "messages_by_id",
        ),
        ("DELETE FROM meta WHERE key = 'epoch'".to_owned(), "epoch"),
    ];
    check(&plants);
}

#[test]
fn inconsistent_counts_and_lists_are_found_and_reported() {
    let b = USER_B;
    let plants = [
        (
            format!("UPDATE messages SET low_count = low_count + 1 WHERE recipient = {b} AND content LIKE '%text 5%'"),
            "the counts of a message",
        ),
        ("DELETE FROM uncounted WHERE level = 0".to_owned(), "not counted as deleted"),
        ("DELETE FROM uncounted WHERE level = 3".to_owned(), "not the sum of its parts"),
        (
            "INSERT INTO uncounted SELECT conversation, user, 0, 999999, 1, 0 FROM uncounted WHERE level = 0 LIMIT 1".to_owned(),
            "not counted as deleted",
        ),
        (
            "UPDATE uncounted SET removed = 1 WHERE level = 0".to_owned(),
            "counted as removed that are there",
        ),
        (
            "UPDATE users SET listed = (SELECT max(seq) FROM inbox WHERE user = users.n)".to_owned(),
            "not in the list",
        ),
        (
            "INSERT INTO listed SELECT low, n, (SELECT max(n) FROM messages AS m WHERE m.conversation = c.n), 0 \
             FROM conversations AS c"
                .to_owned(),
            "no messages as late",
        ),
        (
            "INSERT INTO listed SELECT 999, n, 1, 0 FROM conversations LIMIT 1".to_owned(),
            "conversation of others",
        ),
        (
            "UPDATE users SET listed = 999".to_owned(),
            "complete up to an entry",
        ),
        ("UPDATE inbox SET kind = 9 WHERE kind = 0".to_owned(), "unknown kind"),
        ("UPDATE conversations SET low_wrote = 0, high_wrote = 0".to_owned(), "although it records none"),
        ("UPDATE users SET superseded = superseded + 1".to_owned(), "number of superseded"),
        ("INSERT INTO contents VALUES (999, '\"x\"')".to_owned(), "of no message"),
    ];
    check(&plants);
}

#[test]
fn an_overwritten_page_is_found() {
    let folder = used_store();
    let path = folder.0.join("dmwire.db");
    let mut bytes = std::fs::read(&path).expect("the file");
    let found = bytes
        .windows(6)
        .position(|window| window == b"text 5")
        .expect("the text is in the file");
    let page = found / 4096 * 4096;
    bytes[page..page + 64].fill(0xA5);
    std::fs::write(&path, bytes).expect("the file");
    let output = dmwire(&folder.0, &["verify"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("dmwire.db"), "{output:?}");
}

#[test]
fn a_store_that_does_not_exist_is_named_by_its_absolute_path() {
    let folder = Folder::new();
    let path = std::fs::canonicalize(&folder.0).expect("the folder is there");
    for (name, store) in [
        ("dmwire.db", &[][..]),
        ("a/b.db", &["--store", "sqlite:a/b.db"]),
    ] {
        let path = path.join(name);
        let expected = ["there is no store", &*path.to_string_lossy(), "--store"];
        for command in [
            &["verify"][..],
            &["backup", "copy.db"],
            &["export", "--user", "a"],
            &["erase", "--user", "a"],
        ] {
            let output = dmwire(&folder.0, &[command, store].concat());
            assert_failed(&output, 1, &expected);
        }
        assert!(!path.exists());
    }
    assert_eq!(listing(&folder.0), [""; 0]);
}
