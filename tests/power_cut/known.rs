//! What clients were told: the entries that they received, and when. It is compared with what a server has after a power cut.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// An entry of a user's inbox, as a client received it first.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number of operations that the server had done when the client had received the entry.
    pub at: u64,
    /// The message that the entry is about, or the room that a user has joined or left.
    pub id: String,
    /// The type of its frame. It may be `deleted` for any entry of a message that was deleted later, and `skipped` for a change
    /// that was superseded later; then nothing else is known of it.
    pub kind: &'static str,
    pub by: String,
    /// `sent_at` of a message, and the time of a join or leave.
    pub sent_at: Option<String>,
}

impl Entry {
    /// A user has joined or left a room.
    pub fn is_membership(&self) -> bool {
        is_membership(self.kind)
    }

    fn is_edit_of(&self, id: &str) -> bool {
        self.kind == "edited" && self.id == id
    }

    /// Whether `earlier` may be superseded by this one, as far as is known.
    fn may_supersede(&self, earlier: &Self) -> bool {
        let same = self.id == earlier.id;
        match earlier.kind {
            _ if self.kind == "skipped" => true,
            "edited" => same && ["edited", "deleted"].contains(&self.kind),
            "reacted" => same && self.kind == "reacted" && self.by == earlier.by,
            "skipped" => self.kind != "message" && !self.is_membership(),
            // It was received as `deleted`, but had been an edit or a reaction.
            "deleted" => same,
            _ => false,
        }
    }
}

/// The users' inboxes: entry `n` has the index `n - 1`.
#[derive(Clone, Default)]
pub struct Known {
    pub inboxes: BTreeMap<String, Vec<Entry>>,
    pub epoch: String,
    /// The number of operations when the first client was told the epoch.
    pub epoch_at: u64,
    /// By message, where it was sent.
    pub recipients: HashMap<String, Target>,
    /// By message, the contents of its edits in order.
    pub edits: HashMap<String, Vec<u64>>,
    /// By user and message, the entry of the deletion.
    pub deletions: HashMap<(String, String), usize>,
    /// What clients had been told before an earlier power cut: the epoch and the newest entries.
    pub earlier: Option<(String, BTreeMap<String, usize>)>,
}

/// Whom a frame is addressed to: a field and its value.
pub type Target = (&'static str, &'static str);

fn is_membership(kind: &str) -> bool {
    kind == "joined" || kind == "left"
}

/// The message or the room that an entry is about.
pub fn subject(frame: &Value) -> &Value {
    let field = if frame["type"] == "room" {
        "room"
    } else {
        "id"
    };
    &frame[field]
}

/// The user who has caused an entry.
pub fn author(frame: &Value) -> &Value {
    let field = if frame["type"] == "room" {
        "user"
    } else {
        "from_user"
    };
    &frame[field]
}

/// The content of a message after this number of edits.
pub fn text(id: &str, version: u64) -> String {
    let number = u64::from_str_radix(&id[..8], 16).expect("an id begins with hexadecimal digits");
    let number = number + version * 7919;
    let length = match number % 20 {
        0 => 2500 + number % 4000,
        1..=3 => number % 1900,
        _ => number % 200,
    };
    format!("{id} {version} {}", "x".repeat(length as usize))
}

/// The number of the edit that a content belongs to, which must be complete.
pub fn version(id: &str, content: &Value) -> u64 {
    let content = content.as_str().expect("the content is a text");
    let version = content.split(' ').nth(1).and_then(|n| n.parse().ok());
    let version = version.unwrap_or_else(|| panic!("not a content of {id}: {content}"));
    assert_eq!(content, text(id, version));
    version
}

/// The type of an entry's frame, or what a user has done in a room.
pub fn kind(frame: &Value) -> &'static str {
    let kinds = ["message", "edited", "deleted", "reacted", "skipped"];
    let kind = match frame["type"].as_str() {
        Some("room") => ["joined", "left"]
            .into_iter()
            .find(|kind| frame["event"] == *kind),
        _ => kinds.into_iter().find(|kind| frame["type"] == *kind),
    };
    kind.unwrap_or_else(|| panic!("not an entry: {frame}"))
}

