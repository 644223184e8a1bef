//! Reads a schema file into the graph: checks the form of its keywords and resolves its references.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Number, Value};

use super::schema::{Condition, Contains, Graph, Id, Keywords, Schema};
use super::value::{Types, integer};
use crate::protocol::content_types::check_pattern;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords of earlier drafts that have another name or form in draft 2020-12. Validators disagree about them.
const OUTDATED: [(&str, &str); 2] = [
    ("additionalItems", "items"),
    ("dependencies", "dependentRequired` and `dependentSchemas"),
];

/// A reason for which a schema cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {location:?}: {reason}")]
pub struct SchemaError {
    /// JSON Pointer of the keyword.
    pub location: String,
    /// What is wrong.
    pub reason: String,
}

/// Adds the schemas of a file to the graph. Returns the number of the root.
pub(super) fn read(graph: &mut Graph, root: &Value) -> Result<Id, SchemaError> {
    let mut reader = Reader {
        graph,
        root,
        known: HashMap::new(),
        unread: Vec::new(),
        anchors: HashMap::new(),
    };
    find_anchors(root, &mut String::new(), &mut reader.anchors);
    let id = reader.schema("");
    // A list instead of a recursion: a chain of references may be long.
    while let Some((id, pointer)) = reader.unread.pop() {
        let keywords = reader.read(&pointer)?;
        reader.graph.schemas[id] = Rc::new(Schema { pointer, keywords });
    }
    Ok(id)
}

/// Reads the schemas of one file into a graph.
struct Reader<'a> {
    graph: &'a mut Graph,
    root: &'a Value,
    known: HashMap<String, Id>,
    unread: Vec<(Id, String)>,
    /// The pointers of `$anchor` and `$dynamicAnchor`.
    anchors: HashMap<String, String>,
}

type Object = Map<String, Value>;

