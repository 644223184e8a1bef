//! The committed schemas are those of the types.

use std::fs;
use std::path::Path;

use dmwire::protocol::Contract;

#[test]
fn committed_schemas_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    for exported in Contract::built_in().schemas() {
        let committed = fs::read_to_string(dir.join(exported.name)).unwrap_or_default();
        assert!(
            committed == exported.text,
            "schema/{} is outdated; update it with: cargo run -- schema export schema",
            exported.name
        );
    }
}

#[test]
fn examples_in_the_schemas_are_valid_frames() {
    for exported in Contract::built_in().schemas() {
        let schema: serde_json::Value =
            serde_json::from_str(&exported.text).expect("a schema is JSON");
        let validator = jsonschema::draft202012::new(&schema).expect("the schema compiles");
        let variants = schema["oneOf"]
            .as_array()
            .expect("a schema lists its frames");
        for variant in variants {
            let reference = variant["$ref"].as_str().expect("a frame is a definition");
            let definition = schema
                .pointer(reference.trim_start_matches('#'))
                .expect("the definition is there");
            assert!(definition["title"].is_string(), "{reference} has no title");
            assert!(
                definition["description"].is_string(),
                "{reference} has no description"
            );
            let examples = definition["examples"].as_array();
            let examples = examples.unwrap_or_else(|| panic!("{reference} has no example"));
            for example in examples {
                if let Err(error) = validator.validate(example) {
                    panic!("{reference}: {example}: {error}");
                }
            }
        }
    }
}

/// Every content that a client may send is valid in a server frame, and vice versa.
#[test]
fn content_is_the_same_in_both_schemas() {
    let [client, server] = Contract::built_in().schemas().each_ref().map(|exported| {
        let schema: serde_json::Value =
            serde_json::from_str(&exported.text).expect("a schema is JSON");
        schema["$defs"].clone()
    });
    for name in [
        "Content",
        "TypedContent",
        "Markdown",
        "Image",
        "File",
        "Audio",
        "Video",
        "Location",
        "Data",
    ] {
        assert!(client[name].is_object(), "{name} does not exist");
        assert_eq!(client[name], server[name], "{name}");
    }
}
