//! Events about memberships and presence.

use serde_json::json;

use crate::receiver::{Receiver, start, to_room};
use crate::support::{Client, assert_has, to};

#[test]
fn changes_of_memberships_are_posted_in_the_order_of_the_room() {
    let receiver = Receiver::start();
    let arguments = [
        "--webhook-allow-private",
        "--small-room",
        "2",
        "--webhook-events",
        "room.joined,room.left,message.created",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut expected = Vec::new();
    let mut joins = Vec::new();
    for round in 0..5 {
        // Without a pause, so that messages are still in the log of pending ones.
        for frame in [
            json!({"type": "join", "room": "lobby"}),
            to_room("lobby", &format!("a{round}")),
            to_room("lobby", &format!("b{round}")),
            json!({"type": "leave", "room": "lobby"}),
        ] {
            ada.send(&frame);
        }
        let ack = ada.until("ack");
        joins.push(ack["sent_at"].clone());
        for _ in 0..3 {
            ada.until("ack");
        }
        let texts = [format!("a{round}"), format!("b{round}")];
        expected.extend(
            ["joined".to_owned()]
                .into_iter()
                .chain(texts)
                .chain(["left".to_owned()]),
        );
    }
    let mut found = Vec::new();
    for _ in 0..expected.len() {
        let post = receiver.next();
        post.assert_well_formed();
        let data = &post.event["data"];
        let kind = post.event["type"].as_str().expect("a type");
        if kind == "message.created" {
            found.push(post.text().to_owned());
            continue;
        }
        let event = kind.strip_prefix("room.").expect("an event of a room");
        let members = i32::from(event == "joined");
        let at = &post.event["timestamp"];
        assert_has(
            data,
            &json!({"room": "lobby", "event": event, "user": "ada", "members": members, "at": at}),
        );
        if event == "joined" {
            assert_eq!(data["at"], joins[found.len() / 4]);
        }
        found.push(event.to_owned());
    }
    assert_eq!(found, expected);
    // Also in a room that is not small, and on behalf of a key.
    for (n, user) in ["ada", "bo", "cy"].iter().enumerate() {
        let path = format!("PUT /v1/rooms/hall/members/{user}");
        ops.request(&path, &[], b"").assert_ok();
        let post = receiver.expect("room.joined");
        assert_has(
            &post.event["data"],
            &json!({"room": "hall", "user": user, "members": n + 1}),
        );
    }
    ops.request("DELETE /v1/rooms/hall/members/bo", &[], b"")
        .assert_ok();
    let post = receiver.expect("room.left");
    assert_has(
        &post.event["data"],
        &json!({"room": "hall", "event": "left", "user": "bo", "members": 2}),
    );
    // All members leave a room that is deleted.
    ops.request("DELETE /v1/rooms/hall", &[], b"").assert_ok();
    let mut users = Vec::new();
    for _ in 0..2 {
        let post = receiver.expect("room.left");
        assert_has(
            &post.event["data"],
            &json!({"room": "hall", "event": "left", "members": 0, "reason": "room_deleted"}),
        );
        users.push(post.event["data"]["user"].clone());
    }
    users.sort_by_key(ToString::to_string);
    assert_eq!(users, ["ada", "cy"]);
}

#[test]
fn users_come_and_go_as_contacts_see_it() {
    let receiver = Receiver::start();
    let arguments = [
        "--webhook-allow-private",
        "--presence-grace-seconds",
        "1",
        "--webhook-events",
        "user.online,user.offline",
    ];
    let ops = start(&receiver.url(), &arguments);
    let user = |post: &crate::receiver::Post| {
        post.assert_well_formed();
        let kind = post.event["type"].as_str().expect("a type").to_owned();
        (kind, post.event["data"].clone())
    };
    let ada = Client::fresh(&ops.server, "ada");
    let online = |user: &str| {
        (
            "user.online".to_owned(),
            json!({"user": user, "status": "online"}),
        )
    };
    assert_eq!(user(&receiver.next()), online("ada"));
    // A second session, and a new one within the grace, change nothing.
    let second = Client::fresh(&ops.server, "ada");
    second.close();
    ada.close();
    let mut ada = Client::fresh(&ops.server, "ada");
    let bo = Client::fresh(&ops.server, "bo");
    assert_eq!(user(&receiver.next()), online("bo"));
    // Invisible looks like the end of the last session.
    ada.send(&json!({"type": "status", "status": "invisible"}));
    ada.until("ok");
    let (kind, data) = user(&receiver.next());
    assert_eq!(kind, "user.offline");
    assert_has(&data, &json!({"user": "ada", "status": "offline"}));
    assert!(data["last_seen"].is_string(), "{data}");
    ada.send(&json!({"type": "status", "status": "busy"}));
    ada.until("ok");
    let (kind, data) = user(&receiver.next());
    assert_eq!(
        (kind.as_str(), data),
        ("user.online", json!({"user": "ada", "status": "busy"}))
    );
    bo.close();
    let (kind, data) = user(&receiver.next());
    assert_eq!(
        (kind.as_str(), &data["user"]),
        ("user.offline", &json!("bo"))
    );
}

#[test]
fn with_presence_off_nobody_comes_online() {
    let receiver = Receiver::start();
    let arguments = [
        "--webhook-allow-private",
        "--presence",
        "off",
        "--webhook-events",
        "user.online,message.created",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "hello"));
    receiver.expect("message.created");
}