impl Reader<'_> {
    /// The number of the schema at a pointer, which is read later.
    fn schema(&mut self, pointer: &str) -> Id {
        if let Some(id) = self.known.get(pointer) {
            return *id;
        }
        let id = self.graph.push(Keywords::default());
        self.known.insert(pointer.to_owned(), id);
        self.unread.push((id, pointer.to_owned()));
        id
    }

    fn read(&mut self, pointer: &str) -> Result<Keywords, SchemaError> {
        let root = self.root;
        match root.pointer(pointer) {
            Some(Value::Bool(all)) => Ok(Keywords {
                never: !all,
                ..Keywords::default()
            }),
            Some(Value::Object(object)) => self.keywords(object, pointer),
            _ => Err(error(pointer, "a schema is an object or a boolean")),
        }
    }

    fn keywords(&mut self, object: &Object, at: &str) -> Result<Keywords, SchemaError> {
        if object.get("$schema").is_some_and(|draft| {
            draft
                .as_str()
                .is_none_or(|draft| draft.trim_end_matches('#') != DRAFT)
        }) {
            return Err(error(
                &child(at, "$schema"),
                format!("only {DRAFT} is supported"),
            ));
        }
        if !at.is_empty() && object.get("$id").is_some() {
            return Err(error(
                &child(at, "$id"),
                "only the whole file may have an `$id`",
            ));
        }
        for (outdated, current) in OUTDATED {
            if object.contains_key(outdated) {
                let reason = format!("not a keyword of draft 2020-12, which has `{current}`");
                return Err(error(&child(at, outdated), reason));
            }
        }
        let mut keywords = Keywords::default();
        for name in ["$ref", "$dynamicRef"] {
            if let Some(reference) = object.get(name) {
                let id = self.reference(reference, &child(at, name))?;
                keywords.references.push((name, id));
            }
        }
        scalars(object, at, &mut keywords)?;
        self.object_keywords(object, at, &mut keywords)?;
        self.array_keywords(object, at, &mut keywords)?;
        self.combinators(object, at, &mut keywords)?;
        // Definitions that nothing refers to are read, too: the server rejects a file with an invalid one.
        for name in ["$defs", "definitions"] {
            self.map(object, at, name)?;
        }
        Ok(keywords)
    }

    fn object_keywords(
        &mut self,
        object: &Object,
        at: &str,
        keywords: &mut Keywords,
    ) -> Result<(), SchemaError> {
        keywords.properties = self.map(object, at, "properties")?;
        keywords.pattern_properties = self.map(object, at, "patternProperties")?;
        for expression in keywords.pattern_properties.keys() {
            pattern(expression, || {
                child(&child(at, "patternProperties"), expression)
            })?;
        }
        keywords.additional_properties = self.one(object, at, "additionalProperties");
        keywords.unevaluated_properties = self.one(object, at, "unevaluatedProperties");
        keywords.property_names = self.one(object, at, "propertyNames");
        keywords.dependent_schemas = self.map(object, at, "dependentSchemas")?;
        keywords.min_properties = count(object, at, "minProperties")?.unwrap_or(0);
        keywords.max_properties = count(object, at, "maxProperties")?;
        if let Some(value) = object.get("required") {
            keywords.required = names(value, &child(at, "required"))?;
        }
        if let Some(value) = object.get("dependentRequired") {
            let at = child(at, "dependentRequired");
            let map = value
                .as_object()
                .ok_or_else(|| error(&at, "an object is expected"))?;
            for (name, value) in map {
                let names = names(value, &child(&at, name))?;
                keywords.dependent_required.insert(name.clone(), names);
            }
        }
        Ok(())
    }

    fn array_keywords(
        &mut self,
        object: &Object,
        at: &str,
        keywords: &mut Keywords,
    ) -> Result<(), SchemaError> {
        keywords.prefix_items = self.list(object, at, "prefixItems")?;
        if object.get("items").is_some_and(Value::is_array) {
            let reason = "a schema is expected; draft 2020-12 has `prefixItems` for a list of them";
            return Err(error(&child(at, "items"), reason));
        }
        keywords.items = self.one(object, at, "items");
        keywords.unevaluated_items = self.one(object, at, "unevaluatedItems");
        keywords.min_items = count(object, at, "minItems")?.unwrap_or(0);
        keywords.max_items = count(object, at, "maxItems")?;
        let (min, max) = (
            count(object, at, "minContains")?,
            count(object, at, "maxContains")?,
        );
        if let Some(schema) = self.one(object, at, "contains") {
            keywords.contains = Some(Contains {
                schema,
                min: min.unwrap_or(1),
                max,
            });
        }
        keywords.unique_items = match object.get("uniqueItems") {
            None => false,
            Some(Value::Bool(unique)) => *unique,
            Some(_) => return Err(error(&child(at, "uniqueItems"), "a boolean is expected")),
        };
        Ok(())
    }

    fn combinators(
        &mut self,
        object: &Object,
        at: &str,
        keywords: &mut Keywords,
    ) -> Result<(), SchemaError> {
        keywords.all_of = self.list(object, at, "allOf")?;
        keywords.any_of = self.list(object, at, "anyOf")?;
        keywords.one_of = self.list(object, at, "oneOf")?;
        keywords.not = self.one(object, at, "not");
        let then = self.one(object, at, "then");
        let otherwise = self.one(object, at, "else");
        if let Some(test) = self.one(object, at, "if")
            && (then.is_some() || otherwise.is_some())
        {
            keywords.condition = Some(Condition {
                test,
                then,
                otherwise,
            });
        }
        Ok(())
    }

    fn one(&mut self, object: &Object, at: &str, keyword: &str) -> Option<Id> {
        object
            .contains_key(keyword)
            .then(|| self.schema(&child(at, keyword)))
    }

    fn list(&mut self, object: &Object, at: &str, keyword: &str) -> Result<Vec<Id>, SchemaError> {
        let at = child(at, keyword);
        match object.get(keyword) {
            None => Ok(Vec::new()),
            Some(Value::Array(schemas)) if !schemas.is_empty() => Ok((0..schemas.len())
                .map(|index| self.schema(&format!("{at}/{index}")))
                .collect()),
            Some(_) => Err(error(&at, "a list of schemas is expected")),
        }
    }

    fn map(
        &mut self,
        object: &Object,
        at: &str,
        keyword: &str,
    ) -> Result<BTreeMap<String, Id>, SchemaError> {
        let at = child(at, keyword);
        match object.get(keyword) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(schemas)) => {
                let schemas = schemas.keys();
                Ok(schemas
                    .map(|name| (name.clone(), self.schema(&child(&at, name))))
                    .collect())
            }
            Some(_) => Err(error(&at, "an object of schemas is expected")),
        }
    }

    fn reference(&mut self, reference: &Value, at: &str) -> Result<Id, SchemaError> {
        let Some(reference) = reference.as_str() else {
            return Err(error(at, "a string is expected"));
        };
        let Some(fragment) = reference.strip_prefix('#') else {
            let reason = format!(
                "{reference:?} leads out of the file; only references that begin with # are supported"
            );
            return Err(error(at, reason));
        };
        let Ok(fragment) = percent_decode_str(fragment).decode_utf8() else {
            return Err(error(at, "the fragment is not UTF-8"));
        };
        let pointer = match self.anchors.get(&*fragment) {
            Some(pointer) => pointer.clone(),
            None if fragment.is_empty() || fragment.starts_with('/') => fragment.into_owned(),
            None => return Err(error(at, format!("there is no anchor {fragment:?}"))),
        };
        if self.root.pointer(&pointer).is_none() {
            return Err(error(at, format!("{reference:?} does not exist")));
        }
        Ok(self.schema(&pointer))
    }
}

