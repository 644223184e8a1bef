//! The calls of the operations port.

use serde_json::{Map, Value, json};

use super::paths::{Call, schema};
use crate::ops::keys::Scope;
use crate::ops::{erasure, revocation, rooms, sessions, users, webhooks};
use crate::protocol::schema::define;

/// Adds the definitions of the answers to the schema of server frames. Returns the names of all answers.
pub fn define_answers(server: &mut Value) -> Vec<String> {
    let mut names = vec![
        define::<sessions::SessionList>(server, true),
        define::<sessions::UserSessions>(server, true),
        define::<sessions::Closed>(server, true),
        define::<revocation::Lifted>(server, true),
        define::<users::UserDetails>(server, true),
        define::<erasure::ErasedUser>(server, true),
        define::<rooms::RoomList>(server, true),
        define::<rooms::RoomPart>(server, true),
        define::<rooms::RoomDeletion>(server, true),
        define::<webhooks::WebhookList>(server, true),
    ];
    for (name, definition) in [
        ("Acks", acks()),
        ("Health", health()),
        ("Readiness", readiness()),
    ] {
        if let Some(definitions) = server["$defs"].as_object_mut() {
            definitions.insert(name.to_owned(), definition);
        }
        names.push(name.to_owned());
    }
    // Frames.
    names.extend(["ServerAck", "ServerHistory", "ServerConversations"].map(str::to_owned));
    names
}

/// The answer to a message to several users.
fn acks() -> Value {
    let target = json!({
        "type": "object",
        "properties": {"target_user": {"$ref": "#/$defs/UserId"}},
        "required": ["target_user"]
    });
    let error = json!({
        "type": "object",
        "properties": {"error": {"$ref": "#/$defs/ApiError"}},
        "required": ["error"]
    });
    json!({
        "title": "Acks",
        "description": "The answers for several users, in the order of the request.",
        "type": "object",
        "properties": {"acks": {
            "type": "array",
            "items": {"allOf": [target, {"oneOf": [{"$ref": "#/$defs/ServerAck"}, error]}]}
        }},
        "required": ["acks"]
    })
}

fn health() -> Value {
    json!({
        "title": "Health",
        "type": "object",
        "properties": {"status": {"const": "ok"}},
        "required": ["status"]
    })
}

fn readiness() -> Value {
    json!({
        "title": "Readiness",
        "type": "object",
        "properties": {
            "status": {"const": "ready"},
            "clock": {"const": "unsettled", "description": "The clock of the machine has jumped: nothing expires."}
        },
        "required": ["status"]
    })
}

/// All paths.
pub fn paths() -> Value {
    let mut paths = Map::new();
    for (path, method, call) in calls() {
        let path = paths.entry(path).or_insert_with(|| json!({}));
        path[method] = call.done();
    }
    Value::Object(paths)
}

fn calls() -> Vec<(&'static str, &'static str, Call)> {
    let mut calls = port();
    calls.extend(users());
    calls.extend(conversations());
    calls.extend(rooms());
    calls.extend(messages());
    calls
}

fn port() -> Vec<(&'static str, &'static str, Call)> {
    vec![
        (
            "/healthz",
            "get",
            Call::public("getHealth", "Tells that the process runs.")
                .answer("Health", "The process runs."),
        ),
        (
            "/readyz",
            "get",
            Call::public("getReadiness", "Tells whether new messages can be stored.")
                .answer("Readiness", "They can.")
                .errors(&[503]),
        ),
        (
            "/admin",
            "get",
            Call::public(
                "getDashboard",
                "Returns the dashboard, a page that asks for a key.",
            )
            .answer_of("text/html", json!({"type": "string"}), "The page."),
        ),
        (
            "/metrics",
            "get",
            Call::new(
                "getMetrics",
                Scope::Read,
                "Returns the metrics for Prometheus.",
            )
            .answer_of(
                "text/plain",
                json!({"type": "string"}),
                "The metrics in the text format of Prometheus.",
            ),
        ),
        (
            "/monitor",
            "get",
            Call::new(
                "monitor",
                Scope::Read,
                "Opens a WebSocket with a frame each second (`monitor-frame.schema.json`).",
            )
            .bare(101, "The WebSocket is open.")
            .errors(&[426]),
        ),
        (
            "/v1/sessions",
            "get",
            Call::new("listSessions", Scope::Read, "Lists the open sessions.")
                .query(
                    "sort",
                    json!({"type": "string", "enum": ["since", "rate"], "default": "since"}),
                    "The oldest first, or those whose clients send the most.",
                )
                .with(&["limit", "cursor"])
                .answer("SessionList", "Sessions.")
                .errors(&[404]),
        ),
        (
            "/v1/webhooks",
            "get",
            Call::new(
                "listWebhooks",
                Scope::Read,
                "Lists the receivers of events.",
            )
            .answer("WebhookList", "The receivers."),
        ),
    ]
}

