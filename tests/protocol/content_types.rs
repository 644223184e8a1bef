//! Content types of an application (PROTOCOL section 3): validation of messages, and the schemas that the server publishes.

mod reload;
mod resend;
mod startup;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Client, Folder, Server, assert_has, json_answer, to, with};

/// The name of the folder with the schemas.
const TYPES: &str = "types";
/// The flags of a server that tolerates many invalid frames.
const TOLERANT: &[&str] = &[
    "--content-types",
    TYPES,
    "--bad-frames-per-minute",
    "100000",
    "--messages-per-second",
    "100000",
    "--burst",
    "100000",
];
const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// Writes a schema into the folder with the schemas.
fn write_schema(folder: &Path, name: &str, schema: &Value) {
    let types = folder.join(TYPES);
    fs::create_dir_all(&types).expect("a folder can be made");
    let file = types.join(format!("{name}.schema.json"));
    fs::write(file, schema.to_string()).expect("a schema can be written");
}

/// Starts a server with these schemas.
fn start(schemas: &[(&str, Value)], arguments: &[&str]) -> Server {
    let folder = Arc::new(Folder::new());
    for (name, schema) in schemas {
        write_schema(&folder.0, name, schema);
    }
    Server::start_in(&folder, arguments)
}

/// The schema of an order.
fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Order updated",
        "type": "object",
        "properties": {
            "type": true,
            "order": {"type": "string", "pattern": "^[A-Z]{1,3}-[0-9]{1,6}$"},
            "state": {"enum": ["open", "shipped", "delivered"]},
            "total": {"type": "number", "minimum": 0, "multipleOf": 0.01},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "maxItems": 3},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 5},
            "note": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}]}
        },
        "required": ["order", "state"],
        "additionalProperties": false,
        "$defs": {
            "line": {
                "type": "object",
                "properties": {"sku": {"type": "string", "minLength": 1}, "count": {"type": "integer", "minimum": 1}},
                "required": ["sku"]
            }
        }
    })
}

/// A valid order with other fields.
fn order_with(fields: Value) -> Value {
    let order = json!({"type": "order.updated", "order": "A-17", "state": "open"});
    with(order, &fields)
}

fn message(content: &Value) -> Value {
    with(to("b", ""), &json!({"message": content}))
}

#[test]
fn valid_content_is_delivered_as_it_was_sent() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut b = Client::fresh(&server, "b");
    let mut a = Client::fresh(&server, "a");
    for fields in [
        json!({}),
        json!({"total": 19.99, "tags": ["x", "y"], "note": null}),
        json!({"lines": [{"sku": "s", "count": 2.0, "more": {"x": [1]}}]}),
    ] {
        let content = order_with(fields);
        a.send(&message(&content));
        a.expect("ack");
        assert_eq!(b.expect("message")["message"], content);
        let ephemeral = with(message(&content), &json!({"ephemeral": true}));
        a.send(&ephemeral);
        a.expect("ack");
        assert_eq!(b.expect("message")["message"], content);
    }
    let id = json!(ID);
    a.send(&with(message(&order_with(json!({}))), &json!({"id": id})));
    a.expect("ack");
    b.expect("message");
    let edited = order_with(json!({"state": "shipped"}));
    a.send(&with(message(&edited), &json!({"type": "edit", "id": id})));
    a.expect("ack");
    assert_eq!(b.expect("edited")["message"], edited);
}

#[test]
fn invalid_content_is_rejected_with_the_place_and_the_definition() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let line = "order.updated/$defs/line";
    let cases = [
        (json!({"order": 5}), "/order", "order.updated"),
        (json!({"order": "a-17"}), "/order", "order.updated"),
        (json!({"state": "lost"}), "/state", "order.updated"),
        (json!({"total": -1}), "/total", "order.updated"),
        (json!({"total": 0.001}), "/total", "order.updated"),
        (json!({"unknown/~": 1}), "/unknown~1~0", "order.updated"),
        (json!({"lines": []}), "/lines", "order.updated"),
        (
            json!({"lines": [{"sku": "s"}, {"count": 1}]}),
            "/lines/1/sku",
            line,
        ),
        (json!({"lines": [{"sku": ""}]}), "/lines/0/sku", line),
        (
            json!({"lines": [{"sku": "s", "count": 1.5}]}),
            "/lines/0/count",
            line,
        ),
        (json!({"tags": ["x", "x"]}), "/tags", "order.updated"),
        (json!({"note": "too long"}), "/note", "order.updated"),
        (json!({"note": null, "lines": 1}), "/lines", "order.updated"),
    ];
    for (fields, path, definition) in &cases {
        let content = order_with(fields.clone());
        let with_id = json!({"id": ID, "ref": "r"});
        for frame in [
            with(message(&content), &json!({"ref": "r"})),
            with(message(&content), &with_id),
            with(message(&content), &json!({"ref": "r", "ephemeral": true})),
            with(with(message(&content), &with_id), &json!({"type": "edit"})),
        ] {
            a.send(&frame);
            let error = a.expect("error");
            let expected = json!({
                "code": "invalid_content", "path": format!("/message{path}"), "ref": "r", "retryable": false,
                "schema": format!("client-frame.schema.json#/$defs/{definition}"),
            });
            assert_has(&error, &expected);
        }
    }
    let content = json!({"type": "order.updated", "state": "open"});
    a.send(&message(&content));
    assert_has(
        &a.expect("error"),
        &json!({"code": "invalid_content", "path": "/message/order"}),
    );
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_type_that_is_not_loaded_is_unknown() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    for (tag, hint) in [
        ("order.update", "did you mean `order.updated`?"),
        ("a.b", "order.updated"),
        ("order", ""),
    ] {
        for fields in [json!({}), json!({"id": ID})] {
            a.send(&with(message(&json!({"type": tag})), &fields));
            let error = a.expect("error");
            assert_has(
                &error,
                &json!({"code": "unknown_content_type", "path": "/message/type"}),
            );
            let detail = error["detail"].as_str().expect("a detail");
            assert!(detail.contains(hint), "{detail}");
        }
    }
}

