//! Events about users who are erased.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::helpers::Ops;
use crate::receiver::{Answer, Receiver, start, start_in, to_room};
use crate::support::{Client, Folder, assert_has, dmwire, to};

const ROOMS: [&str; 7] = [
    "--webhook-allow-private",
    "--small-room",
    "2",
    "--messages-per-second",
    "10000",
    "--webhook-events",
    "room.joined,room.left,message.created",
];

fn erase(ops: &Ops, user: &str) {
    ops.request(&format!("DELETE /v1/users/{user}"), &[], b"")
        .assert_ok();
}

fn join(client: &mut Client, room: &str) {
    let answer = client.ask(&json!({"type": "join", "room": room}));
    assert_eq!(answer["status"], "stored", "{answer}");
}

#[track_caller]
fn assert_anonymous(user: &Value) {
    let user = user.as_str().expect("a name");
    assert!(user.starts_with("erased."), "{user}");
}

#[test]
fn a_user_who_was_online_is_offline() {
    let receiver = Receiver::start();
    let arguments = [
        "--webhook-allow-private",
        "--presence-grace-seconds",
        "60",
        "--webhook-events",
        "user.online,user.offline",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut zoe = Client::fresh(&ops.server, "zoe");
    let post = receiver.expect("user.online");
    assert_eq!(post.event["data"]["user"], "zoe");
    zoe.ask(&to("ann", "hello"));
    erase(&ops, "zoe");
    let post = receiver.expect("user.offline");
    assert_eq!(
        post.event["data"],
        json!({"user": "zoe", "status": "offline"})
    );
    // The next user of the name is online again.
    let _zoe = Client::fresh(&ops.server, "zoe");
    let post = receiver.expect("user.online");
    assert_eq!(post.event["data"]["user"], "zoe");
}

#[test]
fn memberships_in_rooms_that_are_not_small_end() {
    let receiver = Receiver::start();
    let ops = start(&receiver.url(), &ROOMS);
    let users = ["ann", "ben", "zoe"];
    let mut clients = users.map(|user| Client::fresh(&ops.server, user));
    for client in &mut clients {
        join(client, "hall");
        receiver.expect("room.joined");
    }
    erase(&ops, "zoe");
    let post = receiver.expect("room.left");
    let data = &post.event["data"];
    assert_has(
        data,
        &json!({"room": "hall", "event": "left", "members": 2}),
    );
    assert_anonymous(&data["user"]);
}

#[test]
fn messages_before_the_end_of_a_membership_are_posted_before_it() {
    let receiver = Receiver::start();
    let ops = start(&receiver.url(), &ROOMS);
    let mut ben = Client::connect(&ops.server, "ben", "?ack=manual");
    ben.until("synced");
    let mut zoe = Client::fresh(&ops.server, "zoe");
    // Only a small room tells its members when the membership has ended.
    join(&mut ben, "lobby");
    join(&mut zoe, "lobby");
    let is_done = AtomicBool::new(false);
    let (sent, left_at) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut left_at = None;
            let mut sent = 0;
            while !is_done.load(Ordering::SeqCst) || left_at.is_none() {
                ben.send(&to_room("lobby", &sent.to_string()));
                loop {
                    let frame = ben.recv();
                    if frame["event"] == "left" {
                        left_at = Some(sent);
                    }
                    if frame["type"] == "ack" {
                        break;
                    }
                }
                sent += 1;
            }
            (sent, left_at.expect("the membership has ended"))
        });
        erase(&ops, "zoe");
        is_done.store(true, Ordering::SeqCst);
        sending.join().expect("it ends")
    });
    receiver.expect("room.joined");
    receiver.expect("room.joined");
    let mut before = 0;
    for _ in 0..=sent {
        let post = receiver.next();
        if post.event["type"] == "room.left" {
            assert_anonymous(&post.event["data"]["user"]);
            assert_eq!(before, left_at);
        } else {
            assert_eq!(post.text(), before.to_string());
            before += 1;
        }
    }
    assert_eq!(before, sent);
}

#[test]
fn events_that_wait_are_posted_without_the_name() {
    const USER: &str = "zaphod.beeblebrox";
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let folder = Arc::new(Folder::new());
    let mut ops = start_in(&folder, &receiver.url(), &ROOMS);
    let mut zaphod = Client::fresh(&ops.server, USER);
    let mut clients = ["ann", "ben"].map(|user| Client::fresh(&ops.server, user));
    join(&mut zaphod, "own");
    join(&mut zaphod, "hall");
    for client in &mut clients {
        join(client, "hall");
    }
    zaphod.ask(&to_room("hall", "heart of gold"));
    erase(&ops, USER);
    ops.server.stop();
    let bytes = std::fs::read(ops.server.store()).expect("the file");
    let has = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(!has(USER) && !has("heart of gold"));
    while receiver.try_next().is_some() {}
    receiver.answer_with(|_| Answer::Status(204));
    drop(ops);
    let _ops = start_in(&folder, &receiver.url(), &ROOMS);
    let mut found = Vec::new();
    for _ in 0..7 {
        let post = receiver.next();
        let data = &post.event["data"];
        let kind = post.event["type"].as_str().expect("a type");
        let room = data["room"].as_str().or(data["target_room"].as_str());
        let room = room.expect("a room");
        let user = data["user"].as_str().or(data["from_user"].as_str());
        let user = user.expect("a user");
        let user = user.split('.').next().expect("a part");
        if kind == "message.created" {
            assert!(data["deleted_at"].is_string() && data.get("message").is_none());
        }
        found.push(format!("{room} {kind} {user} {}", data["members"]));
    }
    let of = |room: &str| -> Vec<&str> {
        let of_room = found.iter().filter_map(|text| text.strip_prefix(room));
        of_room.collect()
    };
    assert_eq!(
        of("own "),
        ["room.joined erased 1", "room.left erased 0"],
        "{found:?}"
    );
    assert_eq!(
        of("hall "),
        [
            "room.joined erased 1",
            "room.joined ann 2",
            "room.joined ben 3",
            "message.created erased null",
            "room.left erased 2"
        ],
        "{found:?}"
    );
}

#[test]
fn the_command_keeps_events_for_receivers() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let folder = Arc::new(Folder::new());
    let mut ops = start_in(&folder, &receiver.url(), &ROOMS);
    let mut zoe = Client::fresh(&ops.server, "zoe");
    join(&mut zoe, "hall");
    let mut ben = Client::fresh(&ops.server, "ben");
    ben.ask(&to("zoe", "before"));
    // The message may not have moved to its table, and has no event then.
    ops.server.kill();
    let output = dmwire(&folder.0, &["erase", "--user", "zoe"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    while receiver.try_next().is_some() {}
    receiver.answer_with(|_| Answer::Status(204));
    ops.server.restart();
    let mut found: Vec<String> = (0..3)
        .map(|_| receiver.next().event["type"].to_string())
        .collect();
    found.sort();
    assert_eq!(
        found,
        [r#""message.created""#, r#""room.joined""#, r#""room.left""#]
    );
}
