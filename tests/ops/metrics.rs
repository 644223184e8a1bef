//! `GET /metrics`

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::helpers::{Ops, new_key};
use crate::support::{Client, Folder, eventually, make_contacts, to, with};

/// The samples by name and labels.
pub fn samples(ops: &Ops) -> HashMap<String, f64> {
    let response = ops.get("/metrics");
    assert_eq!(response.status, 200, "{response:?}");
    let content_type = "content-type: text/plain; version=0.0.4";
    assert!(response.head.contains(content_type), "{response:?}");
    let mut samples = HashMap::new();
    let mut declared = None;
    for line in response.body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            let kind = words.next().expect("HELP or TYPE");
            let name = words.next().expect("a name");
            assert!(name.starts_with("dmwire_"), "{line}");
            if kind == "TYPE" {
                declared = Some(name.to_owned());
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let family = declared.as_deref().expect("a declared metric");
        assert!(name.starts_with(family), "{line} after {family}");
        let value = value.parse().expect("a number");
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line}");
    }
    samples
}

#[test]
fn the_counters_follow_what_happens() {
    let ops = Ops::start(&[]);
    make_contacts(&ops.server, "8888", "6666");
    let mut sender = Client::fresh(&ops.server, "8888");
    let mut receiver = Client::fresh(&ops.server, "6666");
    let before = samples(&ops);
    assert!((before["dmwire_sessions"] - 2.0).abs() < 0.1, "{before:?}");
    assert!((before["dmwire_users"] - 2.0).abs() < 0.1, "{before:?}");
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    for _ in 0..2 {
        sender.send(&with(to("6666", "hello"), &json!({"id": id})));
        sender.until("ack");
    }
    receiver.until("message");
    sender.send(&with(to("6666", "now"), &json!({"ephemeral": true})));
    sender.until("ack");
    receiver.until("message");
    sender.send(&json!({"type": "nonsense"}));
    sender.until("error");
    sender.send(&json!({"type": "typing", "target_user": "6666"}));
    receiver.until("typing");
    let after = samples(&ops);
    let grown = |name: &str| after[name] - before[name];
    for (name, by) in [
        ("dmwire_messages_total{outcome=\"stored\"}", 1.0),
        ("dmwire_messages_total{outcome=\"duplicate\"}", 1.0),
        ("dmwire_messages_total{outcome=\"relayed\"}", 1.0),
        ("dmwire_messages_total{outcome=\"dropped\"}", 0.0),
        ("dmwire_messages_total{outcome=\"sent\"}", 0.0),
        ("dmwire_deliveries_total", 2.0),
        ("dmwire_errors_total{code=\"unknown_type\"}", 1.0),
        ("dmwire_errors_total{code=\"rate_limited\"}", 0.0),
        ("dmwire_api_requests_total{status=\"200\"}", 1.0),
    ] {
        assert!((grown(name) - by).abs() < 0.1, "{name}: {}", grown(name));
    }
    for name in ["commit", "delivery"] {
        let count = format!("dmwire_{name}_seconds_count");
        assert!(grown(&count) >= 1.0, "{count}: {after:?}");
        let all = format!("dmwire_{name}_seconds_bucket{{le=\"+Inf\"}}");
        assert!((after[&all] - after[&count]).abs() < 0.1, "{after:?}");
        assert!(after[&format!("dmwire_{name}_seconds_sum")] > 0.0);
    }
    for name in ["dmwire_memory_bytes", "dmwire_store_bytes"] {
        assert!(after[name] > 4096.0, "{name}: {after:?}");
    }
    for name in [
        "dmwire_notifications_total{outcome=\"stored\"}",
        "dmwire_notifications_total{outcome=\"refused\"}",
        "dmwire_notify_connected",
        "dmwire_webhook_events_total{outcome=\"delivered\"}",
        "dmwire_webhook_lag_seconds",
        "dmwire_queue_writes",
    ] {
        assert!(after.contains_key(name), "{name}: {after:?}");
    }
    sender.close();
    receiver.close();
    eventually("the sessions have ended", || {
        samples(&ops)["dmwire_sessions"] < 0.1
    });
}

#[test]
fn what_back_ends_send_counts_too() {
    let ops = Ops::start(&[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c";
    let before = samples(&ops);
    let body = json!({"from_user": "system", "target_user": "ada", "message": "hi", "id": id});
    ops.post("/v1/messages", &body).assert_ok();
    ops.post("/v1/messages", &body).assert_ok();
    ada.until("message");
    let other = json!({"from_user": "system", "target_user": "ada", "message": "ho", "id": id});
    ops.post("/v1/messages", &other)
        .assert_error(409, "id_conflict", Some("/id"));
    let several =
        json!({"from_user": "system", "target_users": ["ada", "bo"], "message": "ho", "id": id});
    ops.post("/v1/messages", &several).assert_ok();
    let now = json!({"from_user": "system", "target_users": ["ada", "bo"], "message": "now", "ephemeral": true});
    ops.post("/v1/messages", &now).assert_ok();
    ada.until("message");
    ops.get("/v1/nothing").assert_error(404, "not_found", None);
    ops.get("/v1/users/ada/conversations?x=1")
        .assert_error(400, "invalid_request", Some("/x"));
    let after = samples(&ops);
    for (name, by) in [
        ("dmwire_messages_total{outcome=\"stored\"}", 2.0),
        ("dmwire_messages_total{outcome=\"duplicate\"}", 1.0),
        ("dmwire_messages_total{outcome=\"sent\"}", 2.0),
        ("dmwire_deliveries_total", 2.0),
        // One of them is an answer of its own, the other one belongs to one of several users.
        ("dmwire_errors_total{code=\"id_conflict\"}", 2.0),
        ("dmwire_errors_total{code=\"not_found\"}", 1.0),
        ("dmwire_errors_total{code=\"invalid_request\"}", 1.0),
        ("dmwire_errors_total{code=\"unauthorized\"}", 0.0),
    ] {
        let grown = after[name] - before[name];
        assert!((grown - by).abs() < 0.1, "{name}: {grown}");
    }
}

#[test]
fn metrics_need_a_key_with_the_scope_read() {
    let (reader, reader_line) = new_key("reader");
    let (writer, writer_line) = new_key("writer");
    let folder = Arc::new(Folder::new());
    let lines = format!("{reader_line} read\n{writer_line} write,admin\n");
    fs::write(folder.0.join("keys"), lines).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    assert_eq!(ops.get_with("/metrics", &reader).status, 200);
    ops.get_with("/metrics", &writer)
        .assert_error(403, "forbidden", None);
    ops.get("/metrics").assert_error(401, "unauthorized", None);
    let text = ops.get_with("/metrics", &reader).body;
    for (status, least) in [(401, 1), (403, 1), (200, 1)] {
        let name = format!("dmwire_api_requests_total{{status=\"{status}\"}} {least}");
        assert!(text.contains(&name), "{name}: {text}");
    }
}
