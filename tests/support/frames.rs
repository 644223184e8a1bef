//! Frames of the protocol as tests write and check them.

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

/// Fails unless `frame` is a server frame by the schema.
pub fn assert_server_frame(frame: &Value) {
    if let Err(error) = SERVER_FRAMES.validate(frame) {
        panic!("not a server frame by the schema: {frame}\n{error}");
    }
}

/// A text message to a user.
pub fn to(user: &str, text: &str) -> Value {
    serde_json::json!({"message": text, "target_user": user})
}

/// A frame about a message of one's conversation with a user: `read`, `delete`, or what becomes an `edit` or `react` with
/// the fields added by [`with`].
pub fn about(tag: &str, user: &str, id: &Value) -> Value {
    serde_json::json!({"type": tag, "target_user": user, "id": id})
}

/// The frame with these fields set.
pub fn with(mut frame: Value, fields: &Value) -> Value {
    for (name, field) in fields.as_object().expect("fields are an object") {
        frame[name] = field.clone();
    }
    frame
}

/// Fails unless the frame has these fields; `null` stands for one that it must not have.
#[track_caller]
pub fn assert_has(frame: &Value, fields: &Value) {
    for (name, field) in fields.as_object().expect("fields are an object") {
        let found = frame.get(name);
        let expected = Some(field).filter(|field| !field.is_null());
        assert_eq!(found, expected, "{name} of {frame}");
    }
}
