//! `?room=` and `membership=session` (PROTOCOL section 11).

use serde_json::{Value, json};

use crate::helpers::{assert_error, assert_room, join, leave, names, open, to_room};
use crate::support::{Client, Server, assert_has};

/// The rejection of a handshake with this query.
fn rejected(server: &Server, query: &str) -> (u16, String) {
    let Err(tungstenite::Error::Http(response)) =
        Client::dial(server, &format!("/ws/a?{query}"), &[])
    else {
        panic!("{query}: not rejected");
    };
    let body = response.body().clone().unwrap_or_default();
    (
        response.status().as_u16(),
        String::from_utf8_lossy(&body).into_owned(),
    )
}

#[test]
fn a_handshake_joins_before_the_replay() {
    let server = open(&[]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let mut a = Client::connect(&server, "a", "?room=lobby&room=other");
    assert_eq!(a.welcome["seq"], 2);
    for (room, members, seq) in [("lobby", 2, 1), ("other", 1, 2)] {
        let joined = a.expect("room");
        assert_room(&joined, "joined", "a", members);
        assert_has(&joined, &json!({"room": room, "seq": seq}));
    }
    assert_eq!(a.expect("synced")["seq"], 2);
    assert_room(&watcher.expect("room"), "joined", "a", 2);
    watcher.ask(&to_room("lobby", "welcome"));
    assert_eq!(a.expect("message")["target_room"], "lobby");
    // An existing member gets nothing for it.
    let mut again = Client::connect(&server, "a", "?room=lobby&room=lobby&since=3");
    assert_eq!(again.welcome["seq"], 3);
    again.expect("synced");
    watcher.assert_quiet();
    // The membership lasts.
    a.close();
    again.close();
    assert_eq!(names(&mut watcher, "lobby"), ["a", "watcher"]);
}

#[test]
fn a_handshake_with_invalid_rooms_is_rejected() {
    let server = open(&[]);
    let many = vec!["room=r"; 17].join("&");
    for query in [&*many, "room=", "room=a%20b", "room=r&membership=forever"] {
        let (status, body) = rejected(&server, query);
        assert_eq!(status, 400, "{query}");
        assert!(body.contains("invalid_request"), "{query}: {body}");
    }
    let sixteen: Vec<String> = (0..16).map(|n| format!("room=r{n}")).collect();
    let mut a = Client::connect(&server, "a", &format!("?{}", sixteen.join("&")));
    for _ in 0..16 {
        a.expect("room");
    }
    a.expect("synced");
}

#[test]
fn refused_joins_are_reported_after_welcome() {
    let server = open(&["--room-limit", "1", "--rooms-per-user", "2"]);
    let mut first = Client::fresh(&server, "first");
    first.ask(&join("full"));
    let mut a = Client::connect(&server, "a", "?room=1&room=full&room=2&room=3");
    assert_eq!(a.welcome["seq"], 2);
    assert_error(&a.expect("error"), "room_full", "/room/1");
    assert_error(&a.expect("error"), "forbidden", "/room/3");
    for room in ["1", "2"] {
        assert_eq!(a.expect("room")["room"], room);
    }
    a.expect("synced");
    // After `truncated`, if there is one.
    let mut a = Client::connect(&server, "a", "?room=full&since=99");
    assert_eq!(a.expect("truncated")["reason"], "reset");
    assert_error(&a.expect("error"), "forbidden", "/room/0");
}

/// Reads up to the event that a user has left.
fn until_left(watcher: &mut Client, user: &str) -> Value {
    loop {
        let frame = watcher.expect("room");
        if frame["event"] == "left" {
            assert_eq!(frame["user"], user, "{frame}");
            return frame;
        }
    }
}

const SESSION: &str = "?room=lobby&membership=session";

#[test]
fn a_membership_of_sessions_ends_after_the_last_of_them() {
    let server = open(&["--presence-grace-seconds", "0"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let mut first = Client::connect(&server, "a", SESSION);
    assert_room(&first.expect("room"), "joined", "a", 2);
    let second = Client::connect(&server, "a", SESSION);
    let mut other = Client::connect(&server, "a", "?since=1");
    other.until("synced");
    assert_room(&watcher.expect("room"), "joined", "a", 2);
    first.close();
    watcher.ask(&to_room("lobby", "still two"));
    assert_eq!(names(&mut watcher, "lobby"), ["a", "watcher"]);
    second.cut(false);
    assert_room(&until_left(&mut watcher, "a"), "left", "a", 1);
    // A session that has not asked for it does not keep it, and gets the event.
    assert_eq!(other.expect("message")["message"], "still two");
    assert_room(&other.expect("room"), "left", "a", 1);
}

#[test]
fn a_lasting_membership_outlives_sessions_that_ask_for_one() {
    let server = open(&["--presence-grace-seconds", "0"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    // `a` is a member before, `b` joins while the session lasts, and `c` only has a membership of the session.
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    a.close();
    for user in ["a", "b", "c"] {
        let mut client = Client::connect(&server, user, SESSION);
        client.until("synced");
        if user == "b" {
            client.ask(&join("lobby"));
        }
        client.close();
    }
    until_left(&mut watcher, "c");
    assert_eq!(names(&mut watcher, "lobby"), ["a", "b", "watcher"]);
}

#[test]
fn a_reconnect_within_the_grace_keeps_the_membership() {
    let server = open(&["--presence-grace-seconds", "300"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    for _ in 0..3 {
        let mut a = Client::connect(&server, "a", SESSION);
        a.until("synced");
        a.cut(true);
    }
    assert_room(&watcher.expect("room"), "joined", "a", 2);
    watcher.assert_quiet();
    // A user can leave all the same.
    let mut a = Client::connect(&server, "a", SESSION);
    a.until("synced");
    a.ask(&leave("lobby"));
    assert_room(&watcher.expect("room"), "left", "a", 1);
    watcher.assert_quiet();
}

#[test]
fn a_membership_of_sessions_ends_after_a_crash() {
    let mut server = open(&["--presence-grace-seconds", "0"]);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let mut a = Client::connect(&server, "a", SESSION);
    a.until("synced");
    server.kill();
    server.restart();
    let mut watcher = Client::connect(&server, "watcher", "?since=2");
    until_left(&mut watcher, "a");
    drop(a);
}
