//! `POST /v1/messages` and `DELETE /v1/messages/{id}`.

use std::fs;

use serde_json::{Value, json};

use crate::helpers::Ops;
use crate::support::{Client, assert_has, eventually, make_contacts, to};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

fn send(ops: &Ops, body: &Value) -> Value {
    ops.post("/v1/messages", body).assert_ok()
}

#[test]
fn a_back_end_sends_in_the_name_of_a_user() {
    let ops = Ops::start(&["--user-bytes-per-day", "70"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    // More than the limits of a user allow.
    for n in 0..5 {
        let text = format!("message {n}");
        let body = json!({"from_user": "system", "target_user": "ada", "message": text});
        let ack = send(&ops, &body);
        let expected =
            json!({"type": "ack", "status": "stored", "seq": null, "ref": null, "duplicate": null});
        assert_has(&ack, &expected);
        let message = ada.expect("message");
        let expected = json!({
            "from_user": "system", "target_user": "ada", "message": text, "id": ack["id"],
            "sent_at": ack["sent_at"], "seq": n + 1
        });
        assert_has(&message, &expected);
    }
    // The author has no inbox: its first session finds nothing.
    let system = Client::fresh(&ops.server, "system");
    assert_eq!(system.welcome["seq"], 0);
    let conversations = ops.get("/v1/users/system/conversations").assert_ok();
    assert_eq!(conversations["items"][0]["target_user"], "ada");
}

#[test]
fn an_author_with_sessions_gets_the_message_in_all_of_them() {
    let ops = Ops::start(&[]);
    let mut bo = Client::fresh(&ops.server, "bo");
    let mut phone = Client::fresh(&ops.server, "bo");
    let mut ada = Client::fresh(&ops.server, "ada");
    let body = json!({"from_user": "bo", "target_user": "ada", "message": "hi", "id": ID});
    let ack = send(&ops, &body);
    assert_has(&ack, &json!({"seq": 1, "id": ID}));
    for client in [&mut bo, &mut phone, &mut ada] {
        assert_has(
            &client.expect("message"),
            &json!({"from_user": "bo", "seq": 1, "id": ID}),
        );
    }
    // Idempotent, together with frames.
    let again = send(&ops, &body);
    assert_has(
        &again,
        &json!({"seq": 1, "duplicate": true, "sent_at": ack["sent_at"]}),
    );
    let mut frame = to("ada", "hi");
    frame["id"] = json!(ID);
    assert_has(
        &bo.ask(&frame),
        &json!({"type": "ack", "seq": 1, "duplicate": true}),
    );
    let other = json!({"from_user": "bo", "target_user": "ada", "message": "ho", "id": ID});
    ops.post("/v1/messages", &other)
        .assert_error(409, "id_conflict", Some("/id"));
    for client in [&mut bo, &mut phone, &mut ada] {
        client.assert_quiet();
    }
}

#[test]
fn a_request_to_several_users_is_answered_in_its_order() {
    let ops = Ops::start(&[]);
    let mut bo = Client::fresh(&ops.server, "bo");
    assert_has(
        &bo.ask(&json!({"type": "block", "user": "system"})),
        &json!({"type": "ok"}),
    );
    let erased = format!("erased.{}", "0".repeat(32));
    let body = json!({
        "from_user": "system", "target_users": ["cy", "bo", "ada", erased, "system"], "message": "hi", "id": ID
    });
    let answer = send(&ops, &body);
    let acks = answer["acks"].as_array().expect("a list");
    let users: Vec<_> = acks.iter().map(|ack| ack["target_user"].clone()).collect();
    assert_eq!(Value::from(users), body["target_users"]);
    for stored in [0, 2] {
        assert_has(
            &acks[stored],
            &json!({"type": "ack", "id": ID, "seq": null, "status": "stored"}),
        );
    }
    // A message to oneself is an entry of its recipient.
    assert_has(&acks[4], &json!({"type": "ack", "seq": 1}));
    assert_has(
        &acks[1]["error"],
        &json!({"code": "blocked", "path": "/target_users/1"}),
    );
    assert_has(
        &acks[3]["error"],
        &json!({"code": "forbidden", "path": "/target_users/3"}),
    );
    let again = send(&ops, &body);
    assert_has(&again["acks"][0], &json!({"duplicate": true}));
    // The maximum number, with long content.
    let users: Vec<String> = (0..1000).map(|n| format!("{n:064}")).collect();
    let body = json!({"from_user": "system", "target_users": users, "message": "x".repeat(16_000)});
    let answer = send(&ops, &body);
    let acks = answer["acks"].as_array().expect("a list");
    assert_eq!(acks.len(), 1000);
    assert!(acks.iter().all(|ack| ack["status"] == "stored"));
    let last = Client::connect(&ops.server, &format!("{:064}", 999), "");
    assert_eq!(last.welcome["seq"], 1);
}

#[test]
fn requests_are_validated_like_frames() {
    let ops = Ops::start(&["--max-frame-bytes", "16384"]);
    let valid = || json!({"from_user": "a", "target_user": "b", "message": "c"});
    let with = |name: &str, value: Value| {
        let mut body = valid();
        body[name] = value;
        body
    };
    for (body, code, path) in [
        (json!([]), "invalid_request", ""),
        (json!({}), "invalid_request", "/from_user"),
        (
            with("from_user", json!("?")),
            "invalid_request",
            "/from_user",
        ),
        (
            with("from_user", Value::Null),
            "invalid_request",
            "/from_user",
        ),
        (
            with("target_room", json!("r")),
            "invalid_request",
            "/target_room",
        ),
        (
            with("target_users", json!(["x"])),
            "invalid_request",
            "/target_users",
        ),
        (with("ref", json!("r")), "invalid_request", "/ref"),
        (with("type", json!("message")), "invalid_request", "/type"),
        (with("message", json!("")), "invalid_request", "/message"),
        (
            with("message", json!({"type": "markdown", "text": 1})),
            "invalid_request",
            "/message/text",
        ),
        (
            with("message", json!({"type": "mood"})),
            "unknown_content_type",
            "/message/type",
        ),
        (
            with("message", json!({"type": "mood.set"})),
            "unknown_content_type",
            "/message/type",
        ),
        (with("id", json!("x")), "invalid_request", "/id"),
        (
            with("as_member", json!(false)),
            "invalid_request",
            "/as_member",
        ),
    ] {
        ops.post("/v1/messages", &body)
            .assert_error(400, code, Some(path));
    }
    let json = "Content-Type: application/json";
    ops.request("POST /v1/messages", &[json], b"{\"a\":1,\"a\":2}")
        .assert_error(400, "invalid_json", Some("/a"));
    ops.request("POST /v1/messages", &[], valid().to_string().as_bytes())
        .assert_error(415, "unsupported_media_type", None);
    let erased = format!("erased.{}", "0".repeat(32));
    for field in ["from_user", "target_user"] {
        ops.post("/v1/messages", &with(field, json!(erased)))
            .assert_error(403, "forbidden", Some(&format!("/{field}")));
    }
    ops.get("/v1/messages")
        .assert_error(405, "method_not_allowed", None);
    // Only a list of recipients may make the body larger than a frame.
    let long = "x".repeat(12_000);
    let large = json!({"from_user": "a", "target_user": "b", "message": {"type": "data", "name": "n", "data": [long, long]}});
    ops.post("/v1/messages", &large)
        .assert_error(413, "too_large", None);
    let users: Vec<String> = (0..1000).map(|n| format!("{n:030}")).collect();
    let many = json!({"from_user": "a", "target_users": users, "message": "c"});
    assert!(many.to_string().len() > 16_384);
    ops.post("/v1/messages", &many).assert_ok();
    let more =
        json!({"from_user": "a", "target_users": users, "message": "c", "id": " ".repeat(200_000)});
    ops.post("/v1/messages", &more)
        .assert_error(413, "too_large", None);
}

#[test]
fn content_of_an_application_is_validated() {
    let folder = std::sync::Arc::new(crate::support::Folder::new());
    let types = folder.0.join("types");
    fs::create_dir(&types).expect("a folder can be created");
    let schema = |most: u32| {
        let schema =
            json!({"type": "object", "required": ["n"], "properties": {"n": {"maximum": most}}});
        let file = types.join("order.sent.schema.json");
        fs::write(file, schema.to_string()).expect("the schema is written");
    };
    schema(10);
    let folder_name = types.to_str().expect("a path").to_owned();
    let ops = Ops::start_in(&folder, &["--content-types", &folder_name]);
    let body = |n: u32| {
        let message = json!({"type": "order.sent", "n": n});
        json!({"from_user": "a", "target_user": "b", "message": message, "id": ID})
    };
    send(&ops, &body(7));
    let rejected = ops.post("/v1/messages", &body(11));
    rejected.assert_error(400, "invalid_content", Some("/message/n"));
    assert!(rejected.json()["schema"].is_string(), "{rejected:?}");
    // What was stored before is acknowledged again, although it would be rejected now.
    schema(5);
    ops.server.signal("HUP");
    // The first line is that of the start.
    eventually("the types are loaded again", || {
        let log = ops.server.log();
        log.matches("content types loaded").count() == 2
    });
    assert_has(&send(&ops, &body(7)), &json!({"duplicate": true}));
    ops.post("/v1/messages", &body(8))
        .assert_error(400, "invalid_content", Some("/message/n"));
}

#[test]
fn a_room_accepts_its_members_or_anyone() {
    let ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let body = |from: &str, as_member: Option<bool>| {
        let mut body = json!({"from_user": from, "target_room": "lobby", "message": "hi"});
        if let Some(as_member) = as_member {
            body["as_member"] = json!(as_member);
        }
        body
    };
    ops.post("/v1/messages", &body("system", Some(false)))
        .assert_error(404, "unknown_room", Some("/target_room"));
    ada.ask(&json!({"type": "join", "room": "lobby"}));
    for as_member in [None, Some(true)] {
        ops.post("/v1/messages", &body("system", as_member))
            .assert_error(403, "not_member", Some("/target_room"));
    }
    assert_has(
        &send(&ops, &body("system", Some(false))),
        &json!({"seq": null}),
    );
    let message = ada.expect("message");
    assert_has(
        &message,
        &json!({"from_user": "system", "target_room": "lobby", "seq": 2}),
    );
    assert_has(&send(&ops, &body("ada", None)), &json!({"seq": 3}));
    assert_has(
        &ada.expect("message"),
        &json!({"from_user": "ada", "seq": 3}),
    );
    let off = Ops::start(&["--rooms", "off"]);
    off.post("/v1/messages", &body("system", Some(false)))
        .assert_error(404, "unknown_room", Some("/target_room"));
}

/// An ephemeral message.
fn now(from: &str, target: &str, to: &Value) -> Value {
    json!({"from_user": from, target: to, "message": "now", "ephemeral": true, "id": ID})
}

#[test]
fn ephemeral_messages_reach_live_sessions_only() {
    let ops = Ops::start(&[]);
    make_contacts(&ops.server, "ada", "bo");
    let connect = |device: &str| {
        let mut ada = Client::connect(&ops.server, "ada", &format!("?since=2&device={device}"));
        ada.until("synced");
        ada
    };
    let (mut ada, mut phone) = (connect("desk"), connect("phone"));
    let direct = |from: &str, to: &str| now(from, "target_user", &json!(to));
    eventually("the session of the other user has ended", || {
        send(&ops, &direct("ada", "bo"))["status"] == "dropped"
    });
    for (from, to, status) in [
        ("bo", "ada", "relayed"),
        ("stranger", "ada", "sent"),
        ("stranger", "nobody", "sent"),
        ("ada", "ada", "relayed"),
        ("nobody", "nobody", "dropped"),
    ] {
        let ack = send(&ops, &direct(from, to));
        let expected = json!({"type": "ack", "id": ID, "status": status, "seq": null});
        assert_has(&ack, &expected);
        if to == "ada" {
            let expected = json!({
                "from_user": from, "target_user": to, "message": "now", "ephemeral": true, "seq": null, "id": ID,
                "sent_at": ack["sent_at"]
            });
            for client in [&mut ada, &mut phone] {
                assert_has(&client.expect("message"), &expected);
            }
        }
    }
    ada.ask(&json!({"type": "block", "user": "cy"}));
    ops.post("/v1/messages", &direct("cy", "ada")).assert_error(
        403,
        "blocked",
        Some("/target_user"),
    );
    // Several users.
    let answer = send(&ops, &now("bo", "target_users", &json!(["dan", "ada"])));
    for (number, user, status) in [(0, "dan", "sent"), (1, "ada", "relayed")] {
        let expected = json!({"target_user": user, "status": status, "id": ID});
        assert_has(&answer["acks"][number], &expected);
    }
    let answer = send(&ops, &now("cy", "target_users", &json!(["dan", "ada"])));
    let refused = json!({"code": "blocked", "path": "/target_users/1"});
    assert_has(&answer["acks"][1]["error"], &refused);
    for client in [&mut ada, &mut phone] {
        assert_has(&client.expect("message"), &json!({"from_user": "bo"}));
        client.assert_quiet();
    }
    // An invisible user is not reached, as far as the ack tells.
    ada.ask(&json!({"type": "status", "status": "invisible"}));
    let ack = send(&ops, &direct("bo", "ada"));
    assert_has(&ack, &json!({"status": "dropped"}));
    ada.expect("message");
    // Nothing was stored, and nobody has become known.
    for (user, seq) in [("ada", 2), ("stranger", 0), ("nobody", 0)] {
        let query = format!("?since={seq}");
        let client = Client::connect(&ops.server, user, &query);
        assert_eq!(client.welcome["seq"], seq, "{user}");
    }
    for (field, value) in [("ephemeral", json!("yes")), ("ephemeral", Value::Null)] {
        let mut body = direct("bo", "ada");
        body[field] = value;
        ops.post("/v1/messages", &body)
            .assert_error(400, "invalid_request", Some("/ephemeral"));
    }
    // As a message that is stored.
    let mut stored = direct("bo", "ada");
    stored["ephemeral"] = json!(false);
    assert_has(&send(&ops, &stored), &json!({"status": "stored", "seq": 3}));
}

#[test]
fn ephemeral_messages_reach_the_members_of_a_room() {
    let ops = Ops::start(&[]);
    make_contacts(&ops.server, "ada", "bo");
    let to_room = |from: &str, as_member: Option<bool>| {
        let mut body = now(from, "target_room", &json!("lobby"));
        if let Some(as_member) = as_member {
            body["as_member"] = json!(as_member);
        }
        body
    };
    ops.post("/v1/messages", &to_room("system", Some(false)))
        .assert_error(404, "unknown_room", Some("/target_room"));
    let mut ada = Client::connect(&ops.server, "ada", "?since=2");
    ada.until("synced");
    ada.ask(&json!({"type": "join", "room": "lobby"}));
    for as_member in [None, Some(true)] {
        ops.post("/v1/messages", &to_room("bo", as_member))
            .assert_error(403, "not_member", Some("/target_room"));
    }
    // Who is not a member sees its members only if they are contacts.
    for (from, status) in [("bo", "relayed"), ("system", "sent")] {
        let ack = send(&ops, &to_room(from, Some(false)));
        let expected = json!({"type": "ack", "id": ID, "status": status, "seq": null});
        assert_has(&ack, &expected);
        let expected = json!({"target_room": "lobby", "from_user": from, "ephemeral": true, "seq": null, "id": ID});
        assert_has(&ada.expect("message"), &expected);
    }
    // No session of the author gets it.
    for as_member in [None, Some(false)] {
        let ack = send(&ops, &to_room("ada", as_member));
        assert_has(&ack, &json!({"status": "dropped"}));
    }
    let mut cy = Client::fresh(&ops.server, "cy");
    cy.ask(&json!({"type": "join", "room": "lobby"}));
    ada.expect("room");
    for as_member in [None, Some(false)] {
        let ack = send(&ops, &to_room("ada", as_member));
        assert_has(&ack, &json!({"status": "relayed"}));
        assert_has(&cy.expect("message"), &json!({"from_user": "ada"}));
    }
    ada.assert_quiet();
    assert_eq!(
        Client::connect(&ops.server, "cy", "?since=1").welcome["seq"],
        1
    );
    let off = Ops::start(&["--rooms", "off"]);
    off.post("/v1/messages", &to_room("system", Some(false)))
        .assert_error(404, "unknown_room", Some("/target_room"));
}

#[test]
fn a_moderator_deletes_a_message_in_the_name_of_its_author() {
    let ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut bo = Client::fresh(&ops.server, "bo");
    let id = ada.ask(&to("bo", "bad"))["id"].clone();
    bo.expect("message");
    bo.ask(&json!({"type": "block", "user": "ada"}));
    let id = id.as_str().expect("an id");
    let delete = |query: &str| ops.request(&format!("DELETE /v1/messages/{query}"), &[], b"");
    for (query, path) in [
        ("x?from_user=ada&target_user=bo".to_owned(), "/id"),
        (format!("{id}?target_user=bo"), "/from_user"),
        (format!("{id}?from_user=%3F&target_user=bo"), "/from_user"),
        (format!("{id}?from_user=ada"), "/target_user"),
        (
            format!("{id}?from_user=ada&target_user=bo&target_room=r"),
            "/target_room",
        ),
        (format!("{id}?from_user=ada&target_user=bo&x=1"), "/x"),
    ] {
        delete(&query).assert_error(400, "invalid_request", Some(path));
    }
    delete(&format!("{id}?from_user=bo&target_user=ada")).assert_error(
        403,
        "not_author",
        Some("/id"),
    );
    delete(&format!("{ID}?from_user=ada&target_user=bo")).assert_error(
        404,
        "unknown_message",
        Some("/id"),
    );
    delete(&format!("{id}?from_user=ada&target_room=nowhere")).assert_error(
        404,
        "unknown_message",
        Some("/id"),
    );
    let ack = delete(&format!("{id}?from_user=ada&target_user=bo")).assert_ok();
    assert_has(
        &ack,
        &json!({"type": "ack", "id": id, "seq": 2, "duplicate": null}),
    );
    for client in [&mut ada, &mut bo] {
        assert_has(
            &client.expect("deleted"),
            &json!({"id": id, "from_user": "ada", "seq": 2}),
        );
    }
    let again = delete(&format!("{id}?from_user=ada&target_user=bo")).assert_ok();
    assert_has(&again, &json!({"duplicate": true, "seq": 2}));
    ada.assert_quiet();
    // In a room that the author has left.
    for client in [&mut ada, &mut bo] {
        client.ask(&json!({"type": "join", "room": "lobby"}));
    }
    ada.expect("room");
    let id = bo.ask(&json!({"target_room": "lobby", "message": "worse"}))["id"].clone();
    ada.expect("message");
    bo.ask(&json!({"type": "leave", "room": "lobby"}));
    ada.expect("room");
    let id = id.as_str().expect("an id");
    let ack = delete(&format!("{id}?from_user=bo&target_room=lobby")).assert_ok();
    assert_has(&ack, &json!({"id": id, "seq": null}));
    assert_has(
        &ada.expect("deleted"),
        &json!({"id": id, "from_user": "bo", "target_room": "lobby"}),
    );
    bo.assert_quiet();
}
