//! The definition of a content type in the published schemas.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::schema::Graph;
use crate::protocol::json::push_token;

/// Characters that a fragment of a URI cannot contain (RFC 3986 section 3.5).
const NOT_IN_FRAGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The reference to a content type, or to a part of its schema, within a published schema.
pub(super) fn reference(name: &str, pointer: &str) -> String {
    let mut path = "#/$defs".to_owned();
    push_token(&mut path, name);
    let pointer = utf8_percent_encode(pointer, NOT_IN_FRAGMENT);
    format!("{path}{pointer}")
}

/// The schema as a definition named `name`: references point into that definition.
pub(super) fn definition(document: &Value, graph: &Graph, name: &str) -> Value {
    let mut definition = document.clone();
    for node in &graph.nodes {
        let Some(Value::Object(keywords)) = definition.pointer_mut(&node.pointer) else {
            continue;
        };
        for keyword in ["$schema", "$id", "$anchor"] {
            keywords.shift_remove(keyword);
        }
        if let Some(target) = node.reference {
            let target = reference(name, &graph.nodes[target].pointer);
            keywords.insert("$ref".to_owned(), json!(target));
        }
    }
    definition
}
