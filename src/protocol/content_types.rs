//! Content types of a deployment (PROTOCOL section 3): JSON Schemas of the operator, and the validator of all content whose type
//! they define.
//!
//! A schema is read in five steps. `schema` checks its keywords and builds a graph of its subschemas. `cost` computes how long
//! the validation of the largest content may take, and rejects a schema for which there is no sufficient bound. `emit` writes
//! the graph as an equivalent schema that contains only keywords whose cost is known, and `jsonschema` compiles it. `named` rejects a
//! schema that no content of its type can satisfy.
//! `violation` translates an error of `jsonschema` to the form of the protocol.

mod cost;
mod emit;
mod multiple_of;
mod named;
mod pattern;
mod publish;
mod schema;
mod violation;

use std::collections::HashMap;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::error::FrameError;
use super::types::is_name;
use schema::Graph;

/// The most content types of a server.
pub const MAX_TYPES: usize = 64;
/// The most bytes of a schema.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// A schema as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaSource {
    /// The `type` of the content that the schema describes.
    pub name: String,
    /// The schema, in JSON.
    pub text: String,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidSchema {
    /// The name of the type; `None`: the fault concerns all types together.
    pub name: Option<String>,
    /// The reason, with the place in the schema.
    pub reason: String,
    /// The schema could be used, but no content of the type satisfies it.
    pub is_unsatisfiable: bool,
}

/// Why a schema cannot be used, and whether no content of its type satisfies it.
struct Fault {
    reason: String,
    is_unsatisfiable: bool,
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_unsatisfiable: false,
        }
    }
}

/// Checks that a schema may contain a regular expression (`pattern`, a name in `patternProperties`): it has the syntax of ECMA-262,
/// and matching it takes a short time.
///
/// # Errors
/// The reason for which it cannot be used.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    pattern::check(pattern)
}

/// The compiled schemas of a deployment.
#[derive(Debug, Default)]
pub struct ContentTypes {
    types: Vec<ContentType>,
    by_name: HashMap<String, usize>,
}

/// A compiled schema.
#[derive(Debug)]
struct ContentType {
    name: String,
    /// JSON Pointers of the definitions in the compiled schema.
    definitions: HashMap<String, String>,
    validator: Validator,
    /// The definition in the published schemas.
    published: Value,
}

/// The reference to the definition of a content type in a published schema.
pub(super) fn reference(name: &str) -> String {
    publish::reference(name, "")
}

impl ContentTypes {
    /// Checks and compiles schemas. The order of the types is that of their names.
    ///
    /// # Errors
    /// [`InvalidSchema`] names the first schema that cannot be used, and the reason.
    pub fn compile(mut sources: Vec<SchemaSource>) -> Result<Self, InvalidSchema> {
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        if sources.len() > MAX_TYPES {
            let count = sources.len();
            return Err(InvalidSchema {
                name: None,
                reason: format!("has {count} content types; at most {MAX_TYPES} are possible"),
                is_unsatisfiable: false,
            });
        }
        let mut set = Self::default();
        for source in &sources {
            let invalid = |fault: Fault| InvalidSchema {
                name: Some(source.name.clone()),
                reason: fault.reason,
                is_unsatisfiable: fault.is_unsatisfiable,
            };
            let compiled = ContentType::compile(source).map_err(invalid)?;
            let index = set.types.len();
            if set.by_name.insert(source.name.clone(), index).is_some() {
                let reason = "a second schema has the same name".to_owned();
                return Err(invalid(reason.into()));
            }
            set.types.push(compiled);
        }
        Ok(set)
    }

    /// The names of the types, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|found| &*found.name)
    }

    /// Names and published definitions of the types.
    pub(super) fn published(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.types
            .iter()
            .map(|found| (&*found.name, &found.published))
    }

    /// Whether a type of this name is loaded.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Validates the content of a message whose `type` is `name`. `raw` is its JSON. `None`: no type of this name is loaded.
    ///
    /// # Errors
    /// [`FrameError`] names the rule that the content violates.
    pub(super) fn validate(&self, name: &str, raw: &str) -> Option<Result<(), Box<FrameError>>> {
        let found = &self.types[*self.by_name.get(name)?];
        Some(found.validate(raw))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(
            "the name must have 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -".to_owned(),
        );
    }
    if !name.contains('.') {
        return Err("the name must contain a dot, as in `order.updated`".to_owned());
    }
    Ok(())
}

/// Compiles a schema that `emit` has written.
fn validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(pattern::PROGRAM_BYTES))
        .with_keyword(multiple_of::KEYWORD, multiple_of::compile)
        .build(schema)
}

impl ContentType {
    fn compile(source: &SchemaSource) -> Result<Self, Fault> {
        let SchemaSource { name, text } = source;
        check_name(name)?;
        if text.len() > MAX_SCHEMA_BYTES {
            let bytes = text.len();
            let reason = format!("has {bytes} bytes; at most {MAX_SCHEMA_BYTES} are possible");
            return Err(reason.into());
        }
        let document = schema::read(text)?;
        let graph = Graph::build(&document)?;
        cost::check(&graph)?;
        let (compiled, definitions) = emit::emit(&graph);
        let validator = validator(&compiled)
            .map_err(|error| format!("at {}: {error}", error.instance_path()))?;
        named::check(&graph, name).map_err(|reason| Fault {
            reason,
            is_unsatisfiable: true,
        })?;
        Ok(Self {
            name: name.clone(),
            definitions,
            validator,
            published: publish::definition(&document, &graph, name),
        })
    }

    fn validate(&self, raw: &str) -> Result<(), Box<FrameError>> {
        // The scanner has checked the content, so it can be parsed.
        let Ok(content) = serde_json::from_str::<Value>(raw) else {
            return Err(Box::new(violation::unreadable(&self.name)));
        };
        self.validator.validate(&content).map_err(|error| {
            Box::new(violation::describe(
                &error,
                &content,
                &self.name,
                &self.definitions,
            ))
        })
    }
}