impl Known {
    pub fn entries(&self) -> usize {
        self.inboxes.values().map(Vec::len).sum()
    }

    /// Notes which entry deleted a message. Nothing changes a deleted message, so it is the last one of the message.
    pub fn find_deletions(&mut self) {
        for (user, entries) in &self.inboxes {
            let last: HashMap<&str, usize> = entries
                .iter()
                .enumerate()
                .map(|(n, entry)| (&*entry.id, n))
                .collect();
            let deleted = last
                .into_iter()
                .filter(|(_, n)| entries[*n].kind == "deleted");
            for (id, n) in deleted {
                self.deletions.insert((user.clone(), id.to_owned()), n);
            }
        }
    }

    /// The newest entry that a client of the user had received before the power cut.
    pub fn told(&self, user: &str, at: u64) -> usize {
        let entries = &self.inboxes[user];
        let known = entries.iter().rposition(|entry| entry.at <= at);
        known.map_or(0, |n| n + 1)
    }

    /// The epoch, if a client was told it before the power cut.
    pub fn told_epoch(&self, at: u64) -> Option<&str> {
        (self.epoch_at <= at && !self.epoch.is_empty()).then_some(&self.epoch)
    }

    /// Checks a replay of a user's whole inbox: it is a beginning of the known one, with the contents at that point.
    pub fn check(&self, user: &str, frames: &[Value]) {
        let entries = &self.inboxes[user];
        let present = &entries[..frames.len().min(entries.len())];
        for (n, frame) in frames.iter().enumerate() {
            assert_eq!(frame["seq"], n as u64 + 1, "{user}: {frame}");
            let Some(entry) = entries.get(n) else {
                panic!("{user} has never received {frame}");
            };
            let later = &present[n + 1..];
            if frame["type"] == "skipped" {
                assert!(
                    later.iter().any(|later| later.may_supersede(entry)),
                    "{user} had received {entry:?}, and nothing supersedes it"
                );
                continue;
            }
            if entry.kind == "skipped" {
                let is_change = ["edited", "reacted", "deleted"].contains(&kind(frame));
                assert!(
                    is_change,
                    "{user} had been told that it is superseded: {frame}"
                );
                continue;
            }
            assert_eq!(
                *subject(frame),
                entry.id,
                "{user} had received {entry:?}: {frame}"
            );
            assert!(
                entry.kind != "edited" || !later.iter().any(|later| later.is_edit_of(&entry.id)),
                "{user}: a superseded edit is replayed: {frame}"
            );
            let deletion = self.deletions.get(&(user.to_owned(), entry.id.clone()));
            if deletion.is_some_and(|n| *n < frames.len()) {
                assert_eq!(frame["type"], "deleted", "{user}, {entry:?}: {frame}");
                continue;
            }
            let kind = kind(frame);
            assert!(
                kind == entry.kind || entry.kind == "deleted" && kind != "deleted",
                "{user} had received {entry:?}: {frame}"
            );
            if entry.kind != "deleted" {
                assert_eq!(*author(frame), entry.by, "{user}: {frame}");
            }
            if is_membership(kind) {
                let known = entry.sent_at.as_deref();
                assert!(known.is_none_or(|at| frame["at"] == at), "{user}: {frame}");
                continue;
            }
            if let (Some(sent_at), "message") = (&entry.sent_at, kind) {
                assert_eq!(frame["sent_at"], **sent_at, "{user}: {frame}");
            }
            if kind != "reacted" {
                let done = present.iter().filter(|e| e.is_edit_of(&entry.id)).count();
                let unknown = present.iter().filter(|e| e.kind == "skipped").count();
                let made = self.edits.get(&entry.id).map_or(&[][..], Vec::as_slice);
                let versions = [&[0], made].concat();
                let possible = &versions[done..versions.len().min(done + unknown + 1)];
                let shown = version(&entry.id, &frame["message"]);
                assert!(
                    possible.contains(&shown),
                    "{user} after {done} edits and up to {unknown} more: {frame}"
                );
            }
        }
    }
}
