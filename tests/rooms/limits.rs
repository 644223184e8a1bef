//! Limits of frames in rooms, and large rooms.

use serde_json::{Value, json};

use crate::helpers::{assert_error, connect_members, join, leave, open, to_room};
use crate::support::{Client, assert_has, with};

#[test]
fn the_rate_of_entries_counts_one_for_each_inbox() {
    // Three members: each message is three entries.
    let server = open(&[
        "--room-entries-per-second",
        "1",
        "--room-entries-burst",
        "30",
    ]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let mut stored = 0;
    let error = loop {
        let answer = clients[0].ask(&to_room("lobby", "x"));
        if answer["type"] == "error" {
            break answer;
        }
        stored += 1;
        assert!(stored < 100, "the rate is not limited");
    };
    assert_has(&error, &json!({"code": "rate_limited", "retryable": true}));
    let wait = error["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=30_000).contains(&wait), "{error}");
    // Of the burst, one entry was used by the join.
    assert!((8..=15).contains(&stored), "{stored} messages were stored");
    for client in &mut clients[1..] {
        for _ in 0..stored {
            client.expect("message");
        }
        client.assert_quiet();
    }
    // Other users, and direct messages, are not affected.
    assert_eq!(clients[1].ask(&to_room("lobby", "x"))["type"], "ack");
    clients[0].expect("message");
    let direct = clients[0].ask(&crate::support::to("c", "direct"));
    assert_eq!(direct["status"], "stored");
}

#[test]
fn frames_that_are_not_stored_have_the_same_rate() {
    let server = open(&[
        "--room-entries-per-second",
        "1",
        "--room-entries-burst",
        "20",
    ]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let ephemeral = with(to_room("lobby", "psst"), &json!({"ephemeral": true}));
    let mut sent = 0;
    loop {
        let answer = clients[0].ask(&ephemeral);
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "rate_limited");
            assert!(answer["retry_after_ms"].is_u64(), "{answer}");
            break;
        }
        assert_eq!(answer["status"], "relayed");
        sent += 1;
        assert!(sent < 100, "the rate is not limited");
    }
    assert!((10..=20).contains(&sent), "{sent} messages were sent");
    // `typing` is dropped.
    clients[0].send(&json!({"type": "typing", "target_room": "lobby"}));
    clients[0].assert_quiet();
    for _ in 0..sent {
        clients[1].expect("message");
    }
    clients[1].assert_quiet();
}

#[test]
fn a_message_to_a_large_room_reaches_every_session() {
    const MEMBERS: usize = 120;
    let server = open(&["--small-room", "0"]);
    let mut clients: Vec<Client> = (0..MEMBERS)
        .map(|n| {
            let mut client = Client::fresh(&server, &format!("user{n}"));
            assert_eq!(client.ask(&join("hall"))["type"], "ack");
            client
        })
        .collect();
    // The inboxes have different numbers of entries.
    for (n, client) in clients.iter_mut().enumerate().take(12) {
        let filler = json!({"message": "x", "target_user": format!("user{n}")});
        for _ in 0..n {
            assert_eq!(client.ask(&filler)["type"], "ack");
            client.expect("message");
        }
    }
    let mut ids = Vec::new();
    for text in ["1", "2", "3"] {
        ids.push(clients[0].ask(&to_room("hall", text))["id"].clone());
    }
    let edit = json!({"type": "edit", "target_room": "hall", "id": ids[0], "message": "1a"});
    clients[0].ask(&edit);
    clients[0].ask(&with(to_room("hall", "psst"), &json!({"ephemeral": true})));
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        let before = 1 + if n < 12 { n as u64 } else { 0 };
        for (id, seq) in ids.iter().zip(before + 1..) {
            let expected = json!({"id": id, "seq": seq, "target_room": "hall"});
            assert_has(&client.expect("message"), &expected);
        }
        let expected = json!({"message": "1a", "seq": before + 4});
        assert_has(&client.expect("edited"), &expected);
        assert_has(
            &client.expect("message"),
            &json!({"message": "psst", "seq": null}),
        );
    }
    let history = clients[7].ask(&json!({"type": "history", "target_room": "hall"}));
    let messages: Vec<&Value> = history["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(messages.len(), 3);
}

#[test]
fn a_member_who_does_not_read_delays_nobody_and_loses_nothing() {
    const MESSAGES: usize = 400;
    let server = open(&[
        "--messages-per-second",
        "100000",
        "--burst",
        "100000",
        "--room-entries-per-second",
        "1000000",
        "--room-entries-burst",
        "1000000",
        "--outbox-bytes",
        "16384",
    ]);
    let mut clients = connect_members(&server, "lobby", &["a", "slow", "c"]);
    let text = "x".repeat(8000);
    for n in 0..MESSAGES {
        clients[0].send(&to_room("lobby", &format!("{n} {text}")));
        if n % 50 == 49 {
            for _ in 0..50 {
                clients[0].expect("ack");
                clients[2].expect("message");
            }
        }
    }
    // `slow` has read nothing so far.
    for n in 0..MESSAGES {
        let message = clients[1].expect("message");
        assert_eq!(message["seq"], 3 + n, "{}", message["seq"]);
        let content = message["message"].as_str().expect("a text");
        assert!(content.starts_with(&format!("{n} ")), "{n}");
    }
    clients[1].assert_quiet();
}

#[test]
fn below_the_free_disk_space_members_can_only_leave() {
    // More than any disk has.
    let server = open(&["--min-free-disk", "1125899906842624"]);
    let mut a = Client::connect(&server, "a", "?room=lobby");
    assert_error(&a.expect("error"), "overloaded", "/room/0");
    a.expect("synced");
    let error = a.ask(&join("lobby"));
    assert_has(&error, &json!({"type": "error", "code": "overloaded"}));
    assert_has(
        &a.ask(&leave("lobby")),
        &json!({"type": "ack", "duplicate": true}),
    );
}
