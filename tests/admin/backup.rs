//! `dmwire backup`.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::helpers::{FAST, assert_failed, assert_verified, listing, replay};
use crate::support::{Client, Folder, Server, dmwire, eventually, program, run_to_end, to};

#[test]
fn a_backup_under_load_is_valid_and_contains_all_acknowledged_messages() {
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
        let output = dmwire(&folder.0, &["backup", "copy.db"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        // The load continues after the backup.
        let after = acknowledged.load(Ordering::SeqCst);
        eventually("more messages are sent", || {
            acknowledged.load(Ordering::SeqCst) > after
        });
        stop.store(true, Ordering::Relaxed);
        (before, epoch)
    });
    assert_verified(&folder.0, "copy.db");
    assert_verified(&folder.0, "dmwire.db");
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
    // The copy is served with an epoch of its own, and accepts new messages.
    let mut b = Client::connect(&restored, "b", &format!("?since={head}&epoch={own}"));
    b.expect("synced");
    assert_eq!(b.ask(&to("c", "x"))["seq"], head + 1);
}

#[test]
fn a_backup_overwrites_no_file_and_a_failed_one_leaves_none() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &[]);
    Client::fresh(&server, "a").ask(&to("b", "x"));
    std::fs::write(folder.0.join("taken"), "precious").expect("a file");
    std::fs::create_dir(folder.0.join("empty")).expect("a folder");
    let names = listing(&folder.0);
    let output = dmwire(&folder.0, &["backup", "taken"]);
    assert_failed(&output, 1, &["no backup was made", "taken"]);
    let output = dmwire(&folder.0, &["backup", "empty"]);
    assert_failed(&output, 1, &["no backup was made", "empty"]);
    let output = dmwire(&folder.0, &["backup", "dmwire.db"]);
    assert_failed(&output, 1, &["dmwire.db"]);
    let output = dmwire(&folder.0, &["backup", "missing/copy.db"]);
    assert_failed(&output, 1, &["no backup was made", "missing/copy.db"]);
    let output = dmwire(
        &folder.0,
        &["backup", "copy.db", "--store", "sqlite:none.db"],
    );
    assert_failed(&output, 1, &["none.db"]);
    let output = dmwire(&folder.0, &["backup", "copy.db", "--store", "sqlite:taken"]);
    assert_failed(&output, 1, &["taken"]);
    assert_eq!(listing(&folder.0), names);
    let kept = std::fs::read(folder.0.join("taken")).expect("it is there");
    assert_eq!(kept, b"precious");
    assert_eq!(dmwire(&folder.0, &["backup"]).code, Some(2));
    // An empty store can be copied as well.
    let empty = Arc::new(Folder::new());
    let _server = Server::start_in(&empty, &[]);
    assert_eq!(dmwire(&empty.0, &["backup", "copy.db"]).code, Some(0));
    assert_verified(&empty.0, "copy.db");
}

#[test]
fn a_backup_removes_what_an_earlier_file_of_its_name_has_left() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    (0..20).for_each(|n| drop(a.ask(&to("b", &format!("old {n}")))));
    server.kill();
    // The files of a server that was killed, without the database file.
    for suffix in ["-wal", "-shm"] {
        let from = folder.0.join(format!("dmwire.db{suffix}"));
        fs::copy(from, folder.0.join(format!("copy.db{suffix}"))).expect("a copy");
    }
    fs::write(folder.0.join("copy.db-journal"), "left").expect("a file");
    for suffix in [".part", ".part-wal", ".part-journal"] {
        fs::write(folder.0.join(format!("copy.db{suffix}")), "left").expect("a file");
    }
    fs::write(folder.0.join("copy.db-lock"), "an earlier run").expect("a file");
    let output = dmwire(&folder.0, &["backup", "copy.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for suffix in ["-wal", "-shm", "-journal"] {
        let line = format!("removed copy.db{suffix},");
        assert!(output.out.contains(&line), "{line} is not in {output:?}");
    }
    let line = output.out.lines().last().expect("a line");
    let bytes = fs::metadata(folder.0.join("copy.db"))
        .expect("it is there")
        .len();
    let expected = format!("wrote copy.db: {bytes} bytes, 2 users, 20 messages (the newest of 20");
    assert!(line.starts_with(&expected), "{line:?}: {expected:?}");
    let names = listing(&folder.0);
    let of_copy = names.iter().filter(|name| name.starts_with("copy.db"));
    assert_eq!(of_copy.collect::<Vec<_>>(), ["copy.db", "copy.db-lock"]);
    assert_verified(&folder.0, "copy.db");
    let restored = Server::start_in(&folder, &["--store", "sqlite:copy.db"]);
    let mut b = Client::connect(&restored, "b", "");
    assert_eq!(replay(&mut b).len(), 20);
}

