//! Histories and lists of conversations: order, pages, read marks, size (PROTOCOL sections 4, 6 and 10).

mod conversations;
mod load;
mod pages;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Server, assert_has, assert_server_frame, burst, to, with};

pub const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// The maximum size of an answer in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// For tests that exceed the default message rate.
pub const FAST: &[&str] = &["--messages-per-second", "100000", "--burst", "100000"];

/// A session with `ack=manual`, whose entries count as received only by `received` frames, so that no receipts are sent by
/// themselves.
pub fn connect_manual(server: &Server, user: &str, device: &str) -> Client {
    let mut client = Client::connect(
        server,
        user,
        &format!("?ack=manual&device={device}&since=0"),
    );
    client.until("synced");
    client
}

/// Sends these texts to a user at once, and returns the ids of the messages.
pub fn send_all<T: ToString>(
    from: &mut Client,
    user: &str,
    texts: impl Iterator<Item = T>,
) -> Vec<Value> {
    let frames: Vec<Value> = texts.map(|text| to(user, &text.to_string())).collect();
    burst(from, &frames);
    let acks = frames.iter().map(|_| from.until("ack")["id"].clone());
    acks.collect()
}

pub fn history_frame(user: &str, fields: &Value) -> Value {
    with(json!({"type": "history", "target_user": user}), fields)
}

/// Sends a query and returns the answer and its size in bytes. Other frames before it are skipped.
pub fn ask(client: &mut Client, frame: &Value) -> (Value, usize) {
    client.send(&with(frame.clone(), &json!({"ref": "asked"})));
    loop {
        let Ok(Message::Text(text)) = client.next_message() else {
            continue;
        };
        let answer: Value = serde_json::from_str(&text).expect("server frames are JSON");
        assert_server_frame(&answer);
        if answer["ref"] == "asked" {
            return (answer, text.len());
        }
    }
}

/// A page of a history: the ids of its messages, and whether there are more.
#[track_caller]
pub fn page(client: &mut Client, user: &str, fields: &Value) -> (Vec<Value>, bool) {
    let (answer, _) = ask(client, &history_frame(user, fields));
    assert_has(
        &answer,
        &json!({"type": "history", "target_user": user, "target_room": null}),
    );
    let messages = answer["messages"].as_array().expect("messages");
    let ids = messages.iter().map(|message| message["id"].clone());
    (ids.collect(), answer["more"] == true)
}

pub fn query_conversations(client: &mut Client, fields: &Value) -> Value {
    let (answer, size) = ask(client, &with(json!({"type": "conversations"}), fields));
    assert!(size < MAX_BYTES, "{size}");
    assert_eq!(answer["type"], "conversations", "{answer}");
    answer
}

/// The peers of the conversations in an answer.
pub fn peers(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().expect("items").iter();
    items
        .map(|item| item["target_user"].as_str().expect("a user"))
        .collect()
}

#[track_caller]
pub fn assert_unknown(error: &Value, path: &str) {
    assert_has(
        error,
        &json!({"type": "error", "code": "unknown_message", "path": path, "ref": "asked", "retryable": false}),
    );
}

/// A distinct content of about 60,000 bytes.
pub fn large_content(n: usize) -> Value {
    json!({"type": "data", "name": n.to_string(), "data": format!("{n} {}", "x\u{1f600}\n".repeat(9_000))})
}
