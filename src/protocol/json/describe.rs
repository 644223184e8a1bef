//! Values and names as they appear in error details: escaped, and shortened to a bounded length.

use std::fmt::{self, Write as _};

use serde::de::Unexpected;

use super::escape::unescape_one;
use super::{Value, ValueKind};

/// Longest excerpt of a value or a name, in characters as shown.
const MAX_EXCERPT: usize = 40;

/// Describes the value as the "found" part of an error: its JSON type and an excerpt.
pub(super) fn value(value: Value<'_, '_>) -> String {
    match value.kind() {
        ValueKind::Plain | ValueKind::Escaped => string(&value.text().unwrap_or_default()),
        ValueKind::Number => format!("the number {}", raw_excerpt(value.raw())),
        ValueKind::Object => format!("the object {}", raw_excerpt(value.raw())),
        ValueKind::Array => format!("the array {}", raw_excerpt(value.raw())),
        ValueKind::True => "the boolean true".to_owned(),
        ValueKind::False => "the boolean false".to_owned(),
        ValueKind::Null => "null".to_owned(),
    }
}

/// As [`value`], for a value of `serde_json`.
pub(in crate::protocol) fn describe_value(value: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => format!("the boolean {value}"),
        Json::Number(number) => format!("the number {number}"),
        Json::String(text) => string(text),
        Json::Array(list) => format!("an array of {} elements", list.len()),
        Json::Object(members) => format!("an object of {} fields", members.len()),
    }
}

/// Describes what a visitor rejects, in the words of [`value`].
pub(super) fn unexpected(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => string(text),
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(n) => format!("the number {n}"),
        Unexpected::Signed(n) => format!("the number {n}"),
        // `Display` writes 1e300 with all its zeros.
        Unexpected::Float(n) if n.abs() >= 1e15 => format!("the number {n:e}"),
        Unexpected::Float(n) => format!("the number {n}"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// A name from a frame, in backticks.
pub(in crate::protocol) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut excerpt = Excerpt::new();
        for c in self.0.chars() {
            if !excerpt.push(c, false) {
                break;
            }
        }
        write!(f, "`{}`", excerpt.out)
    }
}

fn string(text: &str) -> String {
    let mut excerpt = Excerpt::new();
    let whole = text.chars().all(|c| excerpt.push(c, true));
    let excerpt = excerpt.out;
    if text.is_empty() {
        "an empty string".to_owned()
    } else if whole {
        format!("the string \"{excerpt}\"")
    } else {
        format!(
            "a string of {} characters: \"{excerpt}\"",
            text.chars().count()
        )
    }
}

/// The start of a value's JSON, cut between characters and never inside an escape sequence. Whitespace that contains a line
/// break or a tab becomes one space.
pub(super) fn raw_excerpt(raw: &str) -> String {
    let mut excerpt = Excerpt::new();
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        let (fits, used) = match c {
            '\\' => {
                let used = unescape_one(rest).1;
                (excerpt.push_str(&rest[..used]), used)
            }
            // A string contains no raw line break or tab: this one is between two tokens.
            '\t' | '\n' | '\r' => {
                let after = rest.trim_start_matches(['\t', '\n', '\r', ' ']);
                let spaced = excerpt.out.ends_with(' ') || excerpt.push(' ', false);
                (spaced, rest.len() - after.len())
            }
            c => (excerpt.push(c, false), c.len_utf8()),
        };
        if !fits {
            break;
        }
        rest = &rest[used..];
    }
    excerpt.out
}

/// The first characters of a text, with `…` if there are more. Invisible characters are escaped as in JSON.
struct Excerpt {
    out: String,
    /// Characters that still fit.
    free: usize,
}

impl Excerpt {
    fn new() -> Self {
        Self {
            out: String::new(),
            free: MAX_EXCERPT,
        }
    }

    /// Appends a character, escaped if a reader could not see it. With `in_quotes`, quotes and backslashes are escaped too.
    /// Returns false, after an `…`, if it does not fit.
    fn push(&mut self, c: char, in_quotes: bool) -> bool {
        let mut buffer = [0; 4];
        if !is_visible(c) {
            let mut escape = String::new();
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a string cannot fail.
                let _ = write!(escape, "\\u{unit:04x}");
            }
            return self.push_str(&escape);
        }
        match c {
            '"' if in_quotes => self.push_str("\\\""),
            '\\' if in_quotes => self.push_str("\\\\"),
            c => self.push_str(c.encode_utf8(&mut buffer)),
        }
    }

    /// Appends one unit whole, or an `…` in its place.
    fn push_str(&mut self, unit: &str) -> bool {
        let width = unit.chars().count();
        let fits = width <= self.free;
        self.free = if fits { self.free - width } else { 0 };
        self.out.push_str(if fits { unit } else { "…" });
        fits
    }
}

/// Whether a character is shown as it is: no control character, no character that only changes how others are displayed
/// (direction, joining), no line separator.
pub(super) fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