#[test]
fn two_backups_to_one_target_do_not_disturb_each_other() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    Client::fresh(&server, "a").ask(&to("b", "x"));
    server.stop();
    for _ in 0..5 {
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let run = || run_to_end(program(&folder.0, &["backup", "copy.db"]));
            let running: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.map(|output| output.expect("it runs")).collect()
        });
        let made = outputs.iter().filter(|output| output.code == Some(0));
        assert_eq!(made.count(), 1, "{outputs:?}");
        for output in outputs.iter().filter(|output| output.code != Some(0)) {
            assert_eq!(output.code, Some(1), "{output:?}");
            let known = ["another dmwire is writing", "the file exists"];
            assert!(
                known.iter().any(|text| output.err.contains(text)),
                "{output:?}"
            );
        }
        assert_verified(&folder.0, "copy.db");
        let names = listing(&folder.0);
        assert!(
            !names.iter().any(|name| name.contains(".part")),
            "{names:?}"
        );
        fs::remove_file(folder.0.join("copy.db")).expect("it is there");
    }
}

#[test]
fn a_killed_backup_leaves_nothing_that_disturbs_the_next_one() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    (0..50).for_each(|_| drop(a.ask(&to("b", &"x".repeat(8_000)))));
    for n in 0..20 {
        let mut command = program(&folder.0, &["backup", "copy.db"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(n * 3));
        let _ = child.kill();
        let _ = child.wait();
        if !folder.0.join("copy.db").exists() {
            let output = dmwire(&folder.0, &["backup", "copy.db"]);
            assert_eq!(output.code, Some(0), "{output:?}");
        }
        assert_verified(&folder.0, "copy.db");
        fs::remove_file(folder.0.join("copy.db")).expect("it is there");
    }
}

#[test]
fn names_that_belong_to_the_store_or_to_a_running_server_are_not_written() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &[]);
    std::os::unix::fs::symlink("dmwire.db", folder.0.join("link.db")).expect("a link");
    std::os::unix::fs::symlink("nowhere.db", folder.0.join("dangling.db")).expect("a link");
    for (name, word) in [
        ("dmwire.db", "the store itself"),
        ("link.db", "the store itself"),
        ("dangling.db", "exists"),
        ("missing/copy.db", "does not exist"),
        ("dmwire.db-secret", "reserved"),
        ("../../../../../../dev/null/copy.db", "does not exist"),
    ] {
        let output = dmwire(&folder.0, &["backup", name]);
        assert_failed(&output, 1, &["no backup was made", name, word]);
    }
    assert!(!folder.0.join("nowhere.db").exists());
    server.stop();
    let output = dmwire(&folder.0, &["backup", "dmwire.db-wal"]);
    assert_failed(&output, 1, &["dmwire.db-wal"]);
    server.restart();
    // The file of the server is moved away; the name may be needed for it again.
    fs::rename(folder.0.join("dmwire.db"), folder.0.join("moved.db")).expect("it is moved");
    let other = Server::start_in(&folder, &["--store", "sqlite:other.db"]);
    let output = dmwire(
        &folder.0,
        &["backup", "dmwire.db", "--store", "sqlite:other.db"],
    );
    assert_failed(&output, 1, &["dmwire.db", "a server is running"]);
    drop(other);
}
