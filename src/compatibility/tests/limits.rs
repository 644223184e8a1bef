use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::compare;
use super::TYPE;

/// Many independent alternatives, which have more combinations than can be tried.
fn combinations(limit: u64) -> Value {
    let group = |index: u64| {
        let alternative = |kind: u64| json!({"properties": {format!("p{index}"): {"multipleOf": 7 + kind, "maximum": limit}}});
        json!({"anyOf": [alternative(0), alternative(1), alternative(2), alternative(3)]})
    };
    json!({"allOf": (0..12).map(group).collect::<Vec<_>>()})
}

#[test]
fn a_comparison_that_takes_too_long_is_given_up() {
    let found =
        compare(TYPE, &combinations(5), &combinations(4)).expect("the schemas can be compared");
    assert!(!found.is_empty());
}

#[test]
fn the_same_schema_is_compared_quickly_whatever_its_size() {
    assert_eq!(
        compare(TYPE, &combinations(5), &combinations(5)),
        Ok(Vec::new())
    );
}

#[test]
fn a_union_of_many_types_is_compared() {
    let union = |changed: Value| {
        let alternative = |index: u64| {
            let mut properties = json!({"kind": {"const": index}, "text": {"maxLength": index}});
            if index == 12 {
                properties["note"] = changed.clone();
            }
            json!({"required": ["kind"], "properties": properties})
        };
        json!({"oneOf": (0..25).map(alternative).collect::<Vec<_>>()})
    };
    let (old, new) = (
        union(json!({"maxLength": 5})),
        union(json!({"maxLength": 4})),
    );
    let found = compare(TYPE, &old, &new).expect("the schemas can be compared");
    let locations: Vec<_> = found.iter().map(|found| found.location.as_str()).collect();
    assert_eq!(locations, ["/oneOf/12/properties/note/maxLength"]);
}

#[test]
fn deep_schemas_do_not_exhaust_the_stack() {
    let mut text = String::new();
    for _ in 0..50 {
        let _ = write!(text, r#"{{"properties":{{"a":"#);
    }
    text.push_str(r#"{"type":"string"}"#);
    text.push_str(&"}}".repeat(50));
    let schema: Value = serde_json::from_str(&text).expect("the text is JSON");
    assert_eq!(compare(TYPE, &schema, &schema), Ok(Vec::new()));
    // A reference from each definition to the next, deeper than the comparison follows.
    let chain = |last: Value| {
        let mut defs = serde_json::Map::new();
        for index in 0..3000 {
            let next = json!({"properties": {"a": {"$ref": format!("#/$defs/d{}", index + 1)}}});
            defs.insert(format!("d{index}"), next);
        }
        defs.insert("d3000".to_owned(), last);
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let found = compare(
        TYPE,
        &chain(json!({"type": "string"})),
        &chain(json!({"enum": [1]})),
    )
    .expect("the schemas can be compared");
    assert!(!found.is_empty(), "what is not proved counts as breaking");
}
