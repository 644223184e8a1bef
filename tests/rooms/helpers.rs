//! Rooms and their members.

use serde_json::{Value, json};

use crate::support::{Client, Server, assert_has};

/// An id that no message has.
pub const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// A server on which any user may join any room.
pub fn open(arguments: &[&str]) -> Server {
    let mut all = vec!["--rooms", "open"];
    all.extend_from_slice(arguments);
    Server::start(&all)
}

pub fn join(room: &str) -> Value {
    json!({"type": "join", "room": room})
}

pub fn leave(room: &str) -> Value {
    json!({"type": "leave", "room": room})
}

pub fn members(room: &str) -> Value {
    json!({"type": "members", "room": room})
}

/// A text message to a room.
pub fn to_room(room: &str, text: &str) -> Value {
    json!({"message": text, "target_room": room})
}

/// A frame that refers to a message of a room; see [`crate::support::about`].
pub fn about_in(tag: &str, room: &str, id: &Value) -> Value {
    json!({"type": tag, "target_room": room, "id": id})
}

/// Asserts that the frame is an `error` with this code and path.
#[track_caller]
pub fn assert_error(error: &Value, code: &str, path: &str) {
    assert_has(error, &json!({"type": "error", "code": code, "path": path}));
}

/// Asserts that the frame is a `room` with these fields.
#[track_caller]
pub fn assert_room(frame: &Value, event: &str, user: &str, members: u64) {
    let expected = json!({"type": "room", "event": event, "user": user, "members": members});
    assert_has(frame, &expected);
}

/// Connects users one after the other; each joins the room. All of them have read the events.
pub fn connect_members(server: &Server, room: &str, users: &[&str]) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for user in users {
        let mut client = Client::connect(server, user, "?ack=manual");
        client.until("synced");
        assert_has(
            &client.ask(&join(room)),
            &json!({"type": "ack", "duplicate": null}),
        );
        for other in &mut clients {
            assert_room(
                &other.expect("room"),
                "joined",
                user,
                members_of(&mut client, room),
            );
        }
        clients.push(client);
    }
    clients
}

/// The number of members, as one of them is told.
pub fn members_of(client: &mut Client, room: &str) -> u64 {
    let answer = client.ask(&members(room));
    answer["total"].as_u64().expect("a number")
}

/// The ids of the members, as one of them is told.
pub fn names(client: &mut Client, room: &str) -> Vec<String> {
    let answer = client.ask(&members(room));
    assert_eq!(answer["type"], "members", "{answer}");
    let users = answer["users"].as_array().expect("a list").iter();
    users
        .map(|user| user["user"].as_str().expect("an id").to_owned())
        .collect()
}
