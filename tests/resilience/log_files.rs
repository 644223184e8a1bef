//! The write-ahead log of a store: what a start makes of one that another run has left, of one that is missing, and of one
//! that belongs to another file; and what remains in it of deleted content.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::json;

use crate::support::{
    Client, Folder, Output, Server, about, assert_has, dmwire, eventually, program, run_to_end, to,
    with,
};

/// A server with a store in a folder, and a user that writes to `b`.
struct Used {
    folder: Arc<Folder>,
    server: Server,
    a: Client,
    sent: usize,
    epoch: String,
}

impl Used {
    fn new() -> Self {
        Self::on(&Arc::new(Folder::new()))
    }

    fn on(folder: &Arc<Folder>) -> Self {
        let server = Server::start_in(folder, &[]);
        let mut a = Client::connect(&server, "a", "");
        let epoch = a.welcome["epoch"].to_string();
        a.until("synced");
        Self {
            folder: folder.clone(),
            server,
            a,
            sent: 0,
            epoch,
        }
    }

    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let text = format!("{} {}", self.sent, "x".repeat(500));
            assert_eq!(self.a.ask(&to("b", &text))["status"], "stored");
            self.sent += 1;
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn stop(&mut self) {
        self.server.signal("TERM");
        let within = std::time::Duration::from_secs(20);
        assert!(self.server.wait(within).success(), "{}", self.server.log());
    }
}

/// Starts a server that must refuse the store.
fn refused(folder: &Path) -> Output {
    let mut command = program(folder, &["--listen", "127.0.0.1:0", "--log", "off"]);
    command.env("TMPDIR", folder);
    let output = run_to_end(command);
    assert_eq!(output.code, Some(1), "{output:?}");
    output
}

/// The commands that read a store refuse it as well.
fn assert_refused(folder: &Path, words: &[&str]) {
    let outputs = [
        refused(folder),
        dmwire(folder, &["verify"]),
        dmwire(folder, &["backup", "copy.db"]),
        dmwire(folder, &["export", "--user", "a"]),
        dmwire(folder, &["erase", "--user", "a"]),
    ];
    for output in outputs {
        assert_eq!(output.code, Some(1), "{output:?}");
        for word in words.iter().chain(&["dmwire.db-wal", "dmwire restore"]) {
            assert!(output.err.contains(word), "{word:?} is not in {output:?}");
        }
    }
    assert!(!folder.join("copy.db").exists());
}

/// The number of messages in the inbox of `b`, and the epoch.
fn found(server: &Server) -> (usize, String) {
    let mut b = Client::connect(server, "b", "?since=0&ack=manual");
    let epoch = b.welcome["epoch"].to_string();
    let mut count = 0;
    loop {
        let frame = b.recv();
        if frame["type"] == "synced" {
            return (count, epoch);
        }
        count += 1;
        assert_eq!(frame["seq"], count, "{frame}");
    }
}

#[test]
fn a_store_is_recovered_after_a_crash_and_where_it_was_copied_to() {
    let mut used = Used::new();
    used.send(30);
    used.server.kill();
    let copy = Arc::new(Folder::new());
    for name in ["dmwire.db", "dmwire.db-wal"] {
        fs::copy(used.path(name), copy.0.join(name)).expect("a copy");
    }
    for folder in [used.folder.clone(), copy] {
        let server = Server::start_in(&folder, &[]);
        assert_eq!(found(&server), (30, used.epoch.clone()));
    }
}

#[test]
fn a_stopped_store_is_one_file() {
    let mut used = Used::new();
    used.send(3);
    let mut b = Client::connect(&used.server, "b", "");
    b.until("synced");
    used.stop();
    let left = |suffix| used.path(&format!("dmwire.db{suffix}")).exists();
    assert!(!left("-wal") && !left("-shm"));
    let copy = Arc::new(Folder::new());
    fs::copy(used.path("dmwire.db"), copy.0.join("dmwire.db")).expect("a copy");
    let server = Server::start_in(&copy, &[]);
    assert_eq!(found(&server), (3, used.epoch.clone()));
}

