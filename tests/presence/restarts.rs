//! What is stored about presence.

use std::time::Duration;

use serde_json::json;

use crate::helpers::{
    assert_presence, set_status, wait_until_recorded, watch, watch_offline, without_grace,
};
use crate::support::{Client, Server, make_contacts};

fn server_time(client: &mut Client) -> String {
    let pong = client.ask(&json!({"type": "ping"}));
    pong["server_time"].as_str().expect("a time").to_owned()
}

/// When `a` sees that `b` was last online.
fn last_seen(server: &Server) -> String {
    let mut a = Client::fresh(server, "a");
    let offline = watch_offline(&mut a, "b");
    let last_seen = offline["last_seen"].as_str();
    last_seen.expect("a time").to_owned()
}

#[test]
fn status_and_last_seen_are_kept_by_a_restart() {
    let mut server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut b = Client::fresh(&server, "b");
    set_status(&mut b, "away");
    b.close();
    let before = last_seen(&server);
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());
    server.restart();
    assert_eq!(last_seen(&server), before);
    let mut b = Client::fresh(&server, "b");
    assert_presence(&b.ask(&watch(&["b"])), "b", "away");
}

#[test]
fn a_shutdown_is_the_end_of_all_sessions() {
    let mut server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut b = Client::fresh(&server, "b");
    let online = server_time(&mut b);
    server.signal("TERM");
    b.goodbye();
    assert!(server.wait(Duration::from_secs(20)).success());
    server.restart();
    let mut c = Client::fresh(&server, "c");
    let restarted = server_time(&mut c);
    let end = last_seen(&server);
    assert!(
        online <= end && end <= restarted,
        "{online} {end} {restarted}"
    );
}

#[test]
fn after_a_crash_users_were_last_seen_before_the_next_start() {
    let mut server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut b = Client::fresh(&server, "b");
    wait_until_recorded(&server, 1);
    let online = server_time(&mut b);
    server.kill();
    server.restart();
    let mut c = Client::fresh(&server, "c");
    let restarted = server_time(&mut c);
    let end = last_seen(&server);
    assert!(
        online <= end && end <= restarted,
        "{online} {end} {restarted}"
    );
    // Only once: the next crash changes nothing for users who were not online.
    server.kill();
    server.restart();
    assert_eq!(last_seen(&server), end);
}
