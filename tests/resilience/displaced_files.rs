//! Files of a running server's store that are removed, moved or replaced: nothing more is acknowledged, the log says what happened,
//! and nothing that was acknowledged before is lost unless its file is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{
    Client, DEADLINE, Folder, Server, about, assert_has, dmwire, eventually, program, run_to_end,
    to, with,
};

const STORE: [&str; 2] = ["--store", "sqlite:data/dmwire.db"];

/// A server with the store `data/dmwire.db` in its folder, and a message from `a` to `b` in it.
struct Used {
    server: Server,
    folder: Arc<Folder>,
    a: Client,
    id: Value,
}

impl Used {
    fn new() -> Self {
        let folder = Arc::new(Folder::new());
        fs::create_dir(folder.0.join("data")).expect("a folder");
        Self::on(folder, &STORE)
    }

    fn on(folder: Arc<Folder>, arguments: &[&str]) -> Self {
        let server = Server::start_in(&folder, arguments);
        let mut a = Client::fresh(&server, "a");
        let id = a.ask(&to("b", "before"))["id"].clone();
        Self {
            server,
            folder,
            a,
            id,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn errors(&self) -> Vec<String> {
        let log = self.server.log();
        let lines = log.lines().filter(|line| line.contains("ERROR"));
        lines.map(str::to_owned).collect()
    }

    /// Waits until the server reports that it is not ready, and asserts that it stores nothing, still answers queries, and has
    /// logged one error that contains these words.
    fn assert_nothing_is_stored(&mut self, words: &[&str]) {
        eventually("the server is not ready", || {
            self.server.get("/readyz").starts_with("HTTP/1.1 503")
        });
        assert!(self.server.get("/readyz").contains("overloaded"));
        assert!(self.server.get("/healthz").starts_with("HTTP/1.1 200"));
        let id = &self.id;
        for frame in [
            to("b", "after"),
            with(about("edit", "b", id), &json!({"message": "edited"})),
            about("delete", "b", id),
            with(about("react", "b", id), &json!({"emoji": "+"})),
            about("read", "b", id),
            json!({"type": "block", "user": "c"}),
            json!({"type": "unblock", "user": "c"}),
        ] {
            let reply = self.a.ask(&frame);
            assert_has(
                &reply,
                &json!({"type": "error", "code": "overloaded", "retryable": true}),
            );
        }
        self.a.assert_quiet();
        let history = self.a.ask(&json!({"type": "history", "target_user": "b"}));
        let messages = history["messages"].as_array().map(Vec::len);
        assert_eq!(messages, Some(1), "{history}: {}", self.server.log());
        let mut b = Client::connect(&self.server, "b", "?ack=manual");
        let first = b.recv();
        assert_eq!(first["message"], "before", "{first}: {}", self.server.log());
        b.expect("synced");
        // The server becomes not ready before it logs the error.
        self.server.wait_for_log("nothing more is stored");
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        for word in words {
            assert!(errors[0].contains(word), "{word:?} is not in {errors:?}");
        }
    }

    /// Stops the server with SIGTERM.
    fn stop(&mut self) {
        self.server.signal("TERM");
        assert!(
            self.server.wait(DEADLINE).success(),
            "{}",
            self.server.log()
        );
    }

    /// Starts the server again and returns the messages that `b` finds.
    fn found_after_restart(&mut self) -> Vec<String> {
        self.server.restart();
        let mut b = Client::connect(&self.server, "b", "?ack=manual&since=0");
        let mut found = Vec::new();
        loop {
            let frame = b.recv();
            match frame["type"].as_str() {
                Some("synced") => return found,
                Some("message") => found.push(frame["message"].to_string()),
                _ => {}
            }
        }
    }
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).expect("it can be renamed");
}

/// Whether the file itself, without its log, contains this text.
fn contains(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).expect("the file is there");
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[test]
fn nothing_is_stored_in_removed_files() {
    for suffixes in [&["", "-wal", "-shm"][..], &[""]] {
        let mut used = Used::new();
        for suffix in suffixes {
            let path = used.path(&format!("data/dmwire.db{suffix}"));
            fs::remove_file(path).expect("it can be removed");
        }
        used.assert_nothing_is_stored(&[
            "data/dmwire.db",
            "the database file",
            "removed or moved",
            "dmwire restore",
        ]);
        used.stop();
    }
}

#[test]
fn nothing_is_stored_when_another_store_is_moved_into_place() {
    let mut used = Used::new();
    let output = dmwire(&used.folder.0, &["backup", "copy.db", STORE[0], STORE[1]]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let copy = fs::read(used.path("copy.db")).expect("the copy");
    rename(&used.path("copy.db"), &used.path("data/dmwire.db"));
    used.assert_nothing_is_stored(&["data/dmwire.db", "the database file", "replaced"]);
    used.stop();
    let after = fs::read(used.path("data/dmwire.db")).expect("the file");
    assert!(after == copy, "the other store is not changed");
}

#[test]
fn a_server_continues_when_its_folder_is_moved_away_and_back() {
    let mut used = Used::new();
    let (data, away) = (used.path("data"), used.path("away"));
    let [mut b, mut other] = ["one", "two"].map(|device| {
        let query = format!("?ack=manual&since=0&device={device}");
        let mut session = Client::connect(&used.server, "b", &query);
        session.until("synced");
        session
    });
    rename(&data, &away);
    fs::create_dir(&data).expect("a folder");
    used.assert_nothing_is_stored(&["data/dmwire.db", "the database file", "removed or moved"]);
    // A watermark waits for the files.
    b.send(&json!({"type": "received", "seq": 1}));
    b.assert_quiet();
    other.assert_quiet();
    assert!(other.receipts().is_empty());
    fs::remove_dir(&data).expect("it is empty");
    rename(&away, &data);
    used.server.wait_for_log("in their place again");
    assert!(used.server.get("/readyz").starts_with("HTTP/1.1 200"));
    let receipt = other.receipt();
    assert_has(&receipt, &json!({"kind": "received", "id": used.id}));
    assert_eq!(used.a.ask(&to("b", "later"))["status"], "stored");
    used.server.kill();
    assert_eq!(used.found_after_restart(), [r#""before""#, r#""later""#]);
}

#[test]
fn a_second_server_in_place_of_a_moved_folder_keeps_its_files_when_the_first_one_stops() {
    let mut used = Used::new();
    rename(&used.path("data"), &used.path("away"));
    fs::create_dir(used.path("data")).expect("a folder");
    used.assert_nothing_is_stored(&["removed or moved"]);
    let folder = used.folder.clone();
    let mut second = Used::on(folder, &STORE);
    assert_eq!(second.a.ask(&to("b", "second"))["status"], "stored");
    let names =
        ["", "-wal", "-shm", "-lock"].map(|suffix| used.path(&format!("data/dmwire.db{suffix}")));
    assert!(names.iter().all(|name| name.exists()), "{names:?}");
    used.stop();
    assert!(names.iter().all(|name| name.exists()), "{names:?}");
    assert_eq!(second.a.ask(&to("b", "third"))["status"], "stored");
    assert!(second.errors().is_empty(), "{:?}", second.errors());
    second.server.kill();
    let expected = ["before", "second", "third"].map(|text| format!("{text:?}"));
    assert_eq!(second.found_after_restart(), expected);
    // The moved files are whole.
    let output = dmwire(
        &used.folder.0,
        &["verify", "--store", "sqlite:away/dmwire.db"],
    );
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn the_content_of_a_removed_or_replaced_log_is_saved() {
    for is_replaced in [false, true] {
        let mut used = Used::new();
        let (store, log) = (used.path("data/dmwire.db"), used.path("data/dmwire.db-wal"));
        if is_replaced {
            fs::write(used.path("other"), "precious").expect("a file");
            rename(&used.path("other"), &log);
        } else {
            fs::remove_file(&log).expect("it can be removed");
        }
        used.assert_nothing_is_stored(&["data/dmwire.db-wal", "the write-ahead log"]);
        eventually("the content is in the database file", || {
            contains(&store, "before")
        });
        used.stop();
        if is_replaced {
            let kept = fs::read(&log).expect("it is not removed");
            assert_eq!(kept, b"precious");
            fs::remove_file(&log).expect("it can be removed");
        }
        assert_eq!(used.found_after_restart(), [r#""before""#]);
    }
}

#[test]
fn a_removed_database_is_saved_when_the_server_stops() {
    let mut used = Used::new();
    fs::remove_file(used.path("data/dmwire.db")).expect("it can be removed");
    used.assert_nothing_is_stored(&["the database file", "removed or moved"]);
    used.stop();
    let saved: Vec<_> = fs::read_dir(used.path("data"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".removed-"))
        .collect();
    assert_eq!(saved.len(), 1, "{saved:?}");
    let saved = saved[0].to_str().expect("a name");
    let store = ["--store", "sqlite:data/dmwire.db"];
    let output = dmwire(&used.folder.0, &[&["restore", saved][..], &store].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(used.found_after_restart(), [r#""before""#]);
}

#[test]
fn a_link_to_the_store_must_lead_to_it() {
    let folder = Arc::new(Folder::new());
    for name in ["one", "two"] {
        fs::create_dir(folder.0.join(name)).expect("a folder");
    }
    let link = folder.0.join("data");
    std::os::unix::fs::symlink("one", &link).expect("a link");
    let mut used = Used::on(folder, &STORE);
    assert!(used.server.get("/readyz").starts_with("HTTP/1.1 200"));
    fs::remove_file(&link).expect("it can be removed");
    std::os::unix::fs::symlink("two", &link).expect("a link");
    used.assert_nothing_is_stored(&["data/dmwire.db", "removed or moved"]);
    fs::remove_file(&link).expect("it can be removed");
    std::os::unix::fs::symlink("one", &link).expect("a link");
    used.server.wait_for_log("in their place again");
    assert_eq!(used.a.ask(&to("b", "later"))["status"], "stored");
}

#[test]
fn the_temporary_file_of_a_store_in_memory_is_checked_too() {
    let mut used = Used::on(Arc::new(Folder::new()), &["--store", "memory:"]);
    let files = fs::read_dir(&used.folder.0).expect("the folder");
    for entry in files {
        fs::remove_file(entry.expect("an entry").path()).expect("it can be removed");
    }
    used.assert_nothing_is_stored(&["the database file", "removed or moved"]);
    used.stop();
}

#[test]
fn a_removed_lock_file_does_not_let_a_second_server_start() {
    let mut used = Used::new();
    fs::remove_file(used.path("data/dmwire.db-lock")).expect("it can be removed");
    used.server
        .wait_for_log("lock file of the store was removed");
    let mut second = program(&used.folder.0, &STORE);
    second.args(["--listen", "127.0.0.1:0", "--log", "off"]);
    let output = run_to_end(second);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("in use"), "{output:?}");
    assert_eq!(used.a.ask(&to("b", "later"))["status"], "stored");
    // Another program has created one and may have used the store.
    rename(&used.path("data/dmwire.db-lock"), &used.path("old"));
    fs::write(used.path("data/dmwire.db-lock"), "").expect("a file");
    used.server.wait_for_log("replaced by another file");
    let reply = used.a.ask(&to("b", "too late"));
    assert_eq!(reply["code"], "overloaded");
}