#[test]
fn the_log_of_another_file_is_refused() {
    let mut used = Used::new();
    used.send(40);
    // The main file of a running server, a backup, and the file of a stopped server.
    fs::copy(used.path("dmwire.db"), used.path("running.db")).expect("a copy");
    let output = dmwire(&used.folder.0, &["backup", "backup.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    used.stop();
    fs::copy(used.path("dmwire.db"), used.path("stopped.db")).expect("a copy");
    let mut used = Used::on(&used.folder);
    used.send(40);
    used.server.kill();
    fs::copy(used.path("dmwire.db"), used.path("killed.db")).expect("a copy");
    for name in ["running.db", "backup.db", "stopped.db"] {
        let before = fs::read(used.path(name)).expect("the file");
        let log = fs::read(used.path("dmwire.db-wal")).expect("the log");
        fs::copy(used.path(name), used.path("dmwire.db")).expect("a copy");
        assert_refused(&used.folder.0, &["another file"]);
        let unchanged =
            |name: &str, content: &[u8]| fs::read(used.path(name)).is_ok_and(|now| now == content);
        assert!(unchanged("dmwire.db", &before), "{name}");
        assert!(unchanged("dmwire.db-wal", &log), "{name}");
    }
    // The right file again.
    fs::copy(used.path("killed.db"), used.path("dmwire.db")).expect("a copy");
    used.server.restart();
    assert_eq!(found(&used.server), (80, used.epoch.clone()));
}

#[test]
fn a_missing_or_emptied_log_is_noticed() {
    let mut used = Used::new();
    used.send(20);
    used.server.kill();
    let log = used.path("dmwire.db-wal");
    let content = fs::read(&log).expect("the log");
    fs::remove_file(&log).expect("it can be removed");
    assert_refused(&used.folder.0, &["missing, empty or damaged"]);
    let zeros = vec![0; content.len()];
    let mut other_header = content.clone();
    other_header[20] ^= 1;
    for damaged in [&content[..0], &content[..32], &zeros, &other_header] {
        fs::write(&log, damaged).expect("a file");
        assert_refused(&used.folder.0, &["missing, empty or damaged"]);
    }
    fs::write(&log, &content).expect("a file");
    used.server.restart();
    assert_eq!(found(&used.server), (20, used.epoch.clone()));
}

#[test]
fn a_copy_that_was_made_during_a_checkpoint_is_refused_beside_a_later_log() {
    let mut used = Used::new();
    used.send(20);
    let reader = Connection::open(used.path("dmwire.db")).expect("it can be opened");
    let read = || reader.query_row("SELECT count(*) FROM meta", (), |row| row.get::<_, i64>(0));
    reader.execute_batch("BEGIN").expect("a transaction");
    read().expect("a snapshot");
    used.send(60);
    // What the reader does not need is copied to the file, and the log cannot begin again.
    let store = used.path("dmwire.db");
    let is_newer = |before: &Vec<u8>| fs::read(&store).is_ok_and(|now| now != *before);
    let before = fs::read(&store).expect("the file");
    reader
        .execute_batch("COMMIT; BEGIN")
        .expect("a transaction");
    read().expect("a later snapshot");
    used.send(20);
    eventually("a part is copied", || is_newer(&before));
    fs::copy(&store, used.path("partial.db")).expect("a copy");
    reader.execute_batch("COMMIT").expect("the end");
    drop(reader);
    let length = || fs::metadata(used.path("dmwire.db-wal")).map_or(0, |file| file.len());
    eventually("the log begins again", || length() < 50_000);
    used.send(5);
    used.server.kill();
    fs::copy(used.path("partial.db"), &store).expect("a copy");
    assert_refused_or_complete(&used, 105);
}

/// A start refuses the store, or has everything.
fn assert_refused_or_complete(used: &Used, count: usize) {
    let mut command = program(&used.folder.0, &["verify"]);
    command.env("TMPDIR", &used.folder.0);
    let output = run_to_end(command);
    if output.code == Some(0) {
        let server = Server::start_in(&used.folder, &[]);
        assert_eq!(found(&server), (count, used.epoch.clone()));
    } else {
        assert_refused(&used.folder.0, &["another file"]);
    }
}

#[test]
fn nothing_is_stored_while_the_log_is_truncated_by_another_program() {
    let mut used = Used::new();
    used.send(30);
    fs::write(used.path("dmwire.db-wal"), "").expect("it is truncated");
    used.server
        .wait_for_log("has been truncated by another program");
    let reply = used.a.ask(&to("b", "later"));
    assert_has(&reply, &json!({"type": "error", "code": "overloaded"}));
    assert!(used.server.get("/readyz").starts_with("HTTP/1.1 503"));
}

#[test]
fn content_deleted_before_a_crash_leaves_the_log_of_an_idle_server() {
    let mut used = Used::new();
    let ack = used.a.ask(&to("b", "a secret before the crash"));
    used.a.ask(&about("delete", "b", &ack["id"]));
    used.server.kill();
    used.server.restart();
    assert_disappears(&used, "a secret before the crash");
}

#[test]
fn a_copy_of_a_running_store_put_back_after_a_stop_gets_a_new_epoch() {
    let mut used = Used::new();
    used.send(10);
    for name in ["dmwire.db", "dmwire.db-wal"] {
        fs::copy(used.path(name), used.path(&format!("copy-{name}"))).expect("a copy");
    }
    used.send(10);
    used.stop();
    for name in ["dmwire.db", "dmwire.db-wal"] {
        fs::copy(used.path(&format!("copy-{name}")), used.path(name)).expect("a copy");
    }
    used.server.restart();
    let (count, epoch) = found(&used.server);
    assert_eq!(count, 10);
    assert_ne!(epoch, used.epoch);
}

#[test]
fn a_missing_database_beside_its_log_is_not_created_again() {
    let mut used = Used::new();
    used.send(20);
    used.server.kill();
    let store = used.path("dmwire.db");
    fs::rename(&store, used.path("away")).expect("it can be moved");
    let log = fs::read(used.path("dmwire.db-wal")).expect("the log");
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&store, "").expect("a file");
        }
        let output = refused(&used.folder.0);
        assert!(output.err.contains("missing or empty"), "{output:?}");
        assert!(output.err.contains("dmwire.db-wal"), "{output:?}");
        let now = fs::read(used.path("dmwire.db-wal")).expect("the log");
        assert!(now == log, "the log is not changed");
    }
    fs::rename(used.path("away"), &store).expect("it can be moved");
    used.server.restart();
    assert_eq!(found(&used.server), (20, used.epoch.clone()));
}

