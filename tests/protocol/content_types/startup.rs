//! Schemas that cannot be used: the program does not start, and names the file and the reason.

use std::fs;

use serde_json::{Value, json};

use super::{TYPES, order, start, write_schema};
use crate::support::{Client, Folder, dmwire};

/// The program does not start with the schemas in `folder`: exit code 2, and the last line has all of `parts`.
#[track_caller]
fn assert_fails(folder: &Folder, parts: &[&str]) {
    let arguments = ["--listen", "127.0.0.1:0", "--content-types", TYPES];
    let output = dmwire(&folder.0, &arguments);
    assert_eq!(output.code, Some(2), "{output:?}");
    let last = output.err.lines().last().unwrap_or_default();
    assert!(last.starts_with("dmwire: "), "{output:?}");
    for part in parts {
        assert!(last.contains(part), "{part:?} is not in {last}");
    }
}

#[track_caller]
fn assert_rejected(name: &str, text: &str, reason: &str) {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join(TYPES)).expect("a folder can be made");
    let file = format!("{name}.schema.json");
    fs::write(folder.0.join(TYPES).join(&file), text).expect("a file can be written");
    assert_fails(&folder, &[&file, reason]);
}

fn rejected(schema: &Value, reason: &str) {
    assert_rejected("order.updated", &schema.to_string(), reason);
}

#[test]
fn a_missing_folder_prevents_the_start() {
    let folder = Folder::new();
    assert_fails(&folder, &[TYPES, "No such file or directory"]);
    fs::write(folder.0.join(TYPES), "").expect("a file can be written");
    assert_fails(&folder, &[TYPES, "Not a directory"]);
}

#[test]
fn a_folder_without_schemas_prevents_the_start() {
    let folder = Folder::new();
    let types = folder.0.join(TYPES);
    fs::create_dir_all(types.join("schemas")).expect("a folder can be made");
    assert_fails(&folder, &[TYPES, "no file NAME.schema.json"]);
    for file in ["order.updated.json", "schemas/order.updated.schema.json"] {
        fs::write(types.join(file), "{}").expect("a file can be written");
    }
    assert_fails(&folder, &[TYPES, "no file NAME.schema.json"]);
}

#[test]
fn schemas_that_no_content_of_the_type_satisfies_are_rejected() {
    let of_type = |schema: Value| json!({"type": "object", "properties": {"type": schema}});
    let other = json!({"const": "order.update"});
    let cases = [
        (of_type(other.clone()), "/properties/type:"),
        (
            of_type(json!({"enum": ["order.placed", "order"]})),
            "/properties/type:",
        ),
        (of_type(json!({"type": "integer"})), "/properties/type:"),
        (
            of_type(json!({"type": "string", "maxLength": 5})),
            "/properties/type:",
        ),
        (of_type(json!({"pattern": "^user[.]"})), "/properties/type:"),
        (
            of_type(json!({"anyOf": [other.clone(), {"type": "null"}]})),
            "/properties/type:",
        ),
        (
            of_type(json!({"not": {"type": "string"}})),
            "/properties/type:",
        ),
        (of_type(json!(false)), "/properties/type:"),
        (
            json!({"patternProperties": {"^t": {"const": 1}}}),
            "/patternProperties/^t:",
        ),
        (
            json!({"properties": {"order": true}, "additionalProperties": false}),
            "/additionalProperties:",
        ),
        (
            json!({"propertyNames": {"maxLength": 3}}),
            "/propertyNames:",
        ),
        (json!({"type": ["string", "array"]}), "/type:"),
        (json!({"const": {"type": "order.update"}}), "/const:"),
        (json!({"enum": [1, {"type": "order.update"}]}), "/enum:"),
        (json!({"maxProperties": 0}), "/maxProperties:"),
        (
            json!({"allOf": [{}, of_type(other.clone())]}),
            "/allOf/1/properties/type:",
        ),
        (
            json!({"dependentSchemas": {"type": {"type": "null"}}}),
            "/dependentSchemas/type/type:",
        ),
        (
            json!({"$ref": "#/$defs/base", "$defs": {"name": other, "base": of_type(json!({"$ref": "#/$defs/name"}))}}),
            "/$defs/base/properties/type:",
        ),
        (
            json!({"oneOf": [of_type(json!({"const": "order.a"})), of_type(json!({"const": "order.b"})), false]}),
            "/oneOf:",
        ),
    ];
    for (schema, place) in cases {
        rejected(
            &schema,
            &format!("at {place} no content is valid, because its `type` is `order.updated`"),
        );
    }
}

