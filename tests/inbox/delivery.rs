//! The inbox from outside: order, many devices, replay, resume, watermarks, idempotent sends (PROTOCOL section 5).

use crate::support::{Client, End, Server, eventually, to};
use serde_json::{Value, json};
use tungstenite::Message;

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

#[test]
fn two_users_talk() {
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
fn what_was_sent_is_what_is_delivered() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = r#"{ "type":"data", "name":"n", "data":{"b":1.0,"a":[1e2,"\u00e9",52.520006599999998,18446744073709551617]} }"#;
    a.send_text(&format!(r#"{{"message":{content},"target_user":"b"}}"#));
    a.expect("ack");
    let Ok(Message::Text(text)) = b.next_message() else {
        panic!("a text message was due");
    };
    assert!(text.contains(content), "{text}");
    let mut later = Client::connect(&server, "b", "?since=0");
    let Ok(Message::Text(text)) = later.next_message() else {
        panic!("a text message was due");
    };
    assert!(text.contains(content), "{text}");
}

#[test]
fn every_session_of_both_users_gets_the_entry_in_its_place() {
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
fn a_message_to_oneself_is_one_entry_and_the_sender_gets_both() {
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
fn the_log_waits_for_those_who_are_not_there() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=300 {
        a.send(&to("b", &n.to_string()));
        if n % 50 == 0 {
            (0..50).for_each(|_| drop(a.expect("ack")));
        }
        if n % 100 == 0 {
            a = {
                a.close();
                let mut a = Client::connect(&server, "a", &format!("?since={n}"));
                a.expect("synced");
                a
            };
        }
    }
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.welcome["seq"], 300);
    for n in 1..=300 {
        let message = b.expect("message");
        assert_eq!(
            (&message["seq"], &message["message"]),
            (&json!(n), &json!(n.to_string()))
        );
    }
    assert_eq!(b.expect("synced")["seq"], 300);
}

#[test]
fn a_resume_gets_what_it_missed_once() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let b = Client::fresh(&server, "b");
    let epoch = b.epoch().to_owned();
    b.close();
    for n in 1..=5 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = Client::connect(&server, "b", &format!("?since=2&epoch={epoch}"));
    for n in 3..=5 {
        assert_eq!(b.expect("message")["seq"], n);
    }
    assert_eq!(b.expect("synced")["seq"], 5);
    a.ask(&to("b", "6"));
    assert_eq!(b.expect("message")["seq"], 6);
    b.assert_quiet();
}

#[test]
fn a_since_that_cannot_be_honoured_is_truncated_first() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&to("b", "1"));
    a.ask(&to("b", "2"));
    let other = "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e";
    for query in [
        "?since=3".to_owned(),
        "?since=9007199254740991".to_owned(),
        format!("?since=1&epoch={other}"),
    ] {
        let mut b = Client::connect(&server, "b", &query);
        assert_eq!(b.welcome["seq"], 2);
        let truncated = b.expect("truncated");
        assert_eq!(truncated["reason"], "reset", "{query}");
        assert_eq!(truncated["oldest_seq"], 1);
        assert_eq!(b.expect("message")["seq"], 1);
        assert_eq!(b.expect("message")["seq"], 2);
        assert_eq!(b.expect("synced")["seq"], 2);
    }
    let mut nobody = Client::connect(&server, "nobody", "?since=1");
    assert_eq!(nobody.expect("truncated")["oldest_seq"], 1);
    nobody.expect("synced");
    // Without `since` there is nothing that the epoch could be wrong about.
    let mut b = Client::connect(&server, "b", &format!("?epoch={other}"));
    assert_eq!(b.expect("message")["seq"], 1);
}

#[test]
fn sending_again_with_the_same_id_changes_nothing() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2]}});
    let first = a.ask(&json!({"message": content, "target_user": "b", "id": ID, "ref": "1"}));
    assert_eq!(first.get("duplicate"), None);
    b.expect("message");
    // The same value in another spelling, the id in upper case, another `reply_to`: still the same message.
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
    // Also from another session, and after a restart of the session.
    let mut twin = Client::connect(&server, "a", "?since=1");
    twin.expect("synced");
    let again = twin.ask(&json!({"message": content, "target_user": "b", "id": ID}));
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&json!(true), &first["seq"])
    );
    // Anything else under the id is refused: other content, or another author.
    let conflict = a.ask(&json!({"message": "other", "target_user": "b", "id": ID, "ref": "3"}));
    assert_eq!(
        (&conflict["code"], &conflict["ref"]),
        (&json!("id_conflict"), &json!("3"))
    );
    assert_eq!(conflict["retryable"], false);
    let conflict = b.ask(&json!({"message": content, "target_user": "a", "id": ID}));
    assert_eq!(conflict["code"], "id_conflict");
    // In another conversation it is another message.
    let elsewhere = a.ask(&json!({"message": content, "target_user": "c", "id": ID}));
    assert_eq!(
        (elsewhere.get("duplicate"), &elsewhere["seq"]),
        (None, &json!(2))
    );
    b.assert_quiet();
}

