//! `GET /metrics`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::helpers::{Ops, Response, new_key};
use crate::support::{Client, Folder, assert_has, eventually, handshake, make_contacts, to, with};

/// The samples by name and labels.
pub fn samples(ops: &Ops) -> HashMap<String, f64> {
    parse(&ops.get("/metrics"))
}

/// The names of all metrics.
pub fn names(ops: &Ops) -> BTreeSet<String> {
    let response = ops.get("/metrics");
    let lines = response.body.lines();
    let declared = lines.filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    declared.map(str::to_owned).collect()
}

fn parse(response: &Response) -> HashMap<String, f64> {
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
        (
            "dmwire_contents_total{kind=\"message\",content_type=\"text\"}",
            1.0,
        ),
        (
            "dmwire_contents_total{kind=\"ephemeral\",content_type=\"text\"}",
            1.0,
        ),
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
        "dmwire_queue_reads{kind=\"long\"}",
        "dmwire_disk_free_bytes",
        "dmwire_wal_bytes",
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

/// How much each sample has grown, without those that have not.
fn growth(before: &HashMap<String, f64>, after: &HashMap<String, f64>) -> HashMap<String, f64> {
    let grown = after.iter().map(|(name, value)| {
        let by = value - before.get(name).copied().unwrap_or(0.0);
        (name.trim_start_matches("dmwire_").to_owned(), by)
    });
    grown.filter(|(_, by)| *by > 0.1).collect()
}

fn assert_grown(growth: &HashMap<String, f64>, family: &str, expected: &[(&str, f64)]) {
    let prefix = format!("{family}{{");
    let found: BTreeMap<_, _> = growth
        .iter()
        .filter_map(|(name, by)| Some((name.strip_prefix(&prefix)?.strip_suffix('}')?, *by)))
        .collect();
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{family}");
}

#[test]
fn writes_and_contents_are_counted_by_kind_and_type() {
    let folder = Arc::new(Folder::new());
    let types = folder.0.join("types");
    fs::create_dir(&types).expect("a folder can be created");
    let schema = json!({"required": ["n"], "properties": {"n": {"type": "integer"}}});
    fs::write(types.join("order.sent.schema.json"), schema.to_string()).expect("written");
    let types = types.to_str().expect("a path").to_owned();
    let ops = Ops::start_in(&folder, &["--content-types", &types]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let before = samples(&ops);
    let sent = |content: serde_json::Value| json!({"message": content, "target_user": "bo"});
    let id = ada.ask(&sent(json!("hi")))["id"].clone();
    let about = |kind: &str| json!({"type": kind, "id": id, "target_user": "bo"});
    ada.ask(&with(
        about("edit"),
        &json!({"message": {"type": "markdown", "text": "*hi*"}}),
    ));
    ada.ask(&with(about("react"), &json!({"emoji": "👍"})));
    ada.send(&about("read"));
    ada.ask(&about("delete"));
    ada.ask(&about("delete"));
    ada.ask(&sent(json!({"type": "order.sent", "n": 1})));
    for content in [
        json!({"type": "order.sent", "n": "one"}),
        json!({"type": "order.lost"}),
        json!({"type": "markdown"}),
        json!(""),
        json!(7),
    ] {
        assert_eq!(ada.ask(&sent(content))["type"], "error");
    }
    ada.ask(&json!({"type": "block", "user": "cy"}));
    ada.ask(&json!({"type": "status", "status": "away"}));
    ada.ask(&json!({"type": "join", "room": "lobby"}));
    ada.ask(&json!({"type": "leave", "room": "lobby"}));
    ada.ask(&json!({"type": "edit", "id": id, "target_user": "bo", "message": "gone"}));
    let body = |content: serde_json::Value| json!({"from_user": "cy", "target_user": "ada", "message": content});
    ops.post("/v1/messages", &body(json!("hi")))
        .assert_error(403, "blocked", Some("/target_user"));
    ops.post("/v1/messages", &body(json!({"type": "order.sent"})))
        .assert_error(400, "invalid_content", Some("/message/n"));
    ops.post("/v1/messages", &body(json!({"type": "image"})))
        .assert_error(400, "invalid_request", Some("/message/url"));
    let mut now = body(json!({"type": "data", "name": "n", "data": 1}));
    now["target_user"] = json!("bo");
    now["ephemeral"] = json!(true);
    ops.post("/v1/messages", &now).assert_ok();
    let growth = growth(&before, &samples(&ops));
    assert_grown(
        &growth,
        "writes_total",
        &[
            (r#"kind="message",outcome="stored""#, 2.0),
            (r#"kind="message",outcome="refused""#, 1.0),
            (r#"kind="edit",outcome="stored""#, 1.0),
            (r#"kind="edit",outcome="refused""#, 1.0),
            (r#"kind="react",outcome="stored""#, 1.0),
            (r#"kind="read",outcome="stored""#, 1.0),
            (r#"kind="delete",outcome="stored""#, 1.0),
            (r#"kind="delete",outcome="duplicate""#, 1.0),
            (r#"kind="block",outcome="stored""#, 1.0),
            (r#"kind="status",outcome="stored""#, 1.0),
            (r#"kind="join",outcome="stored""#, 1.0),
            (r#"kind="leave",outcome="stored""#, 1.0),
        ],
    );
    assert_grown(
        &growth,
        "contents_total",
        &[
            (r#"kind="message",content_type="text""#, 1.0),
            (r#"kind="message",content_type="custom""#, 1.0),
            (r#"kind="edit",content_type="markdown""#, 1.0),
            (r#"kind="ephemeral",content_type="data""#, 1.0),
        ],
    );
    assert_grown(
        &growth,
        "rejected_contents_total",
        &[
            (r#"code="invalid_content",content_type="custom""#, 2.0),
            (r#"code="unknown_content_type",content_type="unknown""#, 1.0),
            (r#"code="invalid_frame",content_type="markdown""#, 1.0),
            (r#"code="invalid_frame",content_type="text""#, 1.0),
            (r#"code="invalid_frame",content_type="unknown""#, 1.0),
            (r#"code="invalid_frame",content_type="image""#, 1.0),
            (r#"code="unknown_message",content_type="text""#, 1.0),
            (r#"code="blocked",content_type="text""#, 1.0),
        ],
    );
    let bytes = ["received_bytes_total", "sent_bytes_total"].map(|name| growth[name]);
    assert!(bytes.iter().all(|bytes| *bytes > 1000.0), "{bytes:?}");
}

#[test]
fn limits_are_counted_by_their_setting() {
    let mut arguments = vec!["--connections", "2"];
    for limit in [
        "--messages-per-second",
        "--burst",
        "--queries-per-second",
        "--query-burst",
        "--pings-per-second",
        "--api-requests-per-second",
    ] {
        arguments.extend([limit, "1"]);
    }
    arguments.extend(["--user-messages-per-second", "2", "--user-burst", "2"]);
    arguments.extend(["--user-bytes-per-day", "1000"]);
    let ops = Ops::start(&arguments);
    let mut ada = Client::fresh(&ops.server, "ada");
    // The first message may exceed the limit of bytes, and the second one may not follow it.
    let long = json!({"message": "x".repeat(2000), "target_user": "bo"});
    assert_eq!(ada.ask(&long)["type"], "ack");
    let mut phone = Client::connect(&ops.server, "ada", "");
    phone.until("synced");
    assert_eq!(phone.ask(&long)["code"], "rate_limited");
    for frame in [to("bo", "hi"), json!({"type": "ping"})] {
        for client in [&mut ada, &mut phone] {
            (0..20).for_each(|_| client.send(&frame));
        }
        for client in [&mut ada, &mut phone] {
            (0..20).for_each(|_| drop(client.recv()));
        }
    }
    assert!(Client::dial(&ops.server, "/ws/cy", &[]).is_err());
    // More requests than the key may make at once.
    eventually("the key has reached its limit", || {
        ops.get("/v1/sessions").status == 429
    });
    let mut found = HashMap::new();
    eventually("the key may make requests again", || {
        let response = ops.get("/metrics");
        if response.status == 200 {
            found = parse(&response);
        }
        response.status == 200
    });
    for limit in [
        "messages_per_second",
        "pings_per_second",
        "user_bytes_per_day",
        "connections",
        "api_requests_per_second",
    ] {
        let name = format!("dmwire_limited_total{{limit=\"{limit}\"}}");
        assert!(found[&name] > 0.9, "{name}: {found:?}");
    }
    let refused = "dmwire_sessions_refused_total{code=\"too_many_connections\"}";
    assert!(found[refused] > 0.9, "{found:?}");
    let rejected = "dmwire_rejected_contents_total{code=\"rate_limited\",content_type=\"text\"}";
    assert!(found[rejected] > 1.9, "{found:?}");
}

#[test]
fn sessions_are_counted_from_their_start_to_their_end() {
    let ops = Ops::start(&["--sessions-per-user", "1"]);
    let before = samples(&ops);
    let mut first = Client::fresh(&ops.server, "ada");
    let _second = Client::fresh(&ops.server, "ada");
    assert_has(
        &first.until("goodbye"),
        &json!({"reason": "too_many_sessions"}),
    );
    let refused = ops.server.http(&handshake("/ws/a%20b", ""));
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let growth = growth(&before, &samples(&ops));
    assert!((growth["sessions_opened_total"] - 2.0).abs() < 0.1);
    assert_grown(
        &growth,
        "sessions_ended_total",
        &[(r#"reason="too_many_sessions""#, 1.0)],
    );
    assert_grown(
        &growth,
        "sessions_refused_total",
        &[(r#"code="invalid_request""#, 1.0)],
    );
}

#[test]
fn what_expires_is_counted() {
    let ops = Ops::start(&["--history-days", "0.00002", "--inbox-days", "0.00002"]);
    let users = ["ada", "bo", "cy"];
    let body = json!({"from_user": "system", "target_users": users, "message": "hi"});
    ops.post("/v1/messages", &body).assert_ok();
    eventually("three entries and three messages have expired", || {
        let samples = samples(&ops);
        let expired = |kind: &str| samples[&format!("dmwire_expired_total{{kind=\"{kind}\"}}")];
        expired("entry") > 2.9 && expired("message") > 2.9
    });
}

#[test]
fn each_metric_is_documented() {
    let served = names(&Ops::start(&[]));
    let text = include_str!("../../docs/operations.md");
    let table = text
        .split("| metric | meaning |")
        .nth(1)
        .expect("the table of the metrics");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let documented: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| format!("dmwire_{}", name.split('{').next().unwrap_or(name)))
        .collect();
    assert_eq!(documented, served);
    for name in &served {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let stem = stem.trim_end_matches("_seconds").trim_end_matches("_bytes");
        let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(stem.chars().all(allowed), "{name}");
    }
}
