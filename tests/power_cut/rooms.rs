//! The entries about rooms in the inboxes of all users, compared with each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::known::{author, subject};
use crate::workload::{HALL, LOBBY};

type Inboxes = BTreeMap<String, Vec<Value>>;

/// What all members see of an entry.
type Seen = (String, String, String);

fn seen(frame: &Value) -> Seen {
    let what = match frame["type"].as_str() {
        Some("room") => &frame["event"],
        _ => &frame["type"],
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(what), text(author(frame)), text(subject(frame)))
}

/// The entries about a room that are not superseded.
fn entries(frames: &[Value], room: &str) -> Vec<Seen> {
    let is_about = |frame: &&Value| frame["target_room"] == room || frame["room"] == room;
    frames.iter().filter(is_about).map(seen).collect()
}

fn is(entry: &Seen, what: &str, user: &str) -> bool {
    entry.0 == what && entry.1 == user
}

/// Checks that all members have the same entries in the same order. Returns the members of the hall.
pub fn check(inboxes: &Inboxes) -> Vec<String> {
    let mut hall: Vec<String> = Vec::new();
    let mut all: Option<Vec<Seen>> = None;
    for (user, frames) in inboxes {
        let entries = entries(frames, HALL);
        let Some(joined) = entries.iter().position(|entry| is(entry, "joined", user)) else {
            assert!(entries.is_empty(), "{user} is not in the hall: {entries:?}");
            continue;
        };
        assert_eq!(joined, 0, "{user} has entries from before the join");
        hall.push(user.clone());
        let messages = entries.into_iter().filter(|entry| entry.0 != "joined");
        let messages: Vec<Seen> = messages.collect();
        let known = all.get_or_insert_with(|| messages.clone());
        assert!(*known == messages, "{user} has other entries of the hall");
    }
    check_lobby(inboxes);
    hall
}

/// The first user is a member all the time, so that inbox has all entries.
fn check_lobby(inboxes: &Inboxes) {
    let Some((_, first)) = inboxes.first_key_value() else {
        return;
    };
    let mut expected: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let mut present = BTreeSet::new();
    for entry in entries(first, LOBBY) {
        if entry.0 == "joined" {
            present.insert(entry.1.clone());
        }
        for user in &present {
            expected
                .entry(user.clone())
                .or_default()
                .push(entry.clone());
        }
        if entry.0 == "left" {
            present.remove(&entry.1);
        }
    }
    for (user, frames) in inboxes {
        let found = entries(frames, LOBBY);
        let expected = expected.remove(user).unwrap_or_default();
        assert!(found == expected, "{user} has other entries of the lobby");
    }
}
