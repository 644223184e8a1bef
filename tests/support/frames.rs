//! Client frames that tests send, and checks of server frames.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

static SERVER_FRAMES: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/server-frame.schema.json");
    let text = fs::read_to_string(path).expect("the schema is there");
    let schema = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
});

/// Asserts that `frame` is valid by the schema of server frames.
pub fn assert_server_frame(frame: &Value) {
    if let Err(error) = SERVER_FRAMES.validate(frame) {
        panic!("invalid by the schema of server frames: {frame}\n{error}");
    }
}

/// A text message to a user.
pub fn to(user: &str, text: &str) -> Value {
    serde_json::json!({"message": text, "target_user": user})
}

/// A frame that refers to a message of the conversation with `user`: `read` or `delete`; with fields added by [`with`] also
/// `edit` or `react`.
pub fn about(tag: &str, user: &str, id: &Value) -> Value {
    serde_json::json!({"type": tag, "target_user": user, "id": id})
}

/// Sets these fields of the frame.
pub fn with(mut frame: Value, fields: &Value) -> Value {
    for (name, field) in fields.as_object().expect("fields are an object") {
        frame[name] = field.clone();
    }
    frame
}

/// Asserts that the frame has these fields; `null` stands for a field that it must not have.
#[track_caller]
pub fn assert_has(frame: &Value, fields: &Value) {
    for (name, field) in fields.as_object().expect("fields are an object") {
        let found = frame.get(name);
        let expected = Some(field).filter(|field| !field.is_null());
        assert_eq!(found, expected, "{name} of {frame}");
    }
}
