//! The order of a room's entries, with concurrent senders and changing members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::helpers::{join, leave, open, to_room};
use crate::support::{Client, Server};

const FAST: &[&str] = &["--messages-per-second", "100000", "--burst", "100000"];

/// The room's part of an entry: what all members see in the same order.
fn event(frame: &Value) -> Option<String> {
    match frame["type"].as_str()? {
        "message" => Some(format!("{} {}", frame["from_user"], frame["message"])),
        "room" => Some(format!("{} {}", frame["user"], frame["event"])),
        _ => None,
    }
}

/// All entries of an inbox.
fn log(server: &Server, user: &str) -> Vec<Value> {
    let mut client = Client::connect(server, user, "?since=0&device=log");
    let mut frames = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return frames;
        }
        frames.push(frame);
    }
}

#[test]
fn all_members_see_the_entries_in_the_same_order() {
    const USERS: [&str; 4] = ["a", "b", "c", "d"];
    const EACH: usize = 50;
    let server = open(FAST);
    for user in USERS {
        Client::fresh(&server, user).ask(&join("lobby"));
    }
    std::thread::scope(|scope| {
        for user in USERS {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::connect(server, user, "?device=sender");
                client.until("synced");
                for n in 0..EACH {
                    client.send(&to_room("lobby", &n.to_string()));
                }
                for _ in 0..EACH {
                    client.until("ack");
                }
            });
        }
    });
    let events = |user: &str| -> Vec<String> {
        let frames = log(&server, user);
        for (frame, seq) in frames.iter().zip(1..) {
            assert_eq!(frame["seq"], seq, "{frame}");
        }
        let messages = frames.iter().filter(|frame| frame["type"] == "message");
        messages.filter_map(event).collect()
    };
    let of_a = events("a");
    assert_eq!(of_a.len(), USERS.len() * EACH);
    for user in &USERS[1..] {
        assert_eq!(events(user), of_a, "{user}");
    }
}

#[test]
fn an_inbox_has_exactly_what_was_sent_while_the_user_was_a_member() {
    const ROUNDS: usize = 25;
    const PACE: usize = 4;
    let server = open(FAST);
    let mut watcher = Client::fresh(&server, "watcher");
    watcher.ask(&join("lobby"));
    let movers = ["m1", "m2", "m3"];
    std::thread::scope(|scope| {
        for user in movers {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::fresh(server, user);
                for _ in 0..ROUNDS {
                    client.send(&join("lobby"));
                    client.send(&leave("lobby"));
                }
                for _ in 0..2 * ROUNDS {
                    client.until("ack");
                }
            });
        }
        let server = &server;
        scope.spawn(move || {
            let mut client = Client::connect(server, "watcher", "?device=sender");
            client.until("synced");
            for n in 0..PACE * ROUNDS {
                client.send(&to_room("lobby", &n.to_string()));
                client.until("ack");
            }
        });
    });
    // The room is small, so the watcher's inbox has everything that has happened in it.
    let all: Vec<String> = log(&server, "watcher").iter().filter_map(event).collect();
    let mut expected: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    let mut present = BTreeSet::new();
    for entry in &all {
        let is = |user: &str, what: &str| *entry == format!("\"{user}\" \"{what}\"");
        for user in movers {
            if is(user, "joined") {
                present.insert(user);
            }
            if present.contains(user) {
                expected.entry(user).or_default().push(entry);
            }
            if is(user, "left") {
                present.remove(user);
            }
        }
    }
    assert!(present.is_empty());
    for user in movers {
        let log: Vec<String> = log(&server, user).iter().filter_map(event).collect();
        let log: Vec<&String> = log.iter().collect();
        assert_eq!(Some(&log), expected.get(user), "{user}");
    }
}
