//! The error of decoding: the rule that a value breaks, and the place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::push_token;
use crate::protocol::error::ErrorCode;

/// A rule of the contract that a value broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The code to answer with.
    pub code: ErrorCode,
    /// For people: what was expected, what was found.
    pub detail: String,
    /// JSON Pointer of the offending place.
    pub path: String,
    /// Name of the definition in the schema that was broken.
    pub definition: Option<&'static str>,
}

impl DecodeError {
    /// A mismatch at the value that is being read.
    pub fn here(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: String::new(),
            definition: None,
        }
    }

    /// The same mismatch, seen from one level further out.
    #[must_use]
    pub fn under(mut self, token: &str) -> Self {
        let mut path = String::with_capacity(token.len() + 1 + self.path.len());
        push_token(&mut path, token);
        path.push_str(&self.path);
        self.path = path;
        self
    }

    /// Names the definition that was broken, unless a narrower one is named already.
    #[must_use]
    pub fn within(mut self, definition: &'static str) -> Self {
        self.definition.get_or_insert(definition);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at `{}`", self.detail, self.path)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::here(ErrorCode::InvalidFrame, message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {expected}, found {}",
            Found(unexpected)
        ))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {expected}, found {}",
            Found(unexpected)
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = if expected.is_empty() {
            "no fields but `type` and `ref`".to_owned()
        } else {
            format!("one of the fields {}", expected.join(", "))
        };
        Self::custom(format_args!("expected {known}, found an unknown field")).under(field)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        let detail = format!("expected one of {known}, found another type");
        Self::here(ErrorCode::UnknownType, detail).under("type")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("expected the field `{field}`, found none")).under(field)
    }
}

/// Says what a value is without repeating what is in it: contents do not belong in errors.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str("") => f.write_str("an empty string"),
            Unexpected::Str(text) => write!(f, "a string of {} characters", text.chars().count()),
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("an array"),
            Unexpected::Map => f.write_str("an object"),
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(n) => write!(f, "{n}"),
            Unexpected::Signed(n) => write!(f, "{n}"),
            Unexpected::Float(n) => write!(f, "{n}"),
            other => write!(f, "{other}"),
        }
    }
}