#[test]
fn the_same_id_twice_in_one_batch_is_stored_once() {
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
fn ephemeral_messages_reach_live_sessions_only() {
    let server = Server::start(&[]);
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
    assert_eq!(b.welcome["seq"], 0);
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
    // Ephemeral ids are never remembered, and the sender's other sessions hear nothing.
    let ack = a.ask(&json!({"message": "else", "target_user": "b", "id": ID}));
    assert_eq!(
        (&ack["status"], ack.get("duplicate")),
        (&json!("stored"), None)
    );
    assert_eq!(twin.expect("message")["message"], "else");
    // To oneself: one's other sessions.
    let ack = a.ask(&json!({"message": "me", "target_user": "a", "ephemeral": true}));
    assert_eq!(ack["status"], "relayed");
    assert_eq!(twin.expect("message")["message"], "me");
    a.assert_quiet();
}

#[test]
fn typing_reaches_those_one_has_a_conversation_with() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut twin = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let mut c = Client::fresh(&server, "c");
    a.send(&json!({"type": "typing", "target_user": "c"}));
    // Right behind the first message: it counts already.
    a.send(&to("b", "hi"));
    a.send(&json!({"type": "typing", "target_user": "b"}));
    a.send(&json!({"type": "typing", "target_user": "b", "active": false}));
    a.expect("ack");
    b.expect("message");
    assert_eq!(
        b.expect("typing"),
        json!({"type": "typing", "from_user": "a", "target_user": "b", "active": true})
    );
    assert_eq!(b.expect("typing")["active"], false);
    b.send(&json!({"type": "typing", "target_user": "a"}));
    assert_eq!(a.expect("typing")["from_user"], "b");
    twin.expect("message");
    assert_eq!(twin.expect("typing")["from_user"], "b");
    c.assert_quiet();
    // To oneself: one's other sessions.
    a.send(&to("a", "note"));
    a.send(&json!({"type": "typing", "target_user": "a"}));
    twin.expect("message");
    assert_eq!(twin.expect("typing")["target_user"], "a");
    a.expect("ack");
    a.expect("message");
    a.assert_quiet();
}

#[test]
fn rooms_do_not_exist_yet_and_say_so() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for frame in [
        json!({"message": "x", "target_room": "lobby", "ref": "m"}),
        json!({"type": "typing", "target_room": "lobby", "ref": "m"}),
    ] {
        let error = a.ask(&frame);
        assert_eq!(
            (&error["code"], &error["ref"]),
            (&json!("unknown_room"), &json!("m"))
        );
    }
}

#[test]
fn a_manual_watermark_moves_by_received_only() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=4 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    (0..4).for_each(|_| drop(b.expect("message")));
    b.expect("synced");
    b.send(&json!({"type": "received", "seq": 2}));
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    assert_eq!(b.expect("message")["seq"], 3);
    b.send(&json!({"type": "received", "seq": 1}));
    b.send(&json!({"type": "received", "seq": 9_007_199_254_740_991_u64}));
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    b.expect("synced");
    a.ask(&to("b", "5"));
    assert_eq!(b.expect("message")["seq"], 5);
    b.close();
    // `since` moves no watermark, neither back nor forth.
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1&since=5");
    b.expect("synced");
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    assert_eq!(b.expect("message")["seq"], 5);
}

#[test]
fn an_automatic_watermark_moves_by_the_answer_to_a_ping() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    a.ask(&to("b", "1"));
    assert_eq!(b.expect("message")["seq"], 1);
    let Ok(Message::Ping(_)) = b.next_message() else {
        panic!("a ping was due");
    };
    // The answer to the ping is written before the next frame.
    b.assert_quiet();
    b.close();
    let mut again = Client::connect(&server, "b", "");
    again.expect("synced");
    again.close();

    // A client that takes the entry but never answers the ping has not received it.
    a.ask(&to("b", "2"));
    let mut mute = crate::support::Raw::upgrade(&server, "/ws/b");
    let mut texts = 0;
    while texts < 3 {
        let frame = mute.frame().expect("a frame");
        texts += usize::from(frame.opcode == 1);
    }
    drop(mute);
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.expect("message")["seq"], 2);
}

