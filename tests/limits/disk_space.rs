//! Database files that the server cannot use, and full disks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Client, Folder, Server, dmwire, eventually, program, run_to_end, to};

const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

fn assert_does_not_start(mut command: Command, words: &[&str]) {
    command.args(["--listen", "127.0.0.1:0", "--log", "off"]);
    let output = run_to_end(command);
    assert_eq!(output.code, Some(1), "{words:?}: {output:?}");
    assert_eq!(output.err.lines().count(), 1, "{output:?}");
    for word in words {
        assert!(output.err.contains(word), "{word:?} is not in {output:?}");
    }
}

/// Asserts that a server on this store exits at once, with an error that names the file and contains `word`.
fn assert_store_rejected(folder: &Path, store: &str, word: &str) {
    let url = format!("sqlite:{store}");
    assert_does_not_start(program(folder, &["--store", &url]), &[store, word]);
}

/// A store with some messages, not in use.
fn used_store() -> (Arc<Folder>, PathBuf) {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    for n in 0..50 {
        a.ask(&to("b", &format!("{n} {}", "x".repeat(1000))));
    }
    server.stop();
    let store = server.store();
    (folder, store)
}

#[test]
fn a_file_that_is_not_a_store_is_rejected_and_not_changed() {
    let (folder, store) = used_store();
    let names = ["newer.db", "other.db", "garbage.db", "half.db", "text.db"];
    let path = |name: &str| folder.0.join(name);
    let whole = fs::read(&store).expect("the store");
    fs::write(path("newer.db"), &whole).expect("a copy");
    let newer = Connection::open(path("newer.db")).expect("it opens");
    newer
        .pragma_update(None, "user_version", 99)
        .expect("it is set");
    newer.close().expect("it closes");
    let other = Connection::open(path("other.db")).expect("it opens");
    other
        .execute_batch("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
        .expect("it is made");
    other.close().expect("it closes");
    let garbage: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(path("garbage.db"), garbage).expect("a file");
    fs::write(path("half.db"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(path("text.db"), "a shopping list\n").expect("a file");
    let before = names.map(|name| fs::read(path(name)).expect("a file"));
    assert_store_rejected(&folder.0, "newer.db", "newer");
    assert_store_rejected(&folder.0, "other.db", "not one of dmwire");
    assert_store_rejected(&folder.0, "garbage.db", "not a database");
    assert_store_rejected(&folder.0, "half.db", "malformed");
    assert_store_rejected(&folder.0, "text.db", "not a database");
    let after = names.map(|name| fs::read(path(name)).expect("a file"));
    assert!(before == after, "the file is not changed");
    for name in names {
        let url = format!("sqlite:{name}");
        let output = dmwire(&folder.0, &["verify", "--store", &url]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains(name), "{output:?}");
    }
}

#[test]
fn an_obstacle_to_the_store_file_is_reported() {
    let (folder, _) = used_store();
    fs::create_dir(folder.0.join("folder.db")).expect("a folder");
    assert_store_rejected(&folder.0, "folder.db", "");
    assert_store_rejected(&folder.0, "missing/dmwire.db", "No such file");
    fs::write(folder.0.join("file"), "").expect("a file");
    assert_store_rejected(&folder.0, "file/dmwire.db", "Not a directory");
    fs::create_dir(folder.0.join("locked.db-lock")).expect("a folder");
    assert_store_rejected(&folder.0, "locked.db", "directory");
    for suffix in ["-wal", "-shm"] {
        let name = format!("way{suffix}.db");
        fs::create_dir(folder.0.join(format!("{name}{suffix}"))).expect("a folder");
        assert_store_rejected(&folder.0, &name, "");
    }
}

#[test]
fn a_read_only_file_or_folder_is_rejected() {
    let (folder, store) = used_store();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
    };
    // Root may write anywhere, so as root the test runs a copy of the server as another user, from a folder where that user may
    // run it.
    let root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    let copy = folder.0.join("dmwire");
    fs::copy(env!("CARGO_BIN_EXE_dmwire"), &copy).expect("the program can be copied");
    allow(&copy, 0o755);
    let as_anybody = |store: &str| {
        let mut command = Command::new(&copy);
        command.current_dir(&folder.0);
        command.args(["--store", &format!("sqlite:{store}")]);
        if root {
            command.uid(65534).gid(65534);
        }
        command
    };
    allow(&folder.0, 0o777);
    for name in fs::read_dir(&folder.0).expect("the folder is there") {
        let path = name.expect("an entry").path();
        if path.to_string_lossy().contains("dmwire.db-") {
            fs::remove_file(path).expect("it can be removed");
        }
    }
    allow(&store, 0o444);
    assert_does_not_start(as_anybody("dmwire.db"), &["dmwire.db", "cannot be written"]);
    allow(&store, 0o000);
    assert_does_not_start(as_anybody("dmwire.db"), &["dmwire.db", "unable to open"]);
    let shut = folder.0.join("shut");
    fs::create_dir(&shut).expect("a folder");
    allow(&shut, 0o555);
    assert_does_not_start(
        as_anybody("shut/dmwire.db"),
        &["shut/dmwire.db", "Permission denied"],
    );
    allow(&shut, 0o755);
}

#[test]
fn two_servers_cannot_use_the_same_file() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &[]);
    std::os::unix::fs::symlink("dmwire.db", folder.0.join("link.db")).expect("a link");
    for name in ["dmwire.db", "./dmwire.db", "link.db"] {
        assert_store_rejected(&folder.0, name, "in use by another dmwire");
    }
    // The first server is not affected, and the file is free again however it ends.
    let mut a = Client::fresh(&server, "a");
    assert_eq!(a.ask(&to("b", "x"))["seq"], 1);
    server.kill();
    let second = Server::start_in(&folder, &["--store", "sqlite:link.db"]);
    let mut a = Client::connect(&second, "a", "");
    assert_eq!(a.expect("message")["seq"], 1);
}

