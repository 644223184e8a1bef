//! Reads a schema: checks its keywords, resolves its references, and builds a graph of its subschemas.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::pattern;
use crate::protocol::json::{Tape, push_token};

/// The only dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The most subschemas of a file.
const MAX_SUBSCHEMAS: usize = 4096;

/// Index of a [`Subschema`] in its [`Graph`].
pub(super) type Id = usize;

/// The subschemas of a file; the first is the whole schema.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Subschema>,
    anchors: HashMap<String, Id>,
    by_pointer: HashMap<String, Id>,
}

/// A schema or subschema.
#[derive(Debug, Default)]
pub(super) struct Subschema {
    /// Where it is in the file, as a JSON Pointer.
    pub pointer: String,
    /// `true` or `false` instead of an object.
    pub boolean: Option<bool>,
    /// Keywords that contain no subschema and restrict the value.
    pub assertions: Map<String, Value>,
    /// Keywords that apply subschemas to the value itself. `not`, `if`, `then` and `else` have one subschema.
    pub in_place: Vec<(&'static str, Vec<Id>)>,
    /// `dependentSchemas`.
    pub dependent: Vec<(String, Id)>,
    /// The target of `$ref`.
    pub reference: Option<Id>,
    pub properties: Vec<(String, Id)>,
    pub pattern_properties: Vec<(String, Id)>,
    pub additional_properties: Option<Id>,
    pub property_names: Option<Id>,
    pub prefix_items: Vec<Id>,
    pub items: Option<Id>,
    pub contains: Option<Id>,
    /// The text of `$ref` until it is resolved.
    unresolved: Option<String>,
}

/// Parses the text of a schema. Repeated names and deep nesting are rejected, as in frames.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut tape = Tape::default();
    if let (_, Some(problem)) = tape.scan(text) {
        let place = problem.path.map(|path| format!("at {path}: "));
        return Err(format!("{}{}", place.unwrap_or_default(), problem.detail));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A reason, with the place in the schema.
fn at<T>(pointer: &str, reason: impl std::fmt::Display) -> Result<T, String> {
    Err(if pointer.is_empty() {
        reason.to_string()
    } else {
        format!("at {pointer}: {reason}")
    })
}

/// The pointer of a member or an element.
fn join(pointer: &str, token: &str) -> String {
    let mut joined = pointer.to_owned();
    push_token(&mut joined, token);
    joined
}

impl Graph {
    /// Builds the graph of a schema.
    pub fn build(document: &Value) -> Result<Self, String> {
        if !document.is_object() {
            return Err("expected an object".to_owned());
        }
        let mut graph = Self::default();
        graph.add(document, String::new())?;
        // The keywords whose meaning is not checked here have the right types then.
        if let Err(error) = jsonschema::draft202012::meta::validate(document) {
            return at(error.instance_path().as_str(), error.masked());
        }
        for id in 0..graph.nodes.len() {
            if let Some(reference) = graph.nodes[id].unresolved.take() {
                graph.nodes[id].reference = Some(graph.resolve(id, &reference)?);
            }
        }
        Ok(graph)
    }

    fn resolve(&self, id: Id, reference: &str) -> Result<Id, String> {
        let pointer = join(&self.nodes[id].pointer, "$ref");
        let Some(fragment) = reference.strip_prefix('#') else {
            return at(
                &pointer,
                format_args!(
                    "`{reference}` is not in this file; only references that begin with `#` are supported"
                ),
            );
        };
        let fragment = percent_decode_str(fragment).decode_utf8_lossy();
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.by_pointer.get(&*fragment)
        } else {
            self.anchors.get(&*fragment)
        };
        match found {
            Some(found) => Ok(*found),
            None => at(
                &pointer,
                format_args!("`{reference}` names no schema of this file"),
            ),
        }
    }

    fn add(&mut self, value: &Value, pointer: String) -> Result<Id, String> {
        let id = self.nodes.len();
        if id == MAX_SUBSCHEMAS {
            return Err(format!("has more than {MAX_SUBSCHEMAS} subschemas"));
        }
        self.by_pointer.insert(pointer.clone(), id);
        self.nodes.push(Subschema {
            pointer: pointer.clone(),
            boolean: value.as_bool(),
            ..Subschema::default()
        });
        match value {
            Value::Bool(_) => Ok(id),
            Value::Object(keywords) => {
                for (keyword, value) in keywords {
                    self.add_keyword(id, keyword, value, &pointer)?;
                }
                if self.nodes[id].is_unique() && !keywords.contains_key("maxItems") {
                    return at(
                        &join(&pointer, "uniqueItems"),
                        "the cost of `uniqueItems` cannot be bounded without `maxItems` in the same schema",
                    );
                }
                Ok(id)
            }
            _ => at(&pointer, "expected a schema: an object, true or false"),
        }
    }

    fn add_keyword(
        &mut self,
        id: Id,
        keyword: &str,
        value: &Value,
        parent: &str,
    ) -> Result<(), String> {
        let pointer = join(parent, keyword);
        match keyword {
            "$ref" => match value.as_str() {
                Some(reference) => self.nodes[id].unresolved = Some(reference.to_owned()),
                None => return at(&pointer, "expected a string"),
            },
            "allOf" => self.add_in_place(id, "allOf", value, pointer)?,
            "anyOf" => self.add_in_place(id, "anyOf", value, pointer)?,
            "oneOf" => self.add_in_place(id, "oneOf", value, pointer)?,
            "not" => self.add_in_place(id, "not", value, pointer)?,
            "if" => self.add_in_place(id, "if", value, pointer)?,
            "then" => self.add_in_place(id, "then", value, pointer)?,
            "else" => self.add_in_place(id, "else", value, pointer)?,
            "dependentSchemas" => self.nodes[id].dependent = self.add_named(value, &pointer)?,
            "properties" => self.nodes[id].properties = self.add_named(value, &pointer)?,
            "patternProperties" => {
                let named = self.add_named(value, &pointer)?;
                for (pattern, _) in &named {
                    pattern::check(pattern)
                        .or_else(|reason| at(&join(&pointer, pattern), reason))?;
                }
                self.nodes[id].pattern_properties = named;
            }
            "additionalProperties" => {
                self.nodes[id].additional_properties = Some(self.add(value, pointer)?);
            }
            "propertyNames" => self.nodes[id].property_names = Some(self.add(value, pointer)?),
            "prefixItems" => self.nodes[id].prefix_items = self.add_list(value, &pointer)?,
            "items" if value.is_array() => {
                return at(
                    &pointer,
                    "expected a schema; draft 2020-12 has `prefixItems` for a list",
                );
            }
            "items" => self.nodes[id].items = Some(self.add(value, pointer)?),
            "contains" => self.nodes[id].contains = Some(self.add(value, pointer)?),
            // Definitions are added for their references.
            "$defs" | "definitions" => drop(self.add_named(value, &pointer)?),
            "pattern" => {
                let pattern = value.as_str().unwrap_or_default();
                pattern::check(pattern).or_else(|reason| at(&pointer, reason))?;
                self.assert(id, keyword, value);
            }
            "type" | "enum" | "const" | "multipleOf" | "maximum" | "exclusiveMaximum"
            | "minimum" | "exclusiveMinimum" | "maxLength" | "minLength" | "maxItems"
            | "minItems" | "uniqueItems" | "maxContains" | "minContains" | "maxProperties"
            | "minProperties" | "required" | "dependentRequired" => self.assert(id, keyword, value),
            "$schema" => check_dialect(value, &pointer, parent)?,
            "$id" if !parent.is_empty() => {
                return at(&pointer, "`$id` is only possible at the root");
            }
            "$anchor" => {
                let name = value.as_str().unwrap_or_default().to_owned();
                if self.anchors.insert(name, id).is_some() {
                    return at(&pointer, "another schema has the same `$anchor`");
                }
            }
            "unevaluatedProperties" | "unevaluatedItems" => {
                return at(
                    &pointer,
                    "the cost of this keyword cannot be bounded; list the names in `properties` and use \
                     `additionalProperties`, or `items`",
                );
            }
            "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor"
            | "$vocabulary" => return at(&pointer, "this keyword is not supported"),
            "dependencies" | "additionalItems" => {
                return at(&pointer, "draft 2020-12 does not have this keyword");
            }
            // Annotations, `format` among them, and unknown keywords restrict nothing.
            _ => {}
        }
        Ok(())
    }

    fn assert(&mut self, id: Id, keyword: &str, value: &Value) {
        let assertions = &mut self.nodes[id].assertions;
        assertions.insert(keyword.to_owned(), value.clone());
    }

    fn add_in_place(
        &mut self,
        id: Id,
        keyword: &'static str,
        value: &Value,
        pointer: String,
    ) -> Result<(), String> {
        let ids = match keyword {
            "allOf" | "anyOf" | "oneOf" => self.add_list(value, &pointer)?,
            _ => vec![self.add(value, pointer)?],
        };
        self.nodes[id].in_place.push((keyword, ids));
        Ok(())
    }

    fn add_list(&mut self, value: &Value, pointer: &str) -> Result<Vec<Id>, String> {
        let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
            return at(pointer, "expected a list of schemas");
        };
        let elements = list.iter().enumerate();
        elements
            .map(|(n, value)| self.add(value, join(pointer, &n.to_string())))
            .collect()
    }

