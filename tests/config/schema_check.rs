//! `dmwire schema check`.

use std::fs;

use crate::run::{Outcome, Run};

/// Compares the directories `old` and `new`, which contain these files.
fn check(old: &[(&str, &str)], new: &[(&str, &str)]) -> Outcome {
    let mut run = Run::new("schema check old new");
    for (directory, files) in [("old", old), ("new", new)] {
        fs::create_dir(run.folder.join(directory)).expect("the test directory is writable");
        for (name, text) in files {
            run = run.file(&format!("{directory}/{name}"), text);
        }
    }
    run.end()
}

#[track_caller]
fn compatible(outcome: &Outcome) {
    let Outcome {
        code,
        stdout,
        stderr,
    } = outcome;
    assert_eq!((*code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
}

#[track_caller]
fn breaking(outcome: &Outcome, lines: &[&str]) {
    let found: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(
        (outcome.code, found.as_slice(), outcome.stderr.as_str()),
        (Some(1), lines, "")
    );
}

#[track_caller]
fn unusable(outcome: &Outcome, error: &str) {
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(2), ""),
        "{outcome:?}"
    );
    let stderr = &outcome.stderr;
    assert!(
        stderr.starts_with("dmwire: ") && stderr.contains(error) && stderr.lines().count() == 1,
        "{stderr}"
    );
}

const ORDER: &str = r##"{
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string", "maxLength": 64},
        "state": {"enum": ["open", "paid"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}
    },
    "$defs": {"line": {
        "type": "object",
        "required": ["sku"],
        "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
        "additionalProperties": false
    }}
}"##;

fn changed(from: &str, to: &str) -> String {
    assert_eq!(ORDER.matches(from).count(), 1, "{from}");
    ORDER.replace(from, to)
}

