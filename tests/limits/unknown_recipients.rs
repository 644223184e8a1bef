//! Protection against filling the disk (PROTOCOL sections 8 and 10): limits on messages to users who have never connected, and
//! the minimum of free space.

use serde_json::{Value, json};

use crate::support::{Client, Server, about, assert_has, eventually, json_answer, to, with};

#[track_caller]
fn assert_forbidden(answer: &Value) {
    assert_has(
        answer,
        &json!({"type": "error", "code": "forbidden", "path": "/target_user", "retryable": false}),
    );
}

#[track_caller]
fn assert_overloaded(answer: &Value) {
    assert_has(
        answer,
        &json!({"type": "error", "code": "overloaded", "retryable": true}),
    );
    assert!(answer["retry_after_ms"].as_u64() > Some(0), "{answer}");
}

#[track_caller]
fn assert_stored(answer: &Value) {
    assert_has(answer, &json!({"type": "ack", "status": "stored"}));
}

#[test]
fn messages_of_one_sender_to_unknown_recipients_are_limited() {
    let mut server = Server::start(&["--unknown-recipients-per-user", "3"]);
    let mut a = Client::fresh(&server, "a");
    for user in ["ghost1", "ghost2", "ghost1"] {
        assert_stored(&a.ask(&to(user, "x")));
    }
    for user in ["ghost1", "ghost3"] {
        assert_forbidden(&a.ask(&to(user, "x")));
    }
    // Whether a user exists does not matter to a sender who has used up the limit, unless that user has written to the sender.
    let mut b = Client::fresh(&server, "b");
    assert_forbidden(&a.ask(&to("b", "x")));
    // A sender who has not used it up may write to both.
    for user in ["ghost3", "a"] {
        assert_stored(&b.ask(&to(user, "x")));
    }
    a.expect("message");
    assert_stored(&a.ask(&to("b", "x")));
    b.expect("message");
    assert_stored(&a.ask(&to("b", "x")));
    b.expect("message");
    // Messages to contacts and to oneself, and ephemeral messages, do not count.
    assert_stored(&a.ask(&to("a", "x")));
    a.expect("message");
    let ephemeral = with(to("ghost3", "x"), &json!({"ephemeral": true}));
    assert_eq!(a.ask(&ephemeral)["status"], "sent");
    b.close();
    assert_stored(&a.ask(&to("b", "x")));
    server.kill();
    server.restart();
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    assert_forbidden(&a.ask(&to("ghost3", "x")));
    // A user who connects receives the waiting messages, which stop counting.
    let mut ghost = Client::connect(&server, "ghost1", "");
    ghost.expect("message");
    ghost.expect("message");
    ghost.expect("synced");
    eventually("the waiting messages stop counting", || {
        a.ask(&to("ghost3", "x"))["type"] == "ack"
    });
    assert_stored(&a.ask(&to("ghost1", "you are real!")));
    server.kill();
    let (valid, output) = server.verify();
    assert!(valid, "{output}");
}

#[test]
fn messages_of_all_senders_to_unknown_recipients_are_limited() {
    let server = Server::start(&["--unknown-recipients", "4"]);
    for sender in ["a", "b"] {
        let mut client = Client::fresh(&server, sender);
        for ghost in ["ghost1", "ghost2"] {
            assert_stored(&client.ask(&to(ghost, "x")));
        }
    }
    let mut c = Client::fresh(&server, "c");
    assert_overloaded(&c.ask(&to("ghost3", "x")));
    assert_stored(&c.ask(&to("a", "x")));
    Client::connect(&server, "ghost2", "").until("synced");
    eventually("the waiting messages stop counting", || {
        c.ask(&to("ghost3", "x"))["type"] == "ack"
    });
}

