//! `invisible` looks like the end of the last session.

use crate::helpers::{
    Observer, assert_presence, expect_presence, set_status, watch, without_grace,
};
use crate::support::{Client, Server, make_contacts};

#[test]
fn an_invisible_user_is_offline_until_visible_again() {
    let server = without_grace(&[]);
    let mut a = Observer::new(&server, "a", &["b"]);
    let mut b = Client::fresh(&server, "b");
    expect_presence(&mut a.client, "b", "online");
    set_status(&mut b, "invisible");
    let hidden = expect_presence(&mut a.client, "b", "offline");
    let since = hidden["last_seen"].as_str().expect("a time").to_owned();
    // Neither other sessions nor the end of all of them are noticed.
    let other = Client::fresh(&server, "b");
    b.close();
    other.close();
    let mut b = Client::fresh(&server, "b");
    a.assert_not_notified(&server);
    let answer = a.client.ask(&watch(&["b"]));
    assert_presence(&answer, "b", "offline");
    assert_eq!(answer["last_seen"], *since);
    // Users see themselves as others do.
    let own = b.ask(&watch(&["b"]));
    assert_presence(&own, "b", "offline");
    assert_eq!(own["last_seen"], *since);
    set_status(&mut b, "away");
    expect_presence(&mut b, "b", "away");
    expect_presence(&mut a.client, "b", "away");
    b.close();
    let offline = expect_presence(&mut a.client, "b", "offline");
    assert!(*offline["last_seen"].as_str().expect("a time") > *since);
}

#[test]
fn becoming_invisible_has_the_grace_of_the_end_of_a_session() {
    for (grace, at_once) in [("300", "busy"), ("1", "offline")] {
        let server = Server::start(&["--presence-grace-seconds", grace]);
        make_contacts(&server, "a", "b");
        let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
        set_status(&mut b, "busy");
        assert_presence(&a.ask(&watch(&["b"])), "b", "busy");
        set_status(&mut b, "invisible");
        if at_once == "offline" {
            assert!(expect_presence(&mut a, "b", "offline")["last_seen"].is_string());
        }
        assert_presence(&a.ask(&watch(&["b"])), "b", at_once);
    }
}

#[test]
fn invisible_is_kept_by_a_restart() {
    let mut server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut b = Client::fresh(&server, "b");
    set_status(&mut b, "invisible");
    let mut a = Client::fresh(&server, "a");
    let before = a.ask(&watch(&["b"]));
    assert_presence(&before, "b", "offline");
    server.kill();
    server.restart();
    let mut b = Client::fresh(&server, "b");
    let mut a = Client::fresh(&server, "a");
    let after = a.ask(&watch(&["b"]));
    assert_presence(&after, "b", "offline");
    assert_eq!(after["last_seen"], before["last_seen"]);
    set_status(&mut b, "online");
    expect_presence(&mut a, "b", "online");
}
