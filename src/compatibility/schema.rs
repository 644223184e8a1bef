//! Schemas as a graph: every subschema of both files has a number, and references are resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::{Number, Value, json};

use super::read::{SchemaError, read};
use super::value::{Types, equal};

/// The number of a schema in a [`Graph`].
pub(super) type Id = usize;

/// Schemas in a chain of references and combinations for the same value.
const MAX_CHAIN: usize = 40;

/// The keywords of a schema that restrict instances. The default restricts nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Keywords {
    /// The schema `false`.
    pub never: bool,
    pub references: Vec<(&'static str, Id)>,
    pub types: Option<Types>,
    /// `enum` and `const`.
    pub values: Vec<(&'static str, Vec<Value>)>,
    pub minimum: Option<Number>,
    pub exclusive_minimum: Option<Number>,
    pub maximum: Option<Number>,
    pub exclusive_maximum: Option<Number>,
    pub multiple_of: Option<Number>,
    pub min_length: u64,
    pub max_length: Option<u64>,
    pub pattern: Option<String>,
    pub properties: BTreeMap<String, Id>,
    pub pattern_properties: BTreeMap<String, Id>,
    pub additional_properties: Option<Id>,
    pub unevaluated_properties: Option<Id>,
    pub property_names: Option<Id>,
    pub required: BTreeSet<String>,
    pub min_properties: u64,
    pub max_properties: Option<u64>,
    pub dependent_required: BTreeMap<String, BTreeSet<String>>,
    pub dependent_schemas: BTreeMap<String, Id>,
    pub prefix_items: Vec<Id>,
    pub items: Option<Id>,
    pub unevaluated_items: Option<Id>,
    pub contains: Option<Contains>,
    pub min_items: u64,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub all_of: Vec<Id>,
    pub any_of: Vec<Id>,
    pub one_of: Vec<Id>,
    pub not: Option<Id>,
    pub condition: Option<Condition>,
}

/// `contains`, `minContains` and `maxContains`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contains {
    pub schema: Id,
    pub min: u64,
    pub max: Option<u64>,
}

/// `if`, `then` and `else`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub test: Id,
    pub then: Option<Id>,
    pub otherwise: Option<Id>,
}

impl Keywords {
    /// The schemas that apply to the same value as this one.
    pub fn in_place(&self) -> impl Iterator<Item = Id> {
        let condition = self.condition.into_iter();
        self.references
            .iter()
            .map(|(_, id)| *id)
            .chain(self.all_of.iter().copied())
            .chain(self.any_of.iter().copied())
            .chain(self.one_of.iter().copied())
            .chain(self.not)
            .chain(self.dependent_schemas.values().copied())
            .chain(
                condition.flat_map(|c| [Some(c.test), c.then, c.otherwise].into_iter().flatten()),
            )
    }
}

/// A schema and its place in its file.
#[derive(Debug)]
pub(super) struct Schema {
    /// JSON Pointer.
    pub pointer: String,
    pub keywords: Keywords,
}

/// The schemas of the files that are compared, and schemas that the comparison makes itself.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) schemas: Vec<Rc<Schema>>,
    made: HashMap<String, Id>,
}

impl Graph {
    pub fn get(&self, id: Id) -> Rc<Schema> {
        self.schemas[id].clone()
    }

    pub fn is_trivial(&self, id: Id) -> bool {
        self.schemas[id].keywords == Keywords::default()
    }

    pub(super) fn push(&mut self, keywords: Keywords) -> Id {
        let pointer = String::new();
        self.schemas.push(Rc::new(Schema { pointer, keywords }));
        self.schemas.len() - 1
    }

    /// The schema with these keywords, made when it is needed first. `key` identifies it.
    fn made(&mut self, key: String, keywords: impl FnOnce(&mut Self) -> Keywords) -> Id {
        if let Some(id) = self.made.get(&key) {
            return *id;
        }
        let keywords = keywords(self);
        let id = self.push(keywords);
        self.made.insert(key, id);
        id
    }