#[test]
fn an_earlier_state_of_the_file_gets_a_new_epoch() {
    let mut used = Used::new();
    used.send(10);
    used.stop();
    fs::copy(used.path("dmwire.db"), used.path("earlier.db")).expect("a copy");
    // A start without a change is not an earlier state.
    used.server.restart();
    assert_eq!(found(&used.server), (10, used.epoch.clone()));
    used.server.kill();
    used.server.restart();
    assert_eq!(found(&used.server), (10, used.epoch.clone()));
    used.stop();
    fs::copy(used.path("earlier.db"), used.path("dmwire.db")).expect("a copy");
    used.server.restart();
    used.server.wait_for_log("new epoch");
    let (count, epoch) = found(&used.server);
    assert_eq!(count, 10);
    assert_ne!(epoch, used.epoch);
    let since = format!("?since=10&epoch={}", used.epoch.trim_matches('"'));
    let mut b = Client::connect(&used.server, "b", &since);
    let truncated = b.until("truncated");
    assert_has(&truncated, &json!({"reason": "reset", "oldest_seq": 1}));
    // The new epoch stays.
    used.server.kill();
    used.server.restart();
    assert_eq!(found(&used.server), (10, epoch));
}

/// Asserts that a text disappears from all files of the store, while the server runs.
fn assert_disappears(used: &Used, text: &str) {
    let has = |name: &str| {
        let content = fs::read(used.path(name)).unwrap_or_default();
        content
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    eventually("the text is in no file", || {
        !has("dmwire.db") && !has("dmwire.db-wal")
    });
}

#[test]
fn deleted_and_replaced_content_leaves_the_log() {
    let mut used = Used::new();
    let first = used.a.ask(&to("b", "the first secret"));
    let second = used.a.ask(&to("b", "the second secret"));
    used.a.ask(&about("delete", "b", &first["id"]));
    assert_disappears(&used, "the first secret");
    let edit = about("edit", "b", &second["id"]);
    used.a.ask(&with(edit, &json!({"message": "harmless"})));
    assert_disappears(&used, "the second secret");
    // Under a steady load, too.
    let third = used.a.ask(&to("b", "the third secret"));
    used.a.ask(&about("delete", "b", &third["id"]));
    let log = used.path("dmwire.db-wal");
    let started = std::time::Instant::now();
    loop {
        used.send(1);
        let content = fs::read(&log).expect("the log");
        let secret = b"the third secret";
        if !content.windows(secret.len()).any(|part| part == secret) {
            break;
        }
        assert!(
            started.elapsed().as_secs() < 20,
            "the text stays in the log"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    used.server.kill();
    used.server.restart();
    assert_eq!(found(&used.server).1, used.epoch);
}

#[test]
fn an_idle_server_truncates_its_log() {
    let mut used = Used::new();
    used.send(50);
    let length = || fs::metadata(used.path("dmwire.db-wal")).map_or(0, |file| file.len());
    assert!(length() > 100_000);
    eventually("the log is short", || (1..50_000).contains(&length()));
}
