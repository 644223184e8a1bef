//! `block` and `unblock` (PROTOCOL sections 4, 8 and 10): what the blocked may not do, what does not reach the blocker, and
//! that it stays so.

use crate::support::{
    Client, Random, Server, about, assert_has, burst, dmwire, eventually, to, with,
};
use serde_json::{Value, json};

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

/// Two users with a conversation: a message of each.
fn talking(server: &Server) -> (Client, Client, Value, Value) {
    let mut ann = Client::fresh(server, "ann");
    let mut bob = Client::fresh(server, "bob");
    let from_ann = ann.ask(&to("bob", "hello"))["id"].clone();
    bob.expect("message");
    let from_bob = bob.ask(&to("ann", "hi"))["id"].clone();
    ann.expect("message");
    (ann, bob, from_ann, from_bob)
}

#[test]
fn the_blocked_sender_is_refused_in_every_form_until_unblocked() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = talking(&server);
    block(&mut ann, "bob");
    let frames = [
        to("ann", "again"),
        ephemeral("ann"),
        with(about("edit", "ann", &from_bob), &json!({"message": "ho"})),
        about("delete", "ann", &from_bob),
        with(about("react", "ann", &from_ann), &json!({"emoji": "x"})),
        with(about("react", "ann", &from_bob), &json!({"emoji": "x"})),
        // What is not there is refused for the same reason: the other side of a block is a wall.
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
        "nothing was stored meanwhile"
    );
}

#[test]
fn nothing_direct_reaches_the_blocker_and_nothing_of_them_the_blocked() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = talking(&server);
    // What was under way before the block has come.
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
        // Answered behind both, as it is stored.
        unblock(client, "nobody");
    }
    ann.assert_quiet();
    bob.assert_quiet();
    assert_eq!(ann.receipts(), [] as [Value; 0]);
    assert_eq!(bob.receipts(), [] as [Value; 0]);
    // Nor is either shown how far the other is; what they have read themselves they are.
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
fn the_blocked_ones_own_devices_hear_of_their_reading() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, _) = talking(&server);
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
fn the_blocker_may_still_write_and_change() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, from_ann, from_bob) = talking(&server);
    block(&mut ann, "bob");
    assert_eq!(ann.ask(&to("bob", "goodbye"))["status"], "stored");
    assert_eq!(bob.expect("message")["message"], "goodbye");
    assert_eq!(ann.ask(&ephemeral("bob"))["status"], "relayed");
    bob.expect("message");
    let edit = with(about("edit", "bob", &from_ann), &json!({"message": "hey"}));
    assert_eq!(ann.ask(&edit)["type"], "ack");
    bob.expect("edited");
    let react = with(about("react", "bob", &from_bob), &json!({"emoji": "x"}));
    assert_eq!(ann.ask(&react)["type"], "ack");
    bob.expect("reacted");
}

#[test]
fn repeating_changes_nothing_and_nobody_blocks_themselves() {
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
    let (mut ann, mut bob, ..) = talking(&server);
    block(&mut ann, "bob");
    block(&mut bob, "ann");
    assert_blocked(&ann.ask(&to("bob", "x")));
    assert_blocked(&bob.ask(&to("ann", "x")));
    unblock(&mut ann, "bob");
    assert_blocked(&ann.ask(&ephemeral("bob")));
    assert_eq!(bob.ask(&to("ann", "x"))["type"], "ack");
}

#[test]
fn what_was_stored_before_the_block_is_answered_as_it_was() {
    let server = Server::start(&[]);
    let (mut ann, mut bob, ..) = talking(&server);
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
fn blocks_outlast_the_server_however_it_ends_and_who_is_not_there_is_a_wall_too() {
    let mut server = Server::start(&[]);
    let (mut ann, ..) = talking(&server);
    block(&mut ann, "bob");
    block(&mut ann, "eve");
    unblock(&mut ann, "eve");
    // Nobody has this name yet.
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
    assert_eq!(eve.ask(&ephemeral("ann"))["status"], "dropped");
    server.kill();
    let (whole, said) = server.verify();
    assert!(whole, "{said}");
}

#[test]
fn a_user_blocks_so_many_and_no_more() {
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

/// The order of what two users do is that of the acknowledgements: a block is in force for all that is sent when its `ok` is
/// there, and for nothing that was acknowledged before it was sent.
#[test]
fn a_block_that_is_acknowledged_before_a_send_is_in_force_for_it() {
    let server = Server::start(&PATIENT);
    let (mut ann, mut bob, _, from_bob) = talking(&server);
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
        // While the block is on its way, each may or may not pass, in order.
        let racing = random.percent(50);
        let first = wave("a");
        if racing {
            burst(&mut bob, &first);
        }
        // His messages may still be coming.
        ann.send(&json!({"type": "block", "user": "bob"}));
        ann.until("ok");
        if racing {
            let mut refused = false;
            for frame in &first {
                let answer = bob.recv();
                let blocked = answer["code"] == "blocked";
                // An ephemeral one overtakes what is stored.
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
fn erasing_a_user_removes_their_blocks_and_those_against_them() {
    let mut server = Server::start(&[]);
    let (mut ann, mut bob, ..) = talking(&server);
    block(&mut ann, "bob");
    block(&mut bob, "cat");
    let mut cat = Client::fresh(&server, "cat");
    block(&mut cat, "bob");
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    let erased = dmwire(server.folder(), &["erase", "--user", "bob"]);
    assert_eq!(erased.code, Some(0), "{erased:?}");
    let (whole, said) = server.verify();
    assert!(whole, "{said}");
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
fn a_store_of_a_version_without_blocks_is_read_and_brought_up() {
    let mut server = Server::start(&[]);
    let (ann, bob, ..) = talking(&server);
    drop((ann, bob));
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    let file = rusqlite::Connection::open(server.store()).expect("it opens");
    file.execute_batch("DROP TABLE blocks; DROP TABLE unclaimed; PRAGMA user_version = 2")
        .expect("it is as it was");
    file.close().expect("it closes");
    let (whole, said) = server.verify();
    assert!(whole, "{said}");
    let export = dmwire(server.folder(), &["export", "--user", "ann"]);
    assert_eq!(
        (export.code, export.out.lines().count()),
        (Some(0), 2),
        "{export:?}"
    );
    server.restart();
    let mut ann = Client::connect(&server, "ann", "");
    ann.until("synced");
    block(&mut ann, "bob");
    let mut bob = Client::connect(&server, "bob", "");
    bob.until("synced");
    assert_blocked(&bob.ask(&to("ann", "x")));
}