fn users() -> Vec<(&'static str, &'static str, Call)> {
    vec![
        (
            "/v1/users/{user}",
            "get",
            Call::new("getUser", Scope::Read, "Returns what is known of a user.")
                .with(&["user"])
                .answer("UserDetails", "The user.")
                .errors(&[404]),
        ),
        (
            "/v1/users/{user}",
            "delete",
            Call::new("eraseUser", Scope::Admin, "Erases a user.")
                .with(&["user"])
                .query(
                    "revoke",
                    json!({"type": "boolean", "default": true}),
                    "Also revokes the tokens of the user that are issued up to now.",
                )
                .answer("ErasedUser", "The user is erased.")
                .errors(&[404]),
        ),
        (
            "/v1/users/{user}/sessions",
            "get",
            Call::new(
                "listUserSessions",
                Scope::Read,
                "Lists the sessions of a user.",
            )
            .with(&["user"])
            .answer("UserSessions", "The sessions, oldest first."),
        ),
        (
            "/v1/users/{user}/sessions",
            "delete",
            Call::new(
                "closeUserSessions",
                Scope::Admin,
                "Closes the sessions of a user.",
            )
            .with(&["user"])
            .query(
                "revoke",
                json!({"type": "boolean", "default": false}),
                "Also revokes the tokens of the user that are issued up to now.",
            )
            .answer("Closed", "The sessions are closed."),
        ),
        (
            "/v1/users/{user}/revocation",
            "delete",
            Call::new(
                "endRevocation",
                Scope::Admin,
                "Accepts the tokens of a user again.",
            )
            .with(&["user"])
            .answer("Lifted", "The tokens are accepted."),
        ),
    ]
}

fn conversations() -> Vec<(&'static str, &'static str, Call)> {
    vec![
        (
            "/v1/users/{user}/conversations",
            "get",
            Call::new(
                "listConversations",
                Scope::Read,
                "Returns what the frame `conversations` would answer to the user.",
            )
            .with(&["user", "messages", "cursor"])
            .answer("ServerConversations", "Conversations, newest first.")
            .errors(&[404]),
        ),
        (
            "/v1/users/{user}/history",
            "get",
            Call::new(
                "getHistory",
                Scope::Read,
                "Returns what the frame `history` would answer to the user.",
            )
            .with(&[
                "user",
                "target_user",
                "target_room",
                "before",
                "after",
                "messages",
            ])
            .answer("ServerHistory", "Messages, oldest first.")
            .errors(&[404]),
        ),
        (
            "/v1/users/{user}/export",
            "get",
            Call::new(
                "exportUser",
                Scope::Admin,
                "Returns all messages of a user's conversations.",
            )
            .with(&["user"])
            .answer_of(
                "application/x-ndjson",
                json!({"type": "string"}),
                "A message (`PastMessage`) in each line. If the server fails meanwhile, the body is incomplete.",
            )
            .errors(&[404]),
        ),
    ]
}

fn rooms() -> Vec<(&'static str, &'static str, Call)> {
    vec![
        (
            "/v1/rooms",
            "get",
            Call::new(
                "listRooms",
                Scope::Read,
                "Lists the rooms that have members or messages.",
            )
            .with(&["limit", "cursor"])
            .answer("RoomList", "Rooms, by name.")
            .errors(&[404]),
        ),
        (
            "/v1/rooms/{room}",
            "get",
            Call::new("getRoom", Scope::Read, "Lists the members of a room.")
                .with(&["room", "limit", "cursor"])
                .answer("RoomPart", "Members.")
                .errors(&[404]),
        ),
        (
            "/v1/rooms/{room}",
            "delete",
            Call::new(
                "deleteRoom",
                Scope::Admin,
                "Deletes a room with its messages.",
            )
            .with(&["room"])
            .answer("RoomDeletion", "The room is deleted.")
            .errors(&[404]),
        ),
        (
            "/v1/rooms/{room}/history",
            "get",
            Call::new("getRoomHistory", Scope::Read, "Returns messages of a room.")
                .with(&["room", "before", "after", "messages"])
                .answer("ServerHistory", "Messages, oldest first.")
                .errors(&[404]),
        ),
        (
            "/v1/rooms/{room}/members/{user}",
            "put",
            Call::new(
                "addMember",
                Scope::Write,
                "Makes a user a member of a room.",
            )
            .with(&["room", "user"])
            .answer("ServerAck", "The user is a member.")
            .errors(&[404, 409]),
        ),
        (
            "/v1/rooms/{room}/members/{user}",
            "delete",
            Call::new(
                "removeMember",
                Scope::Write,
                "Ends the membership of a user.",
            )
            .with(&["room", "user"])
            .answer("ServerAck", "The user is not a member.")
            .errors(&[404]),
        ),
    ]
}

fn messages() -> Vec<(&'static str, &'static str, Call)> {
    let answer = json!({"oneOf": [schema("ServerAck"), schema("Acks")]});
    vec![
        (
            "/v1/messages",
            "post",
            Call::new(
                "sendMessage",
                Scope::Write,
                "Sends a message in the name of a user.",
            )
            .body("SendRequest")
            .answer_of(
                "application/json",
                answer,
                "The message is stored. With `target_users`: an answer for each of them.",
            )
            .errors(&[404, 409]),
        ),
        (
            "/v1/messages/{id}",
            "delete",
            Call::new(
                "deleteMessage",
                Scope::Admin,
                "Deletes a message as its author would.",
            )
            .with(&["id", "from_user", "target_user", "target_room"])
            .answer("ServerAck", "The message is deleted.")
            .errors(&[404]),
        ),
    ]
}
