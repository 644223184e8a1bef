//! `dmwire restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::helpers::{FAST, assert_failed, assert_verified, listing, replay};
use crate::support::{Client, Folder, Output, Random, Server, dmwire, program, random_seed, to};

/// A stopped server's store with these messages from `a` to `b`.
fn store_with(folder: &Arc<Folder>, texts: &[&str]) -> Server {
    let mut server = Server::start_in(folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    for text in texts {
        a.ask(&to("b", text));
    }
    server.stop();
    server
}

/// A session that has read its inbox.
fn synced(server: &Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "");
    client.until("synced");
    client
}

fn assert_done(output: &Output, words: &[&str]) {
    assert_eq!(output.code, Some(0), "{output:?}");
    for word in words {
        assert!(output.out.contains(word), "{word:?} is not in {output:?}");
    }
}

/// The texts of the messages in the inbox of `b`.
fn texts(server: &Server) -> Vec<String> {
    let mut b = Client::connect(server, "b", "?since=0&ack=manual");
    let texts = replay(&mut b)
        .into_iter()
        .map(|entry| match &entry["message"] {
            Value::String(text) => text.clone(),
            other => panic!("{other}"),
        });
    texts.collect()
}

#[test]
fn a_restored_backup_replaces_the_store_and_its_epoch() {
    let folder = Arc::new(Folder::new());
    let mut server = store_with(&folder, &["one", "two"]);
    let output = dmwire(&folder.0, &["backup", "copy.db"]);
    assert_done(
        &output,
        &["wrote copy.db", "2 users, 2 messages", "dmwire.db"],
    );
    server.restart();
    let mut a = synced(&server, "a");
    a.ask(&to("b", "three"));
    let epoch = a.epoch().to_owned();
    a.close();
    let output = dmwire(&folder.0, &["restore", "copy.db"]);
    assert_failed(&output, 1, &["nothing was restored", "in use"]);
    server.kill();
    assert!(
        folder.0.join("dmwire.db-wal").exists(),
        "the server was killed"
    );
    let output = dmwire(&folder.0, &["restore", "copy.db"]);
    assert_done(
        &output,
        &[
            "restored dmwire.db from copy.db",
            "2 users, 2 messages",
            "dmwire.db-wal",
            "new epoch",
            "`truncated`",
        ],
    );
    for suffix in ["-wal", "-shm", ".part", ".part-lock"] {
        let path = folder.0.join(format!("dmwire.db{suffix}"));
        assert!(!path.exists(), "{}", path.display());
    }
    assert_verified(&folder.0, "dmwire.db");
    let mode = |name: &str| {
        let metadata = fs::metadata(folder.0.join(name)).expect("the file");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("dmwire.db"), mode("copy.db")), (0o600, 0o600));
    server.restart();
    let mut b = Client::connect(&server, "b", &format!("?since=3&epoch={epoch}"));
    let truncated = b.expect("truncated");
    assert_eq!(truncated["reason"], json!("reset"));
    assert!(output.out.contains(b.epoch()), "{output:?}");
    assert_eq!(texts(&server), ["one", "two"]);
    // The backup can be restored again.
    assert_verified(&folder.0, "copy.db");
}

#[test]
fn a_backup_that_was_put_beside_a_stale_log_can_be_restored() {
    let folder = Arc::new(Folder::new());
    let mut server = store_with(&folder, &["old"]);
    assert_done(&dmwire(&folder.0, &["backup", "copy.db"]), &[]);
    server.restart();
    let mut a = synced(&server, "a");
    for n in 0..100 {
        a.ask(&to("b", &format!("{n} {}", "x".repeat(500))));
    }
    server.kill();
    let store = folder.0.join("dmwire.db");
    fs::copy(folder.0.join("copy.db"), &store).expect("a copy");
    assert_done(
        &dmwire(&folder.0, &["restore", "copy.db"]),
        &["dmwire.db-wal"],
    );
    server.restart();
    assert_eq!(texts(&server), ["old"]);
}

