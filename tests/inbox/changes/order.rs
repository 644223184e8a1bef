//! The order of changes among other entries, live and in a replay.

use serde_json::{Value, json};

use super::{
    ID, OTHER_ID, assert_duplicate, assert_stored, conversation, edit, messages, react,
    second_session, unreact,
};
use crate::support::{Client, Server, about, assert_has, burst, to, with};

#[test]
fn changes_of_notes_to_oneself_are_one_entry_with_ack_and_frame() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut a2 = second_session(&server, "a");
    let first = a.ask(&to("a", "note"));
    a.expect("message");
    a2.expect("message");
    let id = &first["id"];
    let who = json!({"from_user": "a", "target_user": "a", "id": id});
    let frames = [
        (edit("a", id, "better"), "edited"),
        (react("a", id, "+"), "reacted"),
        (unreact("a", id, "+"), "reacted"),
        (react("a", id, "-"), "reacted"),
        (about("delete", "a", id), "deleted"),
    ];
    for (seq, (frame, tag)) in (2..).zip(&frames) {
        let ack = a.ask(&with(frame.clone(), &json!({"ref": "r"})));
        assert_stored(&ack);
        assert_has(&ack, &json!({"id": id, "seq": seq, "ref": "r"}));
        let own = a.expect(tag);
        assert_has(&own, &with(who.clone(), &json!({"seq": seq})));
        assert_eq!(a2.expect(tag), own);
    }
    assert_duplicate(
        &a.ask(&about("delete", "a", id)),
        &json!({"id": id, "seq": 6, "sent_at": messages(&mut a2, "a")[0]["deleted_at"]}),
    );
    a.assert_quiet();
    a2.assert_quiet();
    // The inbox contains each change once.
    let mut later = Client::connect(&server, "a", "?since=0");
    let tags = [
        "deleted", "skipped", "skipped", "deleted", "deleted", "deleted",
    ];
    for (seq, tag) in (1..).zip(tags) {
        assert_eq!(later.expect(tag)["seq"], seq);
    }
    assert_eq!(later.expect("synced")["seq"], 6);
}

#[test]
fn a_replay_shows_the_present_state_of_messages() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let sent: Vec<Value> = (1..=4).map(|n| a.ask(&to("b", &format!("m{n}")))).collect();
    let id = |n: usize| &sent[n - 1]["id"];
    a.ask(&edit("b", id(1), "m1, second"));
    let edited = a.ask(&edit("b", id(1), "m1, third"));
    let deleted = a.ask(&about("delete", "b", id(2)));
    let frames = [
        react("a", id(3), "+"),
        unreact("a", id(3), "+"),
        react("a", id(4), "+"),
    ];
    for frame in &frames {
        b.send(frame);
    }
    for _ in &frames {
        a.expect("reacted");
    }
    a.ask(&edit("b", id(4), "m4, second"));
    let last = a.ask(&about("delete", "b", id(4)));
    let of_a = json!({"from_user": "a", "target_user": "b"});
    let of_b = json!({"from_user": "b", "target_user": "a"});
    let third = with(
        of_a.clone(),
        &json!({"id": id(1), "message": "m1, third", "edited_at": edited["sent_at"]}),
    );
    let gone = |n: usize, ack: &Value| {
        with(
            of_a.clone(),
            &json!({"type": "deleted", "id": id(n), "message": null, "deleted_at": ack["sent_at"]}),
        )
    };
    let skipped = json!({"type": "skipped", "id": null, "from_user": null});
    let expected = [
        with(
            third.clone(),
            &json!({"type": "message", "sent_at": sent[0]["sent_at"]}),
        ),
        gone(2, &deleted),
        with(
            of_a.clone(),
            &json!({"type": "message", "id": id(3), "message": "m3", "edited_at": null}),
        ),
        gone(4, &last),
        // An edit that a later one supersedes.
        skipped.clone(),
        with(third, &json!({"type": "edited"})),
        gone(2, &deleted),
        // A reaction that the user has removed.
        skipped.clone(),
        with(
            of_b,
            &json!({"type": "reacted", "id": id(3), "emoji": "+", "removed": true}),
        ),
        // Entries about a deleted message are shown as deletions, except for its edits.
        gone(4, &last),
        skipped,
        gone(4, &last),
    ];
    for user in ["a", "b"] {
        let mut later = Client::connect(&server, user, "?since=0&device=later");
        assert_eq!(later.welcome["seq"], expected.len());
        for (seq, expected) in (1..).zip(&expected) {
            let frame = later.recv();
            assert_has(&frame, &with(expected.clone(), &json!({"seq": seq})));
        }
        later.expect("synced");
        later.assert_quiet();
    }
}