#[test]
fn content_is_checked_before_everything_else_about_a_message() {
    let server = start(&[("order.updated", order())], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    b.send(&json!({"type": "block", "user": "a"}));
    b.expect("ok");
    let content = json!({"type": "order.updated"});
    let erased = format!("erased.{}", "0".repeat(32));
    for target in [
        json!({"target_user": "b"}),
        json!({"target_user": erased}),
        json!({"target_user": null, "target_room": "r"}),
    ] {
        for id in [json!(null), json!(ID)] {
            let mut frame = with(json!({"message": content, "id": id}), &target);
            frame
                .as_object_mut()
                .expect("an object")
                .retain(|_, value| !value.is_null());
            a.send(&frame);
            assert_has(
                &a.expect("error"),
                &json!({"code": "invalid_content", "path": "/message/order"}),
            );
        }
    }
}

#[test]
fn the_published_schemas_have_the_types_and_agree_with_the_server() {
    let tree = json!({
        "$id": "https://example.org/tree", "$anchor": "top", "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#top"}}, "root": {"$ref": "#"}},
        "additionalProperties": {"not": {"type": "null"}}
    });
    let server = start(&[("order.updated", order()), ("tree.node", tree)], TOLERANT);
    let mut a = Client::fresh(&server, "a");
    let (_, index) = json_answer(&server.get("/schema"));
    assert_eq!(index["hash"], a.welcome["schema"]);
    let other = start(&[], &[]);
    let built_in = Client::fresh(&other, "a");
    assert_ne!(built_in.welcome["schema"], a.welcome["schema"]);
    let etag = format!("\"{}\"", a.welcome["schema"].as_str().expect("a hash"));
    for name in ["client-frame.schema.json", "server-frame.schema.json"] {
        let answer = server.get(&format!("/schema/{name}"));
        assert!(
            answer.to_lowercase().contains(&format!("etag: {etag}")),
            "{answer}"
        );
        let (_, schema) = json_answer(&answer);
        assert_eq!(schema["$defs"]["order.updated"]["title"], "Order updated");
        assert_eq!(
            schema["$defs"]["tree.node"]["properties"]["root"]["$ref"],
            "#/$defs/tree.node"
        );
        jsonschema::draft202012::meta::validate(&schema).expect("a schema");
    }
    let (_, client) = json_answer(&server.get("/schema/client-frame.schema.json"));
    let client = jsonschema::draft202012::new(&client).expect("the schema compiles");
    let (_, server_frames) = json_answer(&server.get("/schema/server-frame.schema.json"));
    let server_frames = jsonschema::draft202012::new(&server_frames).expect("the schema compiles");
    let node = |fields: Value| with(json!({"type": "tree.node"}), &fields);
    for content in [
        order_with(json!({})),
        order_with(json!({"state": "lost"})),
        order_with(json!({"lines": [{"sku": "s"}]})),
        order_with(json!({"lines": [{}]})),
        node(json!({"children": [node(json!({})), {"children": [], "x": 1}]})),
        node(json!({"children": [{"children": [5]}]})),
        node(json!({"root": {"x": null}})),
        json!({"type": "other.type"}),
    ] {
        let frame = message(&content);
        a.send(&frame);
        let answer = a.recv();
        assert_eq!(
            client.is_valid(&frame),
            answer["type"] == "ack",
            "{content}: {answer}"
        );
        let delivered = json!({
            "type": "message", "id": ID, "seq": 1, "from_user": "a", "target_user": "b",
            "sent_at": "2026-11-20T11:03:00.123Z", "message": content
        });
        assert!(server_frames.is_valid(&delivered), "{content}");
    }
}