#[test]
fn schemas_that_name_the_type_are_accepted() {
    let of_type = |schema: Value| json!({"properties": {"type": schema}});
    let this = json!({"const": "order.updated"});
    let other = of_type(json!({"const": "order.placed"}));
    let schemas = [
        of_type(this.clone()),
        of_type(json!({"enum": ["order.placed", "order.updated"]})),
        of_type(json!({"pattern": "^order[.]", "minLength": 5})),
        of_type(json!({"anyOf": [{"type": "null"}, {"$ref": "#/properties/name"}]}))
            .as_object()
            .map(|schema| {
                let mut schema = schema.clone();
                schema["properties"]["name"] = this.clone();
                Value::Object(schema)
            })
            .expect("an object"),
        json!({"patternProperties": {"^type$": this}, "additionalProperties": false}),
        json!({"enum": [{"type": "order.updated", "state": "open"}, 1]}),
        json!({"const": {"type": "order.updated", "state": "open"}}),
        json!({"oneOf": [other.clone(), of_type(json!({"const": "order.updated"}))]}),
        // What depends on other members may be satisfied.
        json!({"if": {"required": ["old"]}, "then": other.clone()}),
        json!({"if": {"properties": {"old": {"const": 1}}}, "then": {"$ref": "#/$defs/other"}, "$defs": {"other": other}}),
        json!({"not": {"required": ["old"]}, "dependentSchemas": {"old": other}}),
        json!({"minProperties": 4}),
    ];
    for schema in schemas {
        let server = start(&[("order.updated", schema)], &["--content-types", TYPES]);
        Client::fresh(&server, "a");
    }
}

#[test]
fn other_files_are_ignored() {
    let server = start(&[("order.updated", order())], &[]);
    for name in ["README.md", "order.json", ".order.updated.schema.json.swp"] {
        fs::write(server.folder().join(TYPES).join(name), "{").expect("a file can be written");
    }
    let arguments = ["--content-types", TYPES, "config"];
    let output = dmwire(server.folder(), &arguments);
    assert!(
        output.out.contains("content_types = \"types\""),
        "{output:?}"
    );
    Client::fresh(&server, "a");
}

#[test]
fn files_that_are_no_schemas_are_rejected() {
    for (text, reason) in [
        ("", "JSON"),
        ("{\"type\":", "JSON"),
        ("{\"type\":1,\"type\":2}", "twice"),
        ("[]", "expected an object"),
        ("true", "expected an object"),
        ("{\"type\":\"text\"}", "/type"),
        ("{\"properties\":[]}", "/properties"),
        ("{\"properties\":{\"a\":1}}", "/properties/a"),
        ("{\"minLength\":\"1\"}", "/minLength"),
        ("\u{feff}{}", "byte order mark"),
    ] {
        assert_rejected("order.updated", text, reason);
    }
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(65_536));
    assert_rejected("order.updated", &large, "at most 65536");
    let nested = format!("{}{{}}{}", "{\"not\":".repeat(32), "}".repeat(32));
    assert_rejected("order.updated", &nested, "32 levels");
}

#[test]
fn invalid_names_and_too_many_types_are_rejected() {
    assert_rejected("order", "{}", "must contain a dot");
    assert_rejected("order updated.x", "{}", "1 to 64 characters");
    assert_rejected(&"a.".repeat(33), "{}", "1 to 64 characters");
    let folder = Folder::new();
    for n in 0..65 {
        write_schema(&folder.0, &format!("type.n{n}"), &json!({}));
    }
    assert_fails(&folder, &[TYPES, "at most 64"]);
}

#[test]
fn references_outside_the_file_are_rejected() {
    for reference in [
        "https://example.org/a.schema.json",
        "other.schema.json",
        "file:///etc/passwd",
        "#/$defs/missing",
        "#missing",
    ] {
        rejected(
            &json!({"properties": {"a": {"$ref": reference}}}),
            reference,
        );
    }
    rejected(&json!({"$dynamicRef": "#a"}), "not supported");
    rejected(
        &json!({"properties": {"a": {"$id": "b"}}}),
        "only possible at the root",
    );
    rejected(
        &json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
        "draft 2020-12",
    );
}

#[test]
fn schemas_without_a_bound_of_their_cost_are_rejected() {
    let node =
        json!({"anyOf": [{"type": "null"}, {"properties": {"next": {"$ref": "#/$defs/node"}}}]});
    rejected(
        &json!({"$ref": "#/$defs/node", "$defs": {"node": node}}),
        "recursive `$ref`",
    );
    rejected(&json!({"$ref": "#"}), "leads back");
    rejected(&json!({"uniqueItems": true}), "maxItems");
    rejected(
        &json!({"unevaluatedProperties": false}),
        "cannot be bounded",
    );
    let branches: Vec<_> = (0..100)
        .map(|n| json!({"required": [format!("p{n}")]}))
        .collect();
    rejected(&json!({"items": {"anyOf": branches}}), "64 KiB");
    for pattern in ["(?=a)b", r"(a)\1", "([01]*1[01]{30})"] {
        rejected(
            &json!({"properties": {"a": {"pattern": pattern}}}),
            "/properties/a/pattern",
        );
        rejected(
            &json!({"patternProperties": {pattern: true}}),
            "/patternProperties",
        );
    }
    rejected(&json!({"pattern": "["}), "regular expression");
}
