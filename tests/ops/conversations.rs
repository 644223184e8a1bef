//! Conversations and history of a user.

use serde_json::json;

use crate::helpers::Ops;
use crate::support::{Client, make_contacts, to};

#[test]
fn a_user_is_answered_as_by_frames() {
    let ops = Ops::start(&[]);
    make_contacts(&ops.server, "8888", "6666");
    let mut client = Client::fresh(&ops.server, "8888");
    client.send(&json!({"type": "join", "room": "lobby"}));
    client.until("ack");
    client.send(&json!({"message": "in the room", "target_room": "lobby"}));
    let id = client.until("ack")["id"].clone();
    client.send(&to("6666", "last"));
    client.until("ack");
    for (path, frame) in [
        ("conversations", json!({"type": "conversations"})),
        (
            "conversations?limit=1",
            json!({"type": "conversations", "limit": 1}),
        ),
        (
            "history?target_user=6666",
            json!({"type": "history", "target_user": "6666"}),
        ),
        (
            "history?target_user=6666&limit=2",
            json!({"type": "history", "target_user": "6666", "limit": 2}),
        ),
        (
            "history?target_room=lobby",
            json!({"type": "history", "target_room": "lobby"}),
        ),
        (
            &format!(
                "history?target_room=lobby&before={}",
                id.as_str().expect("an id")
            ),
            json!({"type": "history", "target_room": "lobby", "before": id}),
        ),
    ] {
        client.send(&frame);
        let expected = client.until(frame["type"].as_str().expect("a type"));
        let answer = ops.get(&format!("/v1/users/8888/{path}")).assert_ok();
        assert_eq!(answer, expected, "{path}");
    }
    let first = ops.get("/v1/users/8888/conversations?limit=1").assert_ok();
    let cursor = first["cursor"].as_str().expect("a cursor");
    let next = ops.get(&format!("/v1/users/8888/conversations?cursor={cursor}"));
    assert_eq!(next.assert_ok()["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn invalid_parameters_are_named() {
    let ops = Ops::start(&[]);
    let user = "/v1/users/8888";
    for (path, at) in [
        ("/v1/users/a%20b/conversations", "/user"),
        (
            &format!("/v1/users/{}/conversations", "a".repeat(65)),
            "/user",
        ),
        (&format!("{user}/conversations?limit=0"), "/limit"),
        (&format!("{user}/conversations?limit=201"), "/limit"),
        (&format!("{user}/conversations?limit=%2B1"), "/limit"),
        (&format!("{user}/conversations?limit="), "/limit"),
        (&format!("{user}/conversations?limit=1&limit=1"), "/limit"),
        (&format!("{user}/conversations?limit=%ff"), "/limit"),
        (&format!("{user}/conversations?token=x"), "/token"),
        (&format!("{user}/conversations?x"), "/x"),
        (&format!("{user}/history"), "/target_user"),
        (
            &format!("{user}/history?target_user=a&target_room=b"),
            "/target_room",
        ),
        (&format!("{user}/history?target_user=a%2Fb"), "/target_user"),
        (&format!("{user}/history?target_user=a&before=x"), "/before"),
        (
            &format!(
                "{user}/history?target_user=a&before={0}&after={0}",
                "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
            ),
            "/after",
        ),
    ] {
        let response = ops.get(path);
        response.assert_error(400, "invalid_request", Some(at));
    }
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    ops.get(&format!("{user}/history?target_user=a&after={id}"))
        .assert_error(404, "unknown_message", Some("/after"));
    ops.get(&format!("{user}/conversations?cursor={id}"))
        .assert_error(404, "unknown_message", Some("/cursor"));
    ops.get(&format!("{user}/conversations?cursor=x"))
        .assert_error(404, "unknown_message", Some("/cursor"));
    ops.get(&format!("{user}/history?target_room=lobby"))
        .assert_error(403, "not_member", Some("/target_room"));
    let off = Ops::start(&["--rooms", "off"]);
    off.get(&format!("{user}/history?target_room=lobby"))
        .assert_error(404, "unknown_room", Some("/target_room"));
}