/// A small file system in memory. Only root can mount it.
struct Disk(PathBuf);

impl Disk {
    /// Panics without root: no other test covers a full disk.
    fn new(folder: &Folder, size: &str) -> Self {
        let path = folder.0.join("disk");
        fs::create_dir(&path).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output();
        match mount {
            Ok(output) if output.status.success() => Self(path),
            other => panic!("this test mounts a small file system and must run as root: {other:?}"),
        }
    }

    /// Fills the file system until only about this number of bytes is free.
    fn fill_up_to(&self, bytes: usize) {
        let mut filler = fs::File::create(self.filler()).expect("a file");
        let block = vec![0; 64 << 10];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
        let length = filler.metadata().expect("its length").len();
        filler
            .set_len(length.saturating_sub(bytes as u64))
            .expect("it can be cut");
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler can be removed");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Sends a message and returns the answer: an ack, or an error with a time to retry.
fn send(client: &mut Client, id: &str, text: &str) -> Value {
    let answer = client.ask(&json!({"message": text, "target_user": "b", "id": id}));
    if answer["type"] == "error" {
        assert_eq!(answer["retryable"], true, "{answer}");
        match answer["code"].as_str() {
            Some("overloaded") => assert!(answer["retry_after_ms"].as_u64() > Some(0), "{answer}"),
            Some("internal") => {}
            _ => panic!("{answer}"),
        }
    } else {
        assert_eq!(answer["type"], "ack", "{answer}");
    }
    answer
}

/// The ids of all messages of an inbox, in order.
fn replay(server: &Server, user: &str) -> Vec<String> {
    let mut client = Client::connect(server, user, "?since=0&ack=manual");
    let mut ids = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return ids;
        }
        assert_eq!(frame["seq"], ids.len() as u64 + 1, "{frame}");
        ids.push(frame["id"].as_str().expect("an id").to_owned());
    }
}

