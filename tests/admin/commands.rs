//! The commands of an operator: backup, verify, export, erase.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{Client, Folder, Said, Server, dmwire, eventually, to};
use rusqlite::Connection;
use serde_json::{Value, json};

const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Fails unless it ended with this code and one line that has all of `words` in it.
fn assert_failed(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "{word:?} is not in {said:?}");
    }
}

fn assert_whole(folder: &Path, store: &str) {
    let said = dmwire(folder, &["verify", "--store", &format!("sqlite:{store}")]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out, format!("{store} is whole\n"));
}

/// Reads an inbox from its first entry up to `synced`.
fn replay(client: &mut Client) -> Vec<Value> {
    let mut entries = Vec::new();
    loop {
        let frame = client.recv();
        match frame["type"].as_str() {
            Some("synced") => return entries,
            Some("truncated") => {}
            _ => {
                assert_eq!(frame["seq"], entries.len() as u64 + 1, "{frame}");
                entries.push(frame);
            }
        }
    }
}

#[test]
fn a_backup_under_load_is_whole_and_serves_everything_that_was_acknowledged() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &FAST);
    let stop = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    let (before, epoch) = std::thread::scope(|scope| {
        for n in 0..3 {
            let mut sender = Client::fresh(&server, &format!("a{n}"));
            let (stop, acknowledged) = (&stop, &acknowledged);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    (0..10).for_each(|_| sender.send(&to("b", "x")));
                    for _ in 0..10 {
                        sender.expect("ack");
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let mut b = Client::connect(&server, "b", "");
        let epoch = b.epoch().to_owned();
        while b.recv()["seq"] != 200 {}
        let before = acknowledged.load(Ordering::SeqCst);
        let said = dmwire(&folder.0, &["backup", "copy.db"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        // The load goes on after it, too.
        let after = acknowledged.load(Ordering::SeqCst);
        eventually("more was sent", || {
            acknowledged.load(Ordering::SeqCst) > after
        });
        stop.store(true, Ordering::Relaxed);
        (before, epoch)
    });
    assert_whole(&folder.0, "copy.db");
    assert_whole(&folder.0, "dmwire.db");
    let names = listing(&folder.0);
    assert!(
        !names.iter().any(|name| name.contains(".part")),
        "{names:?}"
    );

    let restored = Server::start_in(&folder, &["--store", "sqlite:copy.db"]);
    let mut b = Client::connect(&restored, "b", &format!("?since=5&epoch={epoch}"));
    assert_ne!(b.epoch(), epoch);
    let truncated = b.expect("truncated");
    assert_eq!(
        (&truncated["reason"], &truncated["oldest_seq"]),
        (&json!("reset"), &json!(1))
    );
    let head = b.welcome["seq"].as_u64().expect("a number");
    assert!(head >= before, "{head} of {before}");
    assert_eq!(replay(&mut b).len() as u64, head);
    let own = b.epoch().to_owned();
    // With its own epoch it is served as ever, and goes on.
    let mut b = Client::connect(&restored, "b", &format!("?since={head}&epoch={own}"));
    b.expect("synced");
    assert_eq!(b.ask(&to("c", "x"))["seq"], head + 1);
}

#[test]
fn a_backup_overwrites_nothing_and_leaves_no_part_of_itself() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &[]);
    Client::fresh(&server, "a").ask(&to("b", "x"));
    std::fs::write(folder.0.join("taken"), "precious").expect("a file");
    std::fs::create_dir(folder.0.join("empty")).expect("a folder");
    let names = listing(&folder.0);
    let said = dmwire(&folder.0, &["backup", "taken"]);
    assert_failed(&said, 1, &["no backup was made", "taken"]);
    let said = dmwire(&folder.0, &["backup", "empty"]);
    assert_failed(&said, 1, &["no backup was made", "empty"]);
    let said = dmwire(&folder.0, &["backup", "dmwire.db"]);
    assert_failed(&said, 1, &["dmwire.db"]);
    let said = dmwire(&folder.0, &["backup", "missing/copy.db"]);
    assert_failed(&said, 1, &["no backup was made", "missing/copy.db"]);
    let said = dmwire(
        &folder.0,
        &["backup", "copy.db", "--store", "sqlite:none.db"],
    );
    assert_failed(&said, 1, &["none.db"]);
    let said = dmwire(&folder.0, &["backup", "copy.db", "--store", "sqlite:taken"]);
    assert_failed(&said, 1, &["taken"]);
    assert_eq!(listing(&folder.0), names);
    let kept = std::fs::read(folder.0.join("taken")).expect("it is there");
    assert_eq!(kept, b"precious");
    assert_eq!(dmwire(&folder.0, &["backup"]).code, Some(2));
    // A store with nobody in it can be copied as well.
    let empty = Arc::new(Folder::new());
    let _server = Server::start_in(&empty, &[]);
    assert_eq!(dmwire(&empty.0, &["backup", "copy.db"]).code, Some(0));
    assert_whole(&empty.0, "copy.db");
}

/// A store in which a good deal has happened, at rest.
fn lived_in() -> Arc<Folder> {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::connect(&server, "b", "?ack=manual");
    let mut ids = Vec::new();
    for n in 1..=10 {
        ids.push(a.ask(&to("b", &format!("text {n}")))["id"].clone());
    }
    a.ask(&to("a", "note"));
    a.expect("message");
    a.ask(&to("c", "to c"));
    let at = |tag: &str, n: usize| json!({"type": tag, "target_user": "b", "id": ids[n]});
    let mut edit = at("edit", 0);
    edit["message"] = json!("edited");
    a.ask(&edit);
    a.ask(&at("delete", 1));
    let mut react = at("react", 2);
    react["emoji"] = json!("+");
    a.ask(&react);
    react["target_user"] = json!("a");
    while b.recv()["seq"] != 13 {}
    b.ask(&react);
    b.send(&json!({"type": "received", "seq": 10}));
    b.send(&json!({"type": "read", "target_user": "a", "id": ids[4]}));
    b.close();
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    folder
}

#[test]
fn a_whole_store_is_said_to_be_whole_also_while_it_is_served() {
    let folder = lived_in();
    assert_whole(&folder.0, "dmwire.db");
    let server = Server::start_in(&folder, &FAST);
    let mut a = Client::connect(&server, "a", "?ack=manual");
    a.until("synced");
    for _ in 0..5 {
        for _ in 0..50 {
            a.send(&to("b", "more"));
        }
        assert_whole(&folder.0, "dmwire.db");
        (0..50).for_each(|_| drop(a.expect("ack")));
    }
}

#[test]
fn planted_damage_is_found_and_named() {
    let healthy = lived_in();
    let b = "(SELECT n FROM users WHERE id = 'b')";
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
            "an entry's message is not there",
        ),
        (
            format!("UPDATE inbox SET user = 999 WHERE user = {b}"),
            "of no user",
        ),
        (
            "UPDATE inbox SET user = (SELECT n FROM users WHERE id = 'c'), seq = seq + 1 WHERE user = \
             (SELECT n FROM users WHERE id = 'a')"
                .to_owned(),
            "somebody else",
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
             WHERE name = 'conversations_by_high') WHERE name = 'message_ids'"
                .to_owned(),
            "message_ids",
        ),
        ("DELETE FROM meta WHERE key = 'epoch'".to_owned(), "epoch"),
    ];
    for (n, (sql, finding)) in plants.iter().enumerate() {
        let name = format!("{n}.db");
        std::fs::copy(healthy.0.join("dmwire.db"), healthy.0.join(&name)).expect("a copy");
        let damaged = Connection::open(healthy.0.join(&name)).expect("it opens");
        damaged.execute_batch(sql).expect("the damage is done");
        damaged.close().expect("it closes");
        let said = dmwire(
            &healthy.0,
            &["verify", "--store", &format!("sqlite:{name}")],
        );
        assert_eq!(said.code, Some(1), "{sql}: {said:?}");
        assert!(
            format!("{}{}", said.out, said.err).contains(finding),
            "{sql}: {said:?}"
        );
        assert!(said.err.contains(&name), "{said:?}");
    }
}

