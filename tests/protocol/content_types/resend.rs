//! Messages that were stored before their content type was changed or removed.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::reload::reload;
use super::{ID, TOLERANT, TYPES, message, order, order_with, start, write_schema};
use crate::support::{Client, Server, assert_has, with};

fn schema_file(server: &Server) -> PathBuf {
    server
        .folder()
        .join(TYPES)
        .join("order.updated.schema.json")
}

#[test]
fn a_stored_message_is_a_duplicate_after_its_type_was_removed_or_changed() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let frame = with(
        message(&order_with(json!({}))),
        &json!({"id": ID, "ref": "r"}),
    );
    a.send(&frame);
    let ack = a.expect("ack");
    let changed = with(
        frame.clone(),
        &json!({"message": order_with(json!({"state": "shipped"}))}),
    );
    let edit = with(changed.clone(), &json!({"type": "edit"}));
    a.send(&edit);
    let edited = a.expect("ack");
    for (removed, code) in [(false, "invalid_content"), (true, "unknown_content_type")] {
        if removed {
            fs::remove_file(schema_file(&server)).expect("the file can be removed");
        } else {
            write_schema(
                server.folder(),
                "order.updated",
                &json!({"required": ["customer"]}),
            );
        }
        reload(&server);
        for (frame, first) in [(&frame, &ack), (&edit, &edited)] {
            a.send(frame);
            let mut expected = first.clone();
            expected["duplicate"] = json!(true);
            assert_eq!(a.expect("ack"), expected);
        }
        // Other content, another message, another conversation, and an earlier edit.
        for fields in [
            json!({"message": changed["message"]}),
            json!({"id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c"}),
            json!({"target_user": "c"}),
            json!({"type": "edit"}),
        ] {
            a.send(&with(frame.clone(), &fields));
            assert_has(&a.expect("error"), &json!({"code": code, "ref": "r"}));
        }
    }
    a.assert_quiet();
    let again = Client::connect(&server, "a", "?since=0");
    assert_eq!(again.welcome["seq"], edited["seq"]);
    again.close();
    // Nothing was stored for the other recipient.
    assert_eq!(Client::connect(&server, "c", "").welcome["seq"], 0);
}

#[test]
fn a_message_in_a_room_is_a_duplicate_after_leaving_and_after_its_type_was_removed() {
    for history in ["all", "joined"] {
        let arguments = [TOLERANT, &["--room-history", history]].concat();
        let server = start(&[("order.updated", order())], &arguments);
        let mut clients = ["a", "b"].map(|user| Client::fresh(&server, user));
        for client in &mut clients {
            client.send(&json!({"type": "join", "room": "lobby"}));
            client.until("ack");
        }
        let [a, b] = &mut clients;
        a.expect("room");
        let in_room = |content: &Value| json!({"message": content, "target_room": "lobby"});
        let frame = with(
            in_room(&order_with(json!({}))),
            &json!({"id": ID, "ref": "r"}),
        );
        let mut duplicate = a.ask(&frame);
        duplicate["duplicate"] = json!(true);
        b.expect("message");
        fs::remove_file(schema_file(&server)).expect("the file can be removed");
        reload(&server);
        for change in ["", "leave", "join"] {
            if !change.is_empty() {
                let ack = a.ask(&json!({"type": change, "room": "lobby"}));
                assert_has(&ack, &json!({"type": "ack", "duplicate": null}));
                b.expect("room");
            }
            assert_eq!(a.ask(&frame), duplicate, "{history} {change}");
            // Other content, another message, another room, and a message of another user.
            let others = [
                json!({"message": order_with(json!({"state": "shipped"}))}),
                json!({"id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c"}),
                json!({"target_room": "hall"}),
            ];
            for fields in others {
                let error = a.ask(&with(frame.clone(), &fields));
                assert_has(&error, &json!({"code": "unknown_content_type", "ref": "r"}));
            }
            let error = b.ask(&frame);
            assert_has(&error, &json!({"code": "unknown_content_type", "ref": "r"}));
        }
        for client in &mut clients {
            client.assert_quiet();
        }
    }
}

#[test]
fn a_repetition_in_the_same_batch_is_recognized() {
    let server = start(&[("order.updated", json!({"maxProperties": 3}))], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let valid = with(message(&order_with(json!({}))), &json!({"id": ID}));
    let invalid = with(message(&order_with(json!({"x": 1}))), &json!({"id": ID}));
    for _ in 0..20 {
        a.send(&valid);
        a.send(&invalid);
    }
    for n in 0..20 {
        let ack = a.expect("ack");
        assert_eq!(ack.get("duplicate").is_some(), n > 0, "{ack}");
        a.expect("error");
    }
}

#[test]
fn invalid_content_counts_as_an_invalid_frame() {
    let server = start(&[("order.updated", order())], &["--content-types", TYPES]);
    for fields in [
        json!({}),
        json!({"id": ID}),
        json!({"id": ID, "type": "edit"}),
    ] {
        let fields = match fields.get("id") {
            None if fields.get("type").is_some() => continue,
            _ => fields,
        };
        let mut a = Client::fresh(&server, "a");
        let frame = with(message(&json!({"type": "order.updated"})), &fields);
        for _ in 0..21 {
            a.send(&frame);
            assert_has(&a.expect("error"), &json!({"code": "invalid_content"}));
        }
        let (goodbye, _) = a.goodbye();
        assert_eq!(goodbye["code"], 1008, "{goodbye}");
    }
}

#[test]
fn repetitions_do_not_count_as_invalid_frames() {
    let server = start(&[("order.updated", order())], &["--content-types", TYPES]);
    let mut a = Client::fresh(&server, "a");
    let frame = with(message(&order_with(json!({}))), &json!({"id": ID}));
    a.send(&frame);
    a.expect("ack");
    fs::remove_file(schema_file(&server)).expect("the file can be removed");
    reload(&server);
    for _ in 0..30 {
        a.send(&frame);
        assert_eq!(a.expect("ack")["duplicate"], true);
    }
    a.assert_quiet();
}

#[test]
fn messages_of_a_removed_type_are_delivered() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let content = order_with(json!({}));
    a.send(&message(&content));
    a.expect("ack");
    fs::remove_file(schema_file(&server)).expect("the file can be removed");
    reload(&server);
    server.wait_for_log("a server does not start with an empty folder");
    let mut b = Client::connect(&server, "b", "?since=0");
    assert_eq!(b.expect("message")["message"], content);
    b.expect("synced");
    let history = b.ask(&json!({"type": "history", "target_user": "a"}));
    assert_eq!(history["messages"][0]["message"], content);
    let list = b.ask(&json!({"type": "conversations"}));
    assert_eq!(list["items"][0]["last"]["message"], content);
}
