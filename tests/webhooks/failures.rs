//! Receivers that do not accept events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::receiver::{Answer, Receiver, events, listed, start};
use crate::support::{Client, assert_has, eventually, to};

#[test]
fn a_rejected_event_is_posted_again_and_holds_up_its_conversation_only() {
    let receiver = Receiver::start();
    // The first three posts to bo fail in different ways.
    let failures = AtomicUsize::new(0);
    receiver.answer_with(move |post| {
        if post.event["data"]["target_user"] != "bo" {
            return Answer::Status(200);
        }
        match failures.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Status(500),
            1 => Answer::Status(404),
            2 => Answer::Status(399),
            _ => Answer::Full(200, "x-any: 1\r\n".into(), vec![b'x'; 1 << 20]),
        }
    });
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for text in ["1", "2", "3"] {
        ada.send(&to("bo", text));
        ada.until("ack");
    }
    let first = receiver.expect("message.created");
    assert_eq!(first.text(), "1");
    ada.send(&to("cy", "other"));
    let mut texts = Vec::new();
    let mut ids = HashMap::<String, Vec<String>>::new();
    while texts.len() < 6 {
        let post = receiver.next();
        post.assert_well_formed();
        texts.push(post.text().to_owned());
        let id = post.id().to_owned();
        ids.entry(post.text().to_owned()).or_default().push(id);
    }
    // It was not held up.
    assert!(texts[..2].contains(&"other".to_owned()), "{texts:?}");
    texts.retain(|text| text != "other");
    assert_eq!(texts, ["1", "1", "1", "2", "3"]);
    assert!(ids["1"].iter().all(|id| id == first.id()), "{ids:?}");
    assert!(ids["2"] != ids["3"] && ids["2"] != ids["1"]);
    eventually("all are accepted", || events(&ops, "delivered") > 3.5);
    assert!((events(&ops, "retried") - 3.0).abs() < 0.1);
}

#[test]
fn a_receiver_that_hangs_holds_up_its_conversations_only() {
    let receiver = Receiver::start();
    let hanging = Arc::new(AtomicUsize::new(15));
    let left = hanging.clone();
    receiver.answer_with(move |post| {
        let is_slow = post.text().starts_with("slow");
        let hangs = is_slow
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        if hangs {
            Answer::Hang
        } else {
            Answer::Status(200)
        }
    });
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..15 {
        ada.send(&to(&format!("user{n}"), &format!("slow{n}")));
        ada.until("ack");
    }
    for _ in 0..15 {
        assert!(receiver.next().text().starts_with("slow"));
    }
    // One of the sixteen posts is left for all other conversations.
    for n in 0..20 {
        ada.send(&to(&format!("other{n}"), "quick"));
        ada.until("ack");
    }
    for _ in 0..20 {
        assert_eq!(receiver.next().text(), "quick");
    }
    // After 10 s the others are given up and posted again.
    let mut texts: Vec<_> = (0..15).map(|_| receiver.next().text().to_owned()).collect();
    texts.sort();
    let mut expected: Vec<_> = (0..15).map(|n| format!("slow{n}")).collect();
    expected.sort();
    assert_eq!(texts, expected);
    assert_has(
        &listed(&ops)[0],
        &json!({"last_error": "no answer within 10 s"}),
    );
}

#[test]
fn at_most_sixteen_events_are_posted_at_a_time() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Hang);
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..40 {
        ada.send(&to(&format!("user{n}"), "hello"));
        ada.until("ack");
    }
    for _ in 0..16 {
        receiver.next();
    }
    eventually("all are listed", || listed(&ops)[0]["in_flight"] == 16);
    assert_eq!(receiver.connections(), 16);
    assert!(receiver.try_next().is_none());
}

