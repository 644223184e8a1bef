//! SIGHUP: the schemas are read again.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{TOLERANT, TYPES, message, order, order_with, start, write_schema};
use crate::support::{Client, Server, assert_has, eventually, json_answer};

/// The hash of the schemas in force.
fn hash(server: &Server) -> Value {
    json_answer(&server.get("/schema")).1["hash"].clone()
}

/// Has the server read its schemas, which have changed, and waits until they are in force.
pub fn reload(server: &Server) {
    let before = hash(server);
    server.signal("HUP");
    eventually("the schemas are loaded", || hash(server) != before);
}

#[test]
fn a_reload_applies_to_open_sessions_from_the_next_frame_on() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let (first, second) = (order_with(json!({})), json!({"type": "user.joined"}));
    a.send(&message(&first));
    a.expect("ack");
    a.send(&message(&second));
    assert_has(&a.expect("error"), &json!({"code": "unknown_content_type"}));
    write_schema(
        server.folder(),
        "order.updated",
        &json!({"required": ["customer"]}),
    );
    write_schema(server.folder(), "user.joined", &json!({}));
    reload(&server);
    a.send(&message(&first));
    assert_has(
        &a.expect("error"),
        &json!({"code": "invalid_content", "path": "/message/customer"}),
    );
    a.send(&message(&second));
    a.expect("ack");
    assert_eq!(Client::fresh(&server, "c").welcome["schema"], hash(&server));
}

#[test]
fn an_invalid_schema_leaves_the_previous_set_in_force() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let before = hash(&server);
    let mut a = Client::fresh(&server, "a");
    write_schema(server.folder(), "user.joined", &json!({}));
    write_schema(server.folder(), "a.broken", &json!({"$ref": "#"}));
    server.signal("HUP");
    let line = server.wait_for_log("the content types stay as they were");
    assert!(
        line.contains("a.broken.schema.json") && line.contains("leads back"),
        "{line}"
    );
    assert_eq!(hash(&server), before);
    a.send(&message(&order_with(json!({}))));
    a.expect("ack");
    a.send(&message(&json!({"type": "user.joined"})));
    assert_has(&a.expect("error"), &json!({"code": "unknown_content_type"}));
    fs::remove_file(server.folder().join(TYPES).join("a.broken.schema.json")).expect("removed");
    reload(&server);
    a.send(&message(&json!({"type": "user.joined"})));
    a.expect("ack");
}

/// Every frame is checked by one set as a whole: the schemas of both types change together.
#[test]
fn a_reload_under_load_applies_to_both_types_at_once() {
    let schemas = |version: u32| {
        let schema = json!({"properties": {"version": {"const": version}}});
        [("load.one", schema.clone()), ("load.two", schema)]
    };
    let server = start(&schemas(0), TOLERANT);
    let done = AtomicBool::new(false);
    let loaded = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let senders = [0, 1, 2].map(|n| {
            let (server, done, loaded) = (&server, &done, &loaded);
            scope.spawn(move || {
                let mut client = Client::fresh(server, &format!("s{n}"));
                let mut accepts = |tag: &str, version: u32| {
                    let content = json!({"type": tag, "version": version});
                    client.send(&message(&content));
                    let answer = client.recv();
                    if answer["type"] == "ack" {
                        return true;
                    }
                    let path = "/message/version";
                    assert_has(&answer, &json!({"code": "invalid_content", "path": path}));
                    false
                };
                while !done.load(Ordering::Relaxed) {
                    let version = loaded.load(Ordering::Acquire);
                    if !accepts("load.one", version) {
                        // Another set is in force. It applies to the other type too.
                        assert!((1..=3).any(|newer| accepts("load.two", version + newer)));
                        assert!(!accepts("load.two", version));
                    }
                }
            })
        });
        for version in 1..=10 {
            for (name, schema) in schemas(version) {
                write_schema(server.folder(), name, &schema);
            }
            reload(&server);
            loaded.store(version, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().expect("the sender succeeds");
        }
    });
}
