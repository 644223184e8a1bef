//! Messages, changes and receipts in rooms.

use serde_json::{Value, json};

use crate::helpers::{ID, about_in, assert_error, connect_members, join, leave, open, to_room};
use crate::support::{Client, assert_has, to, with};

#[test]
fn a_message_reaches_all_members_and_their_devices() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let mut laptop = Client::connect(&server, "a", "?device=laptop&since=3");
    laptop.expect("synced");
    let message = with(
        to_room("lobby", "hello"),
        &json!({"id": ID, "reply_to": ID, "ref": "m"}),
    );
    let ack = clients[0].ask(&message);
    assert_has(
        &ack,
        &json!({
            "type": "ack", "id": ID, "seq": 4, "status": "stored", "ref": "m", "room": null,
            "duplicate": null
        }),
    );
    // `b` has one event less in the inbox, `c` two.
    let (a, others) = clients.split_first_mut().expect("a member");
    let receivers = [&mut laptop].into_iter().chain(others);
    for (client, seq) in receivers.zip([4, 3, 2]) {
        let received = client.expect("message");
        let expected = json!({
            "type": "message", "message": "hello", "from_user": "a", "target_room": "lobby",
            "id": ID, "reply_to": ID, "seq": seq, "sent_at": ack["sent_at"]
        });
        assert_eq!(received, expected);
    }
    let again = a.ask(&message);
    assert_eq!(again, with(ack, &json!({"duplicate": true})));
    let conflict = a.ask(&with(message.clone(), &json!({"message": "other"})));
    assert_error(&conflict, "id_conflict", "/id");
    let conflict = clients[1].ask(&message);
    assert_error(&conflict, "id_conflict", "/id");
    // The room is a conversation of its own: a direct message may have the same id.
    let direct = clients[1].ask(&with(to("c", "hi"), &json!({"id": ID})));
    assert_eq!(direct["status"], "stored");
}

#[test]
fn a_message_alone_in_a_room_is_one_entry() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    assert_eq!(a.ask(&to_room("lobby", "hello?"))["seq"], 2);
    a.assert_quiet();
}

#[test]
fn changes_reach_all_members() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let id = clients[0].ask(&to_room("lobby", "helo"))["id"].clone();
    for client in &mut clients[1..] {
        client.expect("message");
    }
    let edit = with(about_in("edit", "lobby", &id), &json!({"message": "hello"}));
    for client in &mut clients[1..] {
        assert_error(&client.ask(&edit), "not_author", "/id");
        assert_error(
            &client.ask(&about_in("delete", "lobby", &id)),
            "not_author",
            "/id",
        );
    }
    assert_eq!(clients[0].ask(&edit)["type"], "ack");
    for client in &mut clients[1..] {
        assert_has(
            &client.expect("edited"),
            &json!({"message": "hello", "from_user": "a", "target_room": "lobby", "id": id}),
        );
    }
    let react = with(about_in("react", "lobby", &id), &json!({"emoji": "+"}));
    assert_has(&clients[2].ask(&react), &json!({"type": "ack", "id": id}));
    for client in &mut clients[..2] {
        assert_has(
            &client.expect("reacted"),
            &json!({"from_user": "c", "target_room": "lobby", "id": id, "emoji": "+"}),
        );
    }
    assert_has(
        &clients[0].ask(&about_in("delete", "lobby", &id)),
        &json!({"type": "ack", "duplicate": null}),
    );
    for client in &mut clients[1..] {
        assert_has(
            &client.expect("deleted"),
            &json!({"from_user": "a", "target_room": "lobby", "id": id}),
        );
    }
    assert_error(&clients[1].ask(&react), "unknown_message", "/id");
    assert_has(
        &clients[0].ask(&about_in("delete", "lobby", &id)),
        &json!({"duplicate": true}),
    );
}

#[test]
fn messages_of_a_room_and_of_a_direct_conversation_are_apart() {
    let server = open(&[]);
    // A room may have the name of a user.
    let mut clients = connect_members(&server, "b", &["a", "b"]);
    let in_room = clients[0].ask(&to_room("b", "to the room"))["id"].clone();
    assert_eq!(clients[1].expect("message")["target_room"], "b");
    let direct = clients[0].ask(&to("b", "to the user"))["id"].clone();
    assert_eq!(clients[1].expect("message")["target_user"], "b");
    let delete = |target: &str, id: &Value| json!({"type": "delete", target: "b", "id": id});
    for (target, id) in [("target_user", &in_room), ("target_room", &direct)] {
        assert_error(
            &clients[0].ask(&delete(target, id)),
            "unknown_message",
            "/id",
        );
    }
    for (target, text) in [
        ("target_user", "to the user"),
        ("target_room", "to the room"),
    ] {
        let history = clients[0].ask(&json!({"type": "history", target: "b"}));
        let messages = history["messages"].as_array().expect("a list");
        assert_eq!(messages.len(), 1, "{history}");
        assert_eq!(messages[0]["message"], text);
    }
}

