//! `--rooms`, and the limits of members and rooms.

use serde_json::json;

use crate::helpers::{
    ID, about_in, assert_error, assert_room, connect_members, join, leave, members, names, open,
    to_room,
};
use crate::support::{Client, Server, assert_has, with};

#[test]
fn without_rooms_every_frame_about_them_is_answered_with_unknown_room() {
    let server = Server::start(&["--rooms", "off"]);
    let mut a = Client::fresh(&server, "a");
    for frame in [join("lobby"), leave("lobby"), members("lobby")] {
        let error = a.ask(&with(frame, &json!({"ref": "r"})));
        assert_error(&error, "unknown_room", "/room");
        assert_eq!(error["ref"], "r");
    }
    let id = json!(ID);
    for frame in [
        to_room("lobby", "x"),
        with(to_room("lobby", "x"), &json!({"ephemeral": true})),
        with(about_in("edit", "lobby", &id), &json!({"message": "x"})),
        about_in("delete", "lobby", &id),
        with(about_in("react", "lobby", &id), &json!({"emoji": "+"})),
        about_in("read", "lobby", &id),
        json!({"type": "typing", "target_room": "lobby"}),
        json!({"type": "history", "target_room": "lobby"}),
    ] {
        assert_error(&a.ask(&frame), "unknown_room", "/target_room");
    }
    let Err(tungstenite::Error::Http(response)) = Client::dial(&server, "/ws/a?room=lobby", &[])
    else {
        panic!("not rejected");
    };
    assert_eq!(response.status().as_u16(), 400);
}

#[test]
fn users_cannot_join_managed_rooms_but_members_can_leave() {
    let folder = std::sync::Arc::new(crate::support::Folder::new());
    let mut server = Server::start_in(&folder, &["--rooms", "open"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let joined = clients[0].ask(&join("lobby"));
    assert_eq!(joined["duplicate"], true);
    server.stop();
    let server = Server::start_in(&folder, &["--rooms", "managed"]);
    let mut a = Client::connect(&server, "a", "?since=2&room=lobby");
    a.expect("synced");
    // A member gets the duplicate ack.
    assert_eq!(a.ask(&join("lobby")), joined);
    let mut c = Client::connect(&server, "c", "?room=lobby");
    assert_error(&c.expect("error"), "forbidden", "/room/0");
    c.expect("synced");
    for room in ["lobby", "new"] {
        assert_error(&c.ask(&join(room)), "forbidden", "/room");
    }
    let mut b = Client::connect(&server, "b", "?since=1");
    b.expect("synced");
    assert_has(&b.ask(&leave("lobby")), &json!({"type": "ack", "seq": 2}));
    assert_room(&a.expect("room"), "left", "b", 1);
    assert_error(&b.ask(&join("lobby")), "forbidden", "/room");
}

#[test]
fn a_room_has_a_limit_of_members() {
    let server = open(&["--room-limit", "2"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let mut c = Client::fresh(&server, "c");
    assert_error(&c.ask(&join("lobby")), "room_full", "/room");
    assert_eq!(clients[0].ask(&join("lobby"))["duplicate"], true);
    clients[1].ask(&leave("lobby"));
    assert_eq!(c.ask(&join("lobby"))["type"], "ack");
    assert_error(&clients[1].ask(&join("lobby")), "room_full", "/room");
    assert_eq!(names(&mut c, "lobby"), ["a", "c"]);
}

#[test]
fn a_user_has_a_limit_of_rooms() {
    let server = open(&["--rooms-per-user", "2", "--room-limit", "1"]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("1"));
    a.ask(&join("2"));
    assert_error(&a.ask(&join("3")), "forbidden", "/room");
    assert_eq!(a.ask(&join("1"))["duplicate"], true);
    // The limit of rooms comes before that of members.
    let mut b = Client::fresh(&server, "b");
    b.ask(&join("3"));
    assert_error(&a.ask(&join("3")), "forbidden", "/room");
    a.ask(&leave("1"));
    assert_error(&a.ask(&join("3")), "room_full", "/room");
    assert_eq!(a.ask(&join("4"))["type"], "ack");
}

#[test]
fn a_user_can_join_a_thousand_rooms_by_default() {
    let server = open(&["--messages-per-second", "100000", "--burst", "100000"]);
    let mut a = Client::fresh(&server, "a");
    for n in 0..1000 {
        a.send(&join(&format!("room{n}")));
    }
    for n in 1..=1000 {
        assert_has(&a.recv(), &json!({"type": "ack", "seq": n}));
    }
    assert_error(&a.ask(&join("one-more")), "forbidden", "/room");
}
