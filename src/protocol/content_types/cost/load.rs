//! The cost of the keywords that apply to one value, in nanoseconds. The figures are upper bounds of what `jsonschema` needs on a
//! present server, in release builds; `cargo bench --bench parse` measures schemas at the limit.

use serde_json::Value;

use crate::protocol::content_types::schema::{Graph, Id, Subschema};

/// Cost of applying a subschema.
const APPLY: f64 = 8.0;
/// Cost of a comparison of a number, a type or a length.
const COMPARE: f64 = 4.0;
/// Cost of one search of a name in an object.
const FIND: f64 = 25.0;
/// Cost of starting a search by a regular expression.
const SEARCH: f64 = 50.0;
/// Cost of a byte that a regular expression reads.
const SEARCH_BYTE: f64 = 2.0;
/// Cost of a byte that is counted for a length.
const COUNT_BYTE: f64 = 0.5;
/// Cost of following a reference.
const REFERENCE: f64 = 60.0;
/// Cost of `multipleOf` for a number.
const MULTIPLE: f64 = 300.0;
/// Cost for each byte below an array with `uniqueItems`.
pub(super) const UNIQUE_BYTE: f64 = 22.0;

/// Costs that depend on the kind of the value.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// For every value.
    any: f64,
    number: f64,
    string: f64,
    /// For each byte of a string.
    pub string_byte: f64,
    object: f64,
    /// For each member of an object.
    member: f64,
    /// For each byte of a member's name.
    pub name_byte: f64,
    array: f64,
    /// For each element of an array.
    element: f64,
}

/// How a value is reached from the object or array that contains it.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Cost of reaching it.
    cost: f64,
    /// The least bytes between it and the value before, with its name.
    bytes: f64,
}

impl Arrival {
    /// The content itself.
    pub const ROOT: Self = Self {
        cost: 0.0,
        bytes: 16.0,
    };

    /// A member of an object; `None`: with a name that the schema does not list.
    pub fn member(name: Option<&str>, parent: &Load) -> Self {
        // Two quotes, colon and comma. Short names are few, so names have more than one byte on average.
        let length = name.map_or(2.0, |name| name.len() as f64);
        Self {
            cost: parent.member + parent.name_byte * length,
            bytes: 4.0 + length,
        }
    }

    /// An element of an array.
    pub fn element(parent: &Load) -> Self {
        Self {
            cost: parent.element,
            bytes: 1.0,
        }
    }
}

impl Load {
    /// Adds the keywords of a subschema that applies `count` times.
    pub fn add(&mut self, graph: &Graph, id: Id, count: f64) {
        let node = &graph.nodes[id];
        self.any += count * APPLY;
        if node.reference.is_some() {
            self.any += count * REFERENCE;
        }
        for (keyword, value) in &node.assertions {
            self.add_assertion(keyword, value, count);
        }
        self.add_children(graph, node, count);
    }

    fn add_assertion(&mut self, keyword: &str, value: &Value, count: f64) {
        let list = value.as_array().map_or(0.0, |list| list.len() as f64);
        match keyword {
            "type" => self.any += count * COMPARE,
            "enum" | "const" => self.any += count * equality(keyword, value),
            "multipleOf" => self.number += count * MULTIPLE,
            "pattern" => {
                self.string += count * SEARCH;
                self.string_byte += count * SEARCH_BYTE;
            }
            "maxLength" | "minLength" => {
                self.string += count * COMPARE;
                self.string_byte += count * COUNT_BYTE;
            }
            // It ends with the first missing name, so that every other search finds a member.
            "required" => {
                self.object += count * FIND;
                self.member += count * FIND;
            }
            "dependentRequired" => {
                let names = value.as_object().into_iter().flatten();
                let names = names.map(|(_, names)| names.as_array().map_or(0, Vec::len) + 1);
                self.object += count * FIND * names.sum::<usize>() as f64;
            }
            "maxItems" | "minItems" | "uniqueItems" => self.array += count * COMPARE,
            "maxProperties" | "minProperties" => self.object += count * COMPARE,
            _ => self.number += count * (COMPARE + list),
        }
    }

    fn add_children(&mut self, graph: &Graph, node: &Subschema, count: f64) {
        let is_listed = !node.properties.is_empty();
        if is_listed || node.additional_properties.is_some() {
            self.object += count * COMPARE;
            self.member += count * FIND;
        }
        let patterns = node.pattern_properties.len() as f64;
        // Without `additionalProperties` the patterns are searched once, otherwise a second time.
        let times = 1.0 + f64::from(u8::from(node.additional_properties.is_some()));
        self.member += count * times * patterns * SEARCH;
        self.name_byte += count * times * patterns * SEARCH_BYTE;
        if let Some(names) = node.property_names {
            let mut load = Self::default();
            // What the schema of the names applies is counted with it.
            let mut waiting = vec![names];
            let mut budget = 256;
            while let Some(id) = waiting.pop().filter(|_| budget > 0) {
                budget -= 1;
                load.add_name(graph, id);
                let node = &graph.nodes[id];
                waiting.extend(node.in_place.iter().flat_map(|(_, ids)| ids).copied());
                waiting.extend(node.reference);
            }
            if budget == 0 {
                load.string += f64::INFINITY;
            }
            self.member += count * (load.any + load.string + FIND);
            self.name_byte += count * load.string_byte;
        }
        self.object += count * FIND * node.dependent.len() as f64;
        if node.items.is_some() || !node.prefix_items.is_empty() || node.contains.is_some() {
            self.array += count * COMPARE;
            self.element += count * COMPARE;
        }
    }

    /// Adds the keywords of a schema of names.
    fn add_name(&mut self, graph: &Graph, id: Id) {
        let node = &graph.nodes[id];
        self.any += APPLY;
        if node.reference.is_some() {
            self.any += REFERENCE;
        }
        for (keyword, value) in &node.assertions {
            self.add_assertion(keyword, value, 1.0);
        }
    }

    /// The largest cost of a value without the bytes of its strings and names.
    pub fn largest(&self, arrival: &Arrival) -> f64 {
        let kinds = [self.number, self.string, self.object, self.array];
        arrival.cost + self.any + kinds.into_iter().fold(0.0, f64::max)
    }

    /// The largest cost of a value for each of its bytes, within `unique` arrays with `uniqueItems`.
    pub fn per_byte(&self, arrival: &Arrival, unique: f64) -> f64 {
        let of = |kind: f64, bytes: f64| (arrival.cost + self.any + kind) / (arrival.bytes + bytes);
        let kinds = [
            of(self.number, 1.0),
            of(self.string, 2.0),
            of(self.object, 2.0),
            of(self.array, 2.0),
            self.string_byte,
            self.name_byte,
        ];
        unique * UNIQUE_BYTE + kinds.into_iter().fold(0.0, f64::max)
    }
}

/// Cost of comparing a value with those of `enum` or `const`.
fn equality(keyword: &str, value: &Value) -> f64 {
    let options = match (keyword, value.as_array()) {
        ("enum", Some(options)) => options.as_slice(),
        _ => std::slice::from_ref(value),
    };
    if options.len() > 10 && options.iter().all(Value::is_string) {
        return FIND;
    }
    options.iter().map(|option| COMPARE * size(option)).sum()
}

/// The number of values in a value, in which a member counts for the search of its name.
fn size(value: &Value) -> f64 {
    match value {
        Value::Array(list) => 1.0 + list.iter().map(size).sum::<f64>(),
        Value::Object(members) => 1.0 + members.values().map(|v| 8.0 + size(v)).sum::<f64>(),
        _ => 1.0,
    }
}
