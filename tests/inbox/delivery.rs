//! Messages between users: delivery to every session, idempotent sends, ephemeral frames (PROTOCOL section 5).

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Server, burst, make_contacts, to};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

#[test]
fn two_users_exchange_messages() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "8888");
    let mut b = Client::fresh(&server, "6666");
    let ack = a.ask(&json!({"message": "hello", "target_user": "6666", "ref": "r1"}));
    assert_eq!(
        (&ack["type"], &ack["status"]),
        (&json!("ack"), &json!("stored"))
    );
    assert_eq!((&ack["seq"], &ack["ref"]), (&json!(1), &json!("r1")));
    let message = b.expect("message");
    assert_eq!(message["message"], "hello");
    assert_eq!(
        (&message["from_user"], &message["target_user"]),
        (&json!("8888"), &json!("6666"))
    );
    assert_eq!((&message["id"], &message["seq"]), (&ack["id"], &json!(1)));
    assert_eq!(message["sent_at"], ack["sent_at"]);
    assert_eq!(message.get("ephemeral"), None);
    b.ask(&to("8888", "and you"));
    let answer = a.expect("message");
    assert_eq!(
        (&answer["message"], &answer["seq"]),
        (&json!("and you"), &json!(2))
    );
}

#[test]
fn delivered_content_equals_the_sent_content() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = r#"{ "type":"data", "name":"n", "data":{"b":1.0,"a":[1e2,"\u00e9",52.520006599999998,18446744073709551617]} }"#;
    a.send_text(&format!(r#"{{"message":{content},"target_user":"b"}}"#));
    a.expect("ack");
    let Ok(Message::Text(text)) = b.next_message() else {
        panic!("expected a text message");
    };
    assert!(text.contains(content), "{text}");
    let mut later = Client::connect(&server, "b", "?since=0");
    let Ok(Message::Text(text)) = later.next_message() else {
        panic!("expected a text message");
    };
    assert!(text.contains(content), "{text}");
}

#[test]
fn every_session_of_both_users_receives_the_entry_in_order() {
    let server = Server::start(&[]);
    let mut sender = Client::fresh(&server, "a");
    let mut twin = Client::connect(&server, "a", "?device=phone");
    twin.expect("synced");
    let mut others: Vec<_> = (0..3).map(|_| Client::fresh(&server, "b")).collect();
    for n in 1..=20 {
        sender.send(&json!({"message": n.to_string(), "target_user": "b", "ref": n.to_string()}));
    }
    for n in 1..=20 {
        let ack = sender.expect("ack");
        assert_eq!(
            (&ack["seq"], &ack["ref"]),
            (&json!(n), &json!(n.to_string()))
        );
        for client in others.iter_mut().chain([&mut twin]) {
            let message = client.expect("message");
            assert_eq!(message["seq"], n);
            assert_eq!(message["message"], n.to_string());
            assert_eq!(
                (&message["from_user"], &message["target_user"]),
                (&json!("a"), &json!("b"))
            );
        }
    }
    sender.assert_quiet();
    twin.assert_quiet();
}

#[test]
fn a_message_to_oneself_is_one_entry_with_ack_and_message() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut twin = Client::fresh(&server, "a");
    let ack = a.ask(&json!({"message": "note", "target_user": "a", "ref": "x"}));
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["ref"]),
        (&json!("ack"), &json!(1), &json!("x"))
    );
    let message = a.expect("message");
    assert_eq!((&message["seq"], &message["id"]), (&json!(1), &ack["id"]));
    assert_eq!(twin.expect("message")["seq"], 1);
    a.ask(&to("b", "next"));
    assert_eq!(twin.expect("message")["seq"], 2);
}

#[test]
fn a_resend_with_the_same_id_is_a_duplicate() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2]}});
    let first = a.ask(&json!({"message": content, "target_user": "b", "id": ID, "ref": "1"}));
    assert_eq!(first.get("duplicate"), None);
    b.expect("message");
    // The same content in another spelling, the id in upper case, another `reply_to`: still a duplicate.
    a.send_text(&format!(
        r#"{{"message":{{"data":{{"y":[2.0],"x":1e0}},"name":"\u006e","type":"data"}},"target_user":"b","id":"{}",
           "ref":"2","reply_to":"{ID}"}}"#,
        ID.to_uppercase()
    ));
    let again = a.expect("ack");
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["ref"], "2");
    for field in ["id", "seq", "sent_at", "status"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    // Also from another session, and after a reconnect.
    let mut twin = Client::connect(&server, "a", "?since=1");
    twin.expect("synced");
    let again = twin.ask(&json!({"message": content, "target_user": "b", "id": ID}));
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&json!(true), &first["seq"])
    );
    // Other content, or another author, with the same id is rejected.
    let conflict = a.ask(&json!({"message": "other", "target_user": "b", "id": ID, "ref": "3"}));
    assert_eq!(
        (&conflict["code"], &conflict["ref"]),
        (&json!("id_conflict"), &json!("3"))
    );
    assert_eq!(conflict["retryable"], false);
    let conflict = b.ask(&json!({"message": content, "target_user": "a", "id": ID}));
    assert_eq!(conflict["code"], "id_conflict");
    // In another conversation the id identifies another message.
    let elsewhere = a.ask(&json!({"message": content, "target_user": "c", "id": ID}));
    assert_eq!(
        (elsewhere.get("duplicate"), &elsewhere["seq"]),
        (None, &json!(2))
    );
    b.assert_quiet();
}

