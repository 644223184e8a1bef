//! Content, and its comparison as a JSON value, independent of its spelling (PROTOCOL section 10, "Changes").
//!
//! Comparing or hashing content takes time for each of its values: milliseconds for 64 KiB. The writer's thread, which all users
//! share, does that for short content only. Long content is hashed by the thread that receives it, and is stored with its hash.

use std::ops::Deref;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use serde_json::{Number, Value};

/// Content with more bytes is long: it is compared by its hash.
pub const LONG: usize = 1024;

/// A keyed hash that is the same for equal values only. Without the key it reveals nothing about the value.
pub type ContentHash = [u8; 16];

/// Content of a message as validated raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    raw: Box<str>,
    hash: Option<ContentHash>,
    tag: u8,
}

impl Content {
    /// Content as it was received. If it is long, it is hashed with the store's hasher.
    pub fn new(raw: &str, hasher: &ContentHasher) -> Self {
        Self {
            raw: raw.into(),
            hash: (raw.len() > LONG).then(|| hasher.hash(raw)),
            tag: 0,
        }
    }

    /// The same with a number of the creator, for what observers of commits count. It is not stored.
    #[must_use]
    pub fn tagged(self, tag: u8) -> Self {
        Self { tag, ..self }
    }

    /// The number of the creator, or 0.
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// The hash of long content. `None`: it is short, or was not hashed by the caller.
    pub fn hash(&self) -> Option<&ContentHash> {
        self.hash.as_ref()
    }
}

impl Deref for Content {
    type Target = str;

    fn deref(&self) -> &str {
        &self.raw
    }
}

/// Content that the store has to hash itself if it is needed, on the writer's thread.
impl<T: Into<Box<str>>> From<T> for Content {
    fn from(raw: T) -> Self {
        Self {
            raw: raw.into(),
            hash: None,
            tag: 0,
        }
    }
}

/// Hashes content with the key of a store.
#[derive(Clone)]
pub struct ContentHasher {
    key: Arc<[u8]>,
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentHasher").finish_non_exhaustive()
    }
}

impl ContentHasher {
    /// A hasher with this key.
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.into() }
    }

    /// Hashes raw JSON.
    pub fn hash(&self, raw: &str) -> ContentHash {
        let mut hash = Context::new(&SHA256);
        hash.update(&self.key);
        if let Some(text) = plain_string(raw) {
            hash_string(text, &mut hash);
        } else {
            match serde_json::from_str(raw) {
                Ok(value) => hash_value(&value, &mut hash),
                Err(_) => hash.update(raw.as_bytes()),
            }
        }
        hash.finish()
            .as_ref()
            .first_chunk()
            .copied()
            .unwrap_or_default()
    }

    /// True if two contents are the same value. Hashes that are known of long ones need not be computed.
    pub fn same(&self, a: (&str, Option<&ContentHash>), b: (&str, Option<&ContentHash>)) -> bool {
        if a.0 == b.0 {
            return true;
        }
        if a.0.len() <= LONG && b.0.len() <= LONG {
            return equal(a.0, b.0);
        }
        let hash = |(raw, known): (&str, Option<&ContentHash>)| {
            known.copied().unwrap_or_else(|| self.hash(raw))
        };
        hash(a) == hash(b)
    }
}

/// The characters of a string without escapes.
fn plain_string(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !text.bytes().any(|byte| byte == b'\\' || byte == b'"');
    is_plain.then_some(text)
}

/// True if two raw JSON texts are the same value: members in any order, strings by their characters, numbers by their value.
fn equal(a: &str, b: &str) -> bool {
    match (serde_json::from_str(a), serde_json::from_str(b)) {
        (Ok(a), Ok(b)) => same(&a, &b),
        _ => false,
    }
}

