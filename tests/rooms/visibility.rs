//! Members of a common small room see each other in direct conversations as well (PROTOCOL section 8, "Visibility").

use serde_json::json;

use crate::helpers::{assert_room, connect_members, join, leave, open};
use crate::support::{Client, assert_has, to, with};

/// What the ack of a direct ephemeral message tells about a user who is online. The user gets the message in any case.
fn status(from: &mut Client, user: &str, receiver: &mut Client) -> String {
    let ack = from.ask(&with(to(user, "psst"), &json!({"ephemeral": true})));
    assert_eq!(receiver.expect("message")["ephemeral"], true);
    ack["status"].as_str().expect("a status").to_owned()
}

#[test]
fn users_see_each_other_while_they_share_a_small_room() {
    let server = open(&["--small-room", "2"]);
    let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
    assert_eq!(status(&mut a, "b", &mut b), "sent");
    a.ask(&join("lobby"));
    assert_eq!(status(&mut a, "b", &mut b), "sent");
    b.ask(&join("lobby"));
    assert_room(&a.expect("room"), "joined", "b", 2);
    assert_eq!(status(&mut a, "b", &mut b), "relayed");
    assert_eq!(status(&mut b, "a", &mut a), "relayed");
    a.send(&json!({"type": "typing", "target_user": "b"}));
    assert_has(&b.expect("typing"), &json!({"from_user": "a"}));
    // The room grows beyond the limit, and shrinks again.
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    assert_eq!(status(&mut a, "b", &mut b), "sent");
    assert_eq!(status(&mut c, "b", &mut b), "sent");
    a.send(&json!({"type": "typing", "target_user": "b"}));
    a.assert_quiet();
    b.assert_quiet();
    c.ask(&leave("lobby"));
    assert_eq!(status(&mut a, "b", &mut b), "relayed");
    b.ask(&leave("lobby"));
    assert_room(&a.expect("room"), "left", "b", 1);
    assert_eq!(status(&mut a, "b", &mut b), "sent");
    assert_eq!(status(&mut b, "a", &mut a), "sent");
}

#[test]
fn a_block_hides_members_of_a_small_room_from_each_other() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let [a, b] = &mut clients[..] else {
        panic!("two members");
    };
    assert_eq!(status(a, "b", b), "relayed");
    assert_eq!(a.ask(&json!({"type": "block", "user": "b"}))["type"], "ok");
    assert_eq!(status(a, "b", b), "sent");
}