#[test]
fn a_message_sent_twice_in_one_batch_is_stored_once() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let frame = json!({"message": "x", "target_user": "b", "id": ID}).to_string();
    let mut bytes = Vec::new();
    for _ in 0..10 {
        bytes.extend(crate::support::client_frame(0x81, frame.as_bytes()));
    }
    std::io::Write::write_all(a.stream(), &bytes).expect("sent");
    let acks: Vec<Value> = (0..10).map(|_| a.expect("ack")).collect();
    assert_eq!(
        acks.iter()
            .filter(|ack| ack.get("duplicate").is_none())
            .count(),
        1
    );
    assert!(
        acks.iter()
            .all(|ack| ack["seq"] == 1 && ack["sent_at"] == acks[0]["sent_at"])
    );
    let mut b = Client::connect(&server, "b", "");
    b.expect("message");
    b.expect("synced");
}

#[test]
fn ephemeral_messages_reach_connected_sessions_only() {
    let server = Server::start(&[]);
    make_contacts(&server, "a", "b");
    let mut a = Client::fresh(&server, "a");
    let mut twin = Client::fresh(&server, "a");
    let frame =
        json!({"message": "psst", "target_user": "b", "ephemeral": true, "id": ID, "ref": "e"});
    let ack = a.ask(&frame);
    assert_eq!(
        (&ack["status"], &ack["ref"], ack.get("seq")),
        (&json!("dropped"), &json!("e"), None)
    );
    let mut b = Client::fresh(&server, "b");
    assert_eq!(b.welcome["seq"], 2);
    let ack = a.ask(&frame);
    assert_eq!(
        (&ack["status"], &ack["id"]),
        (&json!("relayed"), &json!(ID))
    );
    let message = b.expect("message");
    assert_eq!(
        (&message["ephemeral"], message.get("seq")),
        (&json!(true), None)
    );
    assert_eq!(
        (&message["message"], &message["id"]),
        (&json!("psst"), &json!(ID))
    );
    // Ids of ephemeral messages are not remembered, and the sender's other sessions receive nothing.
    let ack = a.ask(&json!({"message": "else", "target_user": "b", "id": ID}));
    assert_eq!(
        (&ack["status"], ack.get("duplicate")),
        (&json!("stored"), None)
    );
    assert_eq!(twin.expect("message")["message"], "else");
    // A message to oneself reaches the user's other sessions.
    let ack = a.ask(&json!({"message": "me", "target_user": "a", "ephemeral": true}));
    assert_eq!(ack["status"], "relayed");
    assert_eq!(twin.expect("message")["message"], "me");
    a.assert_quiet();
}

#[test]
fn typing_reaches_only_contacts() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut twin = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let mut c = Client::fresh(&server, "c");
    for user in ["b", "c"] {
        a.send(&json!({"type": "typing", "target_user": user}));
    }
    a.send(&to("b", "hi"));
    // The other side has not answered yet.
    a.send(&json!({"type": "typing", "target_user": "b"}));
    a.expect("ack");
    twin.expect("message");
    b.expect("message");
    b.assert_quiet();
    // Directly after the first answer: the two are contacts already.
    b.send(&to("a", "hi"));
    b.send(&json!({"type": "typing", "target_user": "a"}));
    b.expect("ack");
    for session in [&mut a, &mut twin] {
        session.expect("message");
        assert_eq!(session.expect("typing")["from_user"], "b");
    }
    a.send(&json!({"type": "typing", "target_user": "b"}));
    a.send(&json!({"type": "typing", "target_user": "b", "active": false}));
    assert_eq!(
        b.expect("typing"),
        json!({"type": "typing", "from_user": "a", "target_user": "b", "active": true})
    );
    assert_eq!(b.expect("typing")["active"], false);
    c.assert_quiet();
    // To oneself, it reaches the user's other sessions.
    a.send(&to("a", "note"));
    a.send(&json!({"type": "typing", "target_user": "a"}));
    twin.expect("message");
    assert_eq!(twin.expect("typing")["target_user"], "a");
    a.expect("ack");
    a.expect("message");
    a.assert_quiet();
}

#[test]
fn a_message_is_not_followed_by_the_typing_that_was_sent_before_it() {
    let mut server = Server::start(&[]);
    for pair in 0..12 {
        make_contacts(&server, &format!("a{pair}"), &format!("b{pair}"));
    }
    // In the second round the server has not looked the pairs up yet.
    for round in 1..=2 {
        if round == 2 {
            server.kill();
            server.restart();
        }
        for pair in 0..12 {
            let (from, to_user) = (format!("a{pair}"), format!("b{pair}"));
            let [mut a, mut b] = [&from, &to_user].map(|user| {
                let mut client = Client::connect(&server, user, "?device=d");
                client.until("synced");
                client
            });
            burst(
                &mut a,
                &[
                    json!({"type": "typing", "target_user": to_user}),
                    to(&to_user, "hi"),
                ],
            );
            a.expect("ack");
            // `typing` is pushed before the message or not at all.
            while b.recv()["type"] != "message" {}
            // A late `typing` would be pushed before the frames of a second turn.
            a.send(&json!({"type": "typing", "target_user": to_user, "active": false}));
            assert_eq!(
                b.expect("typing")["active"],
                false,
                "round {round}, pair {pair}"
            );
        }
    }
}
