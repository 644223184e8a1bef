//! `dmwire backup`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::helpers::{FAST, assert_failed, assert_verified, listing, replay};
use crate::support::{Client, Folder, Server, dmwire, eventually, to};

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
