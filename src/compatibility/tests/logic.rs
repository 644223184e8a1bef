use serde_json::json;

use super::super::Rule;
use super::{breaks, different_properties, narrower_property, same_property};

#[test]
fn all_of_is_a_conjunction() {
    same_property(
        json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
        json!({"minimum": 1, "maximum": 2}),
    );
    same_property(
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
        json!(false),
    );
    narrower_property(
        json!({"allOf": [{"minimum": 1}]}),
        json!({}),
        &["/allOf/0/minimum"],
    );
}

#[test]
fn any_of_is_a_disjunction() {
    same_property(
        json!({"anyOf": [{"const": 1}, {"const": 2}]}),
        json!({"enum": [2, 1]}),
    );
    same_property(
        json!({"anyOf": [{"type": "string"}, {"type": "string", "maxLength": 2}]}),
        json!({"type": "string"}),
    );
    narrower_property(
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "integer"}]}),
        &["/anyOf"],
    );
    // The failure is shown where it is in the alternative that matters.
    narrower_property(
        json!({"anyOf": [{"type": "string", "maxLength": 4}, {"type": "null"}]}),
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
        &["/anyOf/0/maxLength"],
    );
}

#[test]
fn one_of_excludes_the_other_alternatives() {
    let tagged = |limit: u64| {
        json!({"oneOf": [
            {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "a"}, "x": {"maximum": limit}}},
            {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "b"}}}
        ]})
    };
    narrower_property(tagged(1), tagged(2), &["/oneOf/0/properties/x/maximum"]);
    same_property(
        json!({"oneOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"type": ["null", "string"]}),
    );
    same_property(
        json!({"oneOf": [{"type": "string"}, true]}),
        json!({"not": {"type": "string"}}),
    );
    same_property(
        json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        json!({"oneOf": [{"required": ["b"]}, {"required": ["a"]}]}),
    );
    // A string matches both alternatives of the new schema.
    let overlapping =
        json!({"properties": {"p": {"oneOf": [{"type": "string"}, {"minLength": 1}]}}});
    assert_eq!(
        breaks(
            &json!({"properties": {"p": {"type": "string"}}}),
            &overlapping,
            Rule::OldWriter
        ),
        ["/properties/p/oneOf"]
    );
}

#[test]
fn negations() {
    same_property(
        json!({"not": {"type": "string"}}),
        json!({"type": ["null", "boolean", "number", "array", "object"]}),
    );
    same_property(
        json!({"not": {"not": {"type": "string"}}}),
        json!({"type": "string"}),
    );
    same_property(json!({"not": {}}), json!(false));
    same_property(
        json!({"enum": [1, 2], "not": {"const": 2}}),
        json!({"const": 1}),
    );
    same_property(
        json!({"not": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
        json!({"type": ["boolean", "number", "array", "object"]}),
    );
    narrower_property(
        json!({"not": {"minimum": 1}}),
        json!({"not": {"minimum": 2}}),
        &["/not"],
    );
    narrower_property(json!({"not": {"const": 1}}), json!({}), &["/not"]);
    narrower_property(
        json!({"type": "object", "not": {"required": ["x"]}}),
        json!({"type": "object"}),
        &["/not"],
    );
    different_properties(json!({"not": {"const": 1}}), json!({"not": {"const": 2}}));
}

#[test]
fn conditions() {
    let condition = |limit: u64| json!({"if": {"type": "string"}, "then": {"maxLength": limit}, "else": {"maximum": limit}});
    narrower_property(
        condition(1),
        condition(2),
        &["/else/maximum", "/then/maxLength"],
    );
    same_property(condition(5), json!({"maxLength": 5, "maximum": 5}));
    same_property(json!({"if": {"type": "string"}}), json!({}));
    same_property(
        json!({"if": true, "then": {"type": "null"}, "else": {"type": "string"}}),
        json!({"type": "null"}),
    );
    same_property(
        json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}}),
        json!({"dependentRequired": {"a": ["b"]}}),
    );
}