#[test]
fn a_new_device_starts_where_the_furthest_of_its_user_is() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=4 {
        a.ask(&to("b", &n.to_string()));
    }
    for (device, seq) in [("one", 1), ("three", 3), ("two", 2)] {
        let mut b = Client::connect(
            &server,
            "b",
            &format!("?ack=manual&device={device}&since=0"),
        );
        b.send(&json!({"type": "received", "seq": seq}));
        b.close();
    }
    let mut b = Client::connect(&server, "b", "?ack=manual&device=new");
    assert_eq!(b.expect("message")["seq"], 4);
    let mut b = Client::connect(&server, "b", "?ack=manual&device=one");
    assert_eq!(b.expect("message")["seq"], 2);
}

#[test]
fn sixteen_devices_are_remembered_the_least_recently_used_forgotten() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=3 {
        a.ask(&to("b", &n.to_string()));
    }
    let received = |device: usize, seq: u64| {
        let mut b = Client::connect(
            &server,
            "b",
            &format!("?ack=manual&device=d{device}&since=0"),
        );
        b.send(&json!({"type": "received", "seq": seq}));
        b.close();
    };
    received(0, 1);
    for device in 1..16 {
        received(device, 2);
    }
    let first = |device: &str| {
        let mut b = Client::connect(&server, "b", &format!("?ack=manual&device={device}"));
        let seq = b.expect("message")["seq"].clone();
        b.close();
        seq
    };
    // All sixteen are known; using d0 again makes d1 the least recently used.
    assert_eq!(first("d0"), 2);
    received(16, 3);
    assert_eq!(first("d0"), 2);
    // d1 is forgotten and begins where the furthest device is, which has everything.
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    b.expect("synced");
}

#[test]
fn inboxes_outlive_the_server() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let first = a.ask(&json!({"message": "1", "target_user": "b", "id": ID}));
    let epoch = a.epoch().to_owned();
    server.kill();
    assert_eq!(a.next(), Err(End::Lost));
    server.restart();
    let mut a = Client::connect(&server, "a", &format!("?since=1&epoch={epoch}"));
    assert_eq!(a.epoch(), epoch);
    a.expect("synced");
    let again = a.ask(&json!({"message": "1", "target_user": "b", "id": ID}));
    assert_eq!(
        (&again["duplicate"], &again["sent_at"]),
        (&json!(true), &first["sent_at"])
    );
    let next = a.ask(&to("b", "2"));
    assert_eq!(next["seq"], 2);
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.expect("message")["seq"], 1);
    assert_eq!(b.expect("message")["seq"], 2);
    b.expect("synced");
}

#[test]
fn a_memory_store_leaves_nothing_behind() {
    let folder = crate::support::Folder::new();
    let listing = || std::fs::read_dir(&folder.0).map_or(0, Iterator::count);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dmwire"))
        .args(["--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", &folder.0)
        .current_dir(&folder.0)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the server starts");
    eventually("the database is made", || listing() > 0);
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(child.wait().expect("the server ends").success());
    assert_eq!(listing(), 0);
}

#[test]
fn acks_keep_their_place_behind_a_replay() {
    let server = Server::start(&["--outbox-bytes", "20000", "--max-frame-bytes", "16000"]);
    let mut a = Client::fresh(&server, "a");
    let mut other = Client::connect(&server, "b", "");
    other.expect("synced");
    let long = "x".repeat(4000);
    for n in 1..=60 {
        a.ask(&to("b", &format!("{n} {long}")));
        other.expect("message");
    }
    // A session with a long replay ahead of it sends at once: its acks must come as entries 61 and on, with their refs.
    let mut b = Client::dial(&server, "/ws/b?since=0", &[]).expect("the handshake succeeds");
    for n in 0..5 {
        b.send(&json!({"message": n.to_string(), "target_user": "a", "ref": n.to_string()}));
    }
    b.expect("welcome");
    let mut seq = 0;
    let mut refs = Vec::new();
    while seq < 65 {
        let frame = b.recv();
        if frame["type"] == "synced" {
            continue;
        }
        seq += 1;
        assert_eq!(frame["seq"], seq, "{frame}");
        let own = seq > 60;
        assert_eq!(frame["type"], if own { "ack" } else { "message" });
        refs.extend(frame["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs, ["0", "1", "2", "3", "4"]);
    b.assert_quiet();
}
