//! The exported JSON Schemas (draft 2020-12). schemars generates them from the frame types; this module then gives every
//! frame a named definition, removes `null` from optional fields, and orders the keywords for readers.

use std::fmt::Write as _;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::client::ClientFrame;
use super::content_types::{self, ContentTypes};
use super::monitor::MonitorFrame;
use super::server::ServerFrame;

/// File name of the schema of client frames.
pub const CLIENT: &str = "client-frame.schema.json";
/// File name of the schema of server frames.
pub const SERVER: &str = "server-frame.schema.json";

/// File name of the schema of frames of `/monitor`.
pub const MONITOR: &str = "monitor-frame.schema.json";

/// Definition of the content of application types in the schema of server frames.
const CUSTOM: &str = "CustomContent";

/// Media type of a schema.
const SCHEMA_TYPE: &str = "application/schema+json";

/// An exported schema.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The file name, which is also the name in `GET /schema/{name}`.
    pub name: &'static str,
    /// The media type.
    pub media_type: &'static str,
    /// Pretty-printed JSON with a final line feed.
    pub text: String,
}

/// Generates the schemas of client frames and of server frames. Both contain the application's content types as definitions.
pub(super) fn generate(types: &ContentTypes) -> [Exported; 2] {
    let mut client = client();
    let mut server = server();
    for (name, definition) in types.published() {
        add_branch(&mut client, content_of_type(name, definition));
        for schema in [&mut client, &mut server] {
            add_definition(schema, name, definition.clone());
        }
    }
    // Stored messages keep their type when it is changed or removed.
    add_branch(&mut server, json!({"$ref": format!("#/$defs/{CUSTOM}")}));
    add_definition(&mut server, CUSTOM, any_custom_content());
    [
        Exported {
            name: CLIENT,
            media_type: SCHEMA_TYPE,
            text: pretty(&client),
        },
        Exported {
            name: SERVER,
            media_type: SCHEMA_TYPE,
            text: pretty(&server),
        },
    ]
}

/// Content of any application type, as the server may deliver it.
fn any_custom_content() -> Value {
    json!({
        "title": "Custom content",
        "description": "Content of an application's type. It was valid when it was stored; its type may have been changed or \
                        removed since.",
        "examples": [{"type": "order.updated", "order": "A-17"}],
        "type": "object",
        "properties": {
            "type": {"type": "string", "pattern": "\\.", "description": "The name of the type. It contains a dot."}
        },
        "required": ["type"]
    })
}

/// Content whose `type` is `name`, and which is valid by the definition of that name.
fn content_of_type(name: &str, definition: &Value) -> Value {
    let reference = json!({"$ref": content_types::reference(name)});
    let required = definition["required"].as_array();
    let is_stated = definition["type"] == "object"
        && definition["properties"]["type"]["const"] == name
        && required.is_some_and(|names| names.contains(&json!("type")));
    if is_stated {
        return reference;
    }
    let of_type = json!({
        "type": "object",
        "properties": {"type": {"const": name}},
        "required": ["type"]
    });
    json!({"allOf": [of_type, reference]})
}

fn add_branch(schema: &mut Value, branch: Value) {
    let branches = schema.pointer_mut("/$defs/TypedContent/oneOf");
    if let Some(branches) = branches.and_then(Value::as_array_mut) {
        branches.push(branch);
    }
}

fn add_definition(schema: &mut Value, name: &str, definition: Value) {
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.insert(name.to_owned(), definition);
    }
}

/// The first 16 hexadecimal digits of a SHA-256 over names and texts.
pub(super) fn hash(schemas: &[Exported]) -> String {
    let mut hash = Sha256::new();
    for schema in schemas {
        hash.update(schema.name);
        hash.update([0]);
        hash.update(&schema.text);
    }
    let mut digits = String::with_capacity(16);
    for byte in &hash.finalize()[..8] {
        // Writing into a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn client() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<ClientFrame<'_>>();
    let mut schema = shape(schema.to_value(), CLIENT, "dmwire client frame", "Client");
    // PROTOCOL section 1.2: a frame without `type` is a `message`.
    if let Some(required) = schema
        .pointer_mut("/$defs/ClientMessage/required")
        .and_then(Value::as_array_mut)
    {
        required.retain(|name| name != "type");
    }
    schema
}

/// Generates the schema of frames of `/monitor`.
pub(super) fn monitor() -> Exported {
    let schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<MonitorFrame>();
    let schema = shape(
        schema.to_value(),
        MONITOR,
        "dmwire monitor frame",
        "Monitor",
    );
    Exported {
        name: MONITOR,
        media_type: SCHEMA_TYPE,
        text: pretty(&schema),
    }
}

/// Adds the definition of a type to a schema, in its published form, and those of the types in it that the schema does not have.
/// `is_answer`: the type is sent by the server. Returns the name of the definition.
pub(crate) fn define<T: JsonSchema>(schema: &mut Value, is_answer: bool) -> String {
    let settings = SchemaSettings::draft2020_12();
    let settings = if is_answer {
        settings.for_serialize()
    } else {
        settings
    };
    let mut root = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    present_options(&mut root);
    let mut parts = Map::new();
    if let Some(root) = root.as_object_mut() {
        root.remove("$schema");
        if let Some(Value::Object(nested)) = root.remove("$defs") {
            parts = nested;
        }
    }
    let name = T::schema_name().into_owned();
    parts.insert(name.clone(), root);
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for (name, mut part) in parts {
            if !definitions.contains_key(&name) {
                if let Some(part) = part.as_object_mut() {
                    part.insert("title".into(), json!(spaced(&name)));
                }
                definitions.insert(name, ordered(part));
            }
        }
    }
    name
}

