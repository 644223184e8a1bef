//! `dmwire export`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::helpers::{FAST, assert_failed, listing, used_store};
use crate::support::{Client, Folder, Server, dmwire, to};

#[test]
fn an_export_contains_the_histories_of_a_user() {
    let folder = used_store();
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
    let output = dmwire(&folder.0, &["export", "--user", "a"]);
    assert_eq!((output.code, &*output.err), (Some(0), ""), "{output:?}");
    let lines: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines, expected);
    // Also from a store that no server uses, and for a user who has only received messages.
    drop(server);
    assert_eq!(
        dmwire(&folder.0, &["export", "--user", "a"]).out,
        output.out
    );
    let output = dmwire(&folder.0, &["export", "--user", "c"]);
    assert_eq!(output.out.lines().count(), 1, "{output:?}");
    let output = dmwire(&folder.0, &["export", "--user", "nobody"]);
    assert_failed(&output, 1, &["nobody", "dmwire.db"]);
    assert_eq!(output.out, "");
    let output = dmwire(&folder.0, &["export"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

#[test]
fn a_long_export_is_complete_and_in_order() {
    let folder = Arc::new(Folder::new());
    let server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    for _ in 0..50 {
        for _ in 0..50 {
            a.send(&to("b", "x"));
        }
        (0..50).for_each(|_| drop(a.expect("ack")));
    }
    // More conversations than one page holds.
    for n in 0..110 {
        a.ask(&to(&format!("c{n}"), "y"));
    }
    let output = dmwire(&folder.0, &["export", "--user", "a"]);
    let lines: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), 2610);
    let ids: std::collections::HashSet<_> = lines.iter().map(|line| line["id"].as_str()).collect();
    assert_eq!(ids.len(), 2610);
    // The conversation with b is the oldest, and its messages have the order of their commits; their ids are UUIDs of version 7,
    // made in this order by one server.
    let with_b = &lines[110..];
    assert!(with_b.iter().all(|line| line["target_user"] == "b"));
    assert!(with_b.is_sorted_by_key(|line| line["sent_at"].as_str().expect("a time").to_owned()));
}

#[test]
fn commands_fail_if_the_store_does_not_exist() {
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