    /// The schema `false`.
    pub fn never(&mut self) -> Id {
        let never = Keywords {
            never: true,
            ..Keywords::default()
        };
        self.made("never".to_owned(), |_| never)
    }

    /// Objects without this property, and everything that is not an object.
    pub fn without(&mut self, name: &str) -> Id {
        self.made(format!("without {name}"), |graph| {
            let properties = BTreeMap::from([(name.to_owned(), graph.never())]);
            Keywords {
                properties,
                ..Keywords::default()
            }
        })
    }

    /// Objects with this property.
    pub fn with(&mut self, name: &str) -> Id {
        let required = BTreeSet::from([name.to_owned()]);
        self.made(format!("with {name}"), |_| Keywords {
            types: Some(Types::OBJECT),
            required,
            ..Keywords::default()
        })
    }

    /// Values of these types.
    pub fn of_types(&mut self, types: Types) -> Id {
        self.made(format!("types {types:?}"), |_| Keywords {
            types: Some(types),
            ..Keywords::default()
        })
    }

    /// Just this value.
    pub fn constant(&mut self, value: &Value) -> Id {
        let values = vec![("const", vec![value.clone()])];
        self.made(format!("const {value}"), |_| Keywords {
            values,
            ..Keywords::default()
        })
    }

    /// Objects whose `type` is `name`.
    pub fn content(&mut self, name: &str) -> Id {
        self.made(format!("content {name}"), |graph| Keywords {
            types: Some(Types::OBJECT),
            required: BTreeSet::from(["type".to_owned()]),
            properties: BTreeMap::from([("type".to_owned(), graph.constant(&json!(name)))]),
            ..Keywords::default()
        })
    }

    /// Adds the schemas of a file. Returns the number of the root.
    pub fn add(&mut self, root: &Value) -> Result<Id, SchemaError> {
        let id = read(self, root)?;
        self.check_chains(id)?;
        Ok(id)
    }

    /// Rejects references that lead back to the same schema for the same value, as validating such a schema does not end, and
    /// longer chains of schemas for the same value than the comparison can follow.
    fn check_chains(&self, root: Id) -> Result<(), SchemaError> {
        // The longest chain from each schema on; `None` while it is being calculated.
        let mut chains: HashMap<Id, Option<usize>> = HashMap::new();
        let mut open = Vec::new();
        let failed = |id: Id, reason: &str| {
            let location = self.schemas[id].pointer.clone();
            Err(SchemaError {
                location,
                reason: reason.to_owned(),
            })
        };
        for start in root..self.schemas.len() {
            open.push((start, false));
            while let Some((id, is_finished)) = open.pop() {
                let in_place = || self.schemas[id].keywords.in_place();
                match chains.get(&id) {
                    _ if is_finished => {
                        let longest = in_place()
                            .filter_map(|next| chains.get(&next).copied().flatten())
                            .max();
                        let length = longest.map_or(0, |longest| longest + 1);
                        if length > MAX_CHAIN {
                            return failed(
                                id,
                                "too many schemas refer to each other for the same value",
                            );
                        }
                        chains.insert(id, Some(length));
                    }
                    None => {
                        chains.insert(id, None);
                        open.push((id, true));
                        open.extend(in_place().map(|next| (next, false)));
                    }
                    Some(None) => {
                        let reason = "the schema refers to itself for the same value, so validation does not end";
                        return failed(id, reason);
                    }
                    Some(Some(_)) => {}
                }
            }
        }
        Ok(())
    }
}

impl Keywords {
    /// Whether a value is one of `enum` and `const`.
    pub fn allows_value(&self, value: &Value) -> bool {
        let mut lists = self.values.iter();
        lists.all(|(_, values)| values.iter().any(|allowed| equal(allowed, value)))
    }
}
