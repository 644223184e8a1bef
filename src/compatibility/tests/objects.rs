use serde_json::{Value, json};

use super::super::Rule;
use super::{breaks, equivalent, narrower, narrower_property, same_property};

#[track_caller]
fn compatible(old: Value, new: Value) {
    let found = super::compare(super::TYPE, &old, &new).expect("the schemas can be compared");
    assert!(found.is_empty(), "{old} -> {new}: {found:?}");
}

#[track_caller]
fn assert_breaks(old: Value, new: Value, rule: Rule, locations: &[&str]) {
    assert_eq!(breaks(&old, &new, rule), locations, "{old} -> {new}");
    let other = if rule == Rule::OldWriter {
        Rule::NewWriter
    } else {
        Rule::OldWriter
    };
    assert_eq!(breaks(&old, &new, other), [""; 0], "{old} -> {new}");
}

/// A schema at several depths.
fn wrapped(schema: &Value) -> [Value; 8] {
    [
        schema.clone(),
        json!({"properties": {"a": schema}}),
        json!({"properties": {"a": {"items": schema}}}),
        json!({"additionalProperties": schema, "properties": {"type": true}}),
        json!({"properties": {"a": {"$ref": "#/$defs/s"}}, "$defs": {"s": schema}}),
        json!({"allOf": [{"properties": {"a": {"prefixItems": [true, schema]}}}]}),
        json!({"properties": {"a": {"anyOf": [{"type": "string"}, schema]}}}),
        json!({"properties": {"a": {"oneOf": [
            {"allOf": [schema], "required": ["kind"], "properties": {"kind": {"const": 1}}},
            {"type": "object", "required": ["kind"], "properties": {"kind": {"const": 2}, "y": {"type": "integer"}}}
        ]}}}),
    ]
}

#[test]
fn an_optional_property_may_be_added_to_an_open_schema() {
    let old = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let new = json!({"type": "object", "properties": {"x": {"type": "string"}, "note": {"type": "string", "maxLength": 9}}});
    for (old, new) in wrapped(&old).into_iter().zip(wrapped(&new)) {
        compatible(old, new);
    }
    compatible(
        json!({}),
        json!({"properties": {"note": {"type": "string"}}}),
    );
    compatible(
        json!({"additionalProperties": true}),
        json!({"additionalProperties": {}, "properties": {"note": {"type": "string"}}}),
    );
    compatible(
        json!({"patternProperties": {"^x-": {"type": "string"}}}),
        json!({"patternProperties": {"^x-": {"type": "string"}}, "properties": {"note": {"type": "integer"}}}),
    );
}

#[test]
fn a_property_of_a_closed_schema_is_known_to_readers() {
    let closed = json!({"properties": {"type": true}, "additionalProperties": false});
    let more = json!({"properties": {"type": true, "note": {"type": "string"}}, "additionalProperties": false});
    assert_breaks(
        closed.clone(),
        more.clone(),
        Rule::NewWriter,
        &["/additionalProperties"],
    );
    assert_breaks(more, closed, Rule::OldWriter, &["/additionalProperties"]);
    for keyword in ["additionalProperties", "unevaluatedProperties"] {
        narrower(
            json!({"properties": {"type": true}, keyword: false}),
            json!({"properties": {"type": true}}),
            &[&format!("/{keyword}")],
        );
    }
}

#[test]
fn names_that_are_data_are_not_new_properties() {
    let map = json!({"properties": {"type": true}, "additionalProperties": {"type": "string"}});
    let named = json!({"properties": {"type": true, "n": {"type": "string", "maxLength": 3}}, "additionalProperties": {"type": "string"}});
    assert_breaks(map, named, Rule::OldWriter, &["/properties/n/maxLength"]);
    // The old schema does not describe the value of `a`, so it may contain `b`.
    assert_breaks(
        json!({"additionalProperties": true}),
        json!({"additionalProperties": {"properties": {"b": {"type": "string"}}}}),
        Rule::OldWriter,
        &["/additionalProperties/properties/b/type"],
    );
    let patterns = json!({"patternProperties": {"^n": true}});
    let named = json!({"patternProperties": {"^n": true}, "properties": {"n": {"type": "string"}}});
    assert_breaks(patterns, named, Rule::OldWriter, &["/properties/n/type"]);
}

#[test]
fn a_property_may_not_be_removed_or_required() {
    let open = json!({});
    let optional = json!({"properties": {"note": {"type": "string"}}});
    let required = json!({"properties": {"note": {"type": "string"}}, "required": ["note"]});
    assert_breaks(
        optional.clone(),
        open.clone(),
        Rule::NewWriter,
        &["/properties/note/type"],
    );
    assert_breaks(
        optional.clone(),
        required.clone(),
        Rule::OldWriter,
        &["/required"],
    );
    assert_breaks(required.clone(), optional, Rule::NewWriter, &["/required"]);
    assert_breaks(open.clone(), required, Rule::OldWriter, &["/required"]);
    // A property that must not be there.
    compatible(open.clone(), json!({"properties": {"note": false}}));
    // A test is not a description.
    assert_breaks(
        open,
        json!({"not": {"properties": {"note": {"const": 1}}, "required": ["note"]}}),
        Rule::OldWriter,
        &["/not"],
    );
}