fn server() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<ServerFrame<'_>>();
    shape(schema.to_value(), SERVER, "dmwire server frame", "Server")
}

/// Converts a generated schema to its published form. The definition of a frame is named `prefix` plus the frame's type.
fn shape(mut schema: Value, id: &str, title: &str, prefix: &str) -> Value {
    present_options(&mut schema);
    let mut named = Map::new();
    name_variants(&mut schema, prefix, &mut named);
    if let Some(typed) = schema.pointer_mut("/$defs/TypedContent") {
        name_variants(typed, "", &mut named);
    }
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for frame in named.values_mut() {
            absorb_body(frame, defs);
        }
        defs.extend(named);
        for (name, body) in defs {
            if let Some(body) = body.as_object_mut() {
                body.insert("title".into(), json!(spaced(name)));
            }
        }
    }
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), json!(id));
        root.insert("title".into(), json!(title));
    }
    ordered(schema)
}

/// Removes `null` from optional fields: it never means absence (PROTOCOL section 1.6).
fn present_options(schema: &mut Value) {
    each(schema, &mut |object| {
        if object.get("default") == Some(&Value::Null) {
            object.remove("default");
        }
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                object["type"] = only.clone();
            }
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice != &json!({"type": "null"}));
            if let [only] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                if let Value::Object(only) = only {
                    object.extend(only);
                }
            }
        }
    });
}

/// Moves each variant of a tagged enum into a definition of its own, so that errors and generated types can refer to it.
fn name_variants(schema: &mut Value, prefix: &str, named: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.get_mut("oneOf") else {
        return;
    };
    for variant in variants {
        let Some(tag) = variant
            .pointer("/properties/type/const")
            .and_then(Value::as_str)
        else {
            continue;
        };
        let mut letters = tag.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        let name: String = prefix.chars().chain(first).chain(letters).collect();
        let reference = json!({"$ref": format!("#/$defs/{name}")});
        named.insert(name, std::mem::replace(variant, reference));
    }
}

/// Replaces a variant's reference to its struct by the struct, with `type` as the first property.
fn absorb_body(variant: &mut Value, defs: &mut Map<String, Value>) {
    let Some(name) = variant
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
    else {
        return;
    };
    let Some(mut body) = defs.remove(name) else {
        return;
    };
    let tag = variant.pointer("/properties/type").cloned();
    if let Some(body) = body.as_object_mut() {
        let fields = std::mem::take(&mut body["properties"]);
        let mut properties = Map::from_iter(tag.map(|tag| ("type".to_owned(), tag)));
        properties.extend(fields.as_object().cloned().unwrap_or_default());
        body["properties"] = Value::Object(properties);
        let required = body.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, json!("type"));
        }
    }
    *variant = body;
}

/// Visits every schema object, except examples and constants.
fn each(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            visit(object);
            for (name, value) in object {
                if name != "examples" && name != "const" {
                    each(value, visit);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each(value, visit)),
        _ => {}
    }
}

/// `ServerMessage` -> `Server message`.
fn spaced(name: &str) -> String {
    let mut title = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !title.is_empty() {
            title.push(' ');
            title.extend(c.to_lowercase());
        } else {
            title.push(c);
        }
    }
    title
}

/// Orders the keywords of every schema object for readers: title and description first, definitions last.
fn ordered(schema: Value) -> Value {
    const FIRST: [&str; 12] = [
        "$schema",
        "$id",
        "title",
        "description",
        "examples",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "oneOf",
        "anyOf",
        "$defs",
    ];
    match schema {
        Value::Object(object) => {
            let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(5);
            let mut members: Vec<(String, Value)> = object.into_iter().collect();
            members.sort_by_key(|(name, _)| rank(name));
            Value::Object(members.into_iter().map(|(k, v)| (k, ordered(v))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(ordered).collect()),
        other => other,
    }
}

pub(crate) fn pretty(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}
