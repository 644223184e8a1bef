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
    let mut lines: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    // The conversations are in another order.
    let peer = |message: &Value| {
        let user = |field: &str| message[field].as_str().map(str::to_owned);
        user("from_user").max(user("target_user"))
    };
    lines.sort_by_key(peer);
    expected.sort_by_key(peer);
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
    // The messages with b follow each other in the order of their commits; their ids are UUIDs of version 7, made in this order by
    // one server.
    let is_with_b = |line: &Value| line["target_user"] == "b";
    let mut parts = lines.chunk_by(|a, b| is_with_b(a) == is_with_b(b));
    let with_b = parts.find(|part| is_with_b(&part[0])).expect("messages");
    assert_eq!(with_b.len(), 2500);
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

#[test]
fn an_export_has_own_messages_of_rooms_that_the_user_has_left() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let ask = |client: &mut Client, frame: &Value| {
        client.send(frame);
        client.until("ack");
    };
    let change = |tag: &str| json!({"type": tag, "room": "lobby"});
    let say = |text: &str| json!({"message": text, "target_room": "lobby"});
    for client in [&mut a, &mut b] {
        ask(client, &change("join"));
    }
    ask(&mut a, &say("of a"));
    ask(&mut b, &say("of b"));
    let exported = || -> Vec<String> {
        let output = dmwire(server.folder(), &["export", "--user", "a"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let text = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("a line is JSON");
            assert_eq!(message["target_room"], "lobby");
            message["message"].as_str().expect("text").to_owned()
        };
        output.out.lines().map(text).collect()
    };
    assert_eq!(exported(), ["of a", "of b"]);
    ask(&mut a, &change("leave"));
    assert_eq!(exported(), ["of a"]);
}
