//! Receipts: which sessions are notified of received and read messages, and which marks are stored (PROTOCOL sections 5 and 10).

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Raw, Server, about, assert_has, make_contacts, to, with};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// A session on its own device with `ack=manual`, whose entries count as received only by `received` frames.
fn connect_manual(server: &Server, user: &str, device: &str) -> Client {
    let mut client = Client::connect(
        server,
        user,
        &format!("?ack=manual&device={device}&since=0"),
    );
    client.until("synced");
    client
}

/// A server on which `a` and `b` see each other.
fn with_contacts(arguments: &[&str]) -> Server {
    let server = Server::start(arguments);
    make_contacts(&server, "a", "b");
    server
}

/// Entries of an inbox that [`make_contacts`] adds for a pair.
const BEFORE: u64 = 2;

/// Acknowledges entry `seq` after those of [`with_contacts`].
fn received(client: &mut Client, seq: u64) {
    received_entry(client, BEFORE + seq);
}

fn received_entry(client: &mut Client, seq: u64) {
    client.send(&json!({"type": "received", "seq": seq}));
}

/// Asserts that the next receipt is this one, except for its time.
#[track_caller]
fn assert_receipt(client: &mut Client, kind: &str, by: &str, with: &str, id: &Value) {
    let mut receipt = client.receipt();
    let at = receipt
        .as_object_mut()
        .and_then(|fields| fields.remove("at"));
    assert!(at.is_some_and(|at| at.is_string()), "{receipt}");
    assert_eq!(
        receipt,
        json!({"type": "receipt", "kind": kind, "by_user": by, "target_user": with, "id": id})
    );
}

/// Sends numbered messages to a user and returns their ids. Other frames are skipped.
fn send(from: &mut Client, user: &str, count: usize) -> Vec<Value> {
    (1..=count)
        .map(|n| {
            from.send(&to(user, &n.to_string()));
            let ack = from.until("ack");
            assert_eq!(ack["status"], "stored", "{ack}");
            ack["id"].clone()
        })
        .collect()
}

/// The conversation with a user in the answer to `conversations`.
fn conversation(client: &mut Client, user: &str) -> Value {
    let answer = client.ask(&json!({"type": "conversations"}));
    let items = answer["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["target_user"] == user);
    item.unwrap_or_else(|| panic!("{user} is not in {answer}"))
        .clone()
}

/// Asserts that no receipt has arrived or arrives before the answer to a `ping`.
#[track_caller]
fn assert_no_receipt(client: &mut Client) {
    client.assert_quiet();
    let receipts = client.receipts();
    assert!(receipts.is_empty(), "{receipts:?}");
}

#[test]
fn receiving_notifies_the_sender_and_the_receivers_other_sessions() {
    let server = with_contacts(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut a2 = connect_manual(&server, "a", "phone");
    let mut b = connect_manual(&server, "b", "one");
    let mut b2 = connect_manual(&server, "b", "two");
    let ids = send(&mut a, "b", 3);
    for client in [&mut b, &mut b2, &mut a2] {
        (0..3).for_each(|_| drop(client.expect("message")));
    }
    received(&mut b, 2);
    assert_receipt(&mut a, "received", "b", "b", &ids[1]);
    assert_receipt(&mut a2, "received", "b", "b", &ids[1]);
    assert_receipt(&mut b2, "received", "b", "a", &ids[1]);
    // The other device confirms more entries. The first device receives this receipt, but not one for its own frame.
    received(&mut b2, 3);
    assert_receipt(&mut b, "received", "b", "a", &ids[2]);
    assert_receipt(&mut a, "received", "b", "b", &ids[2]);
    assert_receipt(&mut a2, "received", "b", "b", &ids[2]);
    assert_no_receipt(&mut b2);
    assert_no_receipt(&mut b);
    assert_no_receipt(&mut a);
}

#[test]
fn an_answered_ping_makes_a_receipt() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = Client::fresh(&server, "b");
    let mut b2 = connect_manual(&server, "b", "two");
    let ids = send(&mut a, "b", 1);
    b.expect("message");
    b2.expect("message");
    let Ok(Message::Ping(_)) = b.next_message() else {
        panic!("expected a ping");
    };
    // The pong is written before the next frame.
    b.assert_quiet();
    assert_receipt(&mut a, "received", "b", "b", &ids[0]);
    assert_receipt(&mut b2, "received", "b", "a", &ids[0]);
    assert_no_receipt(&mut b);
}

#[test]
fn an_unanswered_ping_makes_no_receipt() {
    let server = with_contacts(&[]);
    make_contacts(&server, "a", "c");
    let mut a = connect_manual(&server, "a", "one");
    let mut mute = Raw::upgrade(&server, "/ws/b");
    let mut c = connect_manual(&server, "c", "one");
    let unconfirmed = send(&mut a, "b", 1);
    // The client reads `welcome`, `synced`, the message and the ping, and sends nothing.
    let (mut texts, mut pings) = (0, 0);
    while texts < 3 || pings < 1 {
        match mute.frame().expect("a frame").opcode {
            1 => texts += 1,
            9 => pings += 1,
            other => panic!("unexpected opcode {other}"),
        }
    }
    let ids = send(&mut a, "c", 1);
    c.expect("message");
    received(&mut c, 1);
    assert_receipt(&mut a, "received", "c", "c", &ids[0]);
    assert_no_receipt(&mut a);
    assert_ne!(conversation(&mut a, "b")["their_received"], unconfirmed[0]);
}

#[test]
fn with_manual_acks_a_pong_makes_no_receipt() {
    let server = with_contacts(&["--ping-seconds", "1"]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 2);
    (0..2).for_each(|_| drop(b.expect("message")));
    // A ping that was sent after the messages.
    let Ok(Message::Ping(_)) = b.next_message() else {
        panic!("expected a ping");
    };
    b.assert_quiet();
    received(&mut b, 1);
    assert_receipt(&mut a, "received", "b", "b", &ids[0]);
    assert_no_receipt(&mut a);
}

#[test]
fn only_the_highest_watermark_makes_receipts() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b1 = connect_manual(&server, "b", "one");
    let mut b2 = connect_manual(&server, "b", "two");
    let mut b3 = connect_manual(&server, "b", "three");
    let ids = send(&mut a, "b", 5);
    received(&mut b1, 1);
    assert_receipt(&mut a, "received", "b", "b", &ids[0]);
    received(&mut b2, 4);
    assert_receipt(&mut a, "received", "b", "b", &ids[3]);
    // The other devices follow, and one of them never gets ahead.
    received(&mut b1, 3);
    received(&mut b3, 4);
    received(&mut b1, 4);
    b1.until("message");
    received(&mut b1, 5);
    assert_receipt(&mut a, "received", "b", "b", &ids[4]);
    assert_no_receipt(&mut a);
    assert_eq!(conversation(&mut a, "b")["their_received"], ids[4]);
}

