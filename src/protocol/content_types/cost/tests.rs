use serde_json::{Value, json};

use super::check;
use crate::protocol::content_types::schema::Graph;

fn checked(schema: &Value) -> Result<(), String> {
    check(&Graph::build(schema)?)
}

#[track_caller]
fn rejected(schema: &Value, reason: &str) {
    let found = checked(schema).expect_err("the schema is rejected");
    assert!(found.contains(reason), "{found}");
}

/// `branches` schemas of objects.
fn branches(count: usize) -> Vec<Value> {
    let branch = |n| json!({"type": "object", "required": [format!("p{n}")]});
    (0..count).map(branch).collect()
}

#[test]
fn usual_schemas_are_accepted() {
    let line = json!({
        "type": "object",
        "properties": {
            "sku": {"type": "string", "pattern": "^[A-Z0-9-]{1,20}$"},
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
            "price": {"type": "number", "minimum": 0, "multipleOf": 0.01},
            "currency": {"enum": ["EUR", "USD", "CHF"]},
            "note": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 100}]}
        },
        "required": ["sku", "quantity"],
        "additionalProperties": false
    });
    let many: serde_json::Map<_, _> = (0..300)
        .map(|n| {
            (
                format!("field_{n}"),
                json!({"type": "string", "maxLength": 50}),
            )
        })
        .collect();
    for schema in [
        json!({}),
        json!({"type": "object", "properties": {"lines": {"type": "array", "items": line}}}),
        json!({"properties": {"lines": {"items": {"$ref": "#/$defs/line"}}}, "$defs": {"line": line}}),
        json!({"properties": many, "additionalProperties": false}),
        json!({"items": {"type": "string"}, "uniqueItems": true, "maxItems": 20}),
        json!({"oneOf": branches(20)}),
        json!({"properties": {"next": {"$ref": "#"}, "name": {"type": "string"}}}),
        json!({"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}),
        json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}),
        json!({"additionalProperties": {"type": "integer"}, "propertyNames": {"pattern": "^[a-z]+$"}}),
        json!({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"not": {"required": ["b"]}}}),
    ] {
        assert_eq!(checked(&schema), Ok(()), "{schema}");
    }
}

#[test]
fn recursion_that_multiplies_is_rejected() {
    let node =
        json!({"anyOf": [{"type": "string"}, {"properties": {"next": {"$ref": "#/$defs/node"}}}]});
    rejected(
        &json!({"$ref": "#/$defs/node", "$defs": {"node": node}}),
        "a recursive `$ref` under `anyOf`",
    );
    rejected(&json!({"$ref": "#"}), "leads back to the same schema");
    rejected(
        &json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        "leads back to the same schema",
    );
    // Both keywords apply to the members, and each of them the whole schema.
    rejected(
        &json!({"patternProperties": {"^a": {"$ref": "#"}, "b$": {"$ref": "#"}}}),
        "",
    );
    rejected(
        &json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}),
        "",
    );
}

#[test]
fn too_many_checks_of_each_value_are_rejected() {
    rejected(
        &json!({"items": {"anyOf": branches(40)}}),
        "validating 64 KiB of content may take",
    );
    rejected(
        &json!({"allOf": branches(300)}),
        "schemas apply to the same value",
    );
    let values: Vec<_> = (0..5000).collect();
    rejected(&json!({"items": {"enum": values}}), "may take");
    let patterns: Vec<_> = (0..40)
        .map(|n| json!({"pattern": format!("a{n}")}))
        .collect();
    rejected(
        &json!({"properties": {"a": {"allOf": patterns}}}),
        "may take",
    );
    let deep = (0..20).fold(
        json!({"type": "object"}),
        |inner, _| json!({"allOf": [inner]}),
    );
    rejected(&deep, "within each other");
    // 2 to the power of 14 schemas.
    let doubled: serde_json::Map<_, _> = (0..14)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), json!({"allOf": [next.clone(), next]}))
        })
        .chain([("d14".to_owned(), json!({"type": "object"}))])
        .collect();
    rejected(&json!({"$ref": "#/$defs/d0", "$defs": doubled}), "");
    rejected(&json!({"uniqueItems": true}), "without `maxItems`");
}

#[test]
fn elements_without_rules_are_counted_for_each_comparison_of_an_array() {
    let list = |count| {
        let unique = json!({"uniqueItems": true, "maxItems": 100_000});
        json!({"properties": {"list": {"allOf": vec![unique; count]}}})
    };
    assert_eq!(checked(&list(1)), Ok(()));
    rejected(&list(3), "3 times `uniqueItems`");
}
