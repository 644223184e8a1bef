//! What would reveal an invisible user beside presence: acks of ephemeral messages, `typing`, `received` receipts and
//! `their_received`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::helpers::set_status;
use crate::support::{Client, Folder, Server, about, assert_has, make_contacts, to, with};

/// A session on its own device, whose entries count as received only by `received` frames.
fn manual(server: &Server, user: &str, device: &str) -> Client {
    let mut client = Client::connect(server, user, &format!("?ack=manual&device={device}"));
    client.until("synced");
    client
}

fn ephemeral(target: &str, name: &str) -> Value {
    json!({"message": "psst", target: name, "ephemeral": true})
}

/// The status in the ack of an ephemeral message, which the receiver gets in any case.
#[track_caller]
fn status(from: &mut Client, frame: &Value, receiver: &mut Client) -> String {
    let ack = from.ask(frame);
    assert_eq!(receiver.expect("message")["ephemeral"], true);
    ack["status"].as_str().expect("a status").to_owned()
}

fn join(client: &mut Client, room: &str) {
    let ack = client.ask(&json!({"type": "join", "room": room}));
    assert_eq!(ack["type"], "ack", "{ack}");
}

#[test]
fn ephemeral_messages_to_an_invisible_user_are_delivered_and_acknowledged_as_dropped() {
    let mut server = Server::start(&[]);
    make_contacts(&server, "a", "b");
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|user| manual(&server, user, "one"));
    join(&mut a, "lobby");
    join(&mut b, "lobby");
    a.expect("room");
    let (direct, room) = (
        ephemeral("target_user", "b"),
        ephemeral("target_room", "lobby"),
    );
    for frame in [&direct, &room] {
        assert_eq!(status(&mut a, frame, &mut b), "relayed");
    }
    set_status(&mut b, "invisible");
    for frame in [&direct, &room] {
        assert_eq!(status(&mut a, frame, &mut b), "dropped");
    }
    // To a stranger, the ack tells as little as before.
    assert_eq!(status(&mut c, &direct, &mut b), "sent");
    // Users see themselves as others do.
    let mut b2 = manual(&server, "b", "two");
    assert_eq!(status(&mut b, &direct, &mut b2), "dropped");
    // Another member is visible.
    join(&mut c, "lobby");
    for client in [&mut a, &mut b, &mut b2] {
        client.expect("room");
    }
    assert_eq!(status(&mut a, &room, &mut b), "relayed");
    for client in [&mut b2, &mut c] {
        client.expect("message");
    }
    assert_eq!(status(&mut b, &room, &mut a), "relayed");
    server.kill();
    server.restart();
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user, "one"));
    for frame in [&direct, &room] {
        assert_eq!(status(&mut a, frame, &mut b), "dropped");
    }
    set_status(&mut b, "away");
    for frame in [&direct, &room] {
        assert_eq!(status(&mut a, frame, &mut b), "relayed");
    }
}

#[test]
fn typing_of_an_invisible_user_is_not_forwarded() {
    let server = Server::start(&[]);
    make_contacts(&server, "a", "b");
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user, "one"));
    join(&mut a, "lobby");
    join(&mut b, "lobby");
    a.expect("room");
    set_status(&mut b, "invisible");
    let targets = [json!({"target_user": "a"}), json!({"target_room": "lobby"})];
    for target in &targets {
        b.send(&with(json!({"type": "typing"}), target));
    }
    // It is answered as before otherwise.
    b.send(&json!({"type": "typing", "target_room": "other"}));
    assert_eq!(b.recv()["code"], "not_member");
    b.ask(&to("a", "a message"));
    a.expect("message");
    // What others do reaches the invisible user.
    a.send(&json!({"type": "typing", "target_user": "b"}));
    b.expect("typing");
    set_status(&mut b, "online");
    for target in &targets {
        b.send(&with(json!({"type": "typing"}), target));
        assert_has(&a.expect("typing"), target);
    }
}

#[test]
fn typing_before_the_end_of_an_invisible_session_is_not_forwarded() {
    let server = Server::start(&["--presence-grace-seconds", "0"]);
    make_contacts(&server, "a", "b");
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    set_status(&mut b, "invisible");
    b.close();
    for _ in 0..20 {
        let mut b = manual(&server, "b", "one");
        b.send(&json!({"type": "typing", "target_user": "a"}));
        b.close();
    }
    // What was forwarded before comes before a message.
    let mut b = manual(&server, "b", "one");
    b.ask(&to("a", "a message"));
    a.expect("message");
}

/// The other side's marks in the conversation with `user`: read, received.
fn their_marks(client: &mut Client, user: &str) -> [Option<Value>; 2] {
    let answer = client.ask(&json!({"type": "conversations"}));
    let items = answer["items"].as_array().expect("a list");
    let item = items.iter().find(|item| item["target_user"] == user);
    let item = item.expect("a conversation");
    ["their_read", "their_received"].map(|mark| item.get(mark).cloned())
}

#[track_caller]
fn assert_receipt(client: &mut Client, kind: &str, id: &Value) {
    let expected = json!({"kind": kind, "by_user": "b", "target_user": "b", "id": id});
    assert_has(&client.receipt(), &expected);
}

