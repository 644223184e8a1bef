//! `block` and `unblock` (PROTOCOL sections 4, 8 and 10): what a blocked user can no longer do, what neither of the two receives,
//! and that blocks are persistent.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{
    Client, Folder, Random, Server, about, assert_has, burst, dmwire, eventually, to, with,
};

const PATIENT: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

fn block(client: &mut Client, user: &str) {
    assert_eq!(
        client.ask(&json!({"type": "block", "user": user, "ref": "b"})),
        json!({"type": "ok", "ref": "b"})
    );
}

fn unblock(client: &mut Client, user: &str) {
    assert_eq!(
        client.ask(&json!({"type": "unblock", "user": user})),
        json!({"type": "ok"})
    );
}

#[track_caller]
fn assert_blocked(answer: &Value) {
    assert_has(
        answer,
        &json!({"type": "error", "code": "blocked", "path": "/target_user", "retryable": false,
            "retry_after_ms": null}),
    );
}

fn ephemeral(user: &str) -> Value {
    with(to(user, "psst"), &json!({"ephemeral": true}))
}

/// Two users with a conversation, in which each has sent a message.
fn conversation(server: &Server) -> (Client, Client, Value, Value) {
    let mut ann = Client::fresh(server, "ann");
    let mut bob = Client::fresh(server, "bob");
    let from_ann = ann.ask(&to("bob", "hello"))["id"].clone();
    bob.expect("message");
    let from_bob = bob.ask(&to("ann", "hi"))["id"].clone();
    ann.expect("message");
    (ann, bob, from_ann, from_bob)
}

#[test]
fn a_blocked_user_is_rejected_for_every_frame_until_unblocked() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = conversation(&server);
    block(&mut ann, "bob");
    let frames = [
        to("ann", "again"),
        ephemeral("ann"),
        with(about("edit", "ann", &from_bob), &json!({"message": "ho"})),
        about("delete", "ann", &from_bob),
        with(about("react", "ann", &from_ann), &json!({"emoji": "x"})),
        with(about("react", "ann", &from_bob), &json!({"emoji": "x"})),
        // Unknown messages are rejected as blocked too, so that a block reveals nothing about the conversation.
        about(
            "delete",
            "ann",
            &json!("019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"),
        ),
    ];
    for frame in &frames {
        let answer = bob.ask(&with(frame.clone(), &json!({"ref": "r"})));
        assert_blocked(&answer);
        assert_eq!(answer["ref"], "r");
    }
    ann.assert_quiet();
    unblock(&mut ann, "bob");
    for frame in &frames[..3] {
        assert_eq!(bob.ask(frame)["type"], "ack");
    }
    assert_eq!(ann.expect("message")["message"], "again");
    assert_eq!(ann.expect("message")["ephemeral"], true);
    assert_eq!(ann.expect("edited")["message"], "ho");
    assert_eq!(
        bob.ask(&frames[4])["seq"],
        5,
        "nothing was stored during the block"
    );
}

#[test]
fn typing_receipts_and_ephemeral_messages_pass_in_neither_direction() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = conversation(&server);
    // Frames from before the block have arrived.
    for client in [&mut ann, &mut bob] {
        client.send(&json!({"type": "received", "seq": 2}));
    }
    eventually("bob has received it", || {
        let page = ann.ask(&json!({"type": "conversations"}));
        page["items"][0]["their_received"] == from_ann
    });
    eventually("ann has received it", || {
        let page = bob.ask(&json!({"type": "conversations"}));
        page["items"][0]["their_received"] == from_bob
    });
    ann.receipts();
    bob.receipts();
    block(&mut ann, "bob");
    for (client, other, id) in [(&mut bob, "ann", &from_ann), (&mut ann, "bob", &from_bob)] {
        client.send(&json!({"type": "typing", "target_user": other}));
        client.send(&about("read", other, id));
        // The reply to `unblock` follows the effects of both frames, as all three pass the store in order.
        unblock(client, "nobody");
    }
    ann.assert_quiet();
    bob.assert_quiet();
    assert_eq!(ann.receipts(), [] as [Value; 0]);
    assert_eq!(bob.receipts(), [] as [Value; 0]);
    // Neither sees how far the other has read; both see their own read marks.
    for (client, id) in [(&mut ann, &from_bob), (&mut bob, &from_ann)] {
        let page = client.ask(&json!({"type": "conversations"}));
        assert_has(
            &page["items"][0],
            &json!({"my_read": id, "unread": 0, "their_read": null, "their_received": null}),
        );
    }
    unblock(&mut ann, "bob");
    let page = ann.ask(&json!({"type": "conversations"}));
    assert_eq!(page["items"][0]["their_read"], from_ann);
    bob.send(&json!({"type": "typing", "target_user": "ann"}));
    assert_eq!(ann.expect("typing")["from_user"], "bob");
}