#[test]
fn lower_and_repeated_watermarks_make_no_receipts() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 4);
    received(&mut b, 2);
    assert_receipt(&mut a, "received", "b", "b", &ids[1]);
    for seq in [2, 1, 0, 2] {
        received(&mut b, seq);
    }
    b.close();
    // A new session does not know which receipts the previous one caused.
    let mut b = connect_manual(&server, "b", "one");
    for seq in [1, 2] {
        received(&mut b, seq);
    }
    b.assert_quiet();
    let mut b2 = connect_manual(&server, "b", "two");
    for seq in [2, 1] {
        received(&mut b2, seq);
    }
    b2.assert_quiet();
    received(&mut b, 3);
    assert_receipt(&mut a, "received", "b", "b", &ids[2]);
    assert_receipt(&mut b2, "received", "b", "a", &ids[2]);
    // A watermark beyond the newest entry counts as the newest.
    received_entry(&mut b, 9_007_199_254_740_991);
    assert_receipt(&mut a, "received", "b", "b", &ids[3]);
    received_entry(&mut b, 9_007_199_254_740_990);
    received(&mut b, 4);
    let next = send(&mut a, "b", 1);
    b.until("message");
    received(&mut b, 5);
    assert_receipt(&mut a, "received", "b", "b", &next[0]);
    assert_no_receipt(&mut a);
}

