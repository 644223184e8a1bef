//! `/v1/rooms`.

use serde_json::{Value, json};

use crate::helpers::Ops;
use crate::support::{Client, assert_has};

fn put(ops: &Ops, room: &str, user: &str) -> Value {
    ops.request(&format!("PUT /v1/rooms/{room}/members/{user}"), &[], b"")
        .assert_ok()
}

#[test]
fn all_rooms_are_listed_in_parts() {
    let ops = Ops::start(&[]);
    assert_eq!(ops.get("/v1/rooms").assert_ok(), json!({"rooms": []}));
    for (room, user) in [("b", "ada"), ("a", "ada"), ("c", "ada"), ("b", "bo")] {
        put(&ops, room, user);
    }
    // A room without members and messages does not exist, although an inbox has entries about it.
    put(&ops, "empty", "ada");
    ops.request("DELETE /v1/rooms/empty/members/ada", &[], b"")
        .assert_ok();
    let first = ops.get("/v1/rooms?limit=2").assert_ok();
    let expected = json!([{"room": "a", "members": 1}, {"room": "b", "members": 2}]);
    assert_eq!(first["rooms"], expected);
    let cursor = first["cursor"].as_str().expect("a cursor");
    let rest = ops
        .get(&format!("/v1/rooms?limit=2&cursor={cursor}"))
        .assert_ok();
    assert_eq!(rest, json!({"rooms": [{"room": "c", "members": 1}]}));
    ops.get("/v1/rooms?cursor=a%20b")
        .assert_error(404, "unknown_message", Some("/cursor"));
    ops.get("/v1/rooms?limit=1001")
        .assert_error(400, "invalid_request", Some("/limit"));
}

#[test]
fn the_members_of_a_room_are_listed_in_parts() {
    let ops = Ops::start(&[]);
    let joined = ["cy", "ada", "bo"].map(|user| put(&ops, "lobby", user)["sent_at"].clone());
    let first = ops.get("/v1/rooms/lobby?limit=2").assert_ok();
    let cursor = first["cursor"].as_str().expect("a cursor");
    assert_eq!(
        first,
        json!({
            "room": "lobby",
            "users": [{"user": "ada", "joined_at": joined[1]}, {"user": "bo", "joined_at": joined[2]}],
            "total": 3,
            "cursor": cursor
        })
    );
    let rest = ops
        .get(&format!("/v1/rooms/lobby?cursor={cursor}"))
        .assert_ok();
    let last = json!([{"user": "cy", "joined_at": joined[0]}]);
    assert_eq!(rest, json!({"room": "lobby", "users": last, "total": 3}));
    // The cursor of a member is another one.
    let mut ada = Client::connect(&ops.server, "ada", "");
    ada.until("synced");
    let answer = ada.ask(&json!({"type": "members", "room": "lobby", "limit": 2}));
    assert_ne!(answer["cursor"], cursor);
    for cursor in [answer["cursor"].as_str().expect("a cursor"), "x"] {
        ops.get(&format!("/v1/rooms/lobby?cursor={cursor}"))
            .assert_error(404, "unknown_message", Some("/cursor"));
    }
    ops.get("/v1/rooms/other?cursor=x")
        .assert_error(404, "unknown_room", Some("/room"));
    ops.get("/v1/rooms/a%20b")
        .assert_error(400, "invalid_request", Some("/room"));
}

#[test]
fn the_history_of_a_room_does_not_depend_on_its_members() {
    let ops = Ops::start(&["--room-history", "joined"]);
    put(&ops, "lobby", "ada");
    let ids = [1, 2, 3].map(|n| {
        let body = json!({"from_user": "ada", "target_room": "lobby", "message": n.to_string()});
        ops.post("/v1/messages", &body).assert_ok()["id"].clone()
    });
    ops.request("DELETE /v1/rooms/lobby/members/ada", &[], b"")
        .assert_ok();
    let texts = |answer: &Value| {
        let messages = answer["messages"].as_array().expect("messages");
        let texts: Vec<_> = messages.iter().map(|m| m["message"].clone()).collect();
        Value::from(texts)
    };
    let all = ops.get("/v1/rooms/lobby/history").assert_ok();
    assert_has(
        &all,
        &json!({"type": "history", "target_room": "lobby", "more": false}),
    );
    assert_eq!(texts(&all), json!(["1", "2", "3"]));
    let [first, _, last] = ids.each_ref().map(|id| id.as_str().expect("an id"));
    let before = ops
        .get(&format!("/v1/rooms/lobby/history?before={last}&limit=1"))
        .assert_ok();
    assert_eq!(texts(&before), json!(["2"]));
    assert_eq!(before["more"], true);
    let after = ops
        .get(&format!("/v1/rooms/lobby/history?after={first}"))
        .assert_ok();
    assert_eq!(texts(&after), json!(["2", "3"]));
    let unknown = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    ops.get(&format!("/v1/rooms/lobby/history?after={unknown}"))
        .assert_error(404, "unknown_message", Some("/after"));
    ops.get("/v1/rooms/other/history")
        .assert_error(404, "unknown_room", Some("/room"));
    // The room exists while it has messages.
    let listed = ops.get("/v1/rooms").assert_ok();
    assert_eq!(listed["rooms"], json!([{"room": "lobby", "members": 0}]));
}

#[test]
fn without_rooms_there_are_none() {
    let ops = Ops::start(&["--rooms", "off"]);
    assert_eq!(ops.get("/v1/rooms").assert_ok(), json!({"rooms": []}));
    for path in ["/v1/rooms/lobby", "/v1/rooms/lobby/history"] {
        ops.get(path)
            .assert_error(404, "unknown_room", Some("/room"));
    }
}
