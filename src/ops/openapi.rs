//! The OpenAPI 3.1 description of the operations port, generated from the types of requests and answers. `calls` lists the calls.

mod calls;
mod paths;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub use self::calls::paths;
use super::error::ApiError;
use crate::protocol::api::SendRequest;
use crate::protocol::components::{Side, definitions, different, each_reference, target};
use crate::protocol::schema::{Exported, define, pretty};
use crate::protocol::{Contract, PROTOCOL};

/// File name of the description.
pub const OPENAPI: &str = "openapi.json";
/// Media type of the description.
pub const MEDIA_TYPE: &str = "application/vnd.oai.openapi+json;version=3.1";

const DESCRIPTION: &str = "The operations port: the HTTP API of back ends and operators, and health checks. `docs/operations.md` describes \
    the keys and the rules that concern several calls. Bodies and queries are strict: what a call does not know is an error.";

/// Describes the operations port of a server with these content types.
pub fn describe(contract: &Contract) -> Exported {
    let [mut client, mut server] = contract
        .schemas()
        .each_ref()
        .map(|schema| serde_json::from_str(&schema.text).unwrap_or_default());
    let mut requests = vec![define::<SendRequest<'_>>(&mut client, false)];
    requests.extend(["UserId", "RoomId", "MessageId"].map(str::to_owned));
    let mut answers = vec![define::<ApiError>(&mut server, true)];
    answers.extend(calls::define_answers(&mut server));
    let different = different(&client, &server);
    let schemas = [
        (client, requests, &BTreeSet::new(), ""),
        (server, answers, &different, "Server"),
    ];
    let mut components = Map::new();
    for (schema, roots, renamed, prefix) in schemas {
        let side = Side { renamed, prefix };
        let used = reachable(&schema, roots);
        for (name, definition) in definitions(&schema).filter(|(name, _)| used.contains(*name)) {
            components.insert(side.component(name), side.payload(definition));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dmwire operations port",
            "version": PROTOCOL,
            "description": DESCRIPTION,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}
        },
        "servers": [{"url": "http://127.0.0.1:8081", "description": "A server on the same machine, with the default settings."}],
        "security": [{"key": []}],
        "paths": paths(),
        "components": {
            "schemas": components,
            "responses": paths::error_responses(),
            "parameters": paths::parameters(),
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of `--api-key-file`. Each call names the scope that the key needs."
            }}
        }
    });
    Exported {
        name: OPENAPI,
        media_type: MEDIA_TYPE,
        text: pretty(&document),
    }
}

/// The definitions that `roots` consist of.
fn reachable(schema: &Value, roots: Vec<String>) -> BTreeSet<String> {
    let (mut found, mut rest) = (BTreeSet::new(), roots);
    while let Some(name) = rest.pop() {
        let mut definition = schema["$defs"][&name].clone();
        if found.insert(name) {
            each_reference(&mut definition, &mut |reference| {
                rest.extend(target(reference).map(|(name, _)| name));
            });
        }
    }
    found
}
