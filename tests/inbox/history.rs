//! Histories and lists of conversations from outside: order, pages, marks, size (PROTOCOL sections 4, 6 and 10).

mod conversations;
mod load;
mod pages;

use crate::support::{Client, Server, assert_has, assert_server_frame, burst, to, with};
use serde_json::{Value, json};
use tungstenite::Message;

pub const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// Answers stay under so many bytes.
pub const MOST: usize = 256 * 1024;

/// For tests that send more at once than clients may.
pub const FAST: &[&str] = &["--messages-per-second", "100000", "--burst", "100000"];

/// A session whose inbox counts as received by `received` frames only, so that nobody is told anything by itself.
pub fn manual(server: &Server, user: &str, device: &str) -> Client {
    let mut client = Client::connect(
        server,
        user,
        &format!("?ack=manual&device={device}&since=0"),
    );
    client.until("synced");
    client
}

/// Sends these texts to a user in one go, and gives the ids of the messages.
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

pub fn history(user: &str, fields: &Value) -> Value {
    with(json!({"type": "history", "target_user": user}), fields)
}

/// Asks, and gives the answer with its size in bytes. What else comes meanwhile is passed over.
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
    let (answer, _) = ask(client, &history(user, fields));
    assert_has(
        &answer,
        &json!({"type": "history", "target_user": user, "target_room": null}),
    );
    let messages = answer["messages"].as_array().expect("messages");
    let ids = messages.iter().map(|message| message["id"].clone());
    (ids.collect(), answer["more"] == true)
}

pub fn conversations(client: &mut Client, fields: &Value) -> Value {
    let (answer, size) = ask(client, &with(json!({"type": "conversations"}), fields));
    assert!(size < MOST, "{size}");
    assert_eq!(answer["type"], "conversations", "{answer}");
    answer
}

/// The users of the conversations in an answer.
pub fn users(answer: &Value) -> Vec<&str> {
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

/// A content of about 60,000 bytes, and what tells it from the others.
pub fn large(n: usize) -> Value {
    json!({"type": "data", "name": n.to_string(), "data": format!("{n} {}", "x\u{1f600}\n".repeat(9_000))})
}