#[test]
fn a_watermark_over_several_conversations_makes_a_receipt_in_each() {
    const ALL_BEFORE: u64 = 4 * BEFORE;
    let server = Server::start(&[]);
    for user in ["ann", "cal", "dee", "eve"] {
        make_contacts(&server, user, "b");
    }
    let mut b = connect_manual(&server, "b", "one");
    let mut b2 = connect_manual(&server, "b", "two");
    let mut others: Vec<Client> = ["ann", "cal", "dee", "eve"]
        .iter()
        .map(|user| connect_manual(&server, user, "one"))
        .collect();
    let [ann, cal, dee, eve] = others.as_mut_slice() else {
        panic!("four clients");
    };
    send(ann, "b", 1);
    let from_cal = send(cal, "b", 2).remove(1);
    let from_ann = send(ann, "b", 1).remove(0);
    // b's own message makes no receipt; dee's message comes after the watermark.
    send(&mut b, "eve", 1);
    let from_dee = send(dee, "b", 1).remove(0);
    received_entry(&mut b, ALL_BEFORE + 5);
    assert_receipt(ann, "received", "b", "b", &from_ann);
    assert_receipt(cal, "received", "b", "b", &from_cal);
    (0..6).for_each(|_| drop(b2.expect("message")));
    let mut found = [b2.receipt(), b2.receipt()];
    found.sort_by_key(|receipt| receipt["target_user"].to_string());
    for (receipt, (user, id)) in found.iter().zip([("ann", &from_ann), ("cal", &from_cal)]) {
        let fields = json!({"kind": "received", "by_user": "b", "target_user": user, "id": id});
        assert_has(receipt, &fields);
    }
    received_entry(&mut b, ALL_BEFORE + 6);
    assert_receipt(dee, "received", "b", "b", &from_dee);
    assert_receipt(&mut b2, "received", "b", "dee", &from_dee);
    eve.expect("message");
    for client in [ann, cal, dee, eve, &mut b2] {
        client.send(&json!({"type": "ping", "ref": "end"}));
        client.until("pong");
        let receipts = client.receipts();
        assert!(receipts.is_empty(), "{receipts:?}");
    }
}

#[test]
fn changes_and_own_messages_make_no_receipts() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 2);
    a.ask(&with(
        about("edit", "b", &ids[0]),
        &json!({"message": "edited"}),
    ));
    a.ask(&with(about("react", "b", &ids[1]), &json!({"emoji": "+"})));
    send(&mut b, "a", 1);
    let next = send(&mut a, "b", 1);
    received(&mut b, 2);
    assert_receipt(&mut a, "received", "b", "b", &ids[1]);
    // An edit of an older message, a reaction, b's own message: no new message was received.
    for seq in 3..=5 {
        received(&mut b, seq);
        b.send(&json!({"type": "ping", "ref": "heard"}));
        b.until("pong");
    }
    received(&mut b, 6);
    assert_receipt(&mut a, "received", "b", "b", &next[0]);
    assert!(a.receipts().is_empty());
    let item = conversation(&mut a, "b");
    assert_has(
        &item,
        &json!({"their_received": next[0], "their_read": null, "my_read": null}),
    );
}

#[test]
fn reading_notifies_the_peer_and_the_readers_other_sessions() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut a2 = connect_manual(&server, "a", "two");
    let mut b = connect_manual(&server, "b", "one");
    let mut b2 = connect_manual(&server, "b", "two");
    let ids = send(&mut a, "b", 3);
    for client in [&mut b, &mut b2, &mut a2] {
        (0..3).for_each(|_| drop(client.expect("message")));
    }
    b.send(&with(about("read", "a", &ids[1]), &json!({"ref": "r"})));
    // One receipt, and no reply.
    assert_receipt(&mut a, "read", "b", "b", &ids[1]);
    assert_receipt(&mut a2, "read", "b", "b", &ids[1]);
    assert_receipt(&mut b2, "read", "b", "a", &ids[1]);
    assert_no_receipt(&mut b);
    // A read message counts as received.
    assert_has(
        &conversation(&mut a, "b"),
        &json!({"their_read": ids[1], "their_received": ids[1], "my_read": null}),
    );
    assert_has(
        &conversation(&mut b, "a"),
        &json!({"my_read": ids[1], "unread": 1, "their_read": null}),
    );
    received(&mut b2, 2);
    b2.assert_quiet();
    received(&mut b2, 3);
    assert_receipt(&mut a, "received", "b", "b", &ids[2]);
    assert_receipt(&mut b, "received", "b", "a", &ids[2]);
    assert_has(
        &conversation(&mut a, "b"),
        &json!({"their_read": ids[1], "their_received": ids[2]}),
    );
    for client in [&mut a, &mut a2, &mut b, &mut b2] {
        client.assert_quiet();
    }
}

