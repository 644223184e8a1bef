//! `/v1/rooms/{room}/members/{user}`.

use serde_json::json;

use crate::helpers::{Ops, Response};
use crate::support::{Client, assert_has};

fn put(ops: &Ops, room: &str, user: &str) -> Response {
    ops.request(&format!("PUT /v1/rooms/{room}/members/{user}"), &[], b"")
}

fn delete(ops: &Ops, room: &str, user: &str) -> Response {
    ops.request(&format!("DELETE /v1/rooms/{room}/members/{user}"), &[], b"")
}

#[test]
fn a_back_end_manages_the_members_of_a_room() {
    let ops = Ops::start(&["--rooms", "managed", "--room-limit", "2"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut phone = Client::fresh(&ops.server, "ada");
    let join = json!({"type": "join", "room": "lobby"});
    assert_has(
        &ada.ask(&join),
        &json!({"code": "forbidden", "path": "/room"}),
    );
    let ack = put(&ops, "lobby", "ada").assert_ok();
    let expected = json!({"type": "ack", "room": "lobby", "seq": 1, "status": "stored", "duplicate": null, "id": null});
    assert_has(&ack, &expected);
    for client in [&mut ada, &mut phone] {
        let expected = json!({"room": "lobby", "event": "joined", "user": "ada", "seq": 1, "members": 1, "at": ack["sent_at"]});
        assert_has(&client.expect("room"), &expected);
    }
    let again = put(&ops, "lobby", "ada").assert_ok();
    assert_has(
        &again,
        &json!({"seq": 1, "duplicate": true, "sent_at": ack["sent_at"]}),
    );
    // A user who has never connected.
    put(&ops, "lobby", "bo").assert_ok();
    assert_has(&ada.expect("room"), &json!({"user": "bo", "members": 2}));
    put(&ops, "lobby", "cy").assert_error(409, "room_full", Some("/room"));
    let ack = delete(&ops, "lobby", "ada").assert_ok();
    assert_has(&ack, &json!({"room": "lobby", "seq": 3, "duplicate": null}));
    for client in [&mut ada, &mut phone] {
        let left = client.until("room");
        let left = if left["event"] == "joined" {
            client.until("room")
        } else {
            left
        };
        assert_has(
            &left,
            &json!({"event": "left", "user": "ada", "members": 1}),
        );
    }
    let again = delete(&ops, "lobby", "ada").assert_ok();
    assert_has(&again, &json!({"duplicate": true, "seq": null}));
    ada.assert_quiet();
    put(&ops, "a%20b", "bo").assert_error(400, "invalid_request", Some("/room"));
    put(&ops, "lobby", "b%2Fo").assert_error(400, "invalid_request", Some("/user"));
    put(&ops, "lobby", "bo?x=1").assert_error(400, "invalid_request", Some("/x"));
    let erased = format!("erased.{}", "0".repeat(32));
    put(&ops, "lobby", &erased).assert_error(403, "forbidden", Some("/user"));
    ops.get("/v1/rooms/lobby/members/ada")
        .assert_error(405, "method_not_allowed", None);
    let off = Ops::start(&["--rooms", "off"]);
    put(&off, "lobby", "ada").assert_error(404, "unknown_room", Some("/room"));
    delete(&off, "lobby", "ada").assert_error(404, "unknown_room", Some("/room"));
}

#[test]
fn a_removed_member_cannot_join_again() {
    let mut ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let join = json!({"type": "join", "room": "lobby"});
    assert_has(&ada.ask(&join), &json!({"type": "ack"}));
    delete(&ops, "lobby", "ada").assert_ok();
    assert_has(
        &ada.expect("room"),
        &json!({"event": "left", "user": "ada", "seq": 2}),
    );
    assert_has(
        &ada.ask(&join),
        &json!({"type": "error", "code": "forbidden", "path": "/room"}),
    );
    ops.server.kill();
    ops.server.restart();
    let ops = Ops::of(ops.server);
    // A client that reconnects does not undo the removal.
    for membership in ["", "&membership=session"] {
        let query = format!("?since=2&room=open&room=lobby{membership}");
        let mut ada = Client::connect(&ops.server, "ada", &query);
        assert_has(
            &ada.until("error"),
            &json!({"code": "forbidden", "path": "/room/1"}),
        );
    }
    let mut ada = Client::connect(&ops.server, "ada", "?since=2");
    ada.until("synced");
    assert_has(
        &put(&ops, "lobby", "ada").assert_ok(),
        &json!({"duplicate": null}),
    );
    assert_has(
        &ada.expect("room"),
        &json!({"room": "lobby", "event": "joined"}),
    );
    assert_has(
        &ada.ask(&json!({"type": "leave", "room": "lobby"})),
        &json!({"type": "ack"}),
    );
    assert_has(&ada.ask(&join), &json!({"type": "ack", "duplicate": null}));
    // Somebody who is not a member is not removed.
    delete(&ops, "lobby", "bo").assert_ok();
    let mut bo = Client::fresh(&ops.server, "bo");
    assert_has(&bo.ask(&join), &json!({"type": "ack"}));
}
