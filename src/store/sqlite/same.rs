//! Whether two contents are the same JSON value, however they are spelled (PROTOCOL section 10, "Changes").

use serde_json::{Number, Value};

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
    use super::value;

    #[test]
    fn values_are_compared_not_spellings() {
        for (a, b) in [
            (r#""a""#, r#""\u0061""#),
            (r#"{"a":1,"b":[2,3]}"#, r#"{ "b": [2, 3.0], "a": 1e0 }"#),
            ("0", "-0.0"),
            ("1e2", "100"),
        ] {
            assert!(value(a, b), "{a} {b}");
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
        }
    }
}
