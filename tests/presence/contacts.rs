//! Who sees the presence of a user (PROTOCOL section 12, "Visibility").

use serde_json::{Value, json};

use crate::helpers::{
    Observer, assert_presence, block, expect_presence, set_status, watch, without_grace,
};
use crate::support::{Client, make_contacts, to};

fn join(room: &str) -> Value {
    json!({"type": "join", "room": room})
}

fn leave(room: &str) -> Value {
    json!({"type": "leave", "room": room})
}

#[test]
fn strangers_are_offline_until_the_first_reply() {
    let server = without_grace(&["--rooms", "off"]);
    Client::fresh(&server, "b").close();
    let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
    set_status(&mut b, "busy");
    for (client, other) in [(&mut a, "b"), (&mut b, "a")] {
        let answer = client.ask(&watch(&[other]));
        assert_presence(&answer, other, "offline");
        assert_eq!(answer["last_seen"], Value::Null);
    }
    assert_eq!(a.ask(&to("b", "hello"))["type"], "ack");
    b.expect("message");
    // A message without a reply makes no contact, and neither does the status.
    set_status(&mut b, "away");
    assert_presence(&a.ask(&watch(&["b"])), "b", "offline");
    b.send(&to("a", "hello"));
    a.expect("message");
    b.expect("ack");
    expect_presence(&mut a, "b", "away");
    expect_presence(&mut b, "a", "online");
}

#[test]
fn a_block_is_announced_before_its_ok() {
    let server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
    assert_presence(&a.ask(&watch(&["b", "a"])), "b", "online");
    assert_presence(&a.recv(), "a", "online");
    assert_presence(&b.ask(&watch(&["a"])), "a", "online");
    for _ in 0..3 {
        a.send(&block("b", true));
        let hidden = expect_presence(&mut a, "b", "offline");
        assert_eq!(hidden["last_seen"], Value::Null);
        assert_eq!(a.recv()["type"], "ok");
        // The other user's notification was sent before the `ok`.
        b.send(&json!({"type": "ping"}));
        let hidden = expect_presence(&mut b, "a", "offline");
        assert_eq!(hidden["last_seen"], Value::Null);
        b.expect("pong");
        // The end of a block is announced within a second.
        assert_eq!(a.ask(&block("b", false))["type"], "ok");
        expect_presence(&mut a, "b", "online");
        expect_presence(&mut b, "a", "online");
    }
}

#[test]
fn a_blocked_user_stays_offline_whatever_happens() {
    let server = without_grace(&[]);
    let mut a = Observer::new(&server, "a", &["b"]);
    a.client.send(&block("b", true));
    let hidden = expect_presence(&mut a.client, "b", "offline");
    assert_eq!(hidden["last_seen"], Value::Null);
    assert_eq!(a.client.recv()["type"], "ok");
    let mut b = Client::fresh(&server, "b");
    set_status(&mut b, "away");
    a.assert_not_notified(&server);
    assert_presence(&a.client.ask(&watch(&["b"])), "b", "offline");
}

#[test]
fn members_of_a_small_room_see_each_other() {
    let server = without_grace(&["--rooms", "open", "--small-room", "2"]);
    let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
    assert_presence(&a.ask(&watch(&["b"])), "b", "offline");
    a.ask(&join("lobby"));
    b.ask(&join("lobby"));
    a.expect("room");
    expect_presence(&mut a, "b", "online");
    // The room grows beyond the limit, and shrinks again.
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    let hidden = expect_presence(&mut a, "b", "offline");
    assert_eq!(hidden["last_seen"], Value::Null);
    c.ask(&leave("lobby"));
    expect_presence(&mut a, "b", "online");
    b.ask(&leave("lobby"));
    a.expect("room");
    expect_presence(&mut a, "b", "offline");
}
