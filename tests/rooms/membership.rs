//! Joining and leaving (PROTOCOL section 11).

use serde_json::{Value, json};

use crate::helpers::{
    ID, about_in, assert_error, assert_room, connect_members, join, leave, members, names, open,
    to_room,
};
use crate::support::{Client, assert_has, with};

#[test]
fn a_join_and_a_leave_are_entries_of_all_members() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    let ack = a.ask(&with(join("lobby"), &json!({"ref": "j"})));
    assert_has(
        &ack,
        &json!({
            "type": "ack", "room": "lobby", "seq": 1, "status": "stored", "ref": "j", "id": null,
            "duplicate": null
        }),
    );
    assert!(ack["sent_at"].is_string(), "{ack}");
    let mut b = Client::fresh(&server, "b");
    assert_has(&b.ask(&join("lobby")), &json!({"room": "lobby", "seq": 1}));
    let joined = a.expect("room");
    assert_room(&joined, "joined", "b", 2);
    assert_has(&joined, &json!({"room": "lobby", "seq": 2, "ref": null}));
    assert!(joined["at"].is_string(), "{joined}");

    assert_has(
        &b.ask(&leave("lobby")),
        &json!({"type": "ack", "room": "lobby", "seq": 2}),
    );
    let left = a.expect("room");
    assert_room(&left, "left", "b", 1);
    assert_eq!(left["seq"], 3);
    // Nothing more of the room reaches a user who has left.
    assert_eq!(a.ask(&to_room("lobby", "alone"))["seq"], 4);
    assert_eq!(a.ask(&leave("lobby"))["seq"], 5);
    b.assert_quiet();
}

#[test]
fn the_other_devices_of_a_user_get_the_event() {
    let server = open(&[]);
    let mut phone = Client::fresh(&server, "a");
    let mut laptop = Client::fresh(&server, "a");
    phone.ask(&join("lobby"));
    assert_room(&laptop.expect("room"), "joined", "a", 1);
    let ack = laptop.ask(&leave("lobby"));
    assert_has(&ack, &json!({"type": "ack", "room": "lobby", "seq": 2}));
    let left = phone.expect("room");
    assert_room(&left, "left", "a", 0);
    assert_eq!(left["seq"], 2);
}

#[test]
fn a_repeated_join_or_leave_changes_nothing() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    let first = a.ask(&join("lobby"));
    a.ask(&join("other"));
    for _ in 0..2 {
        let again = a.ask(&with(join("lobby"), &json!({"ref": "again"})));
        let expected = with(first.clone(), &json!({"duplicate": true, "ref": "again"}));
        assert_eq!(again, expected);
    }
    for room in ["nowhere", "elsewhere"] {
        let ack = a.ask(&leave(room));
        assert_has(
            &ack,
            &json!({"type": "ack", "room": room, "duplicate": true, "seq": null, "status": "stored"}),
        );
        assert!(ack["sent_at"].is_string(), "{ack}");
    }
    a.assert_quiet();
    // A member who has left joins anew.
    assert_eq!(a.ask(&leave("lobby"))["seq"], 3);
    assert_has(
        &a.ask(&leave("lobby")),
        &json!({"duplicate": true, "seq": null}),
    );
    assert_has(
        &a.ask(&join("lobby")),
        &json!({"duplicate": null, "seq": 4}),
    );
}

#[test]
fn others_are_answered_in_the_same_way_whether_or_not_the_room_exists() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let stored = clients[0].ask(&to_room("lobby", "hello"));
    clients[1].expect("message");
    let mut c = Client::fresh(&server, "c");
    for room in ["lobby", "nowhere"] {
        for id in [stored["id"].clone(), json!(ID)] {
            let frames = [
                with(to_room(room, "x"), &json!({"id": id})),
                with(to_room(room, "x"), &json!({"ephemeral": true})),
                with(about_in("edit", room, &id), &json!({"message": "x"})),
                about_in("delete", room, &id),
                with(about_in("react", room, &id), &json!({"emoji": "+"})),
                about_in("read", room, &id),
                json!({"type": "typing", "target_room": room}),
                json!({"type": "history", "target_room": room}),
                json!({"type": "history", "target_room": room, "before": id}),
            ];
            for frame in frames {
                let error = c.ask(&with(frame, &json!({"ref": "r"})));
                assert_error(&error, "not_member", "/target_room");
                assert_eq!(error["ref"], "r");
            }
        }
        for fields in [json!({}), json!({"cursor": "x"}), json!({"cursor": ID})] {
            let error = c.ask(&with(members(room), &fields));
            assert_error(&error, "not_member", "/room");
        }
    }
    // The same holds for a user who has left.
    clients[1].ask(&leave("lobby"));
    assert_room(&clients[0].expect("room"), "left", "b", 1);
    let error = clients[1].ask(&to_room("lobby", "x"));
    assert_error(&error, "not_member", "/target_room");
    clients[0].assert_quiet();
}

