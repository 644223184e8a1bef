//! JSON values as JSON Schema sees them: numbers by their value, and the seven types.

use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr};

use serde_json::{Number, Value};

/// A set of JSON types. Integers and other numbers are two types here; `number` is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Types(u8);

impl Types {
    pub const NONE: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(1 << 1);
    pub const INTEGER: Self = Self(1 << 2);
    pub const FRACTION: Self = Self(1 << 3);
    pub const STRING: Self = Self(1 << 4);
    pub const ARRAY: Self = Self(1 << 5);
    pub const OBJECT: Self = Self(1 << 6);
    pub const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    pub const ALL: Self = Self((1 << 7) - 1);

    /// The types that a name in `type` stands for.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if is_integer(number) => Self::INTEGER,
            Value::Number(_) => Self::FRACTION,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub fn contains(self, other: Self) -> bool {
        self & other == other
    }

    pub fn overlaps(self, other: Self) -> bool {
        !(self & other).is_empty()
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The types of the set, one by one.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..7)
            .map(|bit| Self(1 << bit))
            .filter(move |one| self.contains(*one))
    }

    /// A value of the first type of the set, in words.
    pub fn example(self) -> &'static str {
        match self.each().next() {
            Some(Self::NULL) => "null",
            Some(Self::BOOLEAN) => "a boolean",
            Some(Self::INTEGER) => "an integer",
            Some(Self::FRACTION) => "a number that is not an integer",
            Some(Self::STRING) => "a string",
            Some(Self::ARRAY) => "an array",
            Some(Self::OBJECT) => "an object",
            _ => "a value",
        }
    }
}

impl BitAnd for Types {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Types {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The number as an integer, if it is one and small enough for exact calculations.
pub(super) fn integer(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(value.into());
    }
    if let Some(value) = number.as_u64() {
        return Some(value.into());
    }
    let value = number.as_f64()?;
    // Below 2^100, the conversion of an integral double is exact.
    (value.fract() == 0.0 && value.abs() < 2f64.powi(100)).then_some(value as i128)
}

fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

/// Compares two numbers by their exact values.
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_integer(a, b.as_f64().unwrap_or(f64::NAN)),
        (None, Some(b)) => compare_integer(b, a.as_f64().unwrap_or(f64::NAN)).reverse(),
        (None, None) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
    }
}

/// Compares an integer with a double that is not an integer, or is beyond 2^100.
fn compare_integer(a: i128, b: f64) -> Ordering {
    if b.abs() >= 2f64.powi(100) {
        return if b > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    // `b` lies between two integers.
    if a <= b.floor() as i128 {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// Equality as JSON Schema defines it: `1` equals `1.0`, and the order of members does not matter.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Whether every multiple of `a` is a multiple of `b`; false also if it cannot be calculated exactly.
pub(super) fn divides(b: &Number, a: &Number) -> bool {
    if compare(a, b) == Ordering::Equal {
        return true;
    }
    matches!((integer(a), integer(b)), (Some(a), Some(b)) if b != 0 && a % b == 0)
}

/// The JSON of a value, shortened for a message.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(57).chain("...".chars()).collect()
}