#[test]
fn patterns_of_names() {
    narrower(
        json!({"patternProperties": {"^x-": {"type": "string"}}}),
        json!({}),
        &["/patternProperties/^x-/type"],
    );
    narrower(
        json!({"patternProperties": {"^[a-z]$": {"type": "string"}}}),
        json!({"patternProperties": {"^[a-z]$": {"type": ["string", "null"]}}}),
        &["/patternProperties/^[a-z]$/type"],
    );
    equivalent(
        json!({"patternProperties": {"^note$": {"type": "string"}}, "properties": {"note": true}}),
        json!({"properties": {"note": {"type": "string"}}}),
    );
    equivalent(
        json!({"patternProperties": {"": {"type": "string"}}}),
        json!({"additionalProperties": {"type": "string"}}),
    );
    equivalent(
        json!({"patternProperties": {"^[a-z]+$": true}, "additionalProperties": false}),
        json!({"additionalProperties": false, "patternProperties": {"^[a-z]+$": {}}, "minProperties": 1}),
    );
}

#[test]
fn names_of_properties() {
    narrower(
        json!({"propertyNames": {"maxLength": 9}}),
        json!({}),
        &["/propertyNames/maxLength"],
    );
    narrower_property(
        json!({"propertyNames": {"enum": ["a", "b"]}}),
        json!({"propertyNames": {"enum": ["a", "b", "c"]}}),
        &["/propertyNames/enum"],
    );
    same_property(
        json!({"properties": {"a": true, "b": true}, "additionalProperties": false}),
        json!({"properties": {"a": true, "b": true}, "additionalProperties": false, "propertyNames": {"maxLength": 1}}),
    );
    same_property(json!({"propertyNames": {"type": "string"}}), json!({}));
    // Names that are not possible need not be described.
    same_property(
        json!({"propertyNames": {"maxLength": 2}, "properties": {"long": {"type": "string"}}}),
        json!({"propertyNames": {"maxLength": 2}, "properties": {"long": {"type": "integer"}}}),
    );
}

#[test]
fn numbers_of_properties() {
    narrower_property(
        json!({"minProperties": 2}),
        json!({"minProperties": 1}),
        &["/minProperties"],
    );
    narrower_property(
        json!({"maxProperties": 2}),
        json!({"maxProperties": 3}),
        &["/maxProperties"],
    );
    same_property(
        json!({"required": ["a", "b"]}),
        json!({"required": ["a", "b"], "minProperties": 2}),
    );
    same_property(
        json!({"properties": {"a": true, "b": true}, "additionalProperties": false}),
        json!({"properties": {"a": true, "b": true}, "additionalProperties": false, "maxProperties": 2}),
    );
    same_property(
        json!({"maxProperties": 0}),
        json!({"maxProperties": 0, "additionalProperties": {"type": "string"}}),
    );
}

#[test]
fn properties_that_depend_on_others() {
    narrower(
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({}),
        &["/dependentRequired/a"],
    );
    equivalent(
        json!({"dependentRequired": {"a": ["b"], "b": ["c"]}}),
        json!({"dependentRequired": {"a": ["b", "c"], "b": ["c"]}}),
    );
    equivalent(
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
    );
    equivalent(
        json!({"required": ["a"], "dependentRequired": {"a": ["b"]}}),
        json!({"required": ["a", "b"]}),
    );
    narrower(
        json!({"dependentSchemas": {"a": {"properties": {"b": {"maximum": 1}}}}}),
        json!({"properties": {"b": true}}),
        &["/dependentSchemas/a/properties/b/maximum"],
    );
    equivalent(
        json!({"dependentSchemas": {"a": {"properties": {"b": {"maximum": 1}}}}}),
        json!({"anyOf": [{"properties": {"a": false, "b": true}}, {"properties": {"a": true, "b": {"maximum": 1}}}]}),
    );
}

#[test]
fn unevaluated_properties() {
    let card = |price: Value| {
        json!({
            "properties": {"type": true, "kind": {"enum": ["a", "b"]}},
            "required": ["kind"],
            "oneOf": [
                {"properties": {"kind": {"const": "a"}, "price": price}},
                {"properties": {"kind": {"const": "b"}, "size": {"type": "integer"}}}
            ],
            "unevaluatedProperties": false
        })
    };
    narrower(
        card(json!({"maximum": 1})),
        card(json!({})),
        &["/oneOf/0/properties/price/maximum"],
    );
    equivalent(
        json!({"allOf": [{"properties": {"type": true, "a": {"type": "string"}}}], "unevaluatedProperties": false}),
        json!({"properties": {"type": true, "a": {"type": "string"}}, "additionalProperties": false}),
    );
    narrower(
        json!({"allOf": [{"properties": {"type": true}}], "unevaluatedProperties": {"type": "string"}}),
        json!({"allOf": [{"properties": {"type": true}}], "unevaluatedProperties": {"type": ["string", "null"]}}),
        &["/unevaluatedProperties/type"],
    );
    equivalent(
        json!({"if": {"required": ["a"]}, "then": {"properties": {"a": true, "b": true}}, "properties": {"type": true}, "unevaluatedProperties": false}),
        json!({"anyOf": [
            {"required": ["a"], "properties": {"type": true, "a": true, "b": true}, "additionalProperties": false},
            {"properties": {"type": true, "a": false}, "additionalProperties": false}
        ]}),
    );
}
