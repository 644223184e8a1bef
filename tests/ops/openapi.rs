//! The OpenAPI description: it is served, it has every call, and the errors refer to it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::helpers::{Ops, new_key};
use crate::support::Folder;

fn document(ops: &Ops) -> Value {
    let response = ops.server.get("/schema/openapi.json");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let head = head.to_lowercase();
    assert!(
        head.contains("content-type: application/vnd.oai.openapi+json;version=3.1"),
        "{head}"
    );
    serde_json::from_str(body).expect("the description is JSON")
}

/// The paths of the description with their methods.
fn described(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let paths = document["paths"].as_object().expect("paths");
    let described = paths.iter().map(|(path, calls)| {
        let methods = calls.as_object().expect("calls").keys();
        (
            path.clone(),
            methods.map(|method| method.to_uppercase()).collect(),
        )
    });
    described.collect()
}

#[test]
fn every_call_is_described() {
    let folder = Arc::new(Folder::new());
    let (_, line) = new_key("all");
    fs::write(folder.0.join("keys"), line).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    let document = document(&ops);
    assert_eq!(document["openapi"], "3.1.0");
    let described = described(&document);
    for (path, methods) in &described {
        let sample = path
            .replace("{id}", "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b")
            .replace("{user}", "ada")
            .replace("{room}", "lobby");
        for method in methods {
            let status = ops.request(&format!("{method} {sample}"), &[], b"").status;
            let call = &document["paths"][path][method.to_lowercase()];
            let expected = if call["security"] == json!([]) {
                200
            } else {
                401
            };
            assert_eq!(status, expected, "{method} {path}");
        }
        let response = ops.request(&format!("PATCH {sample}"), &[], b"");
        response.assert_error(405, "method_not_allowed", None);
        let allow = response
            .head
            .lines()
            .find_map(|line| line.strip_prefix("allow: "));
        let allow = allow.expect("the header").to_uppercase();
        let allowed: BTreeSet<String> = allow.split(", ").map(str::to_owned).collect();
        let without_head: BTreeSet<String> = allowed
            .into_iter()
            .filter(|method| method != "HEAD")
            .collect();
        assert_eq!(&without_head, methods, "{path}");
    }
    // The routes have no other paths.
    let routes = include_str!("../../src/ops/routes.rs");
    let routes = routes.split("resource(").skip(1).filter_map(|part| {
        let path = part.trim_start().strip_prefix('"')?.split('"').next()?;
        Some(path.to_owned())
    });
    let routes: BTreeSet<String> = routes.collect();
    let paths: BTreeSet<String> = described.into_iter().map(|(path, _)| path).collect();
    assert_eq!(routes, paths);
}

#[test]
fn the_description_has_the_content_types_of_the_server() {
    let types = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/order/content-types");
    let ops = Ops::start(&["--content-types", types]);
    let document = document(&ops);
    let content = &document["components"]["schemas"]["TypedContent"];
    let has_custom = content.to_string().contains("order");
    assert!(has_custom, "{content}");
}

#[test]
fn errors_refer_to_definitions_that_exist() {
    let ops = Ops::start(&[]);
    let document = document(&ops);
    let send = |change: Value| {
        let mut body = json!({"from_user": "ada", "target_user": "bo", "message": "hi"});
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        ops.post("/v1/messages", &body)
    };
    let mut found = BTreeSet::new();
    for change in [
        json!({"from_user": "?"}),
        json!({"target_room": "lobby"}),
        json!({"id": "x"}),
        json!({"message": ""}),
        json!({"message": {"type": "markdown", "text": 1}}),
        json!({"message": {"type": "image", "url": "ftp://x"}}),
        json!({"message": {"type": "location", "latitude": 100, "longitude": 0}}),
        json!({"other": 1}),
    ] {
        let response = send(change);
        assert_eq!(response.status, 400, "{response:?}");
        let error = response.json();
        let schema = error["schema"].as_str().expect("a definition");
        let (name, pointer) = schema.split_once('#').expect("a reference");
        assert_eq!(name, "openapi.json", "{error}");
        assert!(document.pointer(pointer).is_some(), "{error}");
        found.insert(pointer.to_owned());
    }
    assert!(found.len() >= 4, "{found:?}");
}