#[test]
fn a_file_with_its_own_log_is_read_together_with_it() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    Client::fresh(&server, "a").ask(&to("b", "in the log"));
    server.kill();
    for suffix in ["", "-wal"] {
        let name = format!("dmwire.db{suffix}");
        fs::rename(
            folder.0.join(&name),
            folder.0.join(format!("old.db{suffix}")),
        )
        .expect("moved");
    }
    // The store does not exist at the moment.
    let _ = fs::remove_file(folder.0.join("dmwire.db-shm"));
    let output = dmwire(&folder.0, &["restore", "old.db"]);
    assert_done(&output, &["2 users, 1 messages"]);
    server.restart();
    assert_eq!(texts(&server), ["in the log"]);
    // The same with the store itself.
    synced(&server, "a").ask(&to("b", "more"));
    server.kill();
    let output = dmwire(&folder.0, &["restore", "dmwire.db"]);
    assert_done(&output, &["2 users, 2 messages"]);
    server.restart();
    assert_eq!(texts(&server), ["in the log", "more"]);
}

#[test]
fn odd_names_and_links_are_restored() {
    let folder = Arc::new(Folder::new());
    drop(store_with(&folder, &["one"]));
    fs::create_dir(folder.0.join("real")).expect("a folder");
    let links = folder.0.join("link.db");
    std::os::unix::fs::symlink("real/target.db", &links).expect("a link");
    let names = [
        "a b.db",
        "a?mode=ro",
        "a#b",
        "100%41.db",
        "it's \"new\"",
        "file:x.db",
        "ü.db",
    ];
    for name in names {
        assert_done(&dmwire(&folder.0, &["backup", name]), &[name]);
        for store in [&format!("{name}.restored"), "link.db"] {
            let url = format!("sqlite:{store}");
            let output = dmwire(&folder.0, &["restore", name, "--store", &url]);
            assert_done(&output, &[store, "1 messages"]);
            let output = dmwire(&folder.0, &["verify", "--store", &url]);
            assert_done(&output, &[store, "is whole"]);
        }
        let read = fs::read_link(&links).expect("it is still a link");
        assert_eq!(read, Path::new("real/target.db"));
    }
    let server = Server::start_in(&folder, &["--store", "sqlite:link.db"]);
    assert_eq!(texts(&server), ["one"]);
}