#[test]
fn messages_of_one_address_to_unknown_recipients_are_limited() {
    let server = Server::start(&[
        "--unknown-recipients-per-ip",
        "3",
        "--trusted-proxy",
        "127.0.0.1",
    ]);
    let from = |ip: &str, user: &str| {
        let headers = [("X-Forwarded-For", ip)];
        let client = Client::dial(&server, &format!("/ws/{user}"), &headers);
        let mut client = client.expect("the handshake succeeds");
        client.until("synced");
        client
    };
    let mut passed = 0;
    for user in ["a", "b", "c"] {
        let mut client = from("203.0.113.5", user);
        for _ in 0..2 {
            let answer = client.ask(&to("ghost", "x"));
            if answer["type"] == "ack" {
                passed += 1;
            } else {
                assert_forbidden(&answer);
            }
        }
    }
    // Another user with another address is not affected; a new connection from the same address is.
    assert_eq!(passed, 3);
    assert_stored(&from("203.0.113.6", "d").ask(&to("ghost", "x")));
    assert_forbidden(&from("203.0.113.5", "e").ask(&to("ghost", "x")));
}

#[test]
fn with_users_known_only_users_who_have_connected_receive_messages() {
    let mut server = Server::start(&["--users", "known"]);
    let mut a = Client::fresh(&server, "a");
    for id in [
        json!({}),
        json!({"id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"}),
    ] {
        assert_forbidden(&a.ask(&with(to("b", "x"), &id)));
    }
    assert_stored(&a.ask(&to("a", "a note")));
    a.expect("message");
    // A user is known as soon as they are connected.
    for n in 0..20 {
        let name = format!("b{n}");
        let _b = Client::fresh(&server, &name);
        assert_stored(&a.ask(&to(&name, "x")));
    }
    eventually("it is stored that they have connected", || {
        let file = rusqlite::Connection::open(server.store()).expect("it opens");
        let sql = "SELECT count(*) FROM users WHERE connected";
        file.query_row(sql, (), |row| row.get(0)) == Ok(21)
    });
    server.kill();
    server.restart();
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    assert_stored(&a.ask(&to("b7", "x")));
    assert_forbidden(&a.ask(&to("c", "x")));
}

#[test]
fn below_the_minimum_of_free_space_messages_are_rejected_and_everything_else_works() {
    let folder = std::sync::Arc::new(crate::support::Folder::new());
    let mut server = Server::start_in(&folder, &["--min-free-disk", "0"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let id = a.ask(&to("b", "before"))["id"].clone();
    b.expect("message");
    assert_eq!(json_answer(&server.get("/readyz")).0, 200);
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());

    let most = (1_u64 << 50).to_string();
    let server = Server::start_in(&folder, &["--min-free-disk", &most]);
    let mut a = Client::connect(&server, "a", "");
    let mut b = Client::connect(&server, "b", "");
    a.until("synced");
    b.until("synced");
    for frame in [
        to("b", "x"),
        with(about("edit", "b", &id), &json!({"message": "x"})),
        with(about("react", "b", &id), &json!({"emoji": "x"})),
        json!({"type": "block", "user": "c"}),
    ] {
        assert_overloaded(&a.ask(&with(frame, &json!({"ref": "r"}))));
    }
    assert_eq!(
        a.ask(&json!({"type": "unblock", "user": "c"}))["type"],
        "ok"
    );
    let ephemeral = with(to("b", "x"), &json!({"ephemeral": true}));
    assert_eq!(a.ask(&ephemeral)["status"], "sent");
    b.expect("message");
    let history = a.ask(&json!({"type": "history", "target_user": "b"}));
    assert_eq!(history["messages"][0]["message"], "before");
    // Deletions free space, so they are accepted.
    assert_stored(&a.ask(&about("delete", "b", &id)));
    b.expect("deleted");
    let (status, body) = json_answer(&server.get("/readyz"));
    assert_eq!((status, &body["code"]), (503, &json!("overloaded")));
    assert!(server.log().contains("--min-free-disk"));
}
