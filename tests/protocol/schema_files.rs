//! The committed schemas and the AsyncAPI description are those of the types.

use std::fs;
use std::path::Path;

use dmwire::ops::openapi;
use dmwire::protocol::Contract;
use dmwire::protocol::asyncapi::ASYNCAPI;
use serde_json::Value;

#[test]
fn committed_schemas_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let contract = Contract::built_in().with_document(openapi::describe);
    for exported in contract.documents() {
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

#[test]
fn every_frame_is_a_message_of_the_description() {
    let contract = Contract::built_in();
    let text = &contract.document(ASYNCAPI).expect("it is exported").text;
    let document: Value = serde_json::from_str(text).expect("the description is JSON");
    let followed = |reference: &Value| -> Value {
        let reference = reference["$ref"].as_str().expect("a reference");
        let found = document.pointer(reference.trim_start_matches('#'));
        found
            .unwrap_or_else(|| panic!("{reference} does not exist"))
            .clone()
    };
    for (operation, exported) in ["receiveFrame", "sendFrame"].iter().zip(contract.schemas()) {
        let schema: Value = serde_json::from_str(&exported.text).expect("a schema is JSON");
        let messages = document["operations"][operation]["messages"].as_array();
        let messages = messages.expect("an operation lists its messages");
        let frames = schema["oneOf"]
            .as_array()
            .expect("a schema lists its frames");
        assert_eq!(messages.len(), frames.len(), "{operation}");
        for (message, frame) in messages.iter().zip(frames) {
            let message = followed(&followed(message));
            let frame = frame["$ref"].as_str().expect("a frame is a definition");
            let definition = schema.pointer(frame.trim_start_matches('#'));
            let definition = definition.expect("the definition is there");
            assert_eq!(message["name"], definition["properties"]["type"]["const"]);
            assert_eq!(
                followed(&message["payload"])["properties"]["type"],
                definition["properties"]["type"]
            );
            let examples = message["examples"]
                .as_array()
                .expect("a message has examples");
            assert_eq!(
                examples.len(),
                definition["examples"].as_array().map_or(0, Vec::len)
            );
        }
    }
}

/// The schema of a message is the one of the frame: it accepts and rejects the same.
#[test]
fn payloads_of_the_description_can_be_validated() {
    let contract = Contract::built_in();
    let text = &contract.document(ASYNCAPI).expect("it is exported").text;
    let document: Value = serde_json::from_str(text).expect("the description is JSON");
    for (name, message) in document["components"]["messages"]
        .as_object()
        .expect("messages")
    {
        let mut schema = document.clone();
        schema["$ref"] = message["payload"]["$ref"].clone();
        let Some(examples) = message["examples"].as_array() else {
            continue;
        };
        let validator = jsonschema::draft202012::new(&schema).expect("the schema compiles");
        for example in examples {
            let payload = &example["payload"];
            assert!(validator.is_valid(payload), "{name}: {payload}");
            assert!(!validator.is_valid(&Value::Null), "{name}");
        }
    }
}

/// Every content that a client may send is valid in a server frame. Of the content in a server frame, only that of an application's
/// type may be of a type that clients cannot send any more.
#[test]
fn content_is_the_same_in_both_schemas() {
    let [client, mut server] = Contract::built_in().schemas().each_ref().map(|exported| {
        let schema: serde_json::Value =
            serde_json::from_str(&exported.text).expect("a schema is JSON");
        schema["$defs"].clone()
    });
    let branches = server["TypedContent"]["oneOf"].as_array_mut();
    let last = branches.and_then(Vec::pop).expect("a list of types");
    assert_eq!(last["$ref"], "#/$defs/CustomContent");
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
