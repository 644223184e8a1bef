//! Compatibility of two versions of the schemas of content types (`dmwire schema check`).
//!
//! A schema is both a promise of writers, who send only what it allows, and an expectation of readers. While a new version is
//! introduced, writers and readers of both versions exist. A change is compatible if neither notices the other version:
//!
//! 1. **Old writers are accepted.** Every value that the old schema allows is allowed by the new one. Otherwise the server
//!    rejects messages of programs that have not been updated.
//! 2. **Old readers understand new writers.** Every value that the new schema allows is allowed by the old one. Otherwise
//!    programs that have not been updated receive messages that they do not expect.
//!
//! There is one exception, without which no schema could ever be extended: where the old schema describes a value and allows
//! any further property in it (it is *open*), the new schema may describe an optional one. Rule 1 then assumes that old
//! writers do not send that property. It does not apply where the old schema restricts further properties
//! (`additionalProperties`, `patternProperties` or `unevaluatedProperties`): names are data there.
//!
//! For example:
//!
//! | change | compatible |
//! |---|---|
//! | add a type | yes |
//! | remove a type | no (rule 1) |
//! | add an optional property where the old schema is open | yes |
//! | add an optional property where it is not (`"additionalProperties": false`) | no (rule 2) |
//! | add a required property | no (rule 1) |
//! | make a required property optional | no (rule 2) |
//! | make an optional property required | no (rule 1) |
//! | remove a property | no: rule 1 if the schema is closed; otherwise rule 2, as new writers may then send anything under that name |
//! | widen a limit, or add a value to an `enum` | no (rule 2) |
//! | narrow a limit, or remove a value from an `enum` | no (rule 1) |
//! | write the same differently (`const` and `enum`, `$ref` and its target, `integer` and `multipleOf: 1`), or change annotations | yes |
//!
//! The properties are compared for objects whose `type` is the name of the content type, as the server applies the schemas to
//! no others. All keywords of draft 2020-12 that restrict values are compared; `$ref` is followed within the file, also if it
//! is recursive. Annotations (`title`, `description`, `default`, `examples`, `format`, ...) and unknown keywords are ignored.
//!
//! Regular expressions must be such that the server loads the schema, also those in definitions that nothing refers to.
//!
//! Inclusion of schemas is not decidable with reasonable effort in general. What is not proved to be compatible counts as
//! breaking: for example, regular expressions are compared by their text, and a comparison that takes too many steps is given
//! up. The reverse does not happen: a change that is reported as compatible follows the rules above.

use std::fmt;

use serde_json::Value;

mod conjunction;
mod evaluate;
mod facts;
mod pattern;
mod place;
mod prove;
mod read;
mod same;
mod schema;
mod set;
mod unevaluated;
mod value;

pub use read::SchemaError;
pub use set::{InputError, SchemaSet};

use prove::{Failure, Prover};
use schema::Graph;

/// The rule that a change violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An old writer may send something that the new schema rejects.
    OldWriter,
    /// A new writer may send something that the old schema does not allow.
    NewWriter,
}

/// A change that is not compatible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// The content type.
    pub content_type: String,
    /// JSON Pointer of the keyword that rejects the value, in the new schema for [`Rule::OldWriter`] and in the old one for
    /// [`Rule::NewWriter`]. Empty for the whole schema.
    pub location: String,
    /// The rule that is violated.
    pub rule: Rule,
    /// What may be sent, in words.
    pub sent: String,
}

/// One line: type, location, and what may be sent.
impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            content_type,
            location,
            rule,
            sent,
        } = self;
        let location = if location.is_empty() {
            "\"\""
        } else {
            location
        };
        let (writer, outcome) = match rule {
            Rule::OldWriter => ("an old writer may send", "which is now rejected"),
            Rule::NewWriter => ("a new writer may send", "which an old reader did not allow"),
        };
        // File names and property names may contain line breaks; a break is one line.
        let line = format!("{content_type}: {location}: {writer} {sent}, {outcome}");
        f.write_str(&line.replace('\n', "\\n").replace('\r', "\\r"))
    }
}

/// Compares two sets of content types. The breaks are sorted by type and location; none: the change is compatible.
///
/// # Errors
/// A schema of one of the sets cannot be used.
pub fn check(old: &SchemaSet, new: &SchemaSet) -> Result<Vec<Break>, InputError> {
    // All schemas are read, also those that the other set does not have.
    for schema in old.iter().chain(new.iter()) {
        let added = Graph::default().add(&schema.value);
        added.map_err(|error| InputError::Schema(schema.path.clone(), error))?;
    }
    if let (Some(old), Some(new)) = (old.single(), new.single()) {
        let content_type =
            (old.name == new.name && set::is_content_type(&new.name)).then_some(new.name.as_str());
        let breaks = compare_as(&new.name, content_type, &old.value, &new.value);
        return breaks.map_err(|error| InputError::Schema(new.path.clone(), error));
    }
    if old.single().is_some() || new.single().is_some() {
        return Err(InputError::Mixed);
    }
    let mut breaks = Vec::new();
    for schema in old.iter() {
        match new.get(&schema.name) {
            Some(changed) => {
                let found = compare(&schema.name, &schema.value, &changed.value);
                breaks.extend(
                    found.map_err(|error| InputError::Schema(changed.path.clone(), error))?,
                );
            }
            None => breaks.push(Break {
                content_type: schema.name.clone(),
                location: String::new(),
                rule: Rule::OldWriter,
                sent: "content of this type".to_owned(),
            }),
        }
    }
    Ok(breaks)
}

/// Compares two versions of the schema of one content type.
///
/// # Errors
/// One of the schemas cannot be used.
pub fn compare(content_type: &str, old: &Value, new: &Value) -> Result<Vec<Break>, SchemaError> {
    compare_as(content_type, Some(content_type), old, new)
}

/// Compares two schemas; with a content type, for objects of that type only.
fn compare_as(
    name: &str,
    content_type: Option<&str>,
    old: &Value,
    new: &Value,
) -> Result<Vec<Break>, SchemaError> {
    let mut graph = Graph::default();
    let (old, new) = (graph.add(old)?, graph.add(new)?);
    let content = content_type.map(|name| graph.content(name));
    let mut prover = Prover::new(graph);
    let sent = |schema| [schema].into_iter().chain(content).collect::<Vec<_>>();
    let rules = [
        (
            Rule::OldWriter,
            prover.includes(&sent(old), new, Some((old, new))),
        ),
        (Rule::NewWriter, prover.includes(&sent(new), old, None)),
    ];
    let mut breaks = Vec::new();
    for (rule, proof) in rules {
        let failures = proof.err().unwrap_or_default().into_iter();
        breaks.extend(failures.map(|Failure { pointer, what }| Break {
            content_type: name.to_owned(),
            location: pointer,
            rule,
            sent: what,
        }));
    }
    breaks.sort();
    breaks.dedup();
    Ok(breaks)
}

#[cfg(test)]
mod tests;
