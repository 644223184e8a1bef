//! Checks that content of a type can satisfy its schema at all: its `type` is the name of the schema's file.
//!
//! Only what follows from `type` alone is decided. Conditions that depend on other members (`if`, `not`, and so on) are not examined.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::schema::{Graph, Id, Subschema};
use super::{emit, validator};
use crate::protocol::json::push_token;

/// Subschemas that apply to the same value are examined up to this depth.
const MAX_DEPTH: usize = 64;

/// Checks that the schema allows an object whose `type` is `name`.
///
/// # Errors
/// The place in the schema that no such object satisfies.
pub(super) fn check(graph: &Graph, name: &str) -> Result<(), String> {
    let mut check = Check {
        graph,
        name,
        known: HashMap::new(),
        depth: 0,
    };
    match check.fault(0) {
        None => Ok(()),
        Some(pointer) => {
            let reason = format!("no content is valid, because its `type` is `{name}`");
            Err(match pointer.as_str() {
                "" => reason,
                pointer => format!("at {pointer}: {reason}"),
            })
        }
    }
}

struct Check<'a> {
    graph: &'a Graph,
    name: &'a str,
    /// The results for subschemas that several others refer to.
    known: HashMap<Id, Option<String>>,
    depth: usize,
}

impl Check<'_> {
    /// The place that no object with this `type` satisfies. `None`: there may be one that satisfies the subschema.
    fn fault(&mut self, id: Id) -> Option<String> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let graph = self.graph;
        let node = &graph.nodes[id];
        let found = self
            .own_fault(node)
            .or_else(|| self.member_fault(node))
            .or_else(|| self.combined_fault(node));
        self.depth -= 1;
        self.known.insert(id, found.clone());
        found
    }

    fn own_fault(&self, node: &Subschema) -> Option<String> {
        let is_content =
            |value: &Value| value.get("type").and_then(Value::as_str) == Some(self.name);
        let is_satisfied = |(keyword, value): (&String, &Value)| match keyword.as_str() {
            "type" => match value {
                Value::Array(types) => types.contains(&json!("object")),
                one => one == "object",
            },
            "const" => is_content(value),
            "enum" => value
                .as_array()
                .is_none_or(|options| options.iter().any(is_content)),
            "maxProperties" => value.as_f64() != Some(0.0),
            _ => true,
        };
        if node.boolean == Some(false) {
            return Some(node.pointer.clone());
        }
        let mut assertions = node.assertions.iter();
        let (keyword, _) = assertions.find(|assertion| !is_satisfied(*assertion))?;
        Some(join(&node.pointer, keyword))
    }

    /// What the subschema says of the member `type`.
    fn member_fault(&self, node: &Subschema) -> Option<String> {
        let place = |id: Id| self.graph.nodes[id].pointer.clone();
        if let Some(names) = node.property_names
            && !self.accepts(names, "type")
        {
            return Some(place(names));
        }
        let properties = node.properties.iter().filter(|(name, _)| name == "type");
        let patterns = node.pattern_properties.iter();
        let patterns = patterns.filter(|(pattern, _)| matches(pattern, "type"));
        let mut applied: Vec<Id> = properties.chain(patterns).map(|(_, id)| *id).collect();
        if applied.is_empty() {
            applied.extend(node.additional_properties);
        }
        let mut applied = applied.into_iter();
        applied.find(|id| !self.accepts(*id, self.name)).map(place)
    }

    fn combined_fault(&mut self, node: &Subschema) -> Option<String> {
        let dependent = node.dependent.iter().filter(|(name, _)| name == "type");
        let applied = dependent.map(|(_, id)| *id).chain(node.reference);
        for id in applied {
            if let Some(fault) = self.fault(id) {
                return Some(fault);
            }
        }
        for (keyword, ids) in &node.in_place {
            let fault = match *keyword {
                "allOf" => ids.iter().find_map(|id| self.fault(*id)),
                "anyOf" | "oneOf" => ids
                    .iter()
                    .all(|id| self.fault(*id).is_some())
                    .then(|| join(&node.pointer, keyword)),
                _ => None,
            };
            if fault.is_some() {
                return fault;
            }
        }
        None
    }

    /// Whether a subschema allows a string.
    fn accepts(&self, id: Id, text: &str) -> bool {
        // Whether it can be compiled is checked for the whole schema.
        validator(&emit::part(self.graph, id)).is_ok_and(|found| found.is_valid(&json!(text)))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    validator(&json!({"pattern": pattern})).is_ok_and(|found| found.is_valid(&json!(text)))
}

fn join(pointer: &str, token: &str) -> String {
    let mut joined = pointer.to_owned();
    push_token(&mut joined, token);
    joined
}
