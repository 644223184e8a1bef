//! `DELETE /v1/rooms/{room}`.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::helpers::{Ops, Response};
use crate::support::{Client, assert_has, eventually};

fn delete(ops: &Ops, room: &str) -> Response {
    ops.request(&format!("DELETE /v1/rooms/{room}"), &[], b"")
}

fn put(ops: &Ops, user: &str) {
    ops.request(&format!("PUT /v1/rooms/lobby/members/{user}"), &[], b"")
        .assert_ok();
}

fn say(ops: &Ops, from: &str, text: &str) -> Value {
    let body = json!({"from_user": from, "target_room": "lobby", "message": text});
    ops.post("/v1/messages", &body).assert_ok()["id"].clone()
}

fn until_left(client: &mut Client) -> Value {
    loop {
        let frame = client.until("room");
        if frame["event"] == "left" {
            return frame;
        }
    }
}

fn ended(user: &str) -> Value {
    json!({
        "room": "lobby", "event": "left", "user": user, "members": 0, "reason": "room_deleted"
    })
}

#[test]
fn a_deleted_room_ends_for_all_members_and_its_name_is_free() {
    let ops = Ops::start(&["--rooms", "managed"]);
    delete(&ops, "lobby").assert_error(404, "unknown_room", Some("/room"));
    delete(&ops, "a%20b").assert_error(400, "invalid_request", Some("/room"));
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut phone = Client::fresh(&ops.server, "ada");
    let mut bo = Client::fresh(&ops.server, "bo");
    for user in ["ada", "bo", "cy"] {
        put(&ops, user);
    }
    let ids = ["one", "two"].map(|text| say(&ops, "bo", text));
    let direct = json!({"from_user": "bo", "target_user": "ada", "message": "three"});
    ops.post("/v1/messages", &direct).assert_ok();
    for client in [&mut ada, &mut phone, &mut bo] {
        while client.until("message")["message"] != "three" {}
    }
    let answer = delete(&ops, "lobby").assert_ok();
    assert_eq!(answer, json!({"members": 3, "messages": 2}));
    let mut seq = Value::Null;
    for (client, user) in [(&mut ada, "ada"), (&mut phone, "ada"), (&mut bo, "bo")] {
        let left = client.expect("room");
        assert_has(&left, &ended(user));
        // It is the last entry, and the only one of the deletion.
        client.assert_quiet();
        if user == "ada" {
            seq = left["seq"].clone();
        }
    }
    for path in ["/v1/rooms/lobby", "/v1/rooms/lobby/history"] {
        ops.get(path)
            .assert_error(404, "unknown_room", Some("/room"));
    }
    assert_eq!(ops.get("/v1/rooms").assert_ok(), json!({"rooms": []}));
    assert_eq!(ops.get("/v1/users/ada").assert_ok()["rooms"], json!([]));
    delete(&ops, "lobby").assert_error(404, "unknown_room", Some("/room"));
    let message = json!({"target_room": "lobby", "message": "four"});
    assert_has(&ada.ask(&message), &json!({"code": "not_member"}));

    let mut tablet = Client::connect(&ops.server, "ada", "?device=tablet&since=0");
    for id in &ids {
        let deleted = tablet.until("deleted");
        assert_has(
            &deleted,
            &json!({"id": id, "from_user": "bo", "target_room": "lobby"}),
        );
    }
    let left = tablet.until("room");
    assert_has(&left, &ended("ada"));
    assert_eq!(left["seq"], seq);

    put(&ops, "ada");
    assert_has(
        &ada.expect("room"),
        &json!({"event": "joined", "members": 1, "reason": null}),
    );
    say(&ops, "ada", "five");
    let history = ops.get("/v1/rooms/lobby/history").assert_ok();
    let messages = history["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["message"], "five");
    let off = Ops::start(&["--rooms", "off"]);
    delete(&off, "lobby").assert_error(404, "unknown_room", Some("/room"));
}

#[test]
fn each_member_of_a_large_room_gets_only_the_own_event() {
    let ops = Ops::start(&["--room-limit", "1010"]);
    let mut first = Client::fresh(&ops.server, "user0");
    let mut last = Client::fresh(&ops.server, "user1004");
    for n in 0..1005 {
        put(&ops, &format!("user{n}"));
    }
    for (client, user) in [(&mut first, "user0"), (&mut last, "user1004")] {
        while client.until("room")["user"] != user {}
    }
    let answer = delete(&ops, "lobby").assert_ok();
    assert_eq!(answer, json!({"members": 1005, "messages": 0}));
    for (client, user) in [(&mut first, "user0"), (&mut last, "user1004")] {
        assert_has(&until_left(client), &ended(user));
        client.assert_quiet();
    }
}

#[test]
fn a_deletion_goes_on_if_the_caller_disconnects() {
    let ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    put(&ops, "ada");
    for n in 0..600 {
        say(&ops, "ada", &n.to_string());
    }
    let request = request_deletion(&ops);
    until_left(&mut ada);
    drop(request);
    let line = ops.server.wait_for_log("room deleted by an API call");
    assert!(line.contains("600"), "{line}");
    ops.get("/v1/rooms/lobby")
        .assert_error(404, "unknown_room", Some("/room"));
}

/// Sends the request and reads no answer.
fn request_deletion(ops: &Ops) -> TcpStream {
    let mut request = TcpStream::connect(ops.address).expect("the port accepts");
    let address = ops.address;
    let head = format!("DELETE /v1/rooms/lobby HTTP/1.1\r\nHost: {address}\r\n\r\n");
    request
        .write_all(head.as_bytes())
        .expect("the request is sent");
    request
}

#[test]
fn a_deletion_goes_on_after_a_crash() {
    let mut ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    put(&ops, "ada");
    let messages = 1200;
    for n in 0..messages {
        say(&ops, "ada", &n.to_string());
    }
    let _request = request_deletion(&ops);
    // The first step is stored.
    assert_has(&until_left(&mut ada), &ended("ada"));
    ops.server.kill();
    ops.server.restart();
    let ops = Ops::of(ops.server);
    // At once, whether or not the rest is done.
    ops.get("/v1/rooms/lobby")
        .assert_error(404, "unknown_room", Some("/room"));
    let mut ada = Client::connect(&ops.server, "ada", "?since=0");
    for _ in 0..messages {
        ada.until("deleted");
    }
    assert_has(&ada.until("room"), &ended("ada"));
    let path = ops.server.store();
    eventually("no message has content", || {
        let connection = rusqlite::Connection::open(&path).expect("the store opens");
        let left = "SELECT (SELECT count(*) FROM room_deletions) + (SELECT count(*) FROM messages WHERE content IS NOT NULL)";
        connection.query_row(left, (), |row| row.get::<_, i64>(0)) == Ok(0)
    });
}
