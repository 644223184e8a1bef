//! Whether two contents are the same JSON value, however they are spelled (PROTOCOL section 10, "Changes").

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

/// Whether two raw JSON texts are the same value: members in any order, strings by their characters, numbers by their
/// value.
pub fn value(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (serde_json::from_str(a), serde_json::from_str(b)) {
        (Ok(a), Ok(b)) => same(&a, &b),
        _ => false,
    }
}

/// A mark that equal values have in common, and others do not. It tells nothing of the value to who has not the key.
pub fn mark(key: &[u8], raw: &str) -> Vec<u8> {
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
            // As `same_number` has it: integers by their digits, however they are spelled.
            let float = number.as_f64().unwrap_or(0.0);
            let text = if number.is_f64() && float.fract() == 0.0 && float.abs() < 9.1e15 {
                format!("#{float:.0}").replace("-0", "0")
            } else {
                format!("#{number}")
            };
            hash.update(text.as_bytes());
        }
        Value::String(text) => {
            hash.update(b"s");
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Value::Array(values) => {
            hash.update(b"[");
            hash.update((values.len() as u64).to_be_bytes());
            values.iter().for_each(|value| hash_value(value, hash));
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

/// `1` and `1.0` are one number (PROTOCOL section 1.6); integers beyond a double's precision stay apart.
fn same_number(a: &Number, b: &Number) -> bool {
    if (a.is_u64() || a.is_i64()) && (b.is_u64() || b.is_i64()) {
        return a == b;
    }
    a.as_f64() == b.as_f64()
}

#[cfg(test)]
mod tests {
    use super::{mark, value};

    #[test]
    fn values_are_compared_not_spellings() {
        for (a, b) in [
            (r#""a""#, r#""\u0061""#),
            (r#"{"a":1,"b":[2,3]}"#, r#"{ "b": [2, 3.0], "a": 1e0 }"#),
            ("0", "-0.0"),
            ("1e2", "100"),
        ] {
            assert!(value(a, b), "{a} {b}");
            assert_eq!(mark(b"k", a), mark(b"k", b), "{a} {b}");
        }
        for (a, b) in [
            (r#""a""#, r#""A""#),
            ("[1,2]", "[2,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("9007199254740993", "9007199254740992"),
            ("1", r#""1""#),
            ("null", "false"),
        ] {
            assert!(!value(a, b), "{a} {b}");
            assert_ne!(mark(b"k", a), mark(b"k", b), "{a} {b}");
        }
    }
}