#[test]
fn a_message_from_before_leaving_is_still_a_duplicate() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    let message = with(to_room("lobby", "hello"), &json!({"id": ID}));
    let stored = a.ask(&message);
    a.ask(&leave("lobby"));
    let again = a.ask(&message);
    assert_eq!(again, with(stored, &json!({"duplicate": true})));
    let other = with(message, &json!({"message": "other"}));
    assert_error(&a.ask(&other), "not_member", "/target_room");
}

#[test]
fn a_room_keeps_its_messages_when_its_last_member_leaves() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    a.ask(&to_room("lobby", "hello"));
    a.ask(&leave("lobby"));
    let mut b = Client::fresh(&server, "b");
    b.ask(&join("lobby"));
    assert_eq!(names(&mut b, "lobby"), ["b"]);
    let history = b.ask(&json!({"type": "history", "target_room": "lobby"}));
    assert_eq!(history["messages"][0]["message"], "hello", "{history}");
}

#[test]
fn joins_and_leaves_from_two_devices_at_once_leave_one_result() {
    const ROUNDS: usize = 50;
    let server = open(&["--messages-per-second", "100000", "--burst", "100000"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let run = |first: fn(&str) -> Value, second: fn(&str) -> Value| {
        let mut client = Client::fresh(&server, "a");
        move || {
            for _ in 0..ROUNDS {
                client.send(&first("lobby"));
                client.send(&second("lobby"));
            }
            // Each frame is answered, and this session has the same log as the other one.
            let (mut acks, mut seqs) = (0, Vec::new());
            while acks < 2 * ROUNDS {
                let frame = client.recv();
                let is_ack = frame["type"] == "ack";
                acks += usize::from(is_ack);
                assert!(is_ack || frame["type"] == "room", "{frame}");
                if frame.get("duplicate").is_none() {
                    seqs.push(frame["seq"].as_u64().expect("a number"));
                }
            }
            assert!(seqs.iter().zip(1..).all(|(seq, n)| *seq == n), "{seqs:?}");
            client
        }
    };
    let [phone, laptop] = [run(join, leave), run(leave, join)].map(std::thread::spawn);
    let mut phone = phone.join().expect("the phone is done");
    drop(laptop.join().expect("the laptop is done"));
    phone.send(&leave("lobby"));
    phone.until("ack");
    // Events alternate between joined and left.
    let mut expected = "joined";
    watcher.send(&json!({"type": "ping"}));
    loop {
        let frame = watcher.recv();
        if frame["type"] == "pong" {
            break;
        }
        assert_has(&frame, &json!({"event": expected, "user": "a"}));
        let is_joined = expected == "joined";
        assert_eq!(frame["members"], if is_joined { 2 } else { 1 }, "{frame}");
        expected = if is_joined { "left" } else { "joined" };
    }
    assert_eq!(expected, "joined", "the last event is a leave");
    assert_eq!(names(&mut watcher, "lobby"), ["watcher"]);
}

#[test]
fn events_of_a_large_room_are_entries_of_the_user_only() {
    let server = open(&["--small-room", "2"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let mut c = Client::fresh(&server, "c");
    let mut phone = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    assert_room(&phone.expect("room"), "joined", "c", 3);
    for client in &mut clients {
        client.assert_quiet();
    }
    // The user who leaves counts.
    c.ask(&leave("lobby"));
    assert_room(&phone.expect("room"), "left", "c", 2);
    for client in &mut clients {
        client.assert_quiet();
    }
    clients[1].ask(&leave("lobby"));
    assert_room(&clients[0].expect("room"), "left", "b", 1);
}