fn hash_string(text: &str, hash: &mut Context) {
    hash.update(b"s");
    hash.update(&(text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn hash_value(value: &Value, hash: &mut Context) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(value) => hash.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => {
            hash.update(b"#");
            match Exact::of(number) {
                Exact::Integer(integer) => hash.update(&integer.to_be_bytes()),
                Exact::Fraction(float) => hash.update(&float.to_be_bytes()),
            }
        }
        Value::String(text) => hash_string(text, hash),
        Value::Array(values) => {
            hash.update(b"[");
            hash.update(&(values.len() as u64).to_be_bytes());
            for value in values {
                hash_value(value, hash);
            }
        }
        Value::Object(members) => {
            hash.update(b"{");
            hash.update(&(members.len() as u64).to_be_bytes());
            let mut names: Vec<_> = members.keys().collect();
            names.sort_unstable();
            for name in names {
                hash_string(name, hash);
                hash_value(&members[name], hash);
            }
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// `1` and `1.0` are the same number (PROTOCOL section 1.6); integers beyond the precision of a double stay distinct.
fn same_number(a: &Number, b: &Number) -> bool {
    Exact::of(a) == Exact::of(b)
}

/// The value of a number, independent of its spelling.
#[derive(Debug, PartialEq)]
enum Exact {
    Integer(i128),
    Fraction(f64),
}

impl Exact {
    fn of(number: &Number) -> Self {
        /// Beyond 64 bits, JSON numbers are doubles.
        const MAX: f64 = 18_446_744_073_709_551_616.0;
        if let Some(integer) = number.as_u64() {
            return Self::Integer(integer.into());
        }
        if let Some(integer) = number.as_i64() {
            return Self::Integer(integer.into());
        }
        let float = number.as_f64().unwrap_or_default();
        if float.fract() == 0.0 && float.abs() < MAX {
            // Integral and in range: the cast is exact.
            return Self::Integer(float as i128);
        }
        Self::Fraction(float)
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, ContentHasher, LONG, equal};

    fn hasher() -> ContentHasher {
        ContentHasher::new(b"k")
    }

    #[test]
    fn contents_are_compared_by_value() {
        for (a, b) in [
            (r#""a""#, r#""\u0061""#),
            (r#"{"a":1,"b":[2,3]}"#, r#"{ "b": [2, 3.0], "a": 1e0 }"#),
            ("0", "-0.0"),
            ("1e2", "100"),
            ("9100000000000000", "9.1e15"),
            ("10000000000000000", "1e16"),
            ("-9223372036854775808", "-9.223372036854775808e18"),
            ("1e300", "10e299"),
        ] {
            assert!(equal(a, b), "{a} {b}");
            assert_eq!(hasher().hash(a), hasher().hash(b), "{a} {b}");
        }
        for (a, b) in [
            (r#""a""#, r#""A""#),
            ("[1,2]", "[2,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("9007199254740993", "9007199254740992"),
            ("9007199254740993", "9007199254740992.0"),
            ("1", r#""1""#),
            ("null", "false"),
        ] {
            assert!(!equal(a, b), "{a} {b}");
            assert_ne!(hasher().hash(a), hasher().hash(b), "{a} {b}");
        }
    }

    #[test]
    fn long_contents_are_compared_by_their_hashes() {
        let long = "x".repeat(LONG);
        let (a, b) = (
            format!(r#"{{"a":1,"b":"{long}"}}"#),
            format!(r#"{{"b":"{long}","a":1.0}}"#),
        );
        let other = format!(r#"{{"b":"{long}","a":2}}"#);
        let [a, b, other] = [a, b, other].map(|raw| Content::new(&raw, &hasher()));
        let same = |a: &Content, b: &Content| hasher().same((a, a.hash()), (b, b.hash()));
        assert!(same(&a, &b) && !same(&a, &other));
        // Without a known hash it is computed.
        let unknown = Content::from(&*b);
        assert!(unknown.hash().is_none() && same(&a, &unknown) && !same(&other, &unknown));
        // A known one is not computed again.
        assert!(!hasher().same((&a, a.hash()), (&b, Some(&[0; 16]))));
        assert_eq!(Content::new(r#""short""#, &hasher()).hash(), None);
        // Long and short spellings of one value.
        let escaped = format!(r#""{}""#, "\\u0061".repeat(LONG / 4));
        let plain = format!(r#""{}""#, "a".repeat(LONG / 4));
        let [escaped, plain] = [escaped, plain].map(|raw| Content::new(&raw, &hasher()));
        assert!(escaped.hash().is_some() && plain.hash().is_none() && same(&escaped, &plain));
    }
}