#[test]
fn a_page_that_was_overwritten_is_found() {
    let folder = lived_in();
    let path = folder.0.join("dmwire.db");
    let mut bytes = std::fs::read(&path).expect("the file");
    let found = bytes
        .windows(6)
        .position(|window| window == b"text 5")
        .expect("the text is in the file");
    let page = found / 4096 * 4096;
    bytes[page..page + 64].fill(0xA5);
    std::fs::write(&path, bytes).expect("the file");
    let said = dmwire(&folder.0, &["verify"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("dmwire.db"), "{said:?}");
}

#[test]
fn an_export_is_the_histories_of_a_user() {
    let folder = lived_in();
    let server = Server::start_in(&folder, &[]);
    let mut a = Client::connect(&server, "a", "?ack=manual");
    a.until("synced");
    let mut expected = Vec::new();
    let page = a.ask(&json!({"type": "conversations"}));
    for item in page["items"].as_array().expect("items") {
        let history =
            a.ask(&json!({"type": "history", "target_user": item["target_user"], "limit": 200}));
        assert_eq!(history["more"], false);
        expected.extend(history["messages"].as_array().expect("messages").clone());
    }
    assert_eq!(expected.len(), 12);
    let said = dmwire(&folder.0, &["export", "--user", "a"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines, expected);
    // Also of a store at rest, and for somebody who has only listened.
    drop(server);
    assert_eq!(dmwire(&folder.0, &["export", "--user", "a"]).out, said.out);
    let said = dmwire(&folder.0, &["export", "--user", "c"]);
    assert_eq!(said.out.lines().count(), 1, "{said:?}");
    let said = dmwire(&folder.0, &["export", "--user", "nobody"]);
    assert_failed(&said, 1, &["nobody", "dmwire.db"]);
    assert_eq!(said.out, "");
    let said = dmwire(&folder.0, &["export"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_long_export_is_whole_and_in_order() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    for _ in 0..50 {
        for _ in 0..50 {
            a.send(&to("b", "x"));
        }
        (0..50).for_each(|_| drop(a.expect("ack")));
    }
    // More conversations than one page of them.
    for n in 0..110 {
        a.ask(&to(&format!("c{n}"), "y"));
    }
    let said = dmwire(&folder.0, &["export", "--user", "a"]);
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), 2610);
    let ids: std::collections::HashSet<_> = lines.iter().map(|line| line["id"].as_str()).collect();
    assert_eq!(ids.len(), 2610);
    // The conversation with b is the oldest, its messages stand in the order of their commit; their ids are UUIDs of
    // version 7, made in this order by one server.
    let with_b = &lines[110..];
    assert!(with_b.iter().all(|line| line["target_user"] == "b"));
    assert!(with_b.is_sorted_by_key(|line| line["sent_at"].as_str().expect("a time").to_owned()));
}

#[test]
fn commands_on_a_store_say_when_it_is_not_there() {
    let folder = Folder::new();
    for command in [
        &["backup", "copy.db"][..],
        &["verify"],
        &["export", "--user", "a"],
        &["erase", "--user", "a"],
    ] {
        let memory = dmwire(&folder.0, &[command, &["--store", "memory:"]].concat());
        assert_failed(&memory, 2, &["memory:"]);
        assert_failed(&dmwire(&folder.0, command), 1, &["dmwire.db"]);
    }
    assert_eq!(listing(&folder.0), Vec::<String>::new());
}

/// Whether `needle` is in any file of the folder whose name begins with the store's.
fn in_the_files(folder: &Path, needle: &str) -> bool {
    listing(folder).iter().any(|name| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        let mut windows = bytes.windows(needle.len());
        name.starts_with("dmwire.db") && windows.any(|window| window == needle.as_bytes())
    })
}

#[test]
fn an_erased_user_leaves_nothing_and_others_keep_what_is_theirs() {
    const USER: &str = "zaphod.beeblebrox";
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut z = Client::connect(&server, USER, "?device=pangalactic");
    z.until("synced");
    let mut a = Client::connect(&server, "a", "?ack=manual");
    a.until("synced");
    // Texts of many lengths among those of others, so that pages are split and rows moved about.
    let mut last = Value::Null;
    for n in 0..600_usize {
        let text = format!("heartofgold-{n}-{}", "g".repeat(n * 37 % 3000));
        z.send(&to("a", &text));
        z.expect("ack");
        let ack = a.until("message");
        last = ack["id"].clone();
        if n % 3 == 0 {
            a.send(&to(
                USER,
                &format!("reply {n} {}", "r".repeat(n * 53 % 2000)),
            ));
            a.until("ack");
            z.expect("message");
        }
        if n % 7 == 0 {
            let edited = format!("improbability-{n}-{}", "i".repeat(n * 11 % 1500));
            z.ask(&json!({"type": "edit", "target_user": "a", "id": last, "message": edited}));
        }
        if n % 11 == 0 {
            z.ask(&json!({"type": "delete", "target_user": "a", "id": last}));
        }
    }
    a.send(&to(USER, "kept"));
    let own = a.until("ack")["id"].clone();
    z.until("message");
    z.ask(&json!({"type": "react", "target_user": "a", "id": own, "emoji": "vogonpoetry"}));
    z.ask(&to(USER, "heartofgold to himself"));
    z.until("message");
    z.send(&json!({"type": "read", "target_user": "a", "id": last}));
    z.assert_quiet();
    let epoch = a.epoch().to_owned();
    let mut again = Client::connect(&server, "a", "?since=0&ack=manual&device=other");
    let before = replay(&mut again);
    assert!(before.len() > 800);

    // Not while the server is running on it.
    let said = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_failed(&said, 1, &["cannot erase", "dmwire.db", "in use"]);
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    for trace in [USER, "heartofgold-", "improbability-", "pangalactic"] {
        assert!(in_the_files(&folder.0, trace), "{trace}");
    }
    let said = dmwire(&folder.0, &["erase", "--user", "nobody"]);
    assert_failed(&said, 1, &["cannot erase", "nobody"]);
    let said = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(USER), "{said:?}");
    let traces = "heartofgold improbability- gggggggg iiiiiiii vogonpoetry pangalactic";
    for trace in traces.split(' ').chain([USER]) {
        assert!(!in_the_files(&folder.0, trace), "{trace} is still there");
    }
    assert_whole(&folder.0, "dmwire.db");
    let said = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_failed(&said, 1, &["cannot erase"]);

    server.restart();
    let mut a = Client::connect(&server, "a", &format!("?since=3&epoch={epoch}&ack=manual"));
    assert_eq!(a.expect("truncated")["reason"], "reset");
    let after = replay(&mut a);
    assert_eq!(after.len(), before.len(), "the inbox has no gap");
    for (then, now) in before.iter().zip(&after) {
        assert_eq!(then["seq"], now["seq"]);
        if then["from_user"] == "a" && then["type"] == "message" {
            // One's own texts are kept, only the one that they were sent to has no name any more.
            assert_eq!(
                (&then["message"], &then["id"]),
                (&now["message"], &now["id"])
            );
        } else if matches!(
            then["type"].as_str(),
            Some("message" | "edited" | "deleted")
        ) {
            assert_eq!(
                (&now["type"], &now["id"]),
                (&json!("deleted"), &then["id"]),
                "{now}"
            );
        }
        assert!(!now.to_string().contains(USER), "{now}");
    }
    // The id can be used anew, by somebody of whom nothing is known.
    let mut z = Client::connect(&server, USER, "?since=0");
    assert_eq!(z.welcome["seq"], 0);
    z.expect("synced");
    let page = z.ask(&json!({"type": "conversations"}));
    assert_eq!(page["items"], json!([]));
    assert_eq!(z.ask(&to("a", "new"))["seq"], 1);
    let message = a.expect("message");
    assert_eq!(message["seq"], before.len() as u64 + 1);
    assert_eq!(
        (&message["from_user"], &message["message"]),
        (&json!(USER), &json!("new"))
    );
    drop(server);
    assert_whole(&folder.0, "dmwire.db");
}

#[test]
fn erasing_says_so_when_it_cannot_remove_the_last_traces() {
    let folder = lived_in();
    let reader = Connection::open(folder.0.join("dmwire.db")).expect("it opens");
    let read = "SELECT count(*) FROM messages";
    reader.execute_batch("BEGIN").expect("it begins");
    let count: i64 = reader
        .query_row(read, (), |row| row.get(0))
        .expect("it reads");
    assert_eq!(count, 12);
    let said = dmwire(&folder.0, &["erase", "--user", "a"]);
    assert_failed(&said, 1, &["reading the file", "a is erased", "traces"]);
    reader.close().expect("it closes");
    assert_whole(&folder.0, "dmwire.db");
}
