use serde_json::json;

use super::{different_properties, narrower_property, same_property};

#[test]
fn items() {
    narrower_property(
        json!({"items": {"type": "string"}}),
        json!({"items": {"type": ["string", "null"]}}),
        &["/items/type"],
    );
    narrower_property(json!({"items": false}), json!({}), &["/items"]);
    same_property(
        json!({"items": false}),
        json!({"type": ["null", "boolean", "number", "string", "array", "object"], "maxItems": 0}),
    );
    same_property(json!({"items": {}}), json!({}));
    same_property(
        json!({"prefixItems": [{"type": "string"}], "items": {"type": "string"}}),
        json!({"items": {"type": "string"}}),
    );
    same_property(
        json!({"maxItems": 1, "items": {"type": "string"}}),
        json!({"maxItems": 1, "prefixItems": [{"type": "string"}]}),
    );
    different_properties(
        json!({"items": {"type": "string"}}),
        json!({"items": {"type": "integer"}}),
    );
}

#[test]
fn tuples() {
    let two = json!({"prefixItems": [{"type": "string"}, {"type": "integer"}]});
    narrower_property(
        two.clone(),
        json!({"prefixItems": [{"type": "string"}]}),
        &["/prefixItems/1/type"],
    );
    narrower_property(
        json!({"prefixItems": [{"type": "string"}], "items": false}),
        json!({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}),
        &["/items"],
    );
    same_property(
        json!({"prefixItems": [true, true], "items": false}),
        json!({"prefixItems": [true, true], "items": false, "maxItems": 2}),
    );
    same_property(
        json!({"prefixItems": [true, false, {"type": "string"}]}),
        json!({"maxItems": 1, "type": ["null", "boolean", "number", "string", "array", "object"]}),
    );
}

#[test]
fn numbers_of_items() {
    narrower_property(
        json!({"minItems": 2}),
        json!({"minItems": 1}),
        &["/minItems"],
    );
    narrower_property(
        json!({"maxItems": 2}),
        json!({"maxItems": 3}),
        &["/maxItems"],
    );
    narrower_property(
        json!({"uniqueItems": true}),
        json!({"uniqueItems": false}),
        &["/uniqueItems"],
    );
    same_property(
        json!({"maxItems": 1, "uniqueItems": true}),
        json!({"maxItems": 1}),
    );
    // No array has fewer items than are required, so there is none.
    same_property(
        json!({"type": "array", "minItems": 3, "maxItems": 2}),
        json!(false),
    );
}

#[test]
fn contained_items() {
    let contains = |schema, min: u64| json!({"contains": schema, "minContains": min});
    narrower_property(contains(json!({"const": 1}), 1), json!({}), &["/contains"]);
    narrower_property(
        contains(json!({"const": 1}), 2),
        contains(json!({"const": 1}), 1),
        &["/contains"],
    );
    narrower_property(
        contains(json!({"const": 1}), 1),
        contains(json!({"enum": [1, 2]}), 1),
        &["/contains"],
    );
    same_property(contains(json!({"const": 1}), 0), json!({}));
    same_property(
        json!({"contains": {"const": 1}}),
        contains(json!({"const": 1}), 1),
    );
    same_property(
        json!({"minItems": 1, "items": {"type": "string"}}),
        json!({"minItems": 1, "items": {"type": "string"}, "contains": {"type": "string"}}),
    );
    narrower_property(
        json!({"contains": {"const": 1}, "maxContains": 2}),
        json!({"contains": {"const": 1}, "maxContains": 3}),
        &["/maxContains"],
    );
    narrower_property(
        json!({"contains": {"type": "integer"}, "maxContains": 2, "minContains": 0}),
        json!({"contains": {"const": 1}, "maxContains": 2, "minContains": 0}),
        &["/maxContains"],
    );
}

#[test]
fn unevaluated_items() {
    same_property(
        json!({"allOf": [{"prefixItems": [{"type": "string"}]}], "unevaluatedItems": false}),
        json!({"prefixItems": [{"type": "string"}], "items": false}),
    );
    narrower_property(
        json!({"prefixItems": [true], "unevaluatedItems": {"type": "string"}}),
        json!({"prefixItems": [true], "unevaluatedItems": {}}),
        &["/unevaluatedItems/type"],
    );
}