#[test]
fn a_repeated_or_older_read_mark_changes_nothing() {
    let server = with_contacts(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let mut b2 = connect_manual(&server, "b", "two");
    let ids = send(&mut a, "b", 3);
    let read = |client: &mut Client, n: usize| client.send(&about("read", "a", &ids[n]));
    read(&mut b, 1);
    assert_receipt(&mut a, "read", "b", "b", &ids[1]);
    read(&mut b, 1);
    read(&mut b, 0);
    (0..3).for_each(|_| drop(b2.expect("message")));
    assert_receipt(&mut b2, "read", "b", "a", &ids[1]);
    read(&mut b2, 0);
    read(&mut b2, 1);
    b2.assert_quiet();
    (0..3).for_each(|_| drop(b.expect("message")));
    assert_has(
        &conversation(&mut b, "a"),
        &json!({"my_read": ids[1], "unread": 1}),
    );
    read(&mut b, 2);
    assert_receipt(&mut a, "read", "b", "b", &ids[2]);
    assert_receipt(&mut b2, "read", "b", "a", &ids[2]);
    assert_no_receipt(&mut a);
    assert_no_receipt(&mut b);
    // Read marks are not entries of any inbox.
    for user in ["a", "b"] {
        let welcome = Client::connect(&server, user, "").welcome;
        assert_eq!(welcome["seq"], BEFORE + 3);
    }
}

#[test]
fn reading_an_unknown_message_is_an_error() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 1);
    let elsewhere = send(&mut a, "c", 1);
    for (user, id) in [
        ("b", &json!(ID)),
        ("b", &elsewhere[0]),
        ("c", &ids[0]),
        ("nobody", &ids[0]),
        ("a", &ids[0]),
    ] {
        let error = a.ask(&with(about("read", user, id), &json!({"ref": "r"})));
        assert_has(
            &error,
            &json!({"type": "error", "code": "unknown_message", "ref": "r", "path": "/id", "retryable": false}),
        );
    }
    b.expect("message");
    assert_no_receipt(&mut b);
}

#[test]
fn a_read_mark_may_point_to_a_deleted_message() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 2);
    a.ask(&about("delete", "b", &ids[1]));
    b.send(&about("read", "a", &ids[1]));
    assert_receipt(&mut a, "read", "b", "b", &ids[1]);
    let mut later = connect_manual(&server, "b", "two");
    assert_has(
        &conversation(&mut later, "a"),
        &json!({"my_read": ids[1], "unread": 0}),
    );
}

#[test]
fn reading_own_notes_notifies_the_other_sessions_once() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut a2 = connect_manual(&server, "a", "two");
    let first = a.ask(&to("a", "1"))["id"].clone();
    a.expect("message");
    let second = a.ask(&to("a", "2"))["id"].clone();
    a.expect("message");
    (0..2).for_each(|_| drop(a2.expect("message")));
    for id in [&first, &second] {
        a.send(&about("read", "a", id));
        assert_receipt(&mut a2, "read", "a", "a", id);
    }
    assert_no_receipt(&mut a);
    assert_no_receipt(&mut a2);
    assert_has(
        &conversation(&mut a, "a"),
        &json!({"my_read": second, "unread": 0}),
    );
}

#[test]
fn receipts_are_not_stored_but_the_marks_survive_a_restart() {
    let mut server = with_contacts(&["--messages-per-second", "10000", "--burst", "10000"]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send(&mut a, "b", 5);
    (0..5).for_each(|_| drop(b.expect("message")));
    let answer = send(&mut b, "a", 1).remove(0);
    a.expect("message");
    a.close();
    // No other session is connected.
    received(&mut b, 4);
    b.send(&about("read", "a", &ids[1]));
    b.assert_quiet();
    let mut a = connect_manual(&server, "a", "two");
    crate::support::eventually("the mark is stored", || {
        conversation(&mut a, "b").get("their_received") == Some(&ids[3])
    });
    assert!(a.receipts().is_empty());
    a.send(&about("read", "b", &answer));
    assert_receipt(&mut b, "read", "a", "a", &answer);
    let of_a = conversation(&mut a, "b");
    assert_has(
        &of_a,
        &json!({"my_read": answer, "their_read": ids[1], "their_received": ids[3], "unread": 0}),
    );
    let of_b = conversation(&mut b, "a");
    assert_has(
        &of_b,
        &json!({"my_read": ids[1], "their_read": answer, "their_received": answer, "unread": 3}),
    );
    server.kill();
    server.restart();
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    assert_eq!(conversation(&mut a, "b"), of_a);
    assert_eq!(conversation(&mut b, "a"), of_b);
    // The marks continue from there.
    b.send(&about("read", "a", &ids[0]));
    received(&mut b, 4);
    b.send(&about("read", "a", &ids[2]));
    assert_receipt(&mut a, "read", "b", "b", &ids[2]);
    received(&mut b, 5);
    assert_receipt(&mut a, "received", "b", "b", &ids[4]);
    assert_no_receipt(&mut a);
    assert_no_receipt(&mut b);
}
