//! Limits of `watch`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::helpers::{assert_presence, set_status, unwatch, watch, without_grace};
use crate::support::{Client, Folder, Server, assert_has, eventually};

#[test]
fn a_session_watches_at_most_1000_users() {
    let server = without_grace(&["--queries-per-second", "1000"]);
    let mut a = Client::fresh(&server, "a");
    let names: Vec<String> = (0..1000).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for part in names.chunks(100) {
        a.send(&watch(part));
        for user in part {
            assert_presence(&a.recv(), user, "offline");
        }
    }
    let forbidden = json!({"type": "error", "code": "forbidden", "path": "/users"});
    assert_has(&a.ask(&watch(&["more"])), &forbidden);
    assert_has(&a.ask(&watch(&["user-7", "more"])), &forbidden);
    // Those who are watched already do not count.
    assert_presence(&a.ask(&watch(&["user-7", "user-7"])), "user-7", "offline");
    assert_eq!(a.ask(&unwatch(&["user-8"]))["type"], "ok");
    assert_presence(&a.ask(&watch(&["more"])), "more", "offline");
    assert_has(&a.ask(&watch(&["user-8"])), &forbidden);
    // The limit is one of the session.
    let mut other = Client::fresh(&server, "a");
    assert_presence(&other.ask(&watch(&["user-8"])), "user-8", "offline");
}

#[test]
fn all_sessions_watch_at_most_one_user_for_each_kibibyte_of_the_buffers() {
    let server = without_grace(&["--queries-per-second", "1000", "--buffer-bytes", "1048576"]);
    let names: Vec<String> = (0..1000).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let [mut a, mut b] = ["a", "b"].map(|user| Client::fresh(&server, user));
    for part in names.chunks(100) {
        a.send(&watch(part));
        for user in part {
            assert_presence(&a.recv(), user, "offline");
        }
    }
    b.send(&watch(&names[..20]));
    for user in &names[..20] {
        assert_presence(&b.recv(), user, "offline");
    }
    // None of the users of this frame is added.
    let answer = b.ask(&watch(&names[20..25]));
    assert_has(&answer, &json!({"type": "error", "code": "overloaded"}));
    assert!(answer["retry_after_ms"].is_u64(), "{answer}");
    for user in &names[20..24] {
        assert_presence(&b.ask(&watch(&[user])), user, "offline");
    }
    let overloaded = json!({"type": "error", "code": "overloaded"});
    assert_has(&b.ask(&watch(&["more"])), &overloaded);
    assert_presence(&b.ask(&watch(&[names[0]])), names[0], "offline");
    // The end of a session ends its watches.
    a.close();
    eventually("there is room", || {
        b.ask(&watch(&["more"]))["type"] == "presence"
    });
}

#[test]
fn watch_counts_as_a_query_and_unwatch_does_not() {
    let server = without_grace(&["--queries-per-second", "1", "--query-burst", "3"]);
    let mut a = Client::fresh(&server, "a");
    for _ in 0..10 {
        assert_eq!(a.ask(&unwatch(&["b"]))["type"], "ok");
    }
    let answers: Vec<Value> = (0..10).map(|_| a.ask(&watch(&["b"]))).collect();
    let limited = json!({"type": "error", "code": "rate_limited"});
    assert_has(answers.last().expect("an answer"), &limited);
    assert_presence(&answers[0], "b", "offline");
}

#[test]
fn below_the_free_disk_space_a_status_is_stored_and_a_member_leaves() {
    let connect = |server: &Server| {
        let mut client = Client::connect(server, "a", "");
        client.until("synced");
        client
    };
    let stop = |server: &mut Server| {
        server.signal("TERM");
        assert!(server.wait(Duration::from_secs(20)).success());
    };
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &["--min-free-disk", "0"]);
    let mut a = connect(&server);
    let join = |room: &str| json!({"type": "join", "room": room});
    assert_eq!(a.ask(&join("lobby"))["type"], "ack");
    stop(&mut server);

    // More than any disk has.
    let most = (1_u64 << 50).to_string();
    let mut server = Server::start_in(&folder, &["--min-free-disk", &most]);
    let mut a = connect(&server);
    assert_has(
        &a.ask(&join("other")),
        &json!({"type": "error", "code": "overloaded"}),
    );
    set_status(&mut a, "busy");
    let leave = json!({"type": "leave", "room": "lobby"});
    let left = a.ask(&leave);
    assert_has(&left, &json!({"type": "ack", "status": "stored"}));
    assert_eq!(left["duplicate"], Value::Null, "{left}");
    stop(&mut server);
    server.restart();
    let mut a = connect(&server);
    assert_presence(&a.ask(&watch(&["a"])), "a", "busy");
    assert_has(&a.ask(&leave), &json!({"type": "ack", "duplicate": true}));
}
