//! The status of members of a room.

use serde_json::{Value, json};

use crate::helpers::{block, set_status, without_grace};
use crate::support::{Client, Server};

fn members(client: &mut Client) -> Vec<(String, Value)> {
    let answer = client.ask(&json!({"type": "members", "room": "lobby"}));
    let users = answer["users"].as_array().expect("a list").iter();
    users
        .map(|user| {
            let name = user["user"].as_str().expect("an id").to_owned();
            (name, user["status"].clone())
        })
        .collect()
}

fn statuses(client: &mut Client) -> Vec<String> {
    let found = members(client).into_iter();
    found
        .map(|(user, status)| format!("{user} {}", status.as_str().unwrap_or("-")))
        .collect()
}

fn join(server: &Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "?room=lobby");
    client.until("synced");
    client
}

#[test]
fn members_of_a_small_room_have_a_status() {
    let server = without_grace(&["--rooms", "open", "--small-room", "3"]);
    let mut a = join(&server, "a");
    let mut b = join(&server, "b");
    a.expect("room");
    join(&server, "c").close();
    a.expect("room");
    b.expect("room");
    // The end of a connection is noticed after the client has closed it.
    crate::support::eventually("c is offline", || {
        statuses(&mut a) == ["a online", "b online", "c offline"]
    });
    set_status(&mut b, "away");
    assert_eq!(statuses(&mut a), ["a online", "b away", "c offline"]);
    set_status(&mut b, "invisible");
    assert_eq!(statuses(&mut a), ["a online", "b offline", "c offline"]);
    // For oneself as others see it.
    assert_eq!(statuses(&mut b), ["a online", "b offline", "c offline"]);
    set_status(&mut b, "busy");
    assert_eq!(a.ask(&block("b", true))["type"], "ok");
    assert_eq!(statuses(&mut a), ["a online", "b offline", "c offline"]);
    assert_eq!(statuses(&mut b), ["a offline", "b busy", "c offline"]);
    let _d = join(&server, "d");
    assert_eq!(statuses(&mut a), ["a -", "b -", "c -", "d -"]);
}
