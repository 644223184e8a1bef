//! Frames about presence.

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::{Client, Server, assert_has, eventually, make_contacts};

/// A server on which users are offline as soon as their last session has ended.
pub fn without_grace(arguments: &[&str]) -> Server {
    let mut all = vec!["--presence-grace-seconds", "0"];
    all.extend_from_slice(arguments);
    Server::start(&all)
}

pub fn watch(users: &[&str]) -> Value {
    json!({"type": "watch", "users": users})
}

pub fn unwatch(users: &[&str]) -> Value {
    json!({"type": "unwatch", "users": users})
}

/// Sets the status of the client's user.
#[track_caller]
pub fn set_status(client: &mut Client, status: &str) {
    let answer = client.ask(&json!({"type": "status", "status": status}));
    assert_eq!(answer["type"], "ok", "{answer}");
}

/// Blocks a user, or removes the block.
pub fn block(user: &str, on: bool) -> Value {
    json!({"type": if on { "block" } else { "unblock" }, "user": user})
}

/// Asserts that the frame is the presence of this user.
#[track_caller]
pub fn assert_presence(frame: &Value, user: &str, status: &str) {
    assert_has(
        frame,
        &json!({"type": "presence", "user": user, "status": status}),
    );
    if status != "offline" {
        assert_eq!(frame["last_seen"], Value::Null, "{frame}");
    }
}

/// Asserts that the next frame is a notification of this state, and returns it.
#[track_caller]
pub fn expect_presence(client: &mut Client, user: &str, status: &str) -> Value {
    let frame = client.recv();
    assert_presence(&frame, user, status);
    assert_eq!(frame["ref"], Value::Null, "{frame}");
    frame
}

/// Watches a user whose last session has been closed, and returns the frame that tells that. The server notices the end of a session a
/// moment after its client.
#[track_caller]
pub fn watch_offline(client: &mut Client, user: &str) -> Value {
    let answer = client.ask(&watch(&[user]));
    if answer["status"] != "offline" {
        return expect_presence(client, user, "offline");
    }
    assert_presence(&answer, user, "offline");
    answer
}

/// Waits until the store has recorded that a number of users are online.
pub fn wait_until_recorded(server: &Server, users: i64) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(server.store(), flags).expect("a store");
    eventually("who is online is recorded", || {
        let sql = "SELECT count(*) FROM online";
        database.query_row(sql, (), |row| row.get(0)) == Ok(users)
    });
}

/// A client that sees when other users come online, to find out whether it was notified of something before.
pub struct Observer {
    pub client: Client,
    user: String,
    marks: usize,
}

impl Observer {
    /// Connects the user, a contact of each of `users`, and watches them. All of them are offline.
    pub fn new(server: &Server, user: &str, users: &[&str]) -> Self {
        for other in users {
            make_contacts(server, user, other);
        }
        let mut client = Client::fresh(server, user);
        for other in users {
            watch_offline(&mut client, other);
        }
        Self {
            client,
            user: user.to_owned(),
            marks: 0,
        }
    }

    /// Asserts that the client has been notified of nothing. Another user comes online, twice, and notifications have an order: the
    /// second one is sent by a later pass than everything that has happened before.
    #[track_caller]
    pub fn assert_not_notified(&mut self, server: &Server) {
        for _ in 0..2 {
            self.marks += 1;
            let mark = format!("mark-{}-{}", self.user, self.marks);
            let answer = self.client.ask(&watch(&[&mark]));
            assert_presence(&answer, &mark, "offline");
            let mut other = Client::fresh(server, &mark);
            let message = json!({"message": "hello", "target_user": mark});
            assert_eq!(self.client.ask(&message)["type"], "ack");
            other.expect("message");
            let reply = json!({"message": "hello", "target_user": self.user});
            other.send(&reply);
            assert_eq!(self.client.expect("message")["from_user"], json!(mark));
            expect_presence(&mut self.client, &mark, "online");
            self.client.send(&unwatch(&[&mark]));
            assert_eq!(self.client.recv()["type"], "ok");
        }
    }
}
