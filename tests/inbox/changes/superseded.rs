//! Changes that later ones supersede: a replay shows their numbers only, so that it is about as large as what is current, and they
//! push nothing else out of an inbox (PROTOCOL section 5).

use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};

use super::{assert_duplicate, assert_stored, edit, messages, react, unreact};
use crate::support::{Client, Raw, Server, about, assert_has, burst, client_frame, to, with};

const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

fn start(arguments: &[&str]) -> Server {
    Server::start(&[&FAST, arguments].concat())
}

/// Sends frames, in small parts so that neither side blocks while the other one writes, and reads their acks.
fn send_all(client: &mut Client, frames: &[Value]) {
    for part in frames.chunks(50) {
        burst(client, part);
        for _ in part {
            assert_stored(&client.until("ack"));
        }
    }
}

/// Sends a frame and returns its reply, which may follow other frames.
fn ask(client: &mut Client, frame: &Value) -> Value {
    client.send(&with(frame.clone(), &json!({"ref": "asked"})));
    loop {
        let reply = client.recv();
        if reply["ref"] == "asked" {
            return reply;
        }
    }
}

/// The entries of a whole replay, which must have no gap.
fn replay(server: &Server, user: &str) -> Vec<Value> {
    let mut client = Client::connect(server, user, "?since=0&device=replay&ack=manual");
    let mut entries = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return entries;
        }
        assert_eq!(frame["seq"], entries.len() + 1, "{frame}");
        entries.push(frame);
    }
}

/// The number of frames of a type, and the bytes of all.
fn count(entries: &[Value], tag: &str) -> usize {
    entries.iter().filter(|frame| frame["type"] == tag).count()
}

fn bytes(entries: &[Value]) -> usize {
    entries.iter().map(|frame| frame.to_string().len()).sum()
}

#[test]
fn many_edits_replay_in_the_size_of_the_last_one() {
    let mut server = start(&[]);
    let mut a = Client::fresh(&server, "a");
    let message = a.ask(&to("b", "0"));
    let id = &message["id"];
    let frames: Vec<Value> = (1..=600).map(|n| edit("b", id, n.to_string())).collect();
    send_all(&mut a, &frames);
    let large = json!({"type": "data", "name": "n", "data": "x".repeat(48_000)});
    let last = a.ask(&edit("b", id, large.clone()));
    assert_eq!(last["seq"], 602);
    for restart in [false, true] {
        if restart {
            server.kill();
            server.restart();
        }
        for user in ["a", "b"] {
            let entries = replay(&server, user);
            assert_eq!(entries[1], json!({"type": "skipped", "seq": 2}));
            assert_eq!(count(&entries, "skipped"), 600);
            assert_has(&entries[0], &json!({"type": "message", "message": large}));
            assert_has(
                &entries[601],
                &json!({"type": "edited", "message": large, "edited_at": last["sent_at"]}),
            );
            assert!(
                bytes(&entries) < 2 * 48_000 + 601 * 50,
                "{}",
                bytes(&entries)
            );
        }
    }
    let mut a = Client::connect(&server, "a", "?since=602");
    a.expect("synced");
    assert_duplicate(&a.ask(&edit("b", id, large.clone())), &last);
    assert_eq!(messages(&mut a, "b")[0]["message"], large);
}