/// The keywords that have no subschemas and concern values of any type, numbers and strings.
fn scalars(object: &Object, at: &str, keywords: &mut Keywords) -> Result<(), SchemaError> {
    if let Some(value) = object.get("type") {
        let at = child(at, "type");
        let list = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut types = Types::NONE;
        for name in list {
            let named = name.as_str().and_then(Types::named);
            types = types | named.ok_or_else(|| error(&at, format!("{name} is not a type")))?;
        }
        keywords.types = Some(types);
    }
    if let Some(value) = object.get("enum") {
        let Some(values) = value.as_array() else {
            return Err(error(&child(at, "enum"), "a list is expected"));
        };
        keywords.values.push(("enum", values.clone()));
    }
    if let Some(value) = object.get("const") {
        keywords.values.push(("const", vec![value.clone()]));
    }
    keywords.minimum = number(object, at, "minimum")?;
    keywords.exclusive_minimum = number(object, at, "exclusiveMinimum")?;
    keywords.maximum = number(object, at, "maximum")?;
    keywords.exclusive_maximum = number(object, at, "exclusiveMaximum")?;
    keywords.multiple_of = number(object, at, "multipleOf")?;
    if keywords
        .multiple_of
        .as_ref()
        .is_some_and(|n| n.as_f64().is_none_or(|n| n <= 0.0))
    {
        return Err(error(
            &child(at, "multipleOf"),
            "a number above 0 is expected",
        ));
    }
    keywords.min_length = count(object, at, "minLength")?.unwrap_or(0);
    keywords.max_length = count(object, at, "maxLength")?;
    keywords.pattern = match object.get("pattern") {
        None => None,
        Some(Value::String(expression)) => {
            pattern(expression, || child(at, "pattern"))?;
            Some(expression.clone())
        }
        Some(_) => return Err(error(&child(at, "pattern"), "a string is expected")),
    };
    Ok(())
}

/// Rejects a regular expression with which the server does not load the schema.
fn pattern(expression: &str, at: impl FnOnce() -> String) -> Result<(), SchemaError> {
    check_pattern(expression).map_err(|reason| error(&at(), reason))
}

fn number(object: &Object, at: &str, keyword: &str) -> Result<Option<Number>, SchemaError> {
    match object.get(keyword) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.clone())),
        Some(_) => Err(error(&child(at, keyword), "a number is expected")),
    }
}

fn count(object: &Object, at: &str, keyword: &str) -> Result<Option<u64>, SchemaError> {
    let Some(value) = object.get(keyword) else {
        return Ok(None);
    };
    let count = value.as_number().and_then(|number| match integer(number) {
        Some(count) if count < 0 => None,
        // No value has so many members, so that the exact number does not matter.
        Some(count) => Some(u64::try_from(count).unwrap_or(u64::MAX)),
        None => number
            .as_f64()
            .filter(|count| *count > 2f64.powi(64))
            .map(|_| u64::MAX),
    });
    match count {
        Some(count) => Ok(Some(count)),
        None => Err(error(&child(at, keyword), "an integer from 0 is expected")),
    }
}

fn names(value: &Value, at: &str) -> Result<BTreeSet<String>, SchemaError> {
    let names = value.as_array().and_then(|names| {
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        names.collect::<Option<BTreeSet<_>>>()
    });
    names.ok_or_else(|| error(at, "a list of strings is expected"))
}

/// The pointers of the schemas with an anchor.
fn find_anchors(value: &Value, at: &mut String, anchors: &mut HashMap<String, String>) {
    let length = at.len();
    match value {
        Value::Object(object) => {
            for keyword in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = object.get(keyword).and_then(Value::as_str) {
                    anchors.entry(name.to_owned()).or_insert_with(|| at.clone());
                }
            }
            for (name, value) in object {
                if !matches!(name.as_str(), "enum" | "const" | "examples" | "default") {
                    *at = child(at, name);
                    find_anchors(value, at, anchors);
                    at.truncate(length);
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                *at = format!("{at}/{index}");
                find_anchors(value, at, anchors);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

/// The pointer of a member.
pub(super) fn child(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn error(at: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError {
        location: at.to_owned(),
        reason: reason.into(),
    }
}
