//! The limit of changes that one user makes to one message (`--changes-per-message`).

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Server, about, assert_has, burst, to, with};

fn edit(to: &str, id: &Value, text: &str) -> Value {
    with(about("edit", to, id), &json!({"message": text}))
}

fn react(to: &str, id: &Value, emoji: &str, remove: bool) -> Value {
    let react = about("react", to, id);
    with(react, &json!({"emoji": emoji, "remove": remove}))
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

fn assert_stored(ack: &Value) {
    assert_has(ack, &json!({"type": "ack", "duplicate": null}));
}

/// A refusal, and the time after which the next change is allowed: about the share of one change of an hour.
fn assert_limited(error: &Value, share_ms: u64) {
    assert_limited_within(error, share_ms / 2..=share_ms);
}

fn assert_limited_within(error: &Value, times: RangeInclusive<u64>) {
    assert_has(
        error,
        &json!({"type": "error", "code": "rate_limited", "retryable": true, "path": null}),
    );
    let retry_after_ms = error["retry_after_ms"].as_u64().expect("a time");
    assert!(times.contains(&retry_after_ms), "{error}");
}

#[test]
fn a_message_can_be_changed_a_limited_number_of_times() {
    const SHARE_MS: u64 = 3_600_000 / 4;
    let server = Server::start(&["--changes-per-message", "4"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let first = a.ask(&to("b", "0"))["id"].clone();
    let second = a.ask(&to("b", "0"))["id"].clone();
    // Edits and reactions count together.
    assert_stored(&ask(&mut a, &edit("b", &first, "1")));
    assert_stored(&ask(&mut a, &react("b", &first, "+", false)));
    // What changes nothing does not count.
    for _ in 0..3 {
        assert_eq!(ask(&mut a, &edit("b", &first, "1"))["duplicate"], true);
        assert_eq!(
            ask(&mut a, &react("b", &first, "+", false))["duplicate"],
            true
        );
        assert_eq!(
            ask(&mut a, &react("b", &first, "-", true))["duplicate"],
            true
        );
        assert_eq!(ask(&mut b, &edit("a", &first, "x"))["code"], "not_author");
    }
    assert_stored(&ask(&mut a, &react("b", &first, "+", true)));
    let last = ask(&mut a, &edit("b", &first, "2"));
    assert_stored(&last);
    // From here on it is limited, in all sessions of the user.
    let mut other = Client::connect(&server, "a", "?device=other");
    for client in [&mut a, &mut other] {
        assert_limited(&ask(client, &edit("b", &first, "3")), SHARE_MS);
        assert_limited(&ask(client, &react("b", &first, "+", false)), SHARE_MS);
        let again = ask(client, &edit("b", &first, "2"));
        assert_has(&again, &json!({"duplicate": true, "seq": last["seq"]}));
        assert_eq!(
            ask(client, &react("b", &first, "+", true))["duplicate"],
            true
        );
    }
    // Nothing was stored, and other messages and users are not affected.
    let history = ask(&mut b, &json!({"type": "history", "target_user": "a"}));
    assert_has(
        &history["messages"][0],
        &json!({"message": "2", "reactions": null}),
    );
    assert_stored(&ask(&mut a, &edit("b", &second, "1")));
    for n in 0..4 {
        assert_stored(&ask(&mut b, &react("a", &first, &format!("e{n}"), false)));
    }
    assert_limited(&ask(&mut b, &react("a", &first, "e0", true)), SHARE_MS);
    assert_eq!(last["seq"], 6);
    // A message can be deleted all the same.
    assert_stored(&ask(&mut a, &about("delete", "b", &first)));
    assert_eq!(
        ask(&mut a, &edit("b", &first, "3"))["code"],
        "unknown_message"
    );
}

#[test]
fn after_the_time_in_the_error_the_change_is_stored() {
    // One a second.
    let server = Server::start(&[
        "--changes-per-message",
        "3600",
        "--messages-per-second",
        "1000000",
        "--burst",
        "1000000",
    ]);
    let mut a = Client::fresh(&server, "a");
    let id = ask(&mut a, &to("b", "0"))["id"].clone();
    let limited = (0..100).find_map(|part| {
        let texts = (0..100).map(|n| format!("{part} {n}"));
        let frames: Vec<Value> = texts.map(|text| edit("b", &id, &text)).collect();
        burst(&mut a, &frames);
        let replies: Vec<Value> = frames.iter().map(|_| a.recv()).collect();
        replies.into_iter().rfind(|reply| reply["type"] == "error")
    });
    let limited = limited.expect("the limit is reached");
    assert_limited_within(&limited, 1..=1000);
    let retry_after_ms = limited["retry_after_ms"].as_u64().expect("a time");
    std::thread::sleep(Duration::from_millis(retry_after_ms));
    assert_stored(&ask(&mut a, &edit("b", &id, "later")));
}
