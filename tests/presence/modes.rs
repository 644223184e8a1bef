//! `--presence everyone` and `--presence off`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::helpers::{
    assert_presence, block, expect_presence, set_status, wait_until_recorded, watch, watch_offline,
    without_grace,
};
use crate::support::{Client, dmwire, make_contacts};

#[test]
fn everyone_sees_strangers_except_across_a_block() {
    let server = without_grace(&["--presence", "everyone"]);
    let mut a = Client::fresh(&server, "a");
    let unknown = a.ask(&watch(&["b"]));
    assert_presence(&unknown, "b", "offline");
    assert_eq!(unknown["last_seen"], Value::Null);
    let mut b = Client::fresh(&server, "b");
    expect_presence(&mut a, "b", "online");
    set_status(&mut b, "busy");
    expect_presence(&mut a, "b", "busy");
    a.send(&block("b", true));
    expect_presence(&mut a, "b", "offline");
    assert_eq!(a.recv()["type"], "ok");
    assert_eq!(a.ask(&block("b", false))["type"], "ok");
    expect_presence(&mut a, "b", "busy");
    b.close();
    assert!(expect_presence(&mut a, "b", "offline")["last_seen"].is_string());
}

#[test]
fn an_erased_user_was_never_seen() {
    let mut server = without_grace(&["--presence", "everyone"]);
    let mut b = Client::fresh(&server, "b");
    set_status(&mut b, "away");
    b.close();
    let mut a = Client::fresh(&server, "a");
    assert!(watch_offline(&mut a, "b")["last_seen"].is_string());
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());
    let erased = dmwire(server.folder(), &["erase", "--user", "b"]);
    assert_eq!(erased.code, Some(0), "{}", erased.err);
    server.restart();
    let mut a = Client::fresh(&server, "a");
    let answer = a.ask(&watch(&["b"]));
    assert_presence(&answer, "b", "offline");
    assert_eq!(answer["last_seen"], Value::Null);
    let _b = Client::fresh(&server, "b");
    expect_presence(&mut a, "b", "online");
}

#[test]
fn with_off_everyone_is_offline() {
    let server = without_grace(&["--presence", "off", "--rooms", "open"]);
    make_contacts(&server, "a", "b");
    let [mut a, mut b] = ["a", "b"].map(|user| {
        let mut client = Client::connect(&server, user, "?room=lobby&ack=manual");
        client.until("synced");
        client
    });
    assert_eq!(a.until("room")["user"], "b");
    set_status(&mut b, "away");
    for user in ["a", "b"] {
        let answer = a.ask(&watch(&[user]));
        assert_presence(&answer, user, "offline");
        assert_eq!(answer["last_seen"], Value::Null);
    }
    let members = a.ask(&json!({"type": "members", "room": "lobby"}));
    let statuses: Vec<&Value> = members["users"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| &user["status"])
        .collect();
    assert_eq!(statuses, ["offline", "offline"]);
    // Nothing is announced. The store records that a user is online later than the others would be notified.
    wait_until_recorded(&server, 2);
    set_status(&mut b, "busy");
    b.close();
    wait_until_recorded(&server, 1);
    a.assert_quiet();
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.until("synced");
    wait_until_recorded(&server, 2);
    a.assert_quiet();
}