#[test]
fn a_full_disk_rejects_messages_without_loss() {
    let folder = Arc::new(Folder::new());
    let disk = Disk::new(&folder, "8m");
    let arguments = [&FAST[..], &["--store", "sqlite:disk/dmwire.db"]].concat();
    let mut server = Server::start_in(&folder, &arguments);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.until("synced");
    let id = |n: usize| format!("019a2f4e-7b1c-7d3e-9a55-{n:012}");
    let text = "x".repeat(10_000);
    let mut stored = Vec::new();
    let mut refused = Vec::new();
    for n in 0..10 {
        assert_eq!(send(&mut a, &id(n), &text)["type"], "ack");
        stored.push(id(n));
    }
    disk.fill_up_to(300_000);
    for n in 10..100 {
        if send(&mut a, &id(n), &text)["type"] == "ack" {
            stored.push(id(n));
        } else {
            refused.push(id(n));
        }
    }
    assert!(
        refused.len() > 20,
        "{} messages were rejected",
        refused.len()
    );
    assert!(stored.len() > 10, "some messages still had room");
    // Reading, connecting and ephemeral messages still work.
    for expected in &stored {
        assert_eq!(b.expect("message")["id"], *expected);
    }
    b.assert_quiet();
    for user in ["a", "b"] {
        assert_eq!(replay(&server, user), stored);
    }
    let mut c = Client::fresh(&server, "c");
    let relayed = c.ask(&json!({"message": "psst", "target_user": "b", "ephemeral": true}));
    assert_eq!(relayed["status"], "sent");
    assert_eq!(b.expect("message")["message"], "psst");
    let history = a.ask(&json!({"type": "history", "target_user": "b", "limit": 5}));
    assert_eq!(history["messages"][4]["id"], *stored.last().expect("some"));
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
    let output = dmwire(&folder.0, &["verify", "--store", "sqlite:disk/dmwire.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");

    disk.free();
    eventually("messages are stored again", || {
        send(&mut a, &refused[0], &text)["type"] == "ack"
    });
    stored.push(refused[0].clone());
    for id in &refused[1..] {
        let ack = send(&mut a, id, &text);
        // No part of a rejected message was stored.
        assert_eq!((&ack["type"], ack.get("duplicate")), (&json!("ack"), None));
        assert_eq!(ack["seq"], stored.len() as u64 + 1);
        stored.push(id.clone());
    }
    for expected in &stored[stored.len() - refused.len()..] {
        assert_eq!(b.expect("message")["id"], *expected);
    }
    b.assert_quiet();
    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        assert_eq!(replay(&server, "a"), stored);
        assert_eq!(replay(&server, "b"), stored);
    }
    let output = dmwire(&folder.0, &["verify", "--store", "sqlite:disk/dmwire.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn simultaneous_messages_on_a_full_disk_are_each_stored_or_rejected() {
    let folder = Arc::new(Folder::new());
    let disk = Disk::new(&folder, "8m");
    let arguments = [&FAST[..], &["--store", "sqlite:disk/dmwire.db"]].concat();
    let server = Server::start_in(&folder, &arguments);
    let mut senders: Vec<_> = (0..4)
        .map(|n| Client::fresh(&server, &format!("a{n}")))
        .collect();
    // All users exist already, so that from now on only messages need space.
    disk.fill_up_to(1_000_000);
    let text = "x".repeat(2000);
    let mut acknowledged: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = senders
            .iter_mut()
            .map(|sender| {
                let text = &text;
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    for _ in 0..20 {
                        (0..30).for_each(|_| sender.send(&to("b", text)));
                        for _ in 0..30 {
                            let answer = sender.recv();
                            if answer["type"] == "ack" {
                                ids.push(answer["id"].as_str().expect("an id").to_owned());
                            } else {
                                assert_eq!(answer["retryable"], true, "{answer}");
                            }
                        }
                    }
                    ids
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("all were answered"))
            .collect()
    });
    assert!((10..2400).contains(&acknowledged.len()));
    disk.free();
    eventually("messages are stored again", || {
        let answer = senders[0].ask(&to("b", "last"));
        acknowledged.extend(answer["id"].as_str().map(str::to_owned));
        answer["type"] == "ack"
    });
    let mut inbox = replay(&server, "b");
    assert_eq!(inbox.len(), acknowledged.len());
    inbox.sort_unstable();
    acknowledged.sort_unstable();
    assert!(
        inbox == acknowledged,
        "the inbox contains exactly the acknowledged messages"
    );
}

#[test]
fn a_full_disk_is_reported_by_start_and_backup() {
    let (folder, store) = used_store();
    let disk = Disk::new(&folder, "64k");
    let room = fs::metadata(&store).expect("the store").len();
    assert!(room > 64 << 10, "{room}");
    let output = dmwire(&folder.0, &["backup", "disk/copy.db"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.err.contains("disk/copy.db") && output.err.contains("full"),
        "{output:?}"
    );
    let left = fs::read_dir(&disk.0).expect("the disk is there").count();
    assert_eq!(left, 0, "part of a backup is left");
    disk.fill_up_to(4096);
    assert_store_rejected(&folder.0, "disk/dmwire.db", "full");
}

#[test]
fn a_backup_or_restore_to_a_full_disk_fails_and_leaves_no_part() {
    let (folder, _) = used_store();
    let disk = Disk::new(&folder, "1m");
    let names = || {
        let entries = fs::read_dir(&disk.0).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let in_use = |name: &str| format!("sqlite:disk/{name}");
    assert_eq!(dmwire(&folder.0, &["backup", "disk/copy.db"]).code, Some(0));
    let arguments = ["restore", "disk/copy.db", "--store", &in_use("small.db")];
    assert_eq!(dmwire(&folder.0, &arguments).code, Some(0));
    let before = fs::read(disk.0.join("small.db")).expect("the store");
    for free in [0, 4096, 30_000] {
        disk.fill_up_to(free);
        let left = names();
        let output = dmwire(&folder.0, &["backup", "disk/other.db"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains("no backup was made"), "{output:?}");
        assert_eq!(names(), left);
        let output = dmwire(&folder.0, &arguments);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.err.contains("nothing was restored"), "{output:?}");
        assert_eq!(names(), left);
        assert!(fs::read(disk.0.join("small.db")).expect("the store") == before);
        disk.free();
    }
    assert_eq!(dmwire(&folder.0, &arguments).code, Some(0));
}
