//! "Did you mean ...?" for field names and types.

use std::fmt::{self, Display};

/// Longest name that is compared, in bytes. The comparison takes quadratic time, and longer names are not misspellings.
const MAX_COMPARED: usize = 32;

/// The largest number of names that an error lists.
const MAX_LISTED: usize = 20;

/// Names that other APIs use, as returned by [`folded`], and the corresponding fields: the first that the object can have is
/// suggested.
const SYNONYMS: &[(&[&str], &[&str])] = &[
    (
        &[
            "to",
            "user",
            "userid",
            "recipient",
            "receiver",
            "peer",
            "target",
            "targetuser",
        ],
        &["target_user", "user"],
    ),
    (&["room", "roomid", "channel"], &["target_room"]),
    (
        &["text", "content", "body", "msg", "message", "payload"],
        &["message", "text", "data"],
    ),
    (&["messageid", "msgid", "uuid"], &["id"]),
    (&["replyto", "inreplyto", "parent", "quote"], &["reply_to"]),
    (
        &["requestid", "correlationid", "nonce", "reference"],
        &["ref"],
    ),
    (&["reaction"], &["emoji"]),
    (&["typing", "istyping"], &["active"]),
    (&["count", "max", "pagesize"], &["limit"]),
    (&["href", "src", "link", "uri"], &["url"]),
    (&["filename", "title"], &["name"]),
    (&["mimetype", "contenttype", "mediatype"], &["mime"]),
    (&["duration", "length"], &["duration_ms"]),
    (&["lat"], &["latitude"]),
    (&["lon", "lng"], &["longitude"]),
];

/// Returns the known name of which `found` is probably a misspelling.
pub(in crate::protocol) fn misspelled<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    if found.is_empty() || found.len() > MAX_COMPARED {
        return None;
    }
    let found = folded(found);
    let tolerated = 1 + found.chars().count() / 5;
    known
        .iter()
        .map(|name| (strsim::osa_distance(&found, &folded(name)), *name))
        .filter(|(distance, name)| *distance <= tolerated && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns the hint for an unknown field.
pub(super) fn field_hint(found: &str, known: &[&str]) -> Option<String> {
    let name = folded_if_short(found)?;
    if matches!(name.as_str(), "from" | "fromuser" | "sender" | "author") {
        return Some(if known.contains(&"from_user") {
            "; did you mean `from_user`?".to_owned()
        } else {
            "; the server sets the sender".to_owned()
        });
    }
    let synonym = || {
        let (_, meant) = SYNONYMS
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()))?;
        meant.iter().find(|meant| known.contains(meant)).copied()
    };
    let meant = misspelled(found, known).or_else(synonym)?;
    Some(format!("; did you mean `{meant}`?"))
}

fn folded_if_short(name: &str) -> Option<String> {
    (name.len() <= MAX_COMPARED).then(|| folded(name))
}

/// The name in lower case and without separators: `targetUser`, `Target-User` and `target_user` are the same.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.'));
    letters.flat_map(char::to_lowercase).collect()
}

/// "one of the fields `a`, `b`": the kind of name in the plural, and the names.
pub(in crate::protocol) struct OneOf<'a>(pub &'a str, pub &'a [&'a str]);

impl Display for OneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of the {}", self.0)?;
        for (n, name) in self.1.iter().take(MAX_LISTED).enumerate() {
            write!(f, "{} `{name}`", if n == 0 { "" } else { "," })?;
        }
        if self.1.len() > MAX_LISTED {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_recognised_and_other_names_are_not() {
        let known = [
            "message", "edit", "delete", "react", "received", "read", "typing", "ping",
        ];
        for (found, meant) in [
            ("mesage", Some("message")),
            ("Message", Some("message")),
            ("message ", Some("message")),
            ("messages", Some("message")),
            ("recieved", Some("received")),
            ("deleted", Some("delete")),
            ("pong", Some("ping")),
            ("shout", None),
            ("subscribe", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(misspelled(found, &known), meant, "{found}");
        }
        assert_eq!(misspelled(&"message".repeat(10_000), &known), None);
    }

    #[test]
    fn synonyms_are_written_folded() {
        for (names, _) in SYNONYMS {
            for name in *names {
                assert_eq!(folded(name), *name);
            }
        }
    }
}