#[test]
fn schemas_with_which_no_server_starts_are_reported() {
    // Each level of the lists multiplies the number of comparisons.
    let unique = r#"{"type":"array","uniqueItems":true,"items":{"type":"array","uniqueItems":true,"items":{}}}"#;
    let data = format!(r#"{{"type":"object","properties":{{"data":{unique}}}}}"#);
    let file = ("order.updated.schema.json", data.as_str());
    let outcome = check(&[file], &[file]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""));
    let stderr = &outcome.stderr;
    let expected = "dmwire: warning: a server would not start with the new schemas: ";
    assert!(
        stderr.starts_with(expected)
            && stderr.contains("order.updated")
            && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn types_and_optional_properties_may_be_added() {
    let order = ("order.updated.schema.json", ORDER);
    compatible(&check(&[order], &[order]));
    compatible(&check(&[], &[order]));
    compatible(&check(
        &[order],
        &[order, ("order.closed.schema.json", "{}")],
    ));
    let more = changed("\"lines\":", "\"note\": {\"type\": \"string\"}, \"lines\":");
    compatible(&check(&[order], &[("order.updated.schema.json", &more)]));
    let described = changed(
        "{\"type\": \"string\", \"maxLength\": 64}",
        "{\"title\": \"Id\", \"type\": \"string\", \"maxLength\": 64}",
    );
    compatible(&check(
        &[order],
        &[("order.updated.schema.json", &described)],
    ));
}

#[test]
fn a_break_is_a_line_with_type_location_and_value() {
    for (from, to, lines) in [
        (
            "\"maxLength\": 64",
            "\"maxLength\": 32",
            [
                "order.updated: /properties/id/maxLength: an old writer may send a string of more than 32 characters, which is now rejected",
            ],
        ),
        (
            "\"maxLength\": 64",
            "\"maxLength\": 65",
            [
                "order.updated: /properties/id/maxLength: a new writer may send a string of more than 64 characters, which an old reader did not allow",
            ],
        ),
        (
            "\"paid\"",
            "\"paid\", \"shipped\"",
            [
                "order.updated: /properties/state/enum: a new writer may send \"shipped\", which an old reader did not allow",
            ],
        ),
        (
            "\"open\", ",
            "",
            [
                "order.updated: /properties/state/enum: an old writer may send \"open\", which is now rejected",
            ],
        ),
        (
            "[\"id\", \"state\"]",
            "[\"id\", \"state\", \"lines\"]",
            [
                "order.updated: /required: an old writer may send an object without the property \"lines\", which is now rejected",
            ],
        ),
        (
            "\"minimum\": 1",
            "\"minimum\": 0",
            [
                "order.updated: /$defs/line/properties/count/minimum: a new writer may send a number below 1, which an old reader did not allow",
            ],
        ),
        (
            "\"sku\": {\"type\": \"string\"}",
            "\"sku\": {\"type\": \"string\"}, \"size\": {\"type\": \"string\"}",
            [
                "order.updated: /$defs/line/additionalProperties: a new writer may send an object with the property \"size\", which an old reader did not allow",
            ],
        ),
    ] {
        let new = changed(from, to);
        let outcome = check(
            &[("order.updated.schema.json", ORDER)],
            &[("order.updated.schema.json", &new)],
        );
        breaking(&outcome, &lines);
    }
}

#[test]
fn a_removed_type_is_a_break() {
    let types = [
        ("a.b.schema.json", "{}"),
        ("a.c.schema.json", "{}"),
        ("a.d.schema.json", "{}"),
    ];
    breaking(
        &check(&types, &types[1..2]),
        &[
            "a.b: \"\": an old writer may send content of this type, which is now rejected",
            "a.d: \"\": an old writer may send content of this type, which is now rejected",
        ],
    );
}

#[test]
fn other_files_are_ignored() {
    let broken = "{";
    compatible(&check(
        &[
            ("README.md", broken),
            ("order.schema.json", broken),
            ("a.b.json", broken),
            ("a b.c.schema.json", broken),
        ],
        &[("a.b.schema.json", "{}"), ("a.b.json", broken)],
    ));
}

#[test]
fn schemas_that_are_of_no_use_are_errors() {
    let order = ("order.updated.schema.json", ORDER);
    unusable(&check(&[order], &[]), "new has no file NAME.schema.json");
    unusable(
        &check(&[], &[("order.updated.json", ORDER)]),
        "new has no file NAME.schema.json",
    );
    let named = |name: &str| format!("{{\"properties\": {{\"type\": {{\"const\": \"{name}\"}}}}}}");
    let (this, other) = (named("order.updated"), named("order.update"));
    let wrong = ("order.updated.schema.json", other.as_str());
    unusable(
        &check(&[wrong], &[wrong]),
        "new/order.updated.schema.json: at /properties/type: no content is valid",
    );
    let right = ("order.updated.schema.json", this.as_str());
    compatible(&check(&[right], &[right]));
}

#[test]
fn two_files_are_compared() {
    let run = |args: &str| {
        let run = Run::new(&format!("schema check {args}"));
        let run = run.file(
            "order.v1.schema.json",
            "{\"properties\": {\"id\": {\"type\": \"string\"}}}",
        );
        run.file(
            "draft.json",
            "{\"properties\": {\"id\": {\"type\": \"integer\"}}}",
        )
        .end()
    };
    compatible(&run("order.v1.schema.json order.v1.schema.json"));
    breaking(
        &run("order.v1.schema.json draft.json"),
        &[
            "draft.json: /properties/id/type: an old writer may send a string, which is now rejected",
            "draft.json: /properties/id/type: a new writer may send an integer, which an old reader did not allow",
        ],
    );
    unusable(
        &run("order.v1.schema.json ."),
        "two directories or two files",
    );
}

#[test]
fn unusable_input_is_not_compared() {
    let order = ("order.updated.schema.json", ORDER);
    for (text, error) in [
        ("{", "order.updated.schema.json: not valid JSON: "),
        ("{\"a\": 1, \"a\": 1}", "duplicate key \"a\""),
        (
            "[]",
            "order.updated.schema.json: at \"\": a schema is an object or a boolean",
        ),
        (
            "{\"properties\": {\"id\": {\"type\": \"text\"}}}",
            "at \"/properties/id/type\": \"text\" is not a type",
        ),
        (
            "{\"$ref\": \"https://example.org/order.json\"}",
            "leads out of the file",
        ),
        (
            "{\"$schema\": \"http://json-schema.org/draft-07/schema\"}",
            "2020-12",
        ),
        ("{\"$ref\": \"#\"}", "refers to itself"),
        (
            "{\"properties\": {\"id\": {\"pattern\": \"(\"}}}",
            "at \"/properties/id/pattern\": expected a regular expression",
        ),
        (
            "{\"patternProperties\": {\"(?=a)\": true}}",
            "at \"/patternProperties/(?=a)\": look-around",
        ),
        ("{\"pattern\": \"(a)\\\\1\"}", "back-references"),
        ("{\"pattern\": \"[01]*1[01]{20}\"}", "too large"),
        (
            "{\"$defs\": {\"unused\": {\"pattern\": \"[\"}}}",
            "at \"/$defs/unused/pattern\"",
        ),
        (
            "{\"$defs\": {\"unused\": {\"type\": \"text\"}}}",
            "at \"/$defs/unused/type\"",
        ),
    ] {
        let broken = ("order.updated.schema.json", text);
        unusable(&check(&[order], &[broken]), error);
        unusable(&check(&[broken], &[order]), error);
        // Also if the other version does not have the type.
        unusable(&check(&[], &[broken]), error);
    }
    unusable(
        &Run::new("schema check none none").end(),
        "cannot read none: ",
    );
    let outcome = Run::new("schema check old").end();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("<NEW>"), "{outcome:?}");
}

#[test]
fn versions_of_the_example_are_compared() {
    let text = include_str!("../../examples/order/content-types/order.updated.schema.json");
    let action = include_str!("../../examples/order/content-types/order.action.schema.json");
    let check_change = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let new = text.replace(from, to);
        let action = ("order.action.schema.json", action);
        check(
            &[("order.updated.schema.json", text), action],
            &[("order.updated.schema.json", &new), action],
        )
    };
    let id = r#""id": { "type": "string", "pattern": "^[A-Z0-9-]{1,32}$" }"#;
    compatible(&check_change(
        id,
        &format!(r#"{id}, "note": {{ "type": "string" }}"#),
    ));
    let outcome = check_change(
        r#""sent", "cancelled""#,
        r#""sent", "cancelled", "refunded""#,
    );
    breaking(
        &outcome,
        &[
            "order.updated: /$defs/order/properties/status/enum: a new writer may send \"refunded\", which an old reader did not allow",
        ],
    );
    unusable(
        &check_change("{1,32}", "{1,"),
        "order.updated.schema.json: at \"/$defs/order/properties/id/pattern\": ",
    );
}

#[test]
fn a_recursive_schema_is_compared() {
    let tree = |limit: u32| {
        format!(
            "{{\"properties\": {{\"items\": {{\"items\": {{\"$ref\": \"#\"}}}}, \"size\": {{\"maximum\": {limit}}}}}}}"
        )
    };
    let (old, new) = (tree(5), tree(4));
    let [old, new] = [&old, &new].map(|text| ("a.tree.schema.json", text.as_str()));
    compatible(&check(&[old], &[old]));
    breaking(
        &check(&[old], &[new]),
        &[
            "a.tree: /properties/size/maximum: an old writer may send a number above 4, which is now rejected",
        ],
    );
}
