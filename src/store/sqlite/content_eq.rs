//! Compares contents as JSON values, independent of their spelling (PROTOCOL section 10, "Changes").

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

/// A keyed hash of content.
pub type ContentHash = [u8; 16];

/// True if two raw JSON texts are the same value: members in any order, strings by their characters, numbers by their value.
pub fn equal(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (serde_json::from_str(a), serde_json::from_str(b)) {
        (Ok(a), Ok(b)) => same(&a, &b),
        _ => false,
    }
}

/// A keyed hash that is the same for equal values only. Without the key it reveals nothing about the value.
pub fn keyed_hash(key: &[u8], raw: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(key);
    match serde_json::from_str(raw) {
        Ok(value) => hash_value(&value, &mut hash),
        Err(_) => hash.update(raw),
    }
    hash.finalize()[..16].to_vec()
}

fn hash_value(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(value) => hash.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => {
            hash.update(b"#");
            match Exact::of(number) {
                Exact::Integer(integer) => hash.update(integer.to_be_bytes()),
                Exact::Fraction(float) => hash.update(float.to_be_bytes()),
            }
        }
        Value::String(text) => {
            hash.update(b"s");
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Value::Array(values) => {
            hash.update(b"[");
            hash.update((values.len() as u64).to_be_bytes());
            for value in values {
                hash_value(value, hash);
            }
        }
        Value::Object(members) => {
            hash.update(b"{");
            hash.update((members.len() as u64).to_be_bytes());
            let mut names: Vec<_> = members.keys().collect();
            names.sort_unstable();
            for name in names {
                hash_value(&Value::String(name.clone()), hash);
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
    use super::{equal, keyed_hash};

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
            assert_eq!(keyed_hash(b"k", a), keyed_hash(b"k", b), "{a} {b}");
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
            assert_ne!(keyed_hash(b"k", a), keyed_hash(b"k", b), "{a} {b}");
        }
    }
}
