//! The error of content that violates its schema.

use std::borrow::Cow;
use std::collections::HashMap;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::publish::reference;
use crate::protocol::error::{ErrorCode, FrameError};
use crate::protocol::json::{Quoted, describe_value, push_token};

/// The longest list of values in a detail.
const MAX_LISTED: usize = 10;

/// The error of content that cannot be parsed.
pub(super) fn unreadable(name: &str) -> FrameError {
    invalid(
        name,
        "/message".to_owned(),
        "the content cannot be read",
        "",
    )
}

/// Translates an error. `definitions` are the pointers of the definitions in the compiled schema.
pub(super) fn describe(
    error: &ValidationError<'_>,
    content: &Value,
    name: &str,
    definitions: &HashMap<String, String>,
) -> FrameError {
    let mut path = "/message".to_owned();
    path.push_str(error.instance_path().as_str());
    let found = content.pointer(error.instance_path().as_str());
    let found = || found.map_or_else(|| "nothing".to_owned(), describe_value);
    let expected = |what: &dyn std::fmt::Display| format!("expected {what}, found {}", found());
    let detail = match error.kind() {
        Kind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            push_token(&mut path, property);
            format!("expected the field {}, found none", Quoted(property))
        }
        Kind::AdditionalProperties { unexpected } => {
            let property = unexpected.first().map_or("", |name| &**name);
            push_token(&mut path, property);
            format!("the field {} is not allowed here", Quoted(property))
        }
        Kind::PropertyNames { .. } => {
            // The error is that of the first invalid name.
            let property = error_name(error);
            push_token(&mut path, &property);
            format!("the field name {} is not allowed here", Quoted(&property))
        }
        Kind::FalseSchema => "no value is allowed here".to_owned(),
        Kind::Type { kind } => expected(&types(kind)),
        Kind::Constant { expected_value } => expected(&describe_value(expected_value)),
        Kind::Enum { options } => expected(&listed(options)),
        Kind::Minimum { limit } => expected(&format_args!("a number of at least {limit}")),
        Kind::Maximum { limit } => expected(&format_args!("a number of at most {limit}")),
        Kind::ExclusiveMinimum { limit } => expected(&format_args!("a number above {limit}")),
        Kind::ExclusiveMaximum { limit } => expected(&format_args!("a number below {limit}")),
        Kind::Custom { .. } => expected(&"another multiple (`multipleOf`)"),
        Kind::MinLength { limit } => expected(&format_args!("at least {limit} characters")),
        Kind::MaxLength { limit } => expected(&format_args!("at most {limit} characters")),
        Kind::Pattern { pattern } => {
            expected(&format_args!("a string that matches {}", Quoted(pattern)))
        }
        Kind::MinItems { limit } => expected(&format_args!("at least {limit} elements")),
        Kind::MaxItems { limit } => expected(&format_args!("at most {limit} elements")),
        Kind::MinProperties { limit } => expected(&format_args!("at least {limit} fields")),
        Kind::MaxProperties { limit } => expected(&format_args!("at most {limit} fields")),
        Kind::UniqueItems => "expected elements that differ, found two equal ones".to_owned(),
        Kind::Contains => "the elements do not satisfy `contains`".to_owned(),
        // A combination is negated twice in the compiled schema.
        Kind::Not { schema } => match combination(schema) {
            Some("anyOf") => expected(&"a value that matches one of the schemas in `anyOf`"),
            Some(_) => expected(&"a value that matches exactly one of the schemas in `oneOf`"),
            None => expected(&"a value that does not match the schema in `not`"),
        },
        _ => error.masked().to_string(),
    };
    invalid(name, path, detail, definition(error, definitions))
}

fn invalid(name: &str, path: String, detail: impl Into<String>, pointer: &str) -> FrameError {
    let reference = reference(name, pointer);
    let definition = reference.strip_prefix("#/$defs/").map(str::to_owned);
    FrameError {
        path: Some(path),
        definition: definition.map(Cow::Owned),
        ..FrameError::new(ErrorCode::InvalidContent, detail)
    }
}

/// The pointer of the definition whose rule was violated: that of the last reference in a definition of the schema, or the
/// schema itself.
fn definition<'a>(
    error: &ValidationError<'_>,
    definitions: &'a HashMap<String, String>,
) -> &'a str {
    let mut parts = error.schema_path().as_str().split('/').skip(1);
    let pointer = match (parts.next(), parts.next()) {
        (Some("$defs"), Some(name)) => definitions.get(name),
        _ => None,
    };
    pointer
        .filter(|pointer| pointer.starts_with("/$defs/") || pointer.starts_with("/definitions/"))
        .map_or("", |pointer| &**pointer)
}

fn error_name(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::PropertyNames { error } => {
            let name = error.instance().as_str();
            name.unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

/// The combinator of a schema that was negated twice.
fn combination(negated: &Value) -> Option<&str> {
    let inner = negated.get("not")?.as_object()?;
    let keyword = inner.keys().next()?;
    matches!(keyword.as_str(), "anyOf" | "oneOf").then_some(keyword.as_str())
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => format!("the type `{one}`"),
        TypeKind::Multiple(several) => {
            let names: Vec<String> = several.iter().map(|one| format!("`{one}`")).collect();
            format!("one of the types {}", names.join(", "))
        }
    }
}

fn listed(options: &Value) -> String {
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<String> = options
        .iter()
        .take(MAX_LISTED)
        .map(describe_value)
        .collect();
    if options.len() > MAX_LISTED {
        names.push(format!("{} others", options.len() - MAX_LISTED));
    }
    format!("one of {}", names.join(", "))
}