#[test]
fn edits_and_reactions_in_turn_leave_the_last_of_each() {
    let server = start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let message = a.ask(&with(
        to("b", "0"),
        &json!({"reply_to": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"}),
    ));
    let id = &message["id"];
    for n in 1..=20 {
        let change = if n % 2 == 0 { unreact } else { react };
        assert_stored(&ask(&mut a, &edit("b", id, n.to_string())));
        assert_stored(&ask(&mut b, &change("a", id, "+")));
        assert_stored(&ask(
            &mut b,
            &change("a", id, &format!("e{}", (n - 1) / 2 % 4)),
        ));
        assert_stored(&ask(&mut a, &change("b", id, "+")));
    }
    for user in ["a", "b"] {
        let entries = replay(&server, user);
        assert_eq!(count(&entries, "edited"), 1);
        // Two users' "+", and four others.
        assert_eq!(count(&entries, "reacted"), 6, "{entries:#?}");
        assert_eq!(count(&entries, "skipped"), 81 - 8);
        assert_has(
            &entries[0],
            &json!({"message": "20", "reply_to": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"}),
        );
        for entry in entries.iter().filter(|entry| entry["type"] == "reacted") {
            assert_eq!(entry["removed"], true, "{entry}");
        }
    }
    // After the deletion nothing is left of the edits, and nothing can be changed.
    let deleted = ask(&mut a, &about("delete", "b", id));
    for user in ["a", "b"] {
        let entries = replay(&server, user);
        assert_eq!(
            (count(&entries, "skipped"), count(&entries, "deleted")),
            (74, 8)
        );
        assert_eq!(entries[0]["deleted_at"], deleted["sent_at"]);
    }
    for frame in [edit("b", id, "x"), react("b", id, "+")] {
        assert_eq!(ask(&mut a, &frame)["code"], "unknown_message");
    }
    assert!(server.verify().0);
}

#[test]
fn a_strangers_reactions_push_no_message_out_of_an_inbox() {
    let mut server = start(&["--inbox-limit", "20"]);
    let mut friend = Client::fresh(&server, "friend");
    let frames: Vec<Value> = (0..15).map(|n| to("b", &n.to_string())).collect();
    send_all(&mut friend, &frames);
    let mut stranger = Client::fresh(&server, "stranger");
    let message = ask(&mut stranger, &to("b", "hello"));
    let change = |n: usize| {
        let change = if (n / 4).is_multiple_of(2) {
            react
        } else {
            unreact
        };
        change("b", &message["id"], &format!("e{}", n % 4))
    };
    let frames: Vec<Value> = (0..800).map(change).collect();
    send_all(&mut stranger, &frames);
    for restart in [false, true] {
        if restart {
            server.kill();
            server.restart();
        }
        let entries = replay(&server, "b");
        assert_eq!(entries.len(), 16 + 800);
        assert_eq!(count(&entries, "message"), 16);
        assert_eq!(count(&entries, "reacted"), 4);
        assert!(bytes(&entries) < 20 * 300 + 800 * 40);
    }
    // Other entries count as before: two more remove two.
    let mut friend = Client::connect(&server, "friend", "");
    send_all(&mut friend, &[to("b", "one more"), to("b", "another")]);
    let mut b = Client::connect(&server, "b", "?since=0&ack=manual");
    let truncated = b.expect("truncated");
    assert_has(&truncated, &json!({"reason": "retention", "oldest_seq": 3}));
    assert_eq!(b.expect("message")["message"], "2");
    assert!(server.verify().0);
}

#[test]
fn a_slow_reader_gets_the_ack_of_a_superseded_edit_in_its_place() {
    let server = start(&[
        "--outbox-bytes",
        "1024",
        "--stall-seconds",
        "3600",
        // No frames but those of the inbox.
        "--heartbeat-seconds",
        "3600",
        "--ping-seconds",
        "3600",
    ]);
    let mut friend = Client::fresh(&server, "friend");
    let mut watch = Client::connect(&server, "a", "?device=watch&since=0&ack=manual");
    watch.expect("synced");
    let filler = "x".repeat(8000);
    let large: Vec<Value> = (0..800).map(|_| to("a", &filler)).collect();
    send_all(&mut friend, &large);
    // The session reads slowly while it makes the changes, so its cursor stays among the large messages.
    let mut slow = Raw::narrow(&server, "/ws/a?since=0&device=slow&ack=manual");
    let id = |n: u32| format!("019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a{n:02x}");
    let mut frames = Vec::new();
    for (n, user) in [(1, "b"), (2, "a")] {
        frames.push(with(to(user, "0"), &json!({"id": id(n)})));
        for text in ["1", "2", "3"] {
            frames.push(edit(user, &json!(id(n)), text));
        }
        frames.push(react(user, &json!(id(n)), "+"));
        frames.push(unreact(user, &json!(id(n)), "+"));
    }
    for (n, frame) in frames.iter().enumerate() {
        let frame = with(frame.clone(), &json!({"ref": n.to_string()}));
        slow.write(&client_frame(0x81, frame.to_string().as_bytes()));
    }
    let last = 800 + frames.len() as u64;
    let (sender, all_stored) = channel();
    std::thread::spawn(move || {
        while watch.recv()["seq"] != last {}
        sender.send(()).expect("the test waits");
    });
    // `welcome`, the messages, `synced`, and two frames for each change of the message to oneself.
    let count = 1 + 800 + 1 + frames.len() + frames.len() / 2;
    let mut received: Vec<Value> = Vec::new();
    // The server reads the changes only after the client has read something.
    while all_stored.recv_timeout(Duration::from_millis(5)).is_err() {
        assert!(received.len() < 700, "the changes are not processed");
        received.push(slow.text().expect("a frame"));
    }
    received.extend((received.len()..count).map(|_| slow.text().expect("a frame")));
    let received: Vec<_> = received
        .iter()
        .filter(|frame| frame["seq"].as_u64() > Some(800))
        .map(|frame| (frame["seq"].as_u64().unwrap_or(0) - 801, &frame["type"]))
        .collect();
    let mut expected = Vec::new();
    for n in 0..6 {
        expected.push((n, "ack"));
    }
    // A change of a message to oneself has both frames.
    let own = [
        "message", "skipped", "skipped", "edited", "skipped", "reacted",
    ];
    for (n, tag) in (6..).zip(own) {
        expected.extend([(n, "ack"), (n, tag)]);
    }
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(n, tag)| (n, json!(tag)))
        .collect();
    let received: Vec<_> = received
        .into_iter()
        .map(|(n, tag)| (n, tag.clone()))
        .collect();
    assert_eq!(received, expected);
}
