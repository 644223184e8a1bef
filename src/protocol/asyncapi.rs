//! The AsyncAPI 3.0 description of the WebSocket API, generated from the exported schemas: channels, operations, and a message
//! for every frame.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::PROTOCOL;
use super::components::{Side, definitions, different, target};
use super::schema::{Exported, pretty};
use super::types::NAME_PATTERN;

/// File name of the description.
pub const ASYNCAPI: &str = "asyncapi.json";
/// Media type of the description.
pub const MEDIA_TYPE: &str = "application/vnd.aai.asyncapi+json;version=3.0.0";

const DESCRIPTION: &str = "Direct messaging over WebSocket: typed JSON frames, ordered delivery, no loss and no duplicates. \
    Each frame is one JSON object in one text message. `docs/protocol.md` describes how frames follow each other.";

const SERVER_DESCRIPTION: &str = "Addresses are relative to the server's base path. Without authentication, no token is required.";

/// The pathname of the servers, which [`at`] replaces.
const PATHNAME: &str = "\"pathname\": \"/\"";

/// Describes the frames of these schemas: those of clients, and those of servers.
pub(super) fn generate(client: &Value, server: &Value) -> Exported {
    let different = different(client, server);
    let sides = [
        (
            client,
            Side {
                renamed: &BTreeSet::new(),
                prefix: "",
            },
        ),
        (
            server,
            Side {
                renamed: &different,
                prefix: "Server",
            },
        ),
    ];
    let (mut schemas, mut messages) = (Map::new(), Map::new());
    let named = sides.map(|(schema, side)| {
        let frames = frames(&side, schema);
        for (name, definition) in definitions(schema) {
            let component = side.component(name);
            if frames.contains(&component) {
                messages.insert(component.clone(), message(&component, definition));
            }
            schemas.insert(component, side.payload(definition));
        }
        frames
    });
    messages.insert("EchoText".into(), echo("text", "text/plain"));
    messages.insert(
        "EchoBinary".into(),
        echo("binary", "application/octet-stream"),
    );
    let echoes = ["EchoText", "EchoBinary"].map(str::to_owned);
    let [client, server] = &named;
    let both: Vec<String> = client.iter().chain(server).cloned().collect();
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "dmwire",
            "version": PROTOCOL,
            "description": DESCRIPTION,
            "license": {"name": "MIT OR Apache-2.0"}
        },
        "defaultContentType": "application/json",
        "servers": {
            "tls": endpoint("wss", "chat.example.org", "A server on the internet."),
            "local": endpoint("ws", "localhost:8080", "A server on the same machine, with the default settings.")
        },
        "channels": channels(&both, &echoes),
        "operations": {
            "receiveFrame": operation("receive", "session", client, "The server receives a frame of the client."),
            "sendFrame": operation("send", "session", server, "The server sends a frame to the client."),
            "receiveEcho": operation("receive", "echo", &echoes, "The server receives a message."),
            "sendEcho": operation("send", "echo", &echoes, "The server returns the message.")
        },
        "components": {
            "schemas": schemas,
            "messages": messages,
            "securitySchemes": security_schemes()
        }
    });
    Exported {
        name: ASYNCAPI,
        media_type: MEDIA_TYPE,
        text: pretty(&document),
    }
}

/// The description for a server whose paths start with `base_path`.
pub fn at(text: &str, base_path: &str) -> String {
    let path = Value::from(if base_path.is_empty() { "/" } else { base_path });
    // The servers come first; what follows is not changed.
    text.replacen(PATHNAME, &format!("\"pathname\": {path}"), 2)
}

fn endpoint(protocol: &str, host: &str, description: &str) -> Value {
    let security = ["bearer", "subprotocol", "query"];
    let reference = |name| json!({"$ref": format!("#/components/securitySchemes/{name}")});
    json!({
        "host": host,
        "pathname": "/",
        "protocol": protocol,
        "description": format!("{description} {SERVER_DESCRIPTION}"),
        "security": security.map(reference)
    })
}

