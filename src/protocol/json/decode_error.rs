//! The error of the deserialiser.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::describe::{self, Quoted};
use super::push_token;
use super::similar::{OneOf, field_hint};
use crate::protocol::error::ErrorCode;

/// A rule of the protocol that a value violates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at `{path}`")]
pub struct DecodeError {
    /// The error code.
    pub code: ErrorCode,
    /// What was expected, and what was found.
    pub detail: String,
    /// A JSON Pointer from the value that was decoded to the invalid one.
    pub path: String,
    /// The name of the violated definition in the schema.
    pub definition: Option<&'static str>,
    /// For an unknown field of the object that is being decoded: the fields that the object can have besides `type`.
    pub(super) known_fields: Option<&'static [&'static str]>,
}

impl DecodeError {
    /// An error at the value that is being decoded.
    pub fn here(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: String::new(),
            definition: None,
            known_fields: None,
        }
    }

    /// An error at the value that is being decoded: it is not what was expected.
    pub(super) fn expected(expected: &dyn Expected, found: &str) -> Self {
        let detail = format!("expected {expected}, found {found}");
        Self::here(ErrorCode::InvalidFrame, detail)
    }

    /// The same error, as seen from the value's parent: `token` is the member's name or the element's index.
    #[must_use]
    pub fn under(mut self, token: &str) -> Self {
        let mut path = String::with_capacity(token.len() + 1 + self.path.len());
        push_token(&mut path, token);
        path.push_str(&self.path);
        self.path = path;
        self.known_fields = None;
        self
    }

    /// The same error for an object that has no `type`, if it is about an unknown field of this object.
    #[must_use]
    pub(super) fn without_tag(mut self) -> Self {
        if let Some(known) = self.known_fields.take() {
            let field = self.path.get(1..).unwrap_or_default();
            let field = field.replace("~1", "/").replace("~0", "~");
            self.detail = unknown_field(&field, known);
        }
        self
    }

    /// Sets the violated definition, unless a nested one is set already.
    #[must_use]
    pub fn within(mut self, definition: &'static str) -> Self {
        self.definition.get_or_insert(definition);
        self
    }
}

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
        // The tag is read separately: `expected` does not contain it.
        let known: Vec<&str> = ["type"].iter().chain(expected).copied().collect();
        let detail = unknown_field(field, &known);
        Self {
            known_fields: Some(expected),
            ..Self::here(ErrorCode::InvalidFrame, detail).under(field)
        }
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

/// The description of an unknown field of an object that can have these fields.
fn unknown_field(field: &str, known: &[&str]) -> String {
    let hint = field_hint(field, known).unwrap_or_default();
    let found = Quoted(field);
    format!(
        "expected {}, found the unknown field {found}{hint}",
        OneOf("fields", known)
    )
}
