//! `watch`, `unwatch` and `status`.

use serde_json::{Value, json};

use crate::helpers::{
    Observer, assert_presence, expect_presence, set_status, unwatch, watch, watch_offline,
    without_grace,
};
use crate::support::{Client, Server, assert_has, burst, make_contacts, with};

#[test]
fn a_watched_user_is_announced_when_sessions_begin_and_end_and_when_the_status_changes() {
    let server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut a = Client::fresh(&server, "a");
    watch_offline(&mut a, "b");
    let answer = a.ask(&with(watch(&["b"]), &json!({"ref": "w"})));
    assert_has(
        &answer,
        &json!({"type": "presence", "user": "b", "status": "offline", "ref": "w"}),
    );
    let first_end = answer["last_seen"].as_str().expect("a time").to_owned();
    let mut b = Client::fresh(&server, "b");
    expect_presence(&mut a, "b", "online");
    for status in ["away", "busy", "online", "away"] {
        set_status(&mut b, status);
        expect_presence(&mut a, "b", status);
    }
    // Another session changes nothing, and has the same status.
    let mut again = Client::fresh(&server, "b");
    assert_presence(&again.ask(&watch(&["b"])), "b", "away");
    b.close();
    set_status(&mut again, "busy");
    expect_presence(&mut a, "b", "busy");
    again.close();
    let offline = expect_presence(&mut a, "b", "offline");
    let last_seen = offline["last_seen"].as_str().expect("a time");
    assert!(*last_seen > *first_end, "{offline}");
    // The status is stored.
    let _b = Client::fresh(&server, "b");
    expect_presence(&mut a, "b", "busy");
}

#[test]
fn each_user_is_answered_once_in_the_order_of_the_frame() {
    let server = without_grace(&[]);
    let mut observer = Observer::new(&server, "a", &["b"]);
    let a = &mut observer.client;
    a.send(&with(
        watch(&["c", "b", "a", "b", "c"]),
        &json!({"ref": "w"}),
    ));
    for (user, status) in [("c", "offline"), ("b", "offline"), ("a", "online")] {
        let answer = a.recv();
        assert_presence(&answer, user, status);
        assert_eq!(answer["ref"], "w");
    }
    // Watching again answers again, after all answers of before, and notifications are not duplicated.
    let again = a.ask(&with(watch(&["b"]), &json!({"ref": "again"})));
    assert_presence(&again, "b", "offline");
    assert_eq!(again["ref"], "again");
    let mut b = Client::fresh(&server, "b");
    expect_presence(a, "b", "online");
    assert_presence(&a.ask(&watch(&["b"])), "b", "online");
    set_status(&mut b, "away");
    expect_presence(a, "b", "away");
    observer.assert_not_notified(&server);
}

#[test]
fn all_sessions_that_watch_are_notified() {
    let server = without_grace(&[]);
    make_contacts(&server, "a", "b");
    let mut sessions: Vec<Client> = (0..5).map(|_| Client::fresh(&server, "a")).collect();
    for session in &mut sessions {
        watch_offline(session, "b");
    }
    let mut idle = sessions.pop().expect("a session");
    assert_eq!(idle.ask(&unwatch(&["b"]))["type"], "ok");
    let b = Client::fresh(&server, "b");
    for session in &mut sessions {
        expect_presence(session, "b", "online");
    }
    b.close();
    for session in &mut sessions {
        expect_presence(session, "b", "offline");
    }
    idle.assert_quiet();
}

#[test]
fn unwatch_ends_the_notifications() {
    let server = without_grace(&[]);
    let mut a = Observer::new(&server, "a", &["b", "c"]);
    let answer = a
        .client
        .ask(&with(unwatch(&["b", "x", "b"]), &json!({"ref": "u"})));
    assert_eq!(answer, json!({"type": "ok", "ref": "u"}));
    let b = Client::fresh(&server, "b");
    let _c = Client::fresh(&server, "c");
    expect_presence(&mut a.client, "c", "online");
    a.assert_not_notified(&server);
    // Frames that were read together take effect in their order.
    burst(
        &mut a.client,
        &[
            watch(&["b"]),
            unwatch(&["b"]),
            watch(&["b"]),
            unwatch(&["b"]),
        ],
    );
    for _ in 0..2 {
        assert_presence(&a.client.recv(), "b", "online");
        assert_eq!(a.client.recv()["type"], "ok");
    }
    b.close();
    a.assert_not_notified(&server);
}

#[test]
fn a_reconnect_within_the_grace_period_is_not_announced() {
    let server = Server::start(&["--presence-grace-seconds", "300"]);
    make_contacts(&server, "a", "b");
    let mut observer = Observer::new(&server, "a", &[]);
    let a = &mut observer.client;
    assert_presence(&a.ask(&watch(&["b"])), "b", "online");
    for status in ["away", "busy"] {
        let mut b = Client::fresh(&server, "b");
        set_status(&mut b, status);
        expect_presence(a, "b", status);
        b.close();
        assert_presence(&a.ask(&watch(&["b"])), "b", status);
    }
    observer.assert_not_notified(&server);
}

#[test]
fn after_the_grace_period_a_user_was_last_seen_before_it() {
    let server = Server::start(&["--presence-grace-seconds", "1"]);
    make_contacts(&server, "a", "b");
    let mut a = Client::fresh(&server, "a");
    watch_offline(&mut a, "b");
    let mut b = Client::fresh(&server, "b");
    expect_presence(&mut a, "b", "online");
    let server_time = |client: &mut Client| {
        let pong = client.ask(&json!({"type": "ping"}));
        milliseconds(&pong["server_time"])
    };
    let before = server_time(&mut b);
    b.close();
    let offline = expect_presence(&mut a, "b", "offline");
    let last_seen = milliseconds(&offline["last_seen"]);
    let after = server_time(&mut a);
    assert!(
        before <= last_seen && last_seen + 1000 <= after,
        "{before} {last_seen} {after}"
    );
}

/// The time of a frame, in milliseconds of its day, or of the next one.
fn milliseconds(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    let parts: Vec<i64> = text[11..23]
        .split([':', '.'])
        .map(|part| part.parse().expect("a number"))
        .collect();
    let day = 24 * 3_600_000;
    let ms = ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1000 + parts[3];
    // Around midnight.
    if ms < day / 2 { ms + day } else { ms }
}
