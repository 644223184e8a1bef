//! The parts of which the descriptions of calls consist: parameters, answers, errors.

use serde_json::{Map, Value, json};

use crate::ops::keys::Scope;

/// The largest page of users, rooms or sessions, and that of messages.
const LARGE: usize = 1000;
const SMALL: usize = 200;

/// A call.
pub struct Call {
    operation: Value,
}

impl Call {
    /// A call for keys with `scope`.
    pub fn new(id: &str, scope: Scope, summary: &str) -> Self {
        let scope = scope.as_str();
        let mut call = Self::public(id, summary);
        if let Some(operation) = call.operation.as_object_mut() {
            operation.remove("security");
        }
        call.operation["description"] = json!(format!("Needs a key with the scope `{scope}`."));
        call.errors(&[400, 401, 403, 429, 500, 503])
    }

    /// A call without a key.
    pub fn public(id: &str, summary: &str) -> Self {
        let operation = json!({
            "operationId": id, "summary": summary, "description": "Needs no key.", "security": [], "parameters": [],
            "responses": {}
        });
        Self { operation }
    }

    /// It also has these parameters of [`parameters`].
    pub fn with(mut self, names: &[&str]) -> Self {
        if let Some(list) = self.operation["parameters"].as_array_mut() {
            let reference =
                |name: &&str| json!({"$ref": format!("#/components/parameters/{name}")});
            list.extend(names.iter().map(reference));
        }
        self
    }

    /// It also has the parameter of the query `name`.
    pub fn query(mut self, name: &str, schema: Value, description: &str) -> Self {
        if let Some(list) = self.operation["parameters"].as_array_mut() {
            list.push(parameter(name, "query", schema, description));
        }
        self
    }

    /// The body of the request.
    pub fn body(mut self, component: &str) -> Self {
        self.operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema(component)}}
        });
        self.errors(&[413, 415])
    }

    /// The answer, if the call succeeds.
    pub fn answer(self, component: &str, description: &str) -> Self {
        self.answer_of("application/json", schema(component), description)
    }

    /// An answer of another media type.
    pub fn answer_of(mut self, media_type: &str, schema: Value, description: &str) -> Self {
        self.operation["responses"]["200"] = json!({
            "description": description,
            "content": {media_type: {"schema": schema}}
        });
        self
    }

    /// A response without a body.
    pub fn bare(mut self, status: u16, description: &str) -> Self {
        self.operation["responses"][status.to_string()] = json!({"description": description});
        self
    }

    /// Errors of the call.
    pub fn errors(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            let reference = format!("#/components/responses/{status}");
            self.operation["responses"][status.to_string()] = json!({"$ref": reference});
        }
        self
    }

    /// The call as JSON.
    pub fn done(self) -> Value {
        let mut operation = self.operation;
        if let Some(Value::Object(responses)) = operation.get_mut("responses") {
            responses.sort_keys();
        }
        operation
    }
}

/// A reference to a component.
pub fn schema(component: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{component}")})
}

fn parameter(name: &str, place: &str, schema: Value, description: &str) -> Value {
    json!({
        "name": name, "in": place, "required": place == "path", "description": description, "schema": schema
    })
}

/// The parameters that several calls have.
pub fn parameters() -> Value {
    let number = |max: usize, default: usize| json!({"type": "integer", "minimum": 1, "maximum": max, "default": default});
    let query = |name: &str, schema: Value, description: &str| {
        parameter(name, "query", schema, description)
    };
    let path = |name: &str, component: &str, description: &str| {
        parameter(name, "path", schema(component), description)
    };
    json!({
        "user": path("user", "UserId", "The user, percent-encoded."),
        "room": path("room", "RoomId", "The room, percent-encoded."),
        "id": path("id", "MessageId", "The message."),
        "limit": query("limit", number(LARGE, 100), "The largest number of elements in the answer."),
        "messages": query("limit", number(SMALL, 50), "The largest number of elements in the answer."),
        "cursor": query("cursor", json!({"type": "string", "minLength": 1}), "The `cursor` of the answer before."),
        "before": query("before", schema("MessageId"), "Only messages before this one. Not together with `after`."),
        "after": query("after", schema("MessageId"), "Only messages after this one. Not together with `before`."),
        "target_user": query("target_user", schema("UserId"), "The other user. Either this or `target_room` is required."),
        "target_room": query("target_room", schema("RoomId"), "The room. Either this or `target_user` is required."),
        "from_user": {
            "name": "from_user", "in": "query", "required": true, "description": "The author.", "schema": schema("UserId")
        }
    })
}

/// The responses with an error, by status.
pub fn error_responses() -> Value {
    let statuses = [
        (400, "The request is invalid."),
        (401, "The key is missing or not valid."),
        (
            403,
            "The key has not the scope, or the user may not do this.",
        ),
        (404, "The user, room, message or cursor is not known."),
        (409, "The id is in use, or the room is full."),
        (413, "The body is too large."),
        (415, "The body is not declared as JSON, or is compressed."),
        (426, "The resource is a WebSocket."),
        (429, "The key has reached its rate."),
        (500, "The server has failed, and the outcome is unknown."),
        (503, "The server is overloaded or shuts down."),
    ];
    let responses = statuses.map(|(status, description)| {
        let content = json!({"application/json": {"schema": schema("ApiError")}});
        (
            status.to_string(),
            json!({"description": description, "content": content}),
        )
    });
    Value::Object(Map::from_iter(responses))
}