#[test]
fn a_blocked_users_other_devices_receive_their_read_marks() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, _) = conversation(&server);
    let mut tablet = Client::connect(&server, "bob", "?device=tablet&ack=manual");
    tablet.until("synced");
    block(&mut ann, "bob");
    bob.send(&about("read", "ann", &from_ann));
    unblock(&mut bob, "nobody");
    assert_has(
        &tablet.receipt(),
        &json!({"kind": "read", "by_user": "bob", "target_user": "ann", "id": from_ann}),
    );
    ann.assert_quiet();
}

#[test]
fn the_blocker_can_still_send_and_change_messages() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = conversation(&server);
    block(&mut ann, "bob");
    assert_eq!(ann.ask(&to("bob", "goodbye"))["status"], "stored");
    assert_eq!(bob.expect("message")["message"], "goodbye");
    assert_eq!(ann.ask(&ephemeral("bob"))["status"], "sent");
    bob.expect("message");
    let edit = with(about("edit", "bob", &from_ann), &json!({"message": "hey"}));
    assert_eq!(ann.ask(&edit)["type"], "ack");
    bob.expect("edited");
    let react = with(about("react", "bob", &from_bob), &json!({"emoji": "x"}));
    assert_eq!(ann.ask(&react)["type"], "ack");
    bob.expect("reacted");
}

#[test]
fn repeated_blocks_change_nothing_and_users_cannot_block_themselves() {
    let server = Server::start(&[]);
    let mut ann = Client::fresh(&server, "ann");
    let mut bob = Client::fresh(&server, "bob");
    unblock(&mut ann, "bob");
    unblock(&mut ann, "nobody");
    for _ in 0..3 {
        block(&mut ann, "bob");
    }
    assert_blocked(&bob.ask(&to("ann", "x")));
    unblock(&mut ann, "bob");
    assert_eq!(bob.ask(&to("ann", "x"))["type"], "ack");
    ann.expect("message");
    let own = ann.ask(&json!({"type": "block", "user": "ann", "ref": "r"}));
    assert_has(
        &own,
        &json!({"type": "error", "code": "forbidden", "path": "/user", "retryable": false, "ref": "r"}),
    );
    unblock(&mut ann, "ann");
    assert_eq!(ann.ask(&to("ann", "note"))["type"], "ack");
    ann.expect("message");
    ann.assert_quiet();
}

#[test]
fn both_may_block_each_other() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, ..) = conversation(&server);
    block(&mut ann, "bob");
    block(&mut bob, "ann");
    assert_blocked(&ann.ask(&to("bob", "x")));
    assert_blocked(&bob.ask(&to("ann", "x")));
    unblock(&mut ann, "bob");
    assert_blocked(&ann.ask(&ephemeral("bob")));
    assert_eq!(bob.ask(&to("ann", "x"))["type"], "ack");
}

#[test]
fn resends_of_messages_from_before_the_block_are_duplicates() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, ..) = conversation(&server);
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    let first = with(to("ann", "once"), &json!({"id": id}));
    let ack = bob.ask(&first);
    ann.expect("message");
    block(&mut ann, "bob");
    let again = bob.ask(&first);
    assert_has(
        &again,
        &json!({"type": "ack", "seq": ack["seq"], "sent_at": ack["sent_at"], "duplicate": true}),
    );
    assert_blocked(&bob.ask(&with(to("ann", "other"), &json!({"id": id}))));
    ann.assert_quiet();
}

#[test]
fn blocks_survive_shutdown_and_crash_and_apply_to_unknown_users() {
    let mut server = Server::start(&[]);
    let (mut ann, ..) = conversation(&server);
    block(&mut ann, "bob");
    block(&mut ann, "eve");
    unblock(&mut ann, "eve");
    // No user with this name exists yet.
    block(&mut ann, "mallory");
    server.kill();
    server.restart();
    let mut eve = Client::fresh(&server, "eve");
    for (name, times) in [("bob", 2), ("mallory", 2)] {
        let mut client = Client::connect(&server, name, "?since=0");
        client.until("synced");
        for _ in 0..times {
            assert_blocked(&client.ask(&to("ann", "x")));
            assert_blocked(&client.ask(&ephemeral("ann")));
        }
    }
    assert_eq!(eve.ask(&to("ann", "x"))["type"], "ack");
    assert_eq!(eve.ask(&ephemeral("ann"))["status"], "sent");
    server.kill();
    let (valid, output) = server.verify();
    assert!(valid, "{output}");
}

