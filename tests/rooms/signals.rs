//! Frames to members of a room that are not stored: ephemeral messages and `typing`.

use serde_json::{Value, json};

use crate::helpers::{ID, assert_error, connect_members, join, leave, open, to_room};
use crate::support::{Client, assert_has, burst, eventually, make_contacts, with};

fn ephemeral(room: &str) -> Value {
    with(to_room(room, "psst"), &json!({"ephemeral": true, "id": ID}))
}

fn typing(room: &str) -> Value {
    json!({"type": "typing", "target_room": room})
}

#[test]
fn an_ephemeral_message_reaches_the_live_sessions_of_the_other_members() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c"]);
    let mut laptop = Client::connect(&server, "a", "?device=laptop&since=3");
    laptop.until("synced");
    let mut phone = Client::connect(&server, "b", "?device=phone&since=2");
    phone.until("synced");
    let ack = clients[0].ask(&with(ephemeral("lobby"), &json!({"ref": "e"})));
    assert_has(
        &ack,
        &json!({"type": "ack", "id": ID, "status": "relayed", "ref": "e", "seq": null}),
    );
    let [_, b, c] = &mut clients[..] else {
        panic!("three members");
    };
    for client in [b, c, &mut phone] {
        assert_has(
            &client.expect("message"),
            &json!({
                "message": "psst", "from_user": "a", "target_room": "lobby", "id": ID,
                "ephemeral": true, "seq": null
            }),
        );
    }
    laptop.assert_quiet();
    // It was not stored.
    let history = clients[0].ask(&json!({"type": "history", "target_room": "lobby"}));
    assert_eq!(history["messages"], json!([]));
}

#[test]
fn the_ack_tells_whether_a_member_of_a_small_room_was_online() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let mut a = clients.remove(0);
    assert_eq!(a.ask(&ephemeral("lobby"))["status"], "relayed");
    clients.remove(0).close();
    eventually("the session of b has ended", || {
        a.ask(&ephemeral("lobby"))["status"] == "dropped"
    });
    a.ask(&join("alone"));
    assert_eq!(a.ask(&ephemeral("alone"))["status"], "dropped");
    // With a block the two do not see each other.
    a.ask(&json!({"type": "block", "user": "b"}));
    assert_eq!(a.ask(&ephemeral("lobby"))["status"], "sent");
}

#[test]
fn in_a_large_room_only_contacts_see_each_other() {
    let server = open(&["--small-room", "1"]);
    make_contacts(&server, "a", "friend");
    let mut clients = Vec::new();
    for user in ["a", "friend", "stranger"] {
        let mut client = Client::connect(&server, user, "?ack=manual");
        client.until("synced");
        client.ask(&join("lobby"));
        clients.push(client);
    }
    let [a, friend, stranger] = &mut clients[..] else {
        panic!("three members");
    };
    assert_eq!(a.ask(&ephemeral("lobby"))["status"], "relayed");
    assert_eq!(friend.expect("message")["ephemeral"], true);
    assert_eq!(stranger.expect("message")["ephemeral"], true);
    // Strangers are reached, but the ack does not tell it.
    assert_eq!(stranger.ask(&ephemeral("lobby"))["status"], "sent");
    a.expect("message");
    friend.expect("message");
    stranger.ask(&leave("lobby"));
    let (mut a, friend) = (clients.remove(0), clients.remove(0));
    friend.close();
    eventually("the session of the friend has ended", || {
        a.ask(&ephemeral("lobby"))["status"] == "dropped"
    });
    clients[0].ask(&join("lobby"));
    assert_eq!(a.ask(&ephemeral("lobby"))["status"], "sent");
}

#[test]
fn the_mode_of_presence_decides_what_the_ack_tells() {
    for (mode, online, offline) in [("everyone", "relayed", "dropped"), ("off", "sent", "sent")] {
        // Neither kind of room makes a difference.
        for small in ["0", "2"] {
            let server = open(&["--presence", mode, "--small-room", small]);
            let mut clients = Vec::new();
            for user in ["a", "b"] {
                let mut client = Client::connect(&server, user, "?ack=manual");
                client.until("synced");
                client.ask(&join("lobby"));
                clients.push(client);
            }
            let (mut a, mut b) = (clients.remove(0), clients.remove(0));
            if small == "2" {
                a.expect("room");
            }
            assert_eq!(a.ask(&ephemeral("lobby"))["status"], online, "{mode}");
            assert_eq!(b.expect("message")["ephemeral"], true);
            a.send(&typing("lobby"));
            if small == "2" {
                assert_has(&b.expect("typing"), &json!({"from_user": "a"}));
            }
            a.assert_quiet();
            b.assert_quiet();
            b.close();
            eventually("the session of b has ended", || {
                a.ask(&ephemeral("lobby"))["status"] == offline
            });
        }
    }
}

#[test]
fn typing_reaches_the_other_members_of_a_small_room_only() {
    let server = open(&["--small-room", "2"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let mut laptop = Client::connect(&server, "a", "?device=laptop&since=2");
    laptop.until("synced");
    for active in [true, false] {
        clients[0].send(&with(typing("lobby"), &json!({"active": active})));
        let expected = json!({
            "type": "typing", "from_user": "a", "target_room": "lobby", "active": active
        });
        assert_eq!(clients[1].expect("typing"), expected);
    }
    clients[0].assert_quiet();
    laptop.assert_quiet();
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    clients[0].send(&typing("lobby"));
    clients[0].assert_quiet();
    c.assert_quiet();
    clients[1].assert_quiet();
}

#[test]
fn frames_that_are_not_stored_keep_their_place_among_those_that_are() {
    const ROUNDS: usize = 30;
    let server = open(&["--messages-per-second", "100000", "--burst", "100000"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let mut a = Client::fresh(&server, "a");
    let round = [
        ephemeral("lobby"),
        join("lobby"),
        typing("lobby"),
        ephemeral("lobby"),
        leave("lobby"),
        typing("lobby"),
    ];
    let frames: Vec<Value> = (0..ROUNDS).flat_map(|_| round.clone()).collect();
    burst(&mut a, &frames);
    for _ in 0..ROUNDS {
        assert_error(&a.recv(), "not_member", "/target_room");
        assert_eq!(a.recv()["room"], "lobby");
        assert_eq!(a.recv()["status"], "relayed");
        assert_eq!(a.recv()["room"], "lobby");
        assert_error(&a.recv(), "not_member", "/target_room");
        for tag in ["room", "typing", "message", "room"] {
            watcher.expect(tag);
        }
    }
    a.assert_quiet();
    watcher.assert_quiet();
}
