//! Many queries at once, and clients that read the answers slowly.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{FAST, ID, connect_manual, history_frame, large_content, send_all};
use crate::support::{Client, Server, burst, to, with};

#[test]
fn all_pipelined_queries_are_answered() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=5 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = connect_manual(&server, "b", "one");
    let questions: Vec<Value> = (0..100)
        .map(|n| {
            let frame = match n % 3 {
                0 => json!({"type": "conversations"}),
                1 => history_frame("a", &json!({"limit": 2})),
                _ => history_frame("a", &json!({"before": ID})),
            };
            with(frame, &json!({"ref": n.to_string()}))
        })
        .collect();
    burst(&mut b, &questions);
    let mut refs = BTreeSet::new();
    for _ in &questions {
        let answer = b.recv();
        let n: usize = answer["ref"]
            .as_str()
            .and_then(|n| n.parse().ok())
            .expect("a ref of ours");
        assert_eq!(
            answer["type"],
            ["conversations", "history", "error"][n % 3],
            "{answer}"
        );
        refs.insert(n);
    }
    assert_eq!(refs.len(), questions.len());
    b.assert_quiet();
}

#[test]
fn all_pipelined_queries_with_large_answers_are_answered() {
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    for n in 0..5 {
        a.ask(&json!({"message": large_content(n), "target_user": "b"}));
    }
    let mut b = connect_manual(&server, "b", "one");
    // More than the server buffers for a session, and more than the sockets hold: the server must wait until `b` reads.
    let questions: Vec<Value> = (0..100)
        .map(|n| history_frame("a", &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut b, &questions);
    // The server has read the queries and sent all answers that it can.
    let ids = send_all(&mut a, "c", 0..3);
    assert_eq!(ids.len(), 3);
    let mut refs = BTreeSet::new();
    for _ in &questions {
        let answer = b.expect("history");
        assert!(!answer["messages"].as_array().expect("messages").is_empty());
        refs.insert(answer["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs.len(), questions.len());
    b.assert_quiet();
}

#[test]
fn a_session_that_reads_histories_slowly_delays_nobody() {
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    for n in 0..5 {
        a.ask(&json!({"message": large_content(n), "target_user": "b"}));
    }
    // It requests 25 MB and reads nothing.
    let mut slow = connect_manual(&server, "b", "slow");
    let questions: Vec<Value> = (0..100)
        .map(|n| history_frame("a", &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut slow, &questions);
    let mut b = connect_manual(&server, "b", "quick");
    let mut c = connect_manual(&server, "c", "one");
    for n in 0..100 {
        let text = n.to_string();
        assert_eq!(a.ask(&to("b", &text))["status"], "stored");
        assert_eq!(b.expect("message")["message"], text);
        assert_eq!(c.ask(&to("d", &text))["seq"], n + 1);
        let page = c.ask(&history_frame("d", &json!({"limit": 1})));
        assert_eq!(page["messages"][0]["message"], text);
    }
    // It missed nothing.
    let (mut entries, mut answers) = (5, 0);
    while entries < 105 || answers < questions.len() {
        let frame = slow.recv();
        if frame["type"] == "history" {
            answers += 1;
        } else {
            entries += 1;
            assert_eq!(frame["seq"], entries, "{}", frame["type"]);
        }
    }
    slow.assert_quiet();
}
