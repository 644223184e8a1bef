//! The setting `--presence`: who sees whom (PROTOCOL section 8, "Visibility").

use serde_json::{Value, json};

use crate::support::{Client, Server, about, assert_has, eventually, make_contacts, to, with};

fn ephemeral(user: &str) -> Value {
    with(to(user, "psst"), &json!({"ephemeral": true}))
}

/// A session whose entries count as received only by `received` frames.
fn manual(server: &Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "?ack=manual");
    client.until("synced");
    client
}

/// What the ack of an ephemeral message to a user with a session tells. The user gets the message in any case.
#[track_caller]
fn status(from: &mut Client, user: &str, receiver: &mut Client) -> String {
    let ack = from.ask(&ephemeral(user));
    assert_eq!(receiver.expect("message")["ephemeral"], true);
    ack["status"].as_str().expect("a status").to_owned()
}

/// A message that blocks do not stop.
fn to_lobby() -> Value {
    json!({"message": "a message", "target_room": "lobby"})
}

/// Asserts that `typing` does not reach the receiver. A message that is sent after it does.
#[track_caller]
fn assert_no_typing((from, user): (&mut Client, &str), receiver: &mut Client, message: &Value) {
    from.send(&json!({"type": "typing", "target_user": user}));
    assert_eq!(from.ask(message)["type"], "ack");
    assert_eq!(receiver.expect("message")["message"], "a message");
}

#[test]
fn with_everyone_strangers_see_each_other_unless_one_blocks_the_other() {
    let server = Server::start(&["--presence", "everyone"]);
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user));
    assert_eq!(status(&mut a, "b", &mut b), "relayed");
    for user in ["offline", "a"] {
        assert_eq!(a.ask(&ephemeral(user))["status"], "dropped");
    }
    a.send(&json!({"type": "typing", "target_user": "b"}));
    assert_has(&b.expect("typing"), &json!({"from_user": "a"}));
    // The only message of the conversation.
    let id = a.ask(&to("b", "hello"))["id"].clone();
    let seq = b.expect("message")["seq"].clone();
    b.send(&json!({"type": "received", "seq": seq}));
    let received = json!({"kind": "received", "by_user": "b", "target_user": "b", "id": id});
    assert_has(&a.receipt(), &received);
    let conversations = a.ask(&json!({"type": "conversations"}));
    assert_eq!(conversations["items"][0]["their_received"], id);
    // The first answer reveals nothing new.
    b.ask(&to("a", "hello"));
    a.expect("message");
    a.assert_quiet();
    assert_eq!(a.receipts(), [] as [Value; 0]);

    for client in [&mut a, &mut b] {
        client.ask(&json!({"type": "join", "room": "lobby"}));
    }
    a.expect("room");
    b.ask(&json!({"type": "block", "user": "a"}));
    assert_eq!(status(&mut b, "a", &mut a), "sent");
    assert_no_typing((&mut a, "b"), &mut b, &to_lobby());
    assert_no_typing((&mut b, "a"), &mut a, &to_lobby());
}

#[test]
fn with_off_not_even_contacts_see_each_other() {
    let server = Server::start(&["--presence", "off"]);
    make_contacts(&server, "a", "b");
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user));
    assert_eq!(status(&mut a, "b", &mut b), "sent");
    for user in ["offline", "nobody"] {
        assert_eq!(a.ask(&ephemeral(user))["status"], "sent");
    }
    assert_no_typing((&mut a, "b"), &mut b, &to("b", "a message"));
    // Users see themselves.
    let mut twin = Client::connect(&server, "a", "?ack=manual&device=twin");
    twin.until("synced");
    assert_eq!(status(&mut a, "a", &mut twin), "relayed");
    a.send(&json!({"type": "typing", "target_user": "a"}));
    assert_eq!(twin.expect("typing")["from_user"], "a");
    twin.close();
    eventually("the other session of a has ended", || {
        a.ask(&ephemeral("a"))["status"] == "dropped"
    });
}

/// The other side's marks in the only conversation: read, received.
fn their_marks(client: &mut Client) -> [Option<Value>; 2] {
    let answer = client.ask(&json!({"type": "conversations"}));
    let item = &answer["items"][0];
    ["their_read", "their_received"].map(|mark| item.get(mark).cloned())
}

#[track_caller]
fn assert_receipt(client: &mut Client, kind: &str, id: &Value) {
    let expected = json!({"kind": kind, "by_user": "b", "target_user": "b", "id": id});
    assert_has(&client.receipt(), &expected);
}

#[test]
fn with_off_receipts_wait_until_the_receiver_reads_or_writes_there() {
    let mut server = Server::start(&["--presence", "off"]);
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user));
    let mut b2 = Client::connect(&server, "b", "?ack=manual&device=two");
    b2.until("synced");
    let mut ids: Vec<Value> = Vec::new();
    for n in 1..=3 {
        ids.push(a.ask(&to("b", &n.to_string()))["id"].clone());
        b.expect("message");
        b2.expect("message");
    }
    b.send(&json!({"type": "received", "seq": 2}));
    // The user's own sessions are informed.
    assert_has(&b2.receipt(), &json!({"kind": "received", "id": ids[1]}));
    assert_eq!(their_marks(&mut a), [None, None]);
    b.send(&about("read", "a", &ids[0]));
    assert_receipt(&mut a, "received", &ids[1]);
    assert_receipt(&mut a, "read", &ids[0]);
    let shown = [Some(ids[0].clone()), Some(ids[1].clone())];
    assert_eq!(their_marks(&mut a), shown);
    assert_has(&b2.receipt(), &json!({"kind": "read"}));
    b.send(&json!({"type": "received", "seq": 3}));
    assert_has(&b2.receipt(), &json!({"kind": "received", "id": ids[2]}));
    assert_eq!(their_marks(&mut a), shown);
    server.kill();
    server.restart();
    let [mut a, mut b] = ["a", "b"].map(|user| manual(&server, user));
    let mut b2 = Client::connect(&server, "b", "?ack=manual&device=two");
    b2.until("synced");
    assert_eq!(their_marks(&mut a), shown);
    b.ask(&to("a", "an answer"));
    a.expect("message");
    b2.expect("message");
    assert_receipt(&mut a, "received", &ids[2]);
    let shown = [Some(ids[0].clone()), Some(ids[2].clone())];
    assert_eq!(their_marks(&mut a), shown);
    // A change is an action in the conversation, too.
    let id = a.ask(&to("b", "4"))["id"].clone();
    let seq = b.expect("message")["seq"].clone();
    b2.expect("message");
    b.send(&json!({"type": "received", "seq": seq}));
    assert_has(&b2.receipt(), &json!({"kind": "received", "id": id}));
    assert_eq!(their_marks(&mut a), shown);
    b.ask(&with(about("react", "a", &ids[0]), &json!({"emoji": "+"})));
    a.expect("reacted");
    assert_receipt(&mut a, "received", &id);
    assert_eq!(their_marks(&mut a)[1], Some(id));
    assert_eq!(a.receipts(), [] as [Value; 0]);
    let (valid, output) = server.verify();
    assert!(valid, "verify: {output}");
}
