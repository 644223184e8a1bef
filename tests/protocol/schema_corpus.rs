//! The corpus under `tests/frames` over a socket: clients receive the error that the corpus contains for each frame.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Client, Server, json_answer};

/// A server without limits on valid and invalid frames.
const PATIENT: &[&str] = &[
    "--bad-frames-per-minute",
    "100000",
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
];

/// The files of the corpus by name. `read` parses the text of a file.
fn corpus<T>(folder: &str, read: impl Fn(String) -> T) -> BTreeMap<String, T> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/frames")
        .join(folder);
    let entries = fs::read_dir(dir).expect("the corpus is there");
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    files
        .map(|path| {
            let name = path
                .file_name()
                .expect("a file's name")
                .to_string_lossy()
                .into_owned();
            (
                name,
                read(fs::read_to_string(path).expect("a corpus file is UTF-8")),
            )
        })
        .collect()
}

/// The `ref` that the answer must have.
enum Mark {
    Echoed(String),
    Absent,
    /// JSON parsers do not agree on the meaning of the frame.
    Unknown,
}

impl Mark {
    fn of(frame: &str) -> Self {
        let Ok(value) = serde_json::from_str::<Value>(frame) else {
            return Self::Unknown;
        };
        let mark = value.as_object().and_then(|object| object.get("ref"));
        match mark.and_then(Value::as_str) {
            Some(mark) if (1..=64).contains(&mark.chars().count()) => Self::Echoed(mark.to_owned()),
            _ => Self::Absent,
        }
    }

    fn assert_in(&self, answer: &Value, name: &str) {
        match self {
            Self::Echoed(mark) => assert_eq!(answer["ref"], **mark, "{name}: {answer}"),
            Self::Absent => assert_eq!(answer.get("ref"), None, "{name}: {answer}"),
            Self::Unknown => {}
        }
    }
}

/// Asserts that the definitions which errors name exist in the served schema, and that they reject the frames.
struct Definitions {
    schema: Value,
    known: BTreeMap<String, jsonschema::Validator>,
}

impl Definitions {
    fn check_definitions(server: &Server) -> Self {
        let (status, schema) = json_answer(&server.get("/schema/client-frame.schema.json"));
        assert_eq!(status, 200);
        Self {
            schema,
            known: BTreeMap::new(),
        }
    }

    fn assert_broken(&mut self, reference: &str, frame: &Value) {
        let name = reference.strip_prefix("client-frame.schema.json#/$defs/");
        let name =
            name.unwrap_or_else(|| panic!("{reference} is not a definition of client frames"));
        if !self.known.contains_key(name) {
            assert!(
                self.schema["$defs"].get(name).is_some(),
                "{reference} is not served"
            );
            let alone = json!({"$ref": format!("#/$defs/{name}"), "$defs": self.schema["$defs"]});
            let validator = jsonschema::draft202012::new(&alone).expect("the definition compiles");
            self.known.insert(name.to_owned(), validator);
        }
        let broken = if name.starts_with("Client") {
            frame
        } else {
            &frame["message"]
        };
        assert!(
            !self.known[name].is_valid(broken),
            "{reference} accepts {frame}"
        );
    }
}

#[test]
fn every_invalid_frame_of_the_corpus_gets_its_error() {
    let server = Server::start(PATIENT);
    let mut definitions = Definitions::check_definitions(&server);
    let mut a = Client::fresh(&server, "corpus");
    let cases = corpus("invalid", |text| {
        serde_json::from_str::<Value>(&text).expect("a case is JSON")
    });
    assert!(cases.len() > 700, "{} cases", cases.len());
    let mut named = 0;
    for (name, case) in &cases {
        let frame = case["frame"].as_str().expect("a case has a frame");
        a.send_text(frame);
        let error = a.expect("error");
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&case["code"], &json!(false)),
            "{name}: {error}"
        );
        if let Some(path) = case.get("path") {
            assert_eq!(&error["path"], path, "{name}: {error}");
        }
        // Parsers disagree on which of two members counts.
        if !name.starts_with("duplicate-ref") {
            Mark::of(frame).assert_in(&error, name);
        }
        if let Some(reference) = error["schema"].as_str() {
            let frame = serde_json::from_str(frame).expect("JSON, as a definition was broken");
            definitions.assert_broken(reference, &frame);
            named += 1;
        }
    }
    assert!(named > 400, "only {named} errors name a definition");
    a.assert_quiet();
}

#[test]
fn every_valid_frame_of_the_corpus_is_accepted() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "corpus");
    let frames = corpus("valid", |text| text);
    assert!(frames.len() > 200, "{} frames", frames.len());
    for (name, text) in &frames {
        let frame: Value = serde_json::from_str(text).expect("a valid frame is JSON");
        a.send_text(text);
        let tag = frame
            .get("type")
            .map_or("message", |tag| tag.as_str().expect("a tag"));
        let room = frame.get("target_room").or(frame.get("room"));
        let reply = match (tag, room) {
            ("join" | "leave", _) => a.expect("ack"),
            // The user is not a member of the other rooms, and the message of the read mark does not exist.
            (_, Some(_)) | ("read", None) => a.expect("error"),
            // Changes and queries of a message that does not exist are valid, but rejected for that reason.
            ("message" | "edit" | "delete" | "react" | "history" | "conversations", None) => {
                a.recv()
            }
            ("ping", None) => a.expect("pong"),
            ("block" | "unblock" | "unwatch" | "status", None) => a.expect("ok"),
            ("watch", None) => {
                let users = frame["users"].as_array().expect("a list");
                let users: BTreeSet<&str> = users.iter().filter_map(Value::as_str).collect();
                let answers: Vec<Value> = users.iter().map(|_| a.expect("presence")).collect();
                answers.last().expect("a user").clone()
            }
            _ => {
                a.assert_quiet();
                continue;
            }
        };
        match reply["type"].as_str() {
            Some("error") if room.is_some() => {
                assert_eq!(reply["code"], "not_member", "{name}");
            }
            Some("error") => assert!(
                matches!(
                    reply["code"].as_str(),
                    Some("id_conflict" | "unknown_message")
                ),
                "{name}: {reply}"
            ),
            _ => assert!(
                matches!(
                    reply["type"].as_str(),
                    Some("ack" | "ok" | "pong" | "history" | "conversations" | "presence")
                ),
                "{name}: {reply}"
            ),
        }
        assert_eq!(reply.get("ref"), frame.get("ref"), "{name}");
    }
    a.assert_quiet();
}
