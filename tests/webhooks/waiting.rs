//! Messages that users have not received in time.

use std::collections::BTreeSet;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::receiver::{Answer, Post, Receiver, start, to_room};
use crate::support::{Client, about, assert_has, eventually, to};

const WAITING: [&str; 5] = [
    "--webhook-allow-private",
    "--webhook-events",
    "message.waiting",
    // Longer than acknowledgements take on a busy machine.
    "--webhook-waiting-seconds",
    "3",
];

/// The users who wait.
fn users(post: &Post) -> BTreeSet<String> {
    let users = post.event["data"]["users"].as_array().expect("users");
    let found: BTreeSet<_> = users
        .iter()
        .map(|user| user.as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(found.len(), users.len(), "{users:?}");
    found
}

fn set(users: &[&str]) -> BTreeSet<String> {
    users.iter().map(ToString::to_string).collect()
}

/// Connects a client that acknowledges explicitly.
fn manual(server: &crate::support::Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "?ack=manual&device=phone");
    client.expect("synced");
    client
}

fn acknowledge(client: &mut Client) -> Value {
    let message = client.until("message");
    client.send(&json!({"type": "received", "seq": message["seq"]}));
    message
}

#[test]
fn a_message_waits_that_no_session_of_the_recipient_has_received() {
    let receiver = Receiver::start();
    let arguments = ["--webhook-allow-private", "--webhook-waiting-seconds", "3"];
    // Both kinds of events about messages are the default.
    let ops = start(
        &receiver.url(),
        &[&arguments[..], &["--webhook-events", "default"]].concat(),
    );
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut bo = manual(&ops.server, "bo");
    let mut silent = manual(&ops.server, "silent");
    // Answers pings.
    let mut automatic = Client::fresh(&ops.server, "cy");
    let reading = std::thread::spawn(move || while automatic.next().is_ok() {});
    for user in ["bo", "cy", "ada", "silent", "dan"] {
        ada.send(&to(user, "hello"));
        ada.until("ack");
        if user == "bo" {
            acknowledge(&mut bo);
        }
    }
    silent.until("message");
    let (mut created, mut waiting) = (0, Vec::new());
    while created < 5 || waiting.len() < 2 {
        let post = receiver.next();
        post.assert_well_formed();
        let data = &post.event["data"];
        if post.event["type"] == "message.created" {
            created += 1;
            continue;
        }
        assert_eq!(post.event["type"], "message.waiting");
        let user = data["target_user"].clone();
        assert_has(
            data,
            &json!({"message": "hello", "from_user": "ada", "users": [user]}),
        );
        waiting.push(user);
    }
    waiting.sort_by_key(ToString::to_string);
    assert_eq!(waiting, ["dan", "silent"]);
    // Nothing of the others is on its way: messages are looked at in their order.
    ada.send(&to("eve", "last"));
    assert_eq!(receiver.expect("message.created").text(), "last");
    assert_eq!(users(&receiver.expect("message.waiting")), set(&["eve"]));
    drop(ops);
    reading.join().expect("the client has read");
}

#[test]
fn members_of_a_room_wait_together() {
    let receiver = Receiver::start();
    let ops = start(&receiver.url(), &WAITING);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut bo = manual(&ops.server, "bo");
    for user in ["ada", "bo", "cy", "dan"] {
        let path = format!("PUT /v1/rooms/lobby/members/{user}");
        ops.request(&path, &[], b"").assert_ok();
    }
    ada.send(&to_room("lobby", "hello"));
    acknowledge(&mut bo);
    let post = receiver.expect("message.waiting");
    assert_has(
        &post.event["data"],
        &json!({"target_room": "lobby", "message": "hello"}),
    );
    assert_eq!(users(&post), set(&["cy", "dan"]));
}

#[test]
fn members_of_a_room_wait_whose_entries_are_stored_after_the_message() {
    let receiver = Receiver::start();
    let arguments = [&WAITING[..4], &["1"]].concat();
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    let rooms: Vec<_> = (0..8).map(|n| format!("room{n}")).collect();
    for room in &rooms {
        for user in ["ada", "bo", "cy", "dan", "eve"] {
            let path = format!("PUT /v1/rooms/{room}/members/{user}");
            ops.request(&path, &[], b"").assert_ok();
        }
    }
    for room in &rooms {
        ada.send(&to_room(room, "hello"));
        ada.until("ack");
    }
    let mut found = BTreeSet::new();
    for _ in &rooms {
        let post = receiver.expect("message.waiting");
        assert_eq!(users(&post), set(&["bo", "cy", "dan", "eve"]));
        let room = post.event["data"]["target_room"].as_str();
        found.insert(room.expect("a room").to_owned());
    }
    assert_eq!(found, rooms.into_iter().collect());
}

