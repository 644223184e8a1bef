use serde_json::{Value, json};

use super::super::{Rule, compare};
use super::{TYPE, breaks, equivalent, narrower};

#[test]
fn references_are_followed() {
    let direct = json!({"properties": {"p": {"type": "string", "maxLength": 3}}});
    equivalent(
        direct.clone(),
        json!({"properties": {"p": {"$ref": "#/$defs/p~1q"}}, "$defs": {"p/q": {"type": "string", "maxLength": 3}}}),
    );
    equivalent(
        direct.clone(),
        json!({"properties": {"p": {"$ref": "#/$defs/p%20q"}}, "$defs": {"p q": {"type": "string", "maxLength": 3}}}),
    );
    equivalent(
        direct.clone(),
        json!({"properties": {"p": {"$ref": "#short", "type": "string"}}, "$defs": {"x": {"$anchor": "short", "maxLength": 3}}}),
    );
    equivalent(
        direct.clone(),
        json!({"properties": {"p": {"$dynamicRef": "#short", "type": "string"}}, "$defs": {"x": {"$dynamicAnchor": "short", "maxLength": 3}}}),
    );
    equivalent(
        direct,
        json!({"properties": {"p": {"$ref": "#/definitions/p"}}, "definitions": {"p": {"type": "string", "maxLength": 3}}}),
    );
    narrower(
        json!({"properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": {"type": "string"}}}),
        json!({"properties": {"p": true}}),
        &["/$defs/p/type"],
    );
}

#[test]
fn recursive_schemas_are_compared() {
    let tree = |value: Value| {
        json!({
            "properties": {"root": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {
                "type": "object",
                "properties": {"value": value, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}
            }}
        })
    };
    equivalent(
        tree(json!({"type": "string"})),
        tree(json!({"anyOf": [{"type": "string"}]})),
    );
    narrower(
        tree(json!({"maximum": 1})),
        tree(json!({"maximum": 2})),
        &["/$defs/node/properties/value/maximum"],
    );
    // The same recursion through two definitions.
    let unrolled = json!({
        "properties": {"root": {"$ref": "#/$defs/a"}},
        "$defs": {
            "a": {"type": "object", "properties": {"value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/b"}}}},
            "b": {"type": "object", "properties": {"value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}
        }
    });
    equivalent(tree(json!({"type": "string"})), unrolled);
    // A schema of itself.
    equivalent(
        json!({"properties": {"next": {"$ref": "#"}}}),
        json!({"properties": {"next": {"$ref": "#/$defs/next"}}, "$defs": {"next": {"properties": {"next": {"$ref": "#"}}}}}),
    );
}

#[test]
fn an_endless_value_is_impossible() {
    let endless = json!({"properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": {"type": "object", "required": ["p"], "properties": {"p": {"$ref": "#/$defs/p"}}}}});
    let none = json!({"properties": {"p": false}});
    equivalent(endless.clone(), none);
    assert_eq!(
        breaks(
            &endless,
            &json!({"properties": {"p": {"type": "object"}}}),
            Rule::NewWriter
        ),
        ["/$defs/p/required", "/$defs/p/type"]
    );
}

#[test]
fn a_failure_within_a_recursion_is_no_proof_of_itself() {
    let list = |value: Value, next: &str| {
        json!({
            "properties": {"p": {"$ref": "#/$defs/list"}},
            "$defs": {"list": {"anyOf": [
                {"type": "null"},
                {"type": "object", "required": ["next", "value"], "properties": {"next": {"$ref": "#/$defs/list"}, "value": value}},
                {"type": "object", "required": ["next", "value"], "properties": {"next": {"$ref": next}, "value": {"type": "boolean"}}}
            ]}}
        })
    };
    let strings = list(json!({"type": "string"}), "#/$defs/list");
    let integers = list(json!({"type": "integer"}), "#/$defs/list");
    assert_ne!(breaks(&strings, &integers, Rule::OldWriter), [""; 0]);
    assert_ne!(breaks(&strings, &integers, Rule::NewWriter), [""; 0]);
    equivalent(strings.clone(), strings);
}

#[test]
fn schemas_that_cannot_be_used_are_rejected() {
    for (schema, location, reason) in [
        (json!(5), "", "object or a boolean"),
        (json!({"type": "text"}), "/type", "not a type"),
        (
            json!({"properties": []}),
            "/properties",
            "object of schemas",
        ),
        (
            json!({"properties": {"a/b": 1}}),
            "/properties/a~1b",
            "object or a boolean",
        ),
        (json!({"items": [true]}), "/items", "prefixItems"),
        (
            json!({"additionalItems": true}),
            "/additionalItems",
            "draft 2020-12",
        ),
        (
            json!({"dependencies": {}}),
            "/dependencies",
            "draft 2020-12",
        ),
        (json!({"required": "a"}), "/required", "list of strings"),
        (json!({"maxLength": -1}), "/maxLength", "integer from 0"),
        (json!({"maxItems": 1.5}), "/maxItems", "integer from 0"),
        (json!({"multipleOf": 0}), "/multipleOf", "above 0"),
        (json!({"minimum": "1"}), "/minimum", "number"),
        (json!({"allOf": []}), "/allOf", "list of schemas"),
        (json!({"enum": 1}), "/enum", "list"),
        (json!({"pattern": 1}), "/pattern", "string"),
        (json!({"uniqueItems": 1}), "/uniqueItems", "boolean"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            "/$schema",
            "2020-12",
        ),
        (
            json!({"$ref": "other.json"}),
            "/$ref",
            "leads out of the file",
        ),
        (
            json!({"$ref": "https://example.org/x"}),
            "/$ref",
            "leads out of the file",
        ),
        (json!({"$ref": "#/$defs/none"}), "/$ref", "does not exist"),
        (json!({"$ref": "#none"}), "/$ref", "no anchor"),
        (json!({"$ref": "#"}), "", "refers to itself"),
        (
            json!({"anyOf": [{"type": "string"}, {"$ref": "#/anyOf/1"}]}),
            "/anyOf/1",
            "refers to itself",
        ),
        (json!({"not": {"$ref": "#"}}), "", "refers to itself"),
        (
            json!({"$defs": {"x": {"$id": "x"}}, "$ref": "#/$defs/x"}),
            "/$defs/x/$id",
            "whole file",
        ),
    ] {
        for (old, new) in [(&schema, &json!(true)), (&json!(true), &schema)] {
            let error = compare(TYPE, old, new).expect_err("the schema cannot be used");
            assert_eq!(error.location, location, "{schema}");
            assert!(error.reason.contains(reason), "{schema}: {error}");
        }
    }
}
