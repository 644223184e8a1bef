//! The error of decoding: the rule that a value breaks, and the place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::describe::{self, Quoted};
use super::push_token;
use super::similar::{OneOf, field_hint};
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

    /// "expected ..., found ..." at the value that is being read.
    pub(super) fn expected(expected: &dyn Expected, found: &str) -> Self {
        let detail = format!("expected {expected}, found {found}");
        Self::here(ErrorCode::InvalidFrame, detail)
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
        Self::expected(expected, &describe::unexpected(unexpected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        // The tag is read before the fields, and is none of them.
        let known: Vec<&str> = ["type"].iter().chain(expected).copied().collect();
        let hint = field_hint(field, &known).unwrap_or_default();
        let found = format!("the unknown field {}{hint}", Quoted(field));
        Self::custom(format_args!(
            "expected {}, found {found}",
            OneOf("fields", &known)
        ))
        .under(field)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let expected = OneOf("types", expected);
        let detail = format!(
            "expected {expected}, found the unknown type {}",
            Quoted(found)
        );
        Self::here(ErrorCode::UnknownType, detail).under("type")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("expected the field `{field}`, found none")).under(field)
    }
}
