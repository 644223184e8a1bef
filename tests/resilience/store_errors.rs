//! Sessions while the store cannot be read or opened.

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Client, End, Server, assert_has, eventually, to};

#[test]
fn a_session_whose_inbox_cannot_be_read_is_closed_after_one_attempt() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&to("b", "x"));
    let database = Connection::open(server.store()).expect("the store can be opened");
    eventually("the message is in its table", || {
        // Text that is not UTF-8 cannot be read.
        let spoiled = database.execute("UPDATE messages SET content = CAST(x'ff' AS TEXT)", []);
        spoiled == Ok(1)
    });
    let mut b = Client::connect(&server, "b", "");
    let (goodbye, end) = b.goodbye();
    assert_has(
        &goodbye,
        &json!({"reason": "store_unavailable", "code": 1013, "reconnect": true}),
    );
    assert_eq!(end, End::Closed(1013));
    let log = server.log();
    let errors = log.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(errors.count(), 1, "{log}");
    a.assert_quiet();
}

#[test]
fn no_session_is_closed_in_favour_of_one_that_cannot_be_opened() {
    let server = Server::start(&["--sessions-per-user", "2"]);
    let mut sender = Client::fresh(&server, "b");
    let mut sessions: Vec<_> = (0..2).map(|_| Client::fresh(&server, "a")).collect();
    let database = Connection::open(server.store()).expect("the store can be opened");
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        eventually("the table is renamed", || {
            database.execute_batch(&sql).is_ok()
        });
    };
    // Without this table no session can be opened, and nothing be stored.
    rename("devices", "missing");
    match Client::dial(&server, "/ws/a", &[]) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("expected 503, found {:?}", other.map(|_| "a session")),
    }
    // A session that is about to be closed gets no messages.
    let sent = json!({"message": "to both", "target_user": "a", "ephemeral": true});
    assert_eq!(sender.ask(&sent)["status"], "sent");
    for session in &mut sessions {
        session.expect("message");
    }
    rename("missing", "devices");
    sessions.push(Client::connect(&server, "a", ""));
    let (goodbye, _) = sessions.remove(0).goodbye();
    assert_eq!(goodbye["reason"], "too_many_sessions");
    sender.ask(&to("a", "to the newest two"));
    for session in &mut sessions {
        assert_eq!(session.until("message")["message"], "to the newest two");
    }
}

#[test]
fn sessions_opened_at_the_same_time_respect_the_limit() {
    let server = Server::start(&["--sessions-per-user", "2"]);
    let sessions: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| Client::fresh(&server, "a")))
            .collect();
        let opened = opening.into_iter().map(std::thread::ScopedJoinHandle::join);
        opened.map(|session| session.expect("opened")).collect()
    });
    // Only open sessions get the message.
    Client::fresh(&server, "b").ask(&to("a", "to the open ones"));
    let mut open = 0;
    for mut session in sessions {
        let frame = session.recv();
        if frame["type"] == "message" {
            open += 1;
        } else {
            let expected = json!({"type": "goodbye", "reason": "too_many_sessions"});
            assert_has(&frame, &expected);
        }
    }
    assert_eq!(open, 2);
}