#[test]
fn redirects_are_not_followed() {
    let (receiver, other) = (Receiver::start(), Receiver::start());
    let location = other.url();
    let is_first = AtomicUsize::new(0);
    receiver.answer_with(move |_| match is_first.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Full(307, format!("location: {location}\r\n"), Vec::new()),
        1 => Answer::Full(
            302,
            "location: http://169.254.169.254/\r\n".into(),
            Vec::new(),
        ),
        _ => Answer::Status(200),
    });
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "hello"));
    let ids: Vec<_> = (0..3).map(|_| receiver.next().id().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    eventually("it is accepted", || events(&ops, "delivered") > 0.5);
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_receiver_that_is_gone_is_paused_until_the_signal() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(410));
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "1"));
    let first = receiver.expect("message.created");
    eventually("it is paused", || listed(&ops)[0]["state"] == "paused");
    receiver.answer_with(|_| Answer::Status(200));
    for (user, text) in [("bo", "2"), ("cy", "3")] {
        ada.send(&to(user, text));
        ada.until("ack");
    }
    // What is behind it is known to the receiver's thread by then.
    eventually("there is a lag", || {
        listed(&ops)[0]["lag_seconds"].as_f64() > Some(1.0)
    });
    assert!(receiver.try_next().is_none());
    ops.server.signal("HUP");
    let mut texts = Vec::new();
    for _ in 0..3 {
        let post = receiver.next();
        if post.text() == "1" {
            assert_eq!(post.id(), first.id());
        }
        texts.push(post.text().to_owned());
    }
    texts.retain(|text| text != "3");
    assert_eq!(texts, ["1", "2"]);
    eventually("it is active", || listed(&ops)[0]["state"] == "active");
}

#[test]
fn an_event_is_dropped_after_the_time_for_retries() {
    let receiver = Receiver::start();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    receiver.answer_with(|_| Answer::Status(500));
    // 2.5 s.
    let arguments = ["--webhook-allow-private", "--webhook-retry-hours", "0.0007"];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "1"));
    ada.send(&to("cy", "2"));
    eventually("both are dropped", || events(&ops, "dropped") > 1.5);
    assert_has(&listed(&ops)[0], &json!({"dropped": 2, "delivered": 0}));
    ops.server.wait_for_log("events were dropped");
    let seen = accepted.clone();
    receiver.answer_with(move |post| {
        seen.lock()
            .expect("no test has failed")
            .push(post.text().to_owned());
        Answer::Status(200)
    });
    ada.send(&to("bo", "3"));
    eventually("the next one is accepted", || {
        events(&ops, "delivered") > 0.5
    });
    assert_eq!(*accepted.lock().expect("no test has failed"), ["3"]);
}

#[test]
fn an_event_that_fails_for_good_takes_none_of_its_conversation_along() {
    let receiver = Receiver::start();
    receiver.answer_with(|post| Answer::Status(if post.text() == "bad" { 500 } else { 200 }));
    // 5 s.
    let arguments = [
        "--webhook-allow-private",
        "--webhook-retry-hours",
        "0.0014",
        "--messages-per-second",
        "1000",
        "--burst",
        "10000",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    let texts: Vec<_> = (0..5).map(|n| format!("good {n}")).collect();
    ada.send(&to("bo", "bad"));
    for text in &texts {
        ada.send(&to("bo", text));
    }
    let mut accepted = Vec::new();
    let mut n = 0;
    while accepted.len() < texts.len() {
        // The receiver accepts events of another conversation all the time.
        n += 1;
        ada.send(&to("ada", &n.to_string()));
        loop {
            let post = receiver.next();
            if post.text() == n.to_string() {
                break;
            }
            if post.text().starts_with("good") {
                accepted.push(post.text().to_owned());
            }
        }
    }
    assert_eq!(accepted, texts);
    assert_has(&listed(&ops)[0], &json!({"dropped": 1}));
}

#[test]
fn all_events_of_a_conversation_are_dropped_after_the_time_for_retries() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    // 2.5 s.
    let arguments = [
        "--webhook-allow-private",
        "--webhook-retry-hours",
        "0.0007",
        "--burst",
        "1000",
    ];
    let ops = start(&receiver.url(), &arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    // More than are dropped one after the other until the deadline, and than are kept in memory.
    let count = 200;
    for n in 0..count {
        ada.send(&to("bo", &n.to_string()));
        ada.until("ack");
    }
    eventually("all are dropped", || {
        events(&ops, "dropped") > f64::from(count) - 0.5
    });
    receiver.answer_with(|_| Answer::Status(200));
    ada.send(&to("bo", "next"));
    receiver.until(|post| post.text() == "next");
}