#[test]
fn blocks_do_not_apply_in_rooms() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let block = json!({"type": "block", "user": "b"});
    assert_eq!(clients[0].ask(&block)["type"], "ok");
    assert_eq!(clients[1].ask(&to("a", "direct"))["code"], "blocked");
    let id = clients[1].ask(&to_room("lobby", "hello"))["id"].clone();
    assert_eq!(clients[0].expect("message")["message"], "hello");
    clients[0].send(&about_in("read", "lobby", &id));
    assert_has(
        &clients[1].receipt(),
        &json!({"kind": "read", "by_user": "a", "target_room": "lobby", "id": id}),
    );
    clients[1].send(&json!({"type": "typing", "target_room": "lobby"}));
    assert_eq!(clients[0].expect("typing")["from_user"], "b");
    let ephemeral = with(to_room("lobby", "psst"), &json!({"ephemeral": true}));
    // It is forwarded, and the ack does not tell who is online.
    assert_eq!(clients[1].ask(&ephemeral)["status"], "sent");
    assert_eq!(clients[0].expect("message")["ephemeral"], true);
}

#[test]
fn read_receipts_reach_the_members_of_a_small_room() {
    let server = open(&["--small-room", "3"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let mut phone = Client::connect(&server, "b", "?device=phone&ack=manual&since=2");
    phone.until("synced");
    let ids: Vec<Value> = ["1", "2"]
        .map(|text| clients[0].ask(&to_room("lobby", text))["id"].clone())
        .into();
    for client in clients[1..].iter_mut().chain([&mut phone]) {
        client.expect("message");
        client.expect("message");
    }
    // `received` marks are not announced in rooms.
    clients[1].send(&json!({"type": "received", "seq": 4}));
    let read = about_in("read", "lobby", &ids[1]);
    clients[1].send(&read);
    let (others, receivers) = (&mut clients, [0, 2]);
    for n in receivers {
        assert_has(
            &others[n].receipt(),
            &json!({"kind": "read", "by_user": "b", "target_room": "lobby", "id": ids[1]}),
        );
    }
    assert_has(&phone.receipt(), &json!({"by_user": "b", "id": ids[1]}));
    // A mark does not move back, and a repeated one is not announced.
    clients[1].send(&about_in("read", "lobby", &ids[0]));
    clients[1].send(&read);
    assert_error(
        &clients[1].ask(&about_in("read", "lobby", &json!(ID))),
        "unknown_message",
        "/id",
    );
    for client in clients.iter_mut().chain([&mut phone]) {
        client.assert_quiet();
        assert!(client.receipts().is_empty());
    }
    // In a larger room only the user's own devices get receipts.
    let mut d = Client::fresh(&server, "d");
    d.ask(&join("lobby"));
    let id = d.ask(&to_room("lobby", "3"))["id"].clone();
    for client in clients.iter_mut().chain([&mut phone]) {
        client.expect("message");
    }
    clients[1].send(&about_in("read", "lobby", &id));
    assert_has(&phone.receipt(), &json!({"by_user": "b", "id": id}));
    for client in [&mut clients[0], &mut d] {
        client.assert_quiet();
        assert!(client.receipts().is_empty());
    }
}

#[test]
fn leaving_removes_the_read_mark() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let id = clients[0].ask(&to_room("lobby", "1"))["id"].clone();
    clients[1].expect("message");
    let mark = |client: &mut Client| {
        let answer = client.ask(&json!({"type": "conversations"}));
        answer["items"][0].get("my_read").cloned()
    };
    clients[1].send(&about_in("read", "lobby", &id));
    clients[0].receipt();
    assert_eq!(mark(&mut clients[1]), Some(id));
    clients[1].ask(&leave("lobby"));
    clients[1].ask(&join("lobby"));
    assert_eq!(mark(&mut clients[1]), None);
}
