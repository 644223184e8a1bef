//! The setting `--presence`: who sees whom (PROTOCOL section 8, "Visibility").

use serde_json::{Value, json};

use crate::support::{Client, Server, assert_has, eventually, make_contacts, to, with};

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

    b.ask(&json!({"type": "block", "user": "a"}));
    assert_eq!(status(&mut b, "a", &mut a), "sent");
    for (client, user) in [(&mut a, "b"), (&mut b, "a")] {
        client.send(&json!({"type": "typing", "target_user": user}));
        client.assert_quiet();
    }
    b.assert_quiet();
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
    a.send(&json!({"type": "typing", "target_user": "b"}));
    a.assert_quiet();
    b.assert_quiet();
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