#[test]
fn the_number_of_blocks_per_user_is_limited() {
    let server = Server::start(&["--blocks-per-user", "3"]);
    let mut ann = Client::fresh(&server, "ann");
    for user in ["u1", "u2", "u3", "u2"] {
        block(&mut ann, user);
    }
    let refused = ann.ask(&json!({"type": "block", "user": "u4"}));
    assert_has(
        &refused,
        &json!({"type": "error", "code": "forbidden", "path": "/user", "retryable": false}),
    );
    unblock(&mut ann, "u1");
    block(&mut ann, "u4");
    let mut first = Client::fresh(&server, "u1");
    assert_eq!(first.ask(&to("ann", "x"))["type"], "ack");
}

/// The order of two users' frames is that of their acknowledgements: a block applies to every frame sent after its `ok` has
/// arrived, and to no frame that was acknowledged before the block was sent.
#[test]
fn a_block_applies_to_everything_sent_after_its_acknowledgement() {
    let server = Server::start(&PATIENT);
    let (mut ann, mut bob, _, from_bob) = conversation(&server);
    let mut random = Random::new(crate::support::env_number(
        "DMWIRE_BLOCK_SEED",
        crate::support::random_seed,
    ));
    for round in 0..50 {
        let wave = |name: &str| {
            let emoji = json!({"emoji": format!("{name}{round}")});
            let react = with(about("react", "ann", &from_bob), &emoji);
            [to("ann", "x"), react, ephemeral("ann"), to("ann", "y")]
        };
        // While the block is on its way, a message may or may not pass, but in order.
        let racing = random.percent(50);
        let first = wave("a");
        if racing {
            burst(&mut bob, &first);
        }
        // His earlier messages may still arrive.
        ann.send(&json!({"type": "block", "user": "bob"}));
        ann.until("ok");
        if racing {
            let mut refused = false;
            for frame in &first {
                let answer = bob.recv();
                let blocked = answer["code"] == "blocked";
                // An ephemeral message may overtake a stored one.
                if frame.get("ephemeral").is_none() {
                    assert!(blocked || !refused, "{answer}");
                    refused = blocked;
                }
            }
        }
        let second = wave("b");
        burst(&mut bob, &second);
        for _ in &second {
            assert_blocked(&bob.recv());
        }
        ann.assert_quiet();
        unblock(&mut ann, "bob");
        assert_eq!(bob.ask(&to("ann", "free"))["type"], "ack");
        assert_eq!(ann.expect("message")["message"], "free");
    }
}

#[test]
fn erasing_a_user_removes_their_blocks_and_the_blocks_against_them() {
    let mut server = Server::start(&[]);
    let (mut ann, mut bob, ..) = conversation(&server);
    block(&mut ann, "bob");
    block(&mut bob, "cat");
    let mut cat = Client::fresh(&server, "cat");
    block(&mut cat, "bob");
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    let erased = dmwire(server.folder(), &["erase", "--user", "bob"]);
    assert_eq!(erased.code, Some(0), "{erased:?}");
    let (valid, output) = server.verify();
    assert!(valid, "{output}");
    server.restart();
    let mut bob = Client::fresh(&server, "bob");
    for user in ["ann", "cat"] {
        assert_eq!(bob.ask(&to(user, "new here"))["type"], "ack");
    }
    let mut cat = Client::connect(&server, "cat", "");
    cat.until("synced");
    assert_eq!(cat.ask(&to("bob", "hello"))["type"], "ack");
}

#[test]
fn a_store_of_a_version_without_blocks_is_migrated() {
    let folder = Arc::new(Folder::new());
    let file = rusqlite::Connection::open(folder.0.join("dmwire.db")).expect("it opens");
    // Version 4 has added nothing else to version 2.
    file.execute_batch(concat!(
        include_str!("../store/version4.sql"),
        "DROP TABLE blocks; DROP TABLE unclaimed; PRAGMA user_version = 2"
    ))
    .expect("it is as it was");
    file.close().expect("it closes");
    let export = dmwire(&folder.0, &["export", "--user", "ada"]);
    assert_eq!(
        (export.code, export.out.lines().count()),
        (Some(0), 1),
        "{export:?}"
    );
    let server = Server::start_in(&folder, &[]);
    let (valid, output) = server.verify();
    assert!(valid, "{output}");
    let mut ada = Client::connect(&server, "ada", "");
    ada.until("synced");
    block(&mut ada, "bob");
    let mut bob = Client::connect(&server, "bob", "");
    bob.until("synced");
    assert_blocked(&bob.ask(&to("ada", "x")));
}