    fn add_named(&mut self, value: &Value, pointer: &str) -> Result<Vec<(String, Id)>, String> {
        let Some(members) = value.as_object() else {
            return at(pointer, "expected an object of schemas");
        };
        let mut named = Vec::with_capacity(members.len());
        for (name, value) in members {
            named.push((name.clone(), self.add(value, join(pointer, name))?));
        }
        Ok(named)
    }
}

impl Subschema {
    /// Calls `visit` with every subschema that this one applies, to the value or to a part of it.
    pub fn each_applied(&self, visit: &mut impl FnMut(Id)) {
        let in_place = self.in_place.iter().flat_map(|(_, ids)| ids).copied();
        let named = [&self.dependent, &self.properties, &self.pattern_properties];
        let named = named.into_iter().flatten().map(|(_, id)| *id);
        let single = [
            self.reference,
            self.additional_properties,
            self.property_names,
            self.items,
            self.contains,
        ];
        let prefix = self.prefix_items.iter().copied();
        in_place
            .chain(named)
            .chain(single.into_iter().flatten())
            .chain(prefix)
            .for_each(visit);
    }

    /// Whether the elements of an array must differ.
    pub fn is_unique(&self) -> bool {
        self.assertions.get("uniqueItems") == Some(&Value::Bool(true))
    }
}

fn check_dialect(value: &Value, pointer: &str, parent: &str) -> Result<(), String> {
    if !parent.is_empty() {
        return at(pointer, "`$schema` is only possible at the root");
    }
    let dialect = value.as_str().unwrap_or_default();
    if dialect.strip_suffix('#').unwrap_or(dialect) == DIALECT {
        Ok(())
    } else {
        at(
            pointer,
            format_args!("`{dialect}` is not supported; only draft 2020-12 is, `{DIALECT}`"),
        )
    }
}