/// Users `a` and `c`, contacts of `b`, who has two devices.
struct Users {
    a: Client,
    c: Client,
    b: Client,
    b2: Client,
}

impl Users {
    fn connect(server: &Server) -> Self {
        Self {
            a: manual(server, "a", "one"),
            c: manual(server, "c", "one"),
            b: manual(server, "b", "one"),
            b2: manual(server, "b", "two"),
        }
    }

    /// `a` and `c` send a message each, which `b` receives. Returns the ids.
    fn exchange(&mut self) -> [Value; 2] {
        let ids = [&mut self.a, &mut self.c].map(|from| from.ask(&to("b", "x"))["id"].clone());
        self.b.expect("message");
        let seq = self.b.expect("message")["seq"].clone();
        for _ in 0..2 {
            self.b2.expect("message");
        }
        self.b.send(&json!({"type": "received", "seq": seq}));
        // The user's own sessions are informed at once, in any order.
        let mut informed = [self.b2.receipt(), self.b2.receipt()].map(|frame| frame["id"].clone());
        if informed[0] != ids[0] {
            informed.reverse();
        }
        assert_eq!(informed, ids);
        ids
    }
}

#[test]
fn receipts_of_an_invisible_user_wait_until_the_user_acts_or_is_visible_again() {
    let mut server = Server::start(&[]);
    make_contacts(&server, "a", "b");
    make_contacts(&server, "c", "b");
    let mut users = Users::connect(&server);
    let before = users.exchange();
    assert_receipt(&mut users.a, "received", &before[0]);
    assert_receipt(&mut users.c, "received", &before[1]);
    set_status(&mut users.b, "invisible");
    let ids = users.exchange();
    assert_eq!(
        their_marks(&mut users.a, "b"),
        [None, Some(before[0].clone())]
    );
    assert_eq!(
        their_marks(&mut users.c, "b"),
        [None, Some(before[1].clone())]
    );
    server.kill();
    server.restart();
    let mut users = Users::connect(&server);
    // Reading in one conversation reveals nothing in the other one.
    users.b.send(&about("read", "a", &before[0]));
    assert_receipt(&mut users.a, "received", &ids[0]);
    assert_receipt(&mut users.a, "read", &before[0]);
    users.b2.receipt();
    assert_eq!(
        their_marks(&mut users.a, "b"),
        [Some(before[0].clone()), Some(ids[0].clone())]
    );
    assert_eq!(
        their_marks(&mut users.c, "b"),
        [None, Some(before[1].clone())]
    );
    // So does a message.
    let next = users.exchange();
    users.b.ask(&to("c", "a message"));
    users.c.expect("message");
    users.b2.expect("message");
    assert_receipt(&mut users.c, "received", &next[1]);
    assert_eq!(their_marks(&mut users.a, "b")[1], Some(ids[0].clone()));
    assert_eq!(their_marks(&mut users.c, "b")[1], Some(next[1].clone()));
    let last = users.exchange();
    assert_eq!(their_marks(&mut users.c, "b")[1], Some(next[1].clone()));
    assert!(users.a.receipts().is_empty() && users.c.receipts().is_empty());
    set_status(&mut users.b, "busy");
    assert_receipt(&mut users.a, "received", &last[0]);
    assert_receipt(&mut users.c, "received", &last[1]);
    assert_eq!(their_marks(&mut users.a, "b")[1], Some(last[0].clone()));
    assert_eq!(their_marks(&mut users.c, "b")[1], Some(last[1].clone()));
    // Nothing is deferred from then on, and nothing repeated.
    let now = users.exchange();
    assert_receipt(&mut users.a, "received", &now[0]);
    assert_receipt(&mut users.c, "received", &now[1]);
    set_status(&mut users.b, "invisible");
    set_status(&mut users.b, "online");
    for client in [&mut users.a, &mut users.c, &mut users.b2] {
        client.assert_quiet();
        assert!(client.receipts().is_empty());
    }
    let (valid, output) = server.verify();
    assert!(valid, "verify: {output}");
}

#[test]
fn without_rooms_former_members_learn_nothing_of_what_the_other_has_received() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &["--rooms", "open"]);
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user, "one"));
    join(&mut a, "lobby");
    join(&mut b, "lobby");
    a.expect("room");
    server.signal("TERM");
    assert!(server.wait(Duration::from_secs(20)).success());

    let server = Server::start_in(&folder, &["--rooms", "off"]);
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user, "one"));
    let mut b2 = manual(&server, "b", "two");
    let id = a.ask(&to("b", "hello"))["id"].clone();
    let seq = b.expect("message")["seq"].clone();
    b.send(&json!({"type": "received", "seq": seq}));
    // The user's own sessions are informed.
    b2.expect("message");
    assert_has(&b2.receipt(), &json!({"kind": "received", "id": id}));
    assert_eq!(their_marks(&mut a, "b"), [None, None]);
    // The next receipt is of the action.
    b.send(&about("read", "a", &id));
    assert_receipt(&mut a, "read", &id);
}
