//! Strangers cannot find out who exists and who is online (PROTOCOL section 8, "Visibility").

use serde_json::{Value, json};

use crate::support::{
    Client, Server, about, assert_has, burst, eventually, make_contacts, to, with,
};

fn ephemeral(user: &str) -> Value {
    with(to(user, "psst"), &json!({"ephemeral": true}))
}

#[track_caller]
fn assert_status(client: &mut Client, user: &str, status: &str) {
    assert_has(
        &client.ask(&ephemeral(user)),
        &json!({"type": "ack", "status": status, "seq": null}),
    );
}

/// A session whose entries count as received only by `received` frames.
fn manual(server: &Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "?ack=manual");
    client.until("synced");
    client
}

/// The other side's marks in the only conversation: read, received.
fn their_marks(client: &mut Client) -> [Option<Value>; 2] {
    let answer = client.ask(&json!({"type": "conversations"}));
    let item = &answer["items"][0];
    ["their_read", "their_received"].map(|mark| item.get(mark).cloned())
}

#[test]
fn a_stranger_is_not_told_whether_somebody_exists_or_is_online() {
    let server = Server::start(&[]);
    Client::fresh(&server, "offline").close();
    let mut online = Client::fresh(&server, "online");
    let mut a = Client::fresh(&server, "a");
    for _ in 0..3 {
        for user in ["online", "offline", "nobody"] {
            assert_status(&mut a, user, "sent");
        }
        // It is forwarded all the same.
        assert_eq!(online.expect("message")["ephemeral"], true);
    }
    // Neither is a user whose messages were not answered.
    for user in ["online", "offline", "nobody"] {
        assert_eq!(a.ask(&to(user, "hello?"))["status"], "stored");
        assert_status(&mut a, user, "sent");
    }
}

#[test]
fn the_first_answer_makes_two_users_visible_to_each_other() {
    let mut server = Server::start(&[]);
    let (mut a, mut b) = (manual(&server, "a"), manual(&server, "b"));
    let ids: Vec<Value> = (1..=3)
        .map(|n| a.ask(&to("b", &n.to_string()))["id"].clone())
        .collect();
    for _ in 1..=3 {
        b.expect("message");
    }
    let mut b2 = Client::connect(&server, "b", "?ack=manual&device=two");
    b2.until("synced");
    b.send(&json!({"type": "received", "seq": 2}));
    // The user's own sessions are told, the stranger is not.
    assert_has(&b2.receipt(), &json!({"kind": "received", "id": ids[1]}));
    assert_eq!(their_marks(&mut a), [None, None]);
    // Reading is an action of the reader.
    b.send(&about("read", "a", &ids[0]));
    assert_has(&a.receipt(), &json!({"kind": "read", "id": ids[0]}));
    let read = Some(ids[0].clone());
    assert_eq!(their_marks(&mut a), [read.clone(), read.clone()]);
    assert_status(&mut a, "b", "sent");
    for session in [&mut b, &mut b2] {
        session.expect("message");
    }
    assert_status(&mut b, "a", "sent");
    a.expect("message");
    for session in [&mut a, &mut b, &mut b2] {
        session.assert_quiet();
    }
    assert!(a.receipts().is_empty());

    let answer = b.ask(&to("a", "an answer"));
    assert_eq!(answer["status"], "stored");
    a.expect("message");
    // What was received before is told once.
    assert_has(
        &a.receipt(),
        &json!({"kind": "received", "by_user": "b", "target_user": "b", "id": ids[1]}),
    );
    assert_eq!(their_marks(&mut a), [read, Some(ids[1].clone())]);
    b.send(&json!({"type": "received", "seq": 3}));
    assert_has(&a.receipt(), &json!({"kind": "received", "id": ids[2]}));
    assert_status(&mut a, "b", "relayed");
    b.expect("message");
    assert_status(&mut b, "a", "relayed");
    a.expect("message");
    for session in [b, b2] {
        session.close();
    }
    eventually("the sessions of b have ended", || {
        a.ask(&ephemeral("b"))["status"] == "dropped"
    });
    server.kill();
    server.restart();
    let mut a = manual(&server, "a");
    assert_status(&mut a, "b", "dropped");
    // Deleted messages count.
    let mut b = manual(&server, "b");
    assert_eq!(b.ask(&about("delete", "a", &answer["id"]))["type"], "ack");
    a.until("deleted");
    assert_status(&mut a, "b", "relayed");
}

#[test]
fn a_block_hides_both_sides_from_each_other() {
    let server = Server::start(&[]);
    make_contacts(&server, "a", "b");
    let (mut a, mut b) = (manual(&server, "a"), manual(&server, "b"));
    assert_status(&mut a, "b", "relayed");
    b.expect("message");
    assert_eq!(a.ask(&json!({"type": "block", "user": "b"}))["type"], "ok");
    assert_status(&mut a, "b", "sent");
    assert_eq!(b.expect("message")["ephemeral"], true);
    assert_eq!(b.ask(&ephemeral("a"))["code"], "blocked");
    assert_eq!(
        a.ask(&json!({"type": "unblock", "user": "b"}))["type"],
        "ok"
    );
    assert_status(&mut a, "b", "relayed");
}

#[test]
fn users_see_themselves() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    assert_status(&mut a, "a", "dropped");
    let mut twin = Client::fresh(&server, "a");
    assert_status(&mut a, "a", "relayed");
    twin.expect("message");
    a.send(&json!({"type": "typing", "target_user": "a"}));
    assert_eq!(twin.expect("typing")["from_user"], "a");
}

#[test]
fn a_lookup_changes_no_order_of_replies() {
    let mut server = Server::start(&["--burst", "1000"]);
    for n in 0..10 {
        make_contacts(&server, "a", &format!("b{n}"));
    }
    for round in 0..2 {
        let mut a = Client::connect(&server, "a", "?since=20");
        a.until("synced");
        let mut frames = Vec::new();
        for n in 0..10 {
            for user in ["b", "stranger"] {
                let reference = json!({"ref": format!("{user}{n}")});
                frames.push(with(ephemeral(&format!("{user}{n}")), &reference));
                frames.push(json!({"type": "ping", "ref": "p"}));
            }
        }
        burst(&mut a, &frames);
        for frame in &frames {
            let reply = a.recv();
            assert_eq!(reply["ref"], frame["ref"], "round {round}: {reply}");
            let status = match frame["target_user"].as_str() {
                None => continue,
                Some(user) if user.starts_with('b') => "dropped",
                Some(_) => "sent",
            };
            assert_eq!(reply["status"], status);
        }
        server.kill();
        server.restart();
    }
}

#[test]
fn users_whose_messages_have_expired_are_strangers_again() {
    let server = Server::start(&[
        "--history-days",
        "0.00003",
        "--inbox-days",
        "0.00003",
        // The test asks often.
        "--messages-per-second",
        "100000",
        "--burst",
        "100000",
    ]);
    make_contacts(&server, "a", "b");
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    eventually("the messages have expired", || {
        a.ask(&ephemeral("b"))["status"] == "sent"
    });
    make_contacts(&server, "b", "a");
    for _ in 0..2 {
        a.until("message");
    }
    assert_eq!(a.ask(&ephemeral("b"))["status"], "dropped");
    eventually("the messages have expired", || {
        a.ask(&ephemeral("b"))["status"] == "sent"
    });
}