#[test]
fn many_members_are_in_several_events() {
    let receiver = Receiver::start();
    let arguments = [&WAITING[..], &["--room-limit", "2000"]].concat();
    let ops = start(&receiver.url(), &arguments);
    let all: BTreeSet<_> = (0..1002).map(|n| format!("user{n}")).collect();
    for user in &all {
        let path = format!("PUT /v1/rooms/lobby/members/{user}");
        ops.request(&path, &[], b"").assert_ok();
    }
    let body = json!({"from_user": "user0", "target_room": "lobby", "message": "hello"});
    ops.post("/v1/messages", &body).assert_ok();
    let (first, second) = (receiver.next(), receiver.next());
    assert_ne!(first.id(), second.id());
    let (first, second) = (users(&first), users(&second));
    assert_eq!((first.len(), second.len()), (1000, 1));
    let mut found = &first | &second;
    // Never the sender.
    assert!(found.insert("user0".into()));
    assert_eq!(found, all);
}

#[test]
fn members_whose_entries_retention_has_removed_still_wait() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    // The sweep that removes entries rests for no longer than messages may be kept.
    let kept = ["1", "--inbox-limit", "5", "--history-days", "0.00002"];
    let arguments = [&WAITING[..4], &kept].concat();
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    for user in ["ada", "bo", "cy"] {
        let path = format!("PUT /v1/rooms/lobby/members/{user}");
        ops.request(&path, &[], b"").assert_ok();
    }
    ada.ask(&to_room("lobby", "hello"));
    let first = receiver.until(|post| post.text() == "hello");
    assert_eq!(users(&first), set(&["bo", "cy"]));
    let flood = json!({"from_user": "eve", "target_users": ["bo", "cy"], "message": "flood"});
    for _ in 0..20 {
        ops.post("/v1/messages", &flood).assert_ok();
    }
    let database = Connection::open(ops.server.store()).expect("the store can be opened");
    eventually("the entries of both are removed", || {
        let sql = "SELECT count(*) FROM inbox AS i JOIN users AS u ON u.n = i.user
                   WHERE i.conversation < 0 AND u.id IN ('bo', 'cy')";
        let entries: u32 = database
            .query_row(sql, (), |row| row.get(0))
            .expect("a number");
        entries == 0
    });
    drop(database);
    // One of them has left the room.
    ops.request("DELETE /v1/rooms/lobby/members/cy", &[], b"")
        .assert_ok();
    receiver.answer_with(|_| Answer::Status(200));
    let post = receiver.until(|post| post.text() == "hello" && users(post) == set(&["bo"]));
    assert_eq!(post.id(), first.id());
}

#[test]
fn messages_wait_across_restarts() {
    let receiver = Receiver::start();
    let mut ops = start(&receiver.url(), &WAITING);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut bo = manual(&ops.server, "bo");
    for n in 0..5 {
        for user in ["bo", "cy"] {
            ada.send(&to(user, &n.to_string()));
            ada.until("ack");
        }
        acknowledge(&mut bo);
        bo.assert_quiet();
    }
    let database = Connection::open(ops.server.store()).expect("the store can be opened");
    eventually("the watermark is stored", || {
        let sql = "SELECT coalesce(max(received), 0) FROM devices";
        let watermark: u32 = database
            .query_row(sql, (), |row| row.get(0))
            .expect("a number");
        watermark == 5
    });
    drop(database);
    ops.server.kill();
    ops.server.restart();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let post = receiver.expect("message.waiting");
        assert_eq!(users(&post), set(&["cy"]));
        let text = post.text().to_owned();
        // Reported before the kill, and not recorded as delivered.
        if seen.last() != Some(&text) {
            seen.push(text);
        }
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    ops.server.kill();
    ops.server.restart();
    let mut ada = Client::connect(&ops.server, "ada", "");
    ada.send(&to("dan", "later"));
    receiver.until(|post| users(post) == set(&["dan"]));
}

#[test]
fn a_deleted_message_has_the_time_of_its_deletion() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "secret"));
    let id = ada.until("ack")["id"].clone();
    let first = receiver.expect("message.created");
    assert_eq!(first.text(), "secret");
    ada.send(&about("delete", "bo", &id));
    ada.until("ack");
    receiver.answer_with(|_| Answer::Status(200));
    let post = receiver.until(|post| post.event["data"].get("message").is_none());
    post.assert_well_formed();
    assert_eq!(post.id(), first.id());
    assert_has(
        &post.event["data"],
        &json!({"id": id, "from_user": "ada", "target_user": "bo"}),
    );
    assert!(post.event["data"]["deleted_at"].is_string(), "{post:?}");
}

#[test]
fn what_retention_has_removed_counts_as_dropped() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    // About 2 s.
    let arguments = [
        "--webhook-allow-private",
        "--inbox-days",
        "0.00002",
        "--history-days",
        "0.00002",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..3 {
        ada.send(&to("bo", &n.to_string()));
        ada.until("ack");
    }
    eventually("all are dropped", || {
        crate::receiver::events(&ops, "dropped") > 2.5
    });
    receiver.answer_with(|_| Answer::Status(200));
    ada.send(&to("bo", "next"));
    receiver.until(|post| post.text() == "next");
}