fn channels(frames: &[String], echoes: &[String]) -> Value {
    json!({
        "session": {
            "title": "Session",
            "address": "/ws/{user}",
            "description": format!(
                "The session of a user. The server's first frame is `welcome`. With a token, the address `/ws` means the \
                 token's user. The subprotocol is `{PROTOCOL}`."
            ),
            "parameters": {"user": {
                "description": format!("User id: `{NAME_PATTERN}`, percent-encoded."),
                "examples": ["8888"]
            }},
            "messages": references("#/components/messages/", frames),
            "bindings": {"ws": binding(Some(query()))}
        },
        "echo": {
            "title": "Echo",
            "address": "/echo",
            "description": "Returns each message unchanged, with the same handshake and frame limit as sessions. For testing proxies.",
            "messages": references("#/components/messages/", echoes),
            "bindings": {"ws": binding(None)}
        }
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "`Authorization: Bearer T` with a JSON Web Token whose `sub` is the user."
        },
        "subprotocol": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Sec-WebSocket-Protocol",
            "description": format!("`{PROTOCOL}, bearer.T`, for browsers: the only header that they can set.")
        },
        "query": {
            "type": "httpApiKey",
            "in": "query",
            "name": "token",
            "description": "`?token=T`, for clients that cannot set headers. A server can disable it."
        }
    })
}

/// The WebSocket binding of a channel.
fn binding(query: Option<Value>) -> Value {
    let mut binding = json!({"method": "GET"});
    if let Some(query) = query {
        binding["query"] = query;
    }
    binding["bindingVersion"] = json!("0.1.0");
    binding
}

/// The query of a session (PROTOCOL section 2).
fn query() -> Value {
    json!({
        "type": "object",
        "properties": {
            "token": {"type": "string", "description": "The token, for clients that cannot set headers."},
            "device": {
                "type": "string", "pattern": NAME_PATTERN, "default": "default",
                "description": "The name of this device. The inbox records per device which entries were received."
            },
            "since": {
                "type": "integer", "minimum": 0,
                "description": "The replay starts after this `seq`. Default: what this device has acknowledged."
            },
            "epoch": {"type": "string", "format": "uuid", "description": "The `epoch` of the `welcome` that `since` belongs to."},
            "since_id": {"type": "string", "format": "uuid", "description": "The `id` of the message of the entry at `since`."},
            "since_at": {"type": "string", "format": "date-time", "description": "The time of the entry at `since`."},
            "ack": {
                "type": "string", "enum": ["auto", "manual"], "default": "auto",
                "description": "Whether frames count as received when the client answers a later ping, or when it sends `received`."
            },
            "room": {
                "type": "array", "items": {"type": "string", "pattern": NAME_PATTERN},
                "description": "Rooms to join at once. The parameter is repeated for each."
            },
            "membership": {
                "type": "string", "enum": ["session"],
                "description": "`session`: these memberships last as long as such sessions. Default: until `leave`."
            }
        }
    })
}

fn operation(action: &str, channel: &str, messages: &[String], summary: &str) -> Value {
    let reference =
        |name: &String| json!({"$ref": format!("#/channels/{channel}/messages/{name}")});
    json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "summary": summary,
        "messages": messages.iter().map(reference).collect::<Vec<_>>()
    })
}

fn references(to: &str, names: &[String]) -> Map<String, Value> {
    let reference = |name: &String| (name.clone(), json!({"$ref": format!("{to}{name}")}));
    names.iter().map(reference).collect()
}

fn echo(kind: &str, media_type: &str) -> Value {
    json!({
        "name": kind,
        "title": format!("Echoed {kind} message"),
        "summary": format!("A {kind} message, which is returned unchanged."),
        "contentType": media_type,
        "payload": {"type": "string"}
    })
}

/// The message of a frame.
fn message(component: &str, definition: &Value) -> Value {
    let mut message = json!({
        "name": definition.pointer("/properties/type/const"),
        "title": definition["title"],
        "summary": definition["description"],
        "payload": {"$ref": format!("#/components/schemas/{component}")}
    });
    let examples = definition["examples"].as_array();
    if let Some(examples) = examples.filter(|examples| !examples.is_empty()) {
        message["examples"] = examples
            .iter()
            .map(|payload| json!({"payload": payload}))
            .collect();
    }
    message
}

