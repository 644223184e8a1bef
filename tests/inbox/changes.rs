//! Changes of messages: edits, deletions and reactions, their acks, and how replay shows them (PROTOCOL sections 5 and 10).

mod deletions;
mod edits;
mod order;
mod reactions;
mod superseded;

use serde_json::{Value, json};

use crate::support::{Client, Server, about, assert_has, to, with};

pub const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

pub const OTHER_ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c";

/// A second session of a user, on another device, that has read the whole inbox.
pub fn second_session(server: &Server, user: &str) -> Client {
    let mut twin = Client::connect(server, user, "?device=twin&since=0");
    twin.until("synced");
    twin
}

pub fn edit(user: &str, id: &Value, content: impl Into<Value>) -> Value {
    with(about("edit", user, id), &json!({"message": content.into()}))
}

pub fn react(user: &str, id: &Value, emoji: &str) -> Value {
    with(about("react", user, id), &json!({"emoji": emoji}))
}

pub fn unreact(user: &str, id: &Value, emoji: &str) -> Value {
    with(react(user, id, emoji), &json!({"remove": true}))
}

pub fn assert_stored(ack: &Value) {
    assert_has(
        ack,
        &json!({"type": "ack", "status": "stored", "duplicate": null}),
    );
}

/// Asserts that `again` repeats the entry that `first` acknowledged.
#[track_caller]
pub fn assert_duplicate(again: &Value, first: &Value) {
    assert_has(
        again,
        &json!({
            "type": "ack", "status": "stored", "duplicate": true,
            "id": first["id"], "seq": first["seq"], "sent_at": first["sent_at"],
        }),
    );
}

#[track_caller]
pub fn assert_error(error: &Value, code: &str, reference: &str) {
    assert_has(
        error,
        &json!({"type": "error", "code": code, "ref": reference, "retryable": false}),
    );
}

/// The messages of a conversation as its history shows them now.
pub fn messages(client: &mut Client, user: &str) -> Vec<Value> {
    let page = client.ask(&json!({"type": "history", "target_user": user, "limit": 200}));
    assert_has(&page, &json!({"type": "history", "more": false}));
    page["messages"].as_array().expect("messages").clone()
}

/// Two users. `a` has sent "first" to `b`: entry 1 of `a`, and entry 2 of `b`, whose entry 1 is from `c`.
pub fn conversation(server: &Server) -> (Client, Client, Value) {
    let mut c = Client::fresh(server, "c");
    let mut a = Client::fresh(server, "a");
    let mut b = Client::fresh(server, "b");
    c.ask(&to("b", "before"));
    b.expect("message");
    let first = a.ask(&to("b", "first"));
    assert_stored(&first);
    assert_eq!(b.expect("message")["seq"], 2);
    (a, b, first)
}
