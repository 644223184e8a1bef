use serde_json::{Value, json};

use super::{different_properties, equivalent, narrower_property, same_property};

#[test]
fn types_are_sets() {
    same_property(json!({"type": ["string"]}), json!({"type": "string"}));
    same_property(
        json!({"type": ["integer", "number"]}),
        json!({"type": "number"}),
    );
    same_property(
        json!({"type": "integer"}),
        json!({"type": "number", "multipleOf": 1}),
    );
    same_property(
        json!({"type": ["string", "null"]}),
        json!({"anyOf": [{"type": "null"}, {"type": "string"}]}),
    );
    narrower_property(
        json!({"type": "string"}),
        json!({"type": ["null", "string"]}),
        &["/type"],
    );
    narrower_property(
        json!({"type": "integer"}),
        json!({"type": "number"}),
        &["/type"],
    );
    narrower_property(json!({"type": "string"}), json!({}), &["/type"]);
    narrower_property(json!({"type": "string"}), json!(true), &["/type"]);
    different_properties(json!({"type": "string"}), json!({"type": "integer"}));
}

#[test]
fn enum_and_const_are_sets_of_values() {
    same_property(json!({"enum": ["a"]}), json!({"const": "a"}));
    same_property(
        json!({"enum": ["a", "b"]}),
        json!({"type": "string", "enum": ["b", "a", "a", 5]}),
    );
    same_property(json!({"enum": [1, 2]}), json!({"enum": [2.0, 1.0]}));
    same_property(json!({"type": "boolean"}), json!({"enum": [true, false]}));
    same_property(
        json!({"const": {"a": 1, "b": [2]}}),
        json!({"const": {"b": [2.0], "a": 1}}),
    );
    same_property(
        json!({"enum": [1, 2, 3, 30]}),
        json!({"enum": [1, 2, 3, 30, 31], "maximum": 30}),
    );
    narrower_property(
        json!({"enum": ["a"]}),
        json!({"enum": ["a", "b"]}),
        &["/enum"],
    );
    narrower_property(
        json!({"const": "a"}),
        json!({"type": "string"}),
        &["/const"],
    );
    narrower_property(
        json!({"enum": [1, 2]}),
        json!({"enum": [1, 2, "x"]}),
        &["/enum"],
    );
    narrower_property(
        json!({"enum": ["a", "bb"], "maxLength": 1}),
        json!({"enum": ["a", "bb"]}),
        &["/maxLength"],
    );
    different_properties(json!({"const": 1}), json!({"const": 2}));
}

#[test]
fn bounds_of_numbers() {
    narrower_property(json!({"minimum": 1}), json!({"minimum": 0}), &["/minimum"]);
    narrower_property(json!({"maximum": 9}), json!({"maximum": 10}), &["/maximum"]);
    narrower_property(
        json!({"exclusiveMinimum": 1}),
        json!({"minimum": 1}),
        &["/exclusiveMinimum"],
    );
    narrower_property(
        json!({"exclusiveMaximum": 1}),
        json!({"maximum": 1}),
        &["/exclusiveMaximum"],
    );
    narrower_property(json!({"minimum": 0.5}), json!({}), &["/minimum"]);
    narrower_property(
        json!({"minimum": 9_007_199_254_740_993_i64}),
        json!({"minimum": 9_007_199_254_740_992_i64}),
        &["/minimum"],
    );
    same_property(json!({"minimum": 1.0}), json!({"minimum": 1}));
    same_property(
        json!({"minimum": 1, "exclusiveMinimum": 1}),
        json!({"exclusiveMinimum": 1}),
    );
    same_property(
        json!({"type": "integer", "exclusiveMinimum": 0}),
        json!({"type": "integer", "minimum": 1}),
    );
    same_property(
        json!({"type": "integer", "exclusiveMaximum": 10}),
        json!({"type": "integer", "maximum": 9.5}),
    );
    same_property(
        json!({"type": "string", "minimum": 5}),
        json!({"type": "string"}),
    );
    different_properties(json!({"minimum": 1}), json!({"maximum": 1}));
}

#[test]
fn multiples() {
    narrower_property(
        json!({"multipleOf": 4}),
        json!({"multipleOf": 2}),
        &["/multipleOf"],
    );
    narrower_property(json!({"multipleOf": 0.5}), json!({}), &["/multipleOf"]);
    same_property(json!({"multipleOf": 0.1}), json!({"multipleOf": 0.1}));
    different_properties(json!({"multipleOf": 2}), json!({"multipleOf": 3}));
    // Not decided.
    different_properties(json!({"multipleOf": 0.1}), json!({"multipleOf": 0.3}));
}

#[test]
fn lengths_and_patterns_of_strings() {
    narrower_property(
        json!({"minLength": 2}),
        json!({"minLength": 1}),
        &["/minLength"],
    );
    narrower_property(
        json!({"maxLength": 2}),
        json!({"maxLength": 3}),
        &["/maxLength"],
    );
    narrower_property(json!({"maxLength": 2}), json!({}), &["/maxLength"]);
    narrower_property(json!({"pattern": "^a"}), json!({}), &["/pattern"]);
    same_property(json!({"minLength": 0}), json!({}));
    same_property(json!({"maxLength": 3.0}), json!({"maxLength": 3}));
    same_property(
        json!({"pattern": "^[a-z]+$"}),
        json!({"pattern": "^[a-z]+$", "type": ["string", "number", "null", "boolean", "object", "array"]}),
    );
    // Regular expressions are compared by their text.
    different_properties(
        json!({"pattern": "^[a-z]$"}),
        json!({"pattern": "^[abcdefghijklmnopqrstuvwxyz]$"}),
    );
}

#[test]
fn annotations_are_ignored() {
    let old = json!({"properties": {"p": {"type": "string"}}});
    let mut new = old.clone();
    for (keyword, value) in [
        ("title", json!("P")),
        ("description", json!("a p")),
        ("default", json!("x")),
        ("examples", json!(["x"])),
        ("deprecated", json!(true)),
        ("readOnly", json!(true)),
        ("writeOnly", json!(true)),
        ("$comment", json!("c")),
        ("format", json!("date-time")),
        ("contentMediaType", json!("text/html")),
        ("contentEncoding", json!("base64")),
        ("contentSchema", json!({"type": "object"})),
        ("x-widget", json!({"type": "card"})),
        ("$defs", json!({"unused": {"type": "null"}})),
        ("then", json!(false)),
        ("minContains", json!(3)),
    ] {
        new["properties"]["p"][keyword] = value;
    }
    new["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    new["$id"] = json!("https://example.org/order");
    equivalent(old, new);
}

#[test]
fn a_schema_of_another_type_is_never_used() {
    // Objects whose `type` is order.updated.
    equivalent(
        Value::Bool(true),
        json!({"type": "object", "required": ["type"]}),
    );
    equivalent(
        Value::Bool(true),
        json!({"properties": {"type": {"const": "order.updated"}}}),
    );
    equivalent(
        Value::Bool(true),
        json!({"properties": {"type": {"pattern": "^order\\."}}}),
    );
    equivalent(
        Value::Bool(false),
        json!({"properties": {"type": {"const": "order.created"}}}),
    );
    equivalent(Value::Bool(false), json!({"type": "string"}));
}