#[test]
fn changes_are_replayed_to_users_who_were_offline() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = first["id"].clone();
    let own = b.ask(&to("a", "from b"));
    a.expect("message");
    let epoch = b.epoch().to_owned();
    b.close();
    let edited = a.ask(&edit("b", &id, "second"));
    a.ask(&react("b", &own["id"], "+"));
    let second = a.ask(&to("b", "another"));
    let deleted = a.ask(&about("delete", "b", &second["id"]));
    let mut b = Client::connect(&server, "b", &format!("?since=3&epoch={epoch}"));
    assert_has(
        &b.expect("edited"),
        &json!({"seq": 4, "id": id, "message": "second", "edited_at": edited["sent_at"]}),
    );
    assert_has(
        &b.expect("reacted"),
        &json!({"seq": 5, "id": own["id"], "from_user": "a", "target_user": "b", "emoji": "+"}),
    );
    for seq in [6, 7] {
        assert_has(
            &b.expect("deleted"),
            &json!({"seq": seq, "id": second["id"], "deleted_at": deleted["sent_at"]}),
        );
    }
    assert_eq!(b.expect("synced")["seq"], 7);
    b.assert_quiet();
}

#[test]
fn changes_survive_a_restart() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let first = a.ask(&json!({"message": "first", "target_user": "b", "id": ID}));
    let gone = a.ask(&json!({"message": "gone", "target_user": "b", "id": OTHER_ID}));
    let edited = a.ask(&edit("b", &first["id"], "second"));
    let deleted = a.ask(&about("delete", "b", &gone["id"]));
    let reacted = a.ask(&react("b", &first["id"], "+"));
    let removed = {
        a.ask(&react("b", &first["id"], "-"));
        a.ask(&unreact("b", &first["id"], "-"))
    };
    server.kill();
    server.restart();
    let mut a = Client::connect(&server, "a", "?since=7");
    a.expect("synced");
    assert_duplicate(&a.ask(&edit("b", &first["id"], "second")), &edited);
    assert_duplicate(&a.ask(&about("delete", "b", &gone["id"])), &deleted);
    assert_duplicate(&a.ask(&react("b", &first["id"], "+")), &reacted);
    assert_duplicate(&a.ask(&unreact("b", &first["id"], "-")), &removed);
    let again = json!({"message": "first", "target_user": "b", "id": ID});
    assert_duplicate(&a.ask(&again), &first);
    let again = json!({"message": "gone", "target_user": "b", "id": OTHER_ID});
    assert_duplicate(&a.ask(&again), &gone);
    assert_eq!(a.ask(&edit("b", &first["id"], "third"))["seq"], 8);
}

#[test]
fn acks_of_a_mixed_burst_come_in_order_and_every_frame_is_answered() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let id = &json!(ID);
    let frames = [
        (to("b", "1"), true),
        (with(to("b", "first"), &json!({"id": id})), true),
        (edit("b", id, "second"), true),
        (with(to("b", "first"), &json!({"id": id})), false),
        (react("b", id, "+"), true),
        (react("b", id, "+"), false),
        (edit("b", &json!(OTHER_ID), "x"), false),
        (unreact("b", id, "+"), true),
        (json!({"type": "ping"}), false),
        (edit("b", id, "third"), true),
        (edit("b", id, "third"), false),
        (about("read", "b", &json!(OTHER_ID)), false),
        (json!({"type": "history", "target_user": "b"}), false),
        (json!({"type": "nonsense"}), false),
        (about("delete", "b", id), true),
        (about("delete", "b", id), false),
        (edit("b", id, "fourth"), false),
        (to("b", "last"), true),
    ];
    let rounds: Vec<Value> = frames
        .iter()
        .enumerate()
        .map(|(n, (frame, _))| with(frame.clone(), &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut a, &rounds);
    let replies: Vec<Value> = frames.iter().map(|_| a.recv()).collect();
    a.assert_quiet();
    let reference = |reply: &Value| -> usize {
        let reference = reply["ref"].as_str().and_then(|text| text.parse().ok());
        reference.unwrap_or_else(|| panic!("unknown ref: {reply}"))
    };
    let mut answered: Vec<usize> = replies.iter().map(reference).collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..frames.len()).collect::<Vec<_>>());
    let acks = replies
        .iter()
        .filter(|reply| reply["type"] == "ack" && reply.get("duplicate").is_none());
    let found: Vec<_> = acks
        .map(|ack| (reference(ack), ack["seq"].clone()))
        .collect();
    let stored = frames.iter().enumerate().filter(|(_, (_, stored))| *stored);
    let expected: Vec<_> = stored
        .zip(1..)
        .map(|((n, _), seq)| (n, json!(seq)))
        .collect();
    assert_eq!(found, expected, "{replies:#?}");
    let of = |n: usize| replies.iter().find(|reply| reference(reply) == n);
    for (n, code) in [
        (6, "unknown_message"),
        (11, "unknown_message"),
        (13, "unknown_type"),
        (16, "unknown_message"),
    ] {
        assert_eq!(of(n).expect("answered")["code"], code);
    }
    for (n, seq) in [(3, 2), (5, 4), (10, 6), (15, 7)] {
        assert_has(
            of(n).expect("answered"),
            &json!({"type": "ack", "duplicate": true, "seq": seq}),
        );
    }
    for seq in 1..=8 {
        assert_eq!(b.recv()["seq"], seq);
    }
    b.assert_quiet();
}

