//! Events about memberships and presence.

use rusqlite::Connection;
use serde_json::json;

use crate::receiver::{Answer, Receiver, listed, start, to_room};
use crate::support::{Client, assert_has, eventually, to};

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
fn changes_of_memberships_are_posted_after_retention_has_removed_their_entries() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let arguments = [
        "--webhook-allow-private",
        "--inbox-limit",
        "5",
        // The sweep that removes entries rests for no longer than messages may be kept.
        "--history-days",
        "0.00002",
        "--webhook-events",
        "room.joined,room.left",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    for kind in ["join", "leave", "join"] {
        ada.ask(&json!({"type": kind, "room": "lobby"}));
    }
    ops.request("DELETE /v1/rooms/lobby", &[], b"").assert_ok();
    let first = receiver.expect("room.joined");
    let flood = json!({"from_user": "eve", "target_user": "ada", "message": "flood"});
    for _ in 0..20 {
        ops.post("/v1/messages", &flood).assert_ok();
    }
    let database = Connection::open(ops.server.store()).expect("the store can be opened");
    eventually("the entries are removed", || {
        let sql = "SELECT count(*) FROM inbox WHERE conversation < 0";
        let entries: u32 = database
            .query_row(sql, (), |row| row.get(0))
            .expect("a number");
        entries == 0
    });
    drop(database);
    receiver.answer_with(|_| Answer::Status(200));
    let post = receiver.until(|post| post.id() != first.id());
    let mut data = vec![first.event["data"].clone(), post.event["data"].clone()];
    data.extend((0..2).map(|_| receiver.next().event["data"].clone()));
    for (change, (event, members)) in
        data.iter()
            .zip([("joined", 1), ("left", 0), ("joined", 1), ("left", 0)])
    {
        assert_has(
            change,
            &json!({"room": "lobby", "event": event, "user": "ada", "members": members}),
        );
    }
    assert_eq!(data[3]["reason"], "room_deleted");
    assert_has(&listed(&ops)[0], &json!({"dropped": 0}));
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