/// The components of all frames of a schema, in its order.
fn frames(side: &Side<'_>, schema: &Value) -> Vec<String> {
    let frames = schema["oneOf"].as_array().into_iter().flatten();
    let targets = frames.filter_map(|frame| target(frame["$ref"].as_str()?));
    targets.map(|(name, _)| side.component(&name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(client: &Value, server: &Value) -> Value {
        serde_json::from_str(&generate(client, server).text).expect("the description is JSON")
    }

    #[test]
    fn definitions_that_differ_get_two_names() {
        let schema = |text: &Value| {
            json!({
                "oneOf": [{"$ref": "#/$defs/Frame"}],
                "$defs": {
                    "Frame": {"properties": {"type": {"const": "frame"}, "text": {"$ref": "#/$defs/Text"}}},
                    "Text": text,
                    "Same": {"properties": {"const": {"$ref": "#/$defs/Same2"}}},
                    "Same2": true,
                    "Never": false
                }
            })
        };
        let found = document(
            &schema(&json!({"maxLength": 1})),
            &schema(&json!({"maxLength": 2})),
        );
        let schemas = &found["components"]["schemas"];
        let text = |frame: &str| schemas[frame]["properties"]["text"]["$ref"].clone();
        assert_eq!(text("Frame"), "#/components/schemas/Text");
        assert_eq!(text("ServerFrame"), "#/components/schemas/ServerText");
        assert_eq!(
            (
                &schemas["Text"]["maxLength"],
                &schemas["ServerText"]["maxLength"]
            ),
            (&json!(1), &json!(2))
        );
        assert_eq!(
            schemas["Same"]["properties"]["const"]["$ref"],
            "#/components/schemas/Same2"
        );
        assert!(schemas["ServerSame"].is_null());
        assert_eq!(
            (&schemas["Same2"], &schemas["Never"]),
            (&json!({}), &json!({"not": {}}))
        );
        let received = &found["operations"]["receiveFrame"]["messages"];
        let sent = &found["operations"]["sendFrame"]["messages"];
        assert_eq!(
            received,
            &json!([{"$ref": "#/channels/session/messages/Frame"}])
        );
        assert_eq!(
            sent,
            &json!([{"$ref": "#/channels/session/messages/ServerFrame"}])
        );
    }

    #[test]
    fn names_of_content_types_become_names_of_components() {
        let schema = json!({
            "oneOf": [],
            "$defs": {
                "Content": {"oneOf": [{"$ref": "#/$defs/a~0b+c.d"}, {"$ref": "#/$defs/a~0b%2Bc.d/$defs/line"}]},
                "a~b+c.d": {"$id": "x", "const": {"$ref": "#/$defs/Content"}, "$defs": {"line": true}}
            }
        });
        let found = document(&schema, &schema);
        let schemas = &found["components"]["schemas"];
        assert_eq!(
            schemas["Content"]["oneOf"],
            json!([
                {"$ref": "#/components/schemas/a_7E_b_2B_c.d"},
                {"$ref": "#/components/schemas/a_7E_b_2B_c.d/$defs/line"}
            ])
        );
        let renamed = &schemas["a_7E_b_2B_c.d"];
        assert_eq!(renamed["const"], json!({"$ref": "#/$defs/Content"}));
        assert!(renamed.get("$id").is_none());
    }

    #[test]
    fn the_base_path_is_that_of_the_server() {
        let empty = json!({"oneOf": [], "$defs": {"X": {"const": {"pathname": "/"}}}});
        let text = generate(&empty, &empty).text;
        for (base, expected) in [("", "/"), ("/de\"mo", "/de\"mo")] {
            let found: Value =
                serde_json::from_str(&at(&text, base)).expect("the description is JSON");
            assert_eq!(found["servers"]["tls"]["pathname"], expected);
            assert_eq!(found["servers"]["local"]["pathname"], expected);
            assert_eq!(
                found["components"]["schemas"]["X"]["const"]["pathname"],
                "/"
            );
        }
    }
}