#[test]
fn acks_of_changes_follow_a_replay_in_order() {
    let server = Server::start(&["--outbox-bytes", "20000", "--max-frame-bytes", "16000"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let first = b.ask(&to("a", "from b"));
    let theirs = a.expect("message");
    assert_eq!(theirs["id"], first["id"]);
    let long = "x".repeat(4000);
    let mut newest = Value::Null;
    for n in 2..=60 {
        newest = a.ask(&to("b", &format!("{n} {long}")))["id"].clone();
        b.expect("message");
    }
    // A session that starts with a long replay sends changes at once.
    let mut late = Client::dial(&server, "/ws/b?since=0&device=late", &[]).expect("a connection");
    let frames = [
        edit("a", &first["id"], "from b, second"),
        react("a", &newest, "+"),
        edit("a", &first["id"], "from b, third"),
        unreact("a", &newest, "+"),
        about("delete", "a", &first["id"]),
    ];
    for (n, frame) in frames.iter().enumerate() {
        late.send(&with(frame.clone(), &json!({"ref": n.to_string()})));
    }
    late.expect("welcome");
    let mut seq = 0;
    let mut refs = Vec::new();
    while seq < 65 {
        let frame = late.recv();
        if frame["type"] == "synced" {
            continue;
        }
        seq += 1;
        assert_eq!(frame["seq"], seq, "{frame}");
        assert_eq!(frame["type"] == "ack", seq > 60, "{frame}");
        refs.extend(frame["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs, ["0", "1", "2", "3", "4"]);
    late.assert_quiet();
    for (seq, tag) in (61..).zip(["edited", "reacted", "edited", "reacted", "deleted"]) {
        assert_eq!(a.expect(tag)["seq"], seq);
        assert_eq!(b.expect(tag)["seq"], seq);
    }
}

#[test]
fn simultaneous_changes_have_the_same_order_for_both_users() {
    const EACH: usize = 100;
    let server = Server::start(&["--messages-per-second", "10000", "--burst", "10000"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let id = a.ask(&to("b", "first"))["id"].clone();
    b.expect("message");
    let run = |mut client: Client, frames: Vec<Value>, them: &'static str| {
        move || {
            burst(&mut client, &frames);
            let mut order = Vec::new();
            for seq in 2..=2 * EACH + 1 {
                let frame = client.recv();
                assert_eq!(frame["seq"], seq, "{frame}");
                let own = frame["type"] == "ack";
                order.push(if own {
                    frame["ref"] == them
                } else {
                    frame["from_user"] == them
                });
            }
            client.assert_quiet();
            order
        }
    };
    let edits = (0..EACH)
        .map(|n| with(edit("b", &id, n.to_string()), &json!({"ref": "own"})))
        .collect();
    let reactions = (0..EACH)
        .map(|n| {
            with(
                react("a", &id, "+"),
                &json!({"remove": n % 2 == 1, "ref": "own"}),
            )
        })
        .collect();
    let a = std::thread::spawn(run(a, edits, "b"));
    let b = std::thread::spawn(run(b, reactions, "a"));
    let of_b: Vec<bool> = a.join().expect("a is done");
    let of_a: Vec<bool> = b.join().expect("b is done");
    assert!(of_b.iter().zip(&of_a).all(|(by_b, by_a)| by_b != by_a));
    assert_eq!(of_a.iter().filter(|by_a| **by_a).count(), EACH);
}