#[test]
fn a_file_that_cannot_be_used_is_not_restored() {
    let folder = Arc::new(Folder::new());
    let server = store_with(&folder, &["one"]);
    assert_done(&dmwire(&folder.0, &["backup", "copy.db"]), &[]);
    let path = |name: &str| folder.0.join(name);
    let whole = fs::read(path("copy.db")).expect("the copy");
    fs::write(path("half.db"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(path("text.db"), "a shopping list\n").expect("a file");
    fs::write(path("empty.db"), "").expect("a file");
    fs::create_dir(path("folder.db")).expect("a folder");
    let change = |name: &str, sql: &str| {
        fs::write(path(name), &whole).expect("a copy");
        let database = Connection::open(path(name)).expect("it opens");
        database.execute_batch(sql).expect("it is changed");
    };
    change("newer.db", "PRAGMA user_version = 99");
    change("other.db", "PRAGMA application_id = 1");
    change(
        "gap.db",
        "DELETE FROM inbox WHERE user = 2; UPDATE users SET floor = 5",
    );
    let before = fs::read(server.store()).expect("the store");
    let names = listing(&folder.0);
    for (name, word) in [
        ("half.db", "malformed"),
        ("text.db", "not a database"),
        ("empty.db", "empty"),
        ("folder.db", "not a file"),
        ("newer.db", "newer"),
        ("other.db", "not one of dmwire"),
        ("gap.db", "damaged"),
        ("none.db", "No such file"),
        ("none/copy.db", "No such file"),
    ] {
        let output = dmwire(&folder.0, &["restore", name]);
        assert_failed(&output, 1, &["nothing was restored", name, word]);
    }
    let output = dmwire(
        &folder.0,
        &["restore", "copy.db", "--store", "sqlite:none/x.db"],
    );
    assert_failed(&output, 1, &["nothing was restored", "none/x.db"]);
    let output = dmwire(
        &folder.0,
        &["restore", "copy.db", "--store", "sqlite:folder.db"],
    );
    assert_failed(
        &output,
        1,
        &["nothing was restored", "folder.db", "not a file"],
    );
    let output = dmwire(&folder.0, &["restore", "copy.db", "--store", "memory:"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_eq!(dmwire(&folder.0, &["restore"]).code, Some(2));
    let mut after = listing(&folder.0);
    after.retain(|name| name != "folder.db-lock");
    assert_eq!(after, names);
    assert!(fs::read(server.store()).expect("the store") == before);
}

#[test]
fn a_restore_that_is_killed_leaves_the_former_store_or_the_new_one() {
    const ROUNDS: usize = 10;
    let folder = Arc::new(Folder::new());
    let long = "old ".repeat(1000);
    let mut server = store_with(&folder, &[long.as_str(); 40]);
    assert_done(&dmwire(&folder.0, &["backup", "old.db"]), &[]);
    server.restart();
    let mut a = synced(&server, "a");
    (0..40).for_each(|_| drop(a.ask(&to("b", "new"))));
    server.kill();
    let name = |suffix: &str| folder.0.join(format!("dmwire.db{suffix}"));
    let left = ["", "-wal", "-shm"].map(|suffix| fs::read(name(suffix)).expect("it is left"));
    let seed = random_seed();
    let mut random = Random::new(seed);
    let (mut former, mut restored, mut refused) = (0, 0, 0);
    for _ in 0..ROUNDS {
        for (suffix, bytes) in ["", "-wal", "-shm"].iter().zip(&left) {
            fs::write(name(suffix), bytes).expect("it is put back");
        }
        let mut command = program(&folder.0, &["restore", "old.db"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        let _ = child.kill();
        let _ = child.wait();
        let output = dmwire(&folder.0, &["verify"]);
        if output.code == Some(0) {
            server.restart();
            match texts(&server).len() {
                40 => restored += 1,
                80 => former += 1,
                n => panic!("{n} messages"),
            }
            server.kill();
        } else {
            refused += 1;
            assert!(output.err.contains("dmwire restore"), "{output:?}");
        }
        // Nothing that was left keeps another one from succeeding.
        assert_done(&dmwire(&folder.0, &["restore", "old.db"]), &["40 messages"]);
        assert_verified(&folder.0, "dmwire.db");
    }
    eprintln!("former {former}, restored {restored}, refused {refused}");
    assert!(
        listing(&folder.0)
            .iter()
            .all(|name| !name.contains(".part"))
    );
}

#[test]
fn the_store_itself_is_restored_without_a_log_that_is_missing_or_of_another_file() {
    let folder = Arc::new(Folder::new());
    let mut server = store_with(&folder, &["one"]);
    assert_done(&dmwire(&folder.0, &["backup", "copy.db"]), &[]);
    let path = |suffix: &str| folder.0.join(format!("dmwire.db{suffix}"));
    for is_foreign in [false, true] {
        server.restart();
        synced(&server, "a").ask(&to("b", "in the log"));
        server.kill();
        if is_foreign {
            fs::copy(folder.0.join("copy.db"), path("")).expect("a copy");
        } else {
            fs::remove_file(path("-wal")).expect("it is there");
        }
        let output = dmwire(&folder.0, &["verify"]);
        assert_failed(&output, 1, &["dmwire restore"]);
        let output = dmwire(&folder.0, &["restore", "dmwire.db"]);
        assert_done(&output, &["without its write-ahead log", "new epoch"]);
        assert_verified(&folder.0, "dmwire.db");
        server.restart();
        assert!(
            output.out.contains(synced(&server, "b").epoch()),
            "{output:?}"
        );
        // The main file may have got the message before the server was killed, but the backup has not.
        let kept = if is_foreign { usize::MAX } else { 1 };
        assert_eq!(
            texts(&server).iter().take(kept).collect::<Vec<_>>(),
            ["one"]
        );
        server.kill();
    }
}
