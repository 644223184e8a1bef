//! The limit of bytes that a user may store per day (PROTOCOL sections 8 and 10).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Server, about, to, with};

/// What each message, edit and reaction counts as in addition to its content.
const ENTRY: u64 = 64;
/// The limit: ten messages of [`message`].
const LIMIT: u64 = 10 * (400 + ENTRY);
const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

fn start() -> Server {
    Server::start(&["--user-bytes-per-day", &LIMIT.to_string()])
}

/// A message whose content is 400 bytes long.
fn message(target: &str) -> Value {
    to(target, &"x".repeat(398))
}

/// Sends until the limit is reached. Returns the number of accepted messages and `retry_after_ms`.
fn fill(client: &mut Client, frame: &Value) -> (u64, u64) {
    for count in 0..10_000 {
        let reply = client.ask(frame);
        if reply["type"] == "ack" {
            assert_eq!(reply["status"], "stored");
            continue;
        }
        assert_limited(&reply);
        return (count, reply["retry_after_ms"].as_u64().expect("a time"));
    }
    panic!("there is no limit");
}

fn assert_limited(reply: &Value) {
    assert_eq!(
        (&reply["type"], &reply["code"]),
        (&json!("error"), &json!("rate_limited")),
        "{reply}"
    );
    assert_eq!(reply["retryable"], true);
    assert!(reply["retry_after_ms"].as_u64() > Some(0), "{reply}");
}

#[test]
fn a_user_stores_a_limited_number_of_bytes() {
    let server = start();
    let mut a = Client::fresh(&server, "a");
    let first = with(message("b"), &json!({"id": ID}));
    assert_eq!(a.ask(&first)["type"], "ack");
    let (count, wait) = fill(&mut a, &message("b"));
    assert_eq!(count, 9);
    // A message is refilled in a tenth of a day, of which little has passed.
    let tenth = 86_400_000 / 10;
    assert!((tenth - 60_000..=tenth).contains(&wait), "{wait}");
    // All sessions count together, and all frames that store content.
    let mut two = Client::connect(&server, "a", "?device=two&ack=manual");
    two.until("synced");
    for frame in [
        message("c"),
        to("a", "to myself"),
        with(about("edit", "b", &json!(ID)), &json!({"message": "y"})),
        with(about("react", "b", &json!(ID)), &json!({"emoji": "x"})),
    ] {
        assert_limited(&two.ask(&frame));
    }
    // What was stored before is answered as before, and the rest works.
    for again in [&first, &first] {
        let ack = two.ask(again);
        assert_eq!(
            (&ack["type"], &ack["duplicate"]),
            (&json!("ack"), &json!(true)),
            "{ack}"
        );
    }
    let unchanged = with(
        about("edit", "b", &json!(ID)),
        &json!({"message": "x".repeat(398)}),
    );
    assert_eq!(two.ask(&unchanged)["duplicate"], true);
    let ephemeral = with(to("b", "x"), &json!({"ephemeral": true}));
    assert_eq!(two.ask(&ephemeral)["type"], "ack");
    assert_eq!(
        two.ask(&json!({"type": "block", "user": "c"}))["type"],
        "ok"
    );
    assert_eq!(
        two.ask(&json!({"type": "unblock", "user": "c"}))["type"],
        "ok"
    );
    let history = two.ask(&json!({"type": "history", "target_user": "b"}));
    assert_eq!(
        history["messages"].as_array().map(Vec::len),
        Some(10),
        "nothing else was stored"
    );
    two.send(&about("read", "b", &json!(ID)));
    assert_eq!(
        two.ask(&about("delete", "b", &json!(ID)))["status"],
        "stored"
    );
    // Nothing is known of a user to whom nothing was stored.
    let mut c = Client::fresh(&server, "c");
    assert_eq!(c.welcome["seq"], 0);
    // Other users are not affected.
    assert_eq!(fill(&mut c, &message("d")).0, 10);
}

#[test]
fn small_frames_count_more_than_their_content() {
    let server = Server::start(&["--user-bytes-per-day", "6500"]);
    for (user, n) in [("a", 0), ("c", 1)] {
        let mut client = Client::fresh(&server, user);
        client.ask(&with(to("b", "x"), &json!({"id": ID})));
        let mut count = 1;
        loop {
            let frame = if n == 0 {
                with(
                    about("edit", "b", &json!(ID)),
                    &json!({"message": (count % 10).to_string()}),
                )
            } else {
                let remove = count % 2 == 0;
                with(
                    about("react", "b", &json!(ID)),
                    &json!({"emoji": "x", "remove": remove}),
                )
            };
            let reply = client.ask(&frame);
            if reply["type"] == "error" {
                assert_limited(&reply);
                break;
            }
            assert_eq!(reply.get("duplicate"), None, "{reply}");
            count += 1;
        }
        // 64 bytes, and 3 of content or 1 of an emoji.
        assert!((6500 / 68..=6500 / 65).contains(&count), "{count}");
    }
}

#[test]
fn after_the_wait_the_message_is_accepted() {
    // 100 bytes a second.
    let server = Server::start(&["--user-bytes-per-day", "8640000", "--burst", "1000"]);
    let mut a = Client::fresh(&server, "a");
    let data = json!({"type": "data", "name": "x", "data": "y".repeat(60_000)});
    let long = json!({"message": data, "target_user": "b"});
    // What is left is used up by smaller ones.
    let (count, _) = fill(&mut a, &long);
    assert!(count >= 8_640_000 / 60_200, "{count}");
    fill(&mut a, &to("b", &"z".repeat(5000)));
    let short = to("b", &"z".repeat(34));
    let (_, wait) = fill(&mut a, &short);
    // It counts as 100 bytes.
    assert!(wait <= 1000, "{wait}");
    std::thread::sleep(Duration::from_millis(wait));
    assert_eq!(a.ask(&short)["type"], "ack");
}

#[test]
fn the_limit_survives_restarts() {
    let mut server = start();
    let mut a = Client::fresh(&server, "a");
    assert_eq!(fill(&mut a, &message("b")).0, 10);
    for _ in 0..3 {
        server.kill();
        server.restart();
        let mut a = Client::connect(&server, "a", "");
        a.until("synced");
        // A 64th of the limit may be forgotten, which is less than a message.
        assert_limited(&a.ask(&message("b")));
    }
    server.stop();
    server.restart();
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    assert_limited(&a.ask(&message("b")));
}
