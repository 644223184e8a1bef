//! Random pairs of schemas and random values, judged by a validator: what is reported as compatible must be compatible.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::super::compare;
use super::TYPE;

/// A generator of pseudorandom numbers (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("the limit is small")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const NAMES: [&str; 4] = ["a", "b", "x-a", "type"];
const PATTERNS: [&str; 5] = ["^x-", "^[ab]$", "a", "^b$", ""];

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.chance(50)),
        2 => json!(random.below(5)),
        3 => json!(random.below(5) as f64 * 0.5),
        4 | 5 => json!(random.pick(&["", "a", "b", "ab", "x-a", "order.updated"])),
        6 => Value::Array(
            (0..random.below(4))
                .map(|_| value(random, depth - 1))
                .collect(),
        ),
        _ => Value::Object(members(random, depth, 60)),
    }
}

fn members(random: &mut Random, depth: usize, percent: usize) -> Map<String, Value> {
    let mut map = Map::new();
    for name in NAMES {
        if random.chance(percent) {
            map.insert(name.to_owned(), value(random, depth - 1));
        }
    }
    map
}

fn names(random: &mut Random) -> Value {
    let names: BTreeSet<&str> = (0..=random.below(2)).map(|_| random.pick(&NAMES)).collect();
    json!(names)
}

fn schema(random: &mut Random, depth: usize) -> Value {
    if random.chance(8) {
        return Value::Bool(random.chance(60));
    }
    if random.chance(8) {
        return json!({"$ref": random.pick(&["#/$defs/d", "#/$defs/e"])});
    }
    let mut schema = Map::new();
    for _ in 0..=random.below(2) {
        add_keyword(random, depth, &mut schema);
    }
    Value::Object(schema)
}

/// The schema of a member or an item: it may refer to the definitions that contain it.
fn inner(random: &mut Random, depth: usize) -> Value {
    schema(random, depth.saturating_sub(1))
}

/// A schema for the same value. It has no references, which might lead back to it.
fn same_value(random: &mut Random, depth: usize) -> Value {
    let mut schema = schema(random, depth.saturating_sub(1));
    if let Some(object) = schema.as_object_mut() {
        object.remove("$ref");
    }
    schema
}

fn list(random: &mut Random, depth: usize) -> Value {
    (0..=random.below(3))
        .map(|_| same_value(random, depth))
        .collect()
}

fn add_keyword(random: &mut Random, depth: usize, schema: &mut Map<String, Value>) {
    const TYPES: [&str; 7] = [
        "null", "boolean", "integer", "number", "string", "array", "object",
    ];
    let small = |random: &mut Random| json!(random.below(4));
    let (keyword, value) = match random.below(if depth == 0 { 14 } else { 36 }) {
        0 | 1 => ("type", json!(random.pick(&TYPES))),
        2 => (
            "type",
            json!(BTreeSet::from([random.pick(&TYPES), random.pick(&TYPES)])),
        ),
        3 => (
            "enum",
            (0..=random.below(3)).map(|_| value(random, 1)).collect(),
        ),
        4 => ("const", value(random, 1)),
        5 => ("minimum", small(random)),
        6 => ("maximum", json!(random.below(6) as f64 * 0.5)),
        7 => ("exclusiveMinimum", small(random)),
        8 => ("exclusiveMaximum", small(random)),
        9 => ("multipleOf", random.pick(&[json!(1), json!(2), json!(0.5)])),
        10 => ("minLength", small(random)),
        11 => ("maxLength", small(random)),
        12 => ("pattern", json!(random.pick(&PATTERNS))),
        13 => ("required", names(random)),
        14..=17 => {
            let mut map = Map::new();
            for _ in 0..=random.below(3) {
                map.insert(random.pick(&NAMES).to_owned(), inner(random, depth));
            }
            ("properties", Value::Object(map))
        }
        18 => (
            "patternProperties",
            json!({random.pick(&PATTERNS): inner(random, depth)}),
        ),
        19 => ("additionalProperties", inner(random, depth)),
        20 => ("unevaluatedProperties", inner(random, depth)),
        21 => ("propertyNames", inner(random, 0)),
        22 => ("minProperties", small(random)),
        23 => ("maxProperties", small(random)),
        24 => (
            "dependentRequired",
            json!({random.pick(&NAMES): names(random)}),
        ),
        25 => (
            "dependentSchemas",
            json!({random.pick(&NAMES): same_value(random, depth)}),
        ),
        26 => ("items", inner(random, depth)),
        27 => (
            "prefixItems",
            (0..=random.below(2))
                .map(|_| inner(random, depth))
                .collect(),
        ),
        28 => {
            schema.insert("minContains".to_owned(), small(random));
            if random.chance(40) {
                schema.insert("maxContains".to_owned(), small(random));
            }
            ("contains", inner(random, depth))
        }
        29 => (random.pick(&["minItems", "maxItems"]), small(random)),
        30 => (
            random.pick(&["uniqueItems", "unevaluatedItems"]),
            json!(random.chance(50)),
        ),
        31 => ("allOf", list(random, depth)),
        32 => ("anyOf", list(random, depth)),
        33 => ("oneOf", list(random, depth)),
        34 => ("not", same_value(random, depth)),
        _ => {
            for keyword in ["then", "else"] {
                if random.chance(70) {
                    schema.insert(keyword.to_owned(), same_value(random, depth));
                }
            }
            ("if", same_value(random, depth))
        }
    };
    let value = if keyword == "uniqueItems" {
        json!(true)
    } else {
        value
    };
    schema.insert(keyword.to_owned(), value);
}

fn document(random: &mut Random) -> Value {
    let mut root = match schema(random, 3) {
        Value::Object(object) => object,
        bool => Map::from_iter([("allOf".to_owned(), json!([bool]))]),
    };
    // A definition contains references only inside its members and items, so that validation ends.
    let d = json!({"properties": {"a": inner(random, 2), "b": inner(random, 1)}});
    let e = json!({"items": inner(random, 2), "type": random.pick(&["array", "object"])});
    root.insert("$defs".to_owned(), json!({"d": d, "e": e}));
    Value::Object(root)
}

/// A slightly different schema.
fn changed(random: &mut Random, schema: &Value) -> Value {
    let mut changed = schema.clone();
    let mut places = Vec::new();
    find_schemas(schema, &mut String::new(), &mut places);
    let place = random.pick(&places);
    if let Some(place) = changed.pointer_mut(&place) {
        let kept = place.clone();
        match place {
            Value::Object(object) if random.chance(30) && !object.is_empty() => {
                let keyword = random.below(object.len());
                let keyword = object.keys().nth(keyword).cloned().unwrap_or_default();
                if keyword != "$defs" {
                    object.remove(&keyword);
                }
            }
            Value::Object(object) if random.chance(40) => {
                let properties = object.entry("properties").or_insert_with(|| json!({}));
                properties[random.pick(&NAMES)] = inner(random, 1);
            }
            Value::Object(object) if random.chance(40) && !object.contains_key("$defs") => {
                *place = random.pick(&[
                    json!({"allOf": [kept]}),
                    json!({"anyOf": [kept.clone(), kept]}),
                    json!({"anyOf": [kept, false]}),
                    json!({"not": {"not": kept}}),
                    json!({"if": true, "then": kept}),
                ]);
            }
            Value::Object(object) => add_keyword(random, 1, object),
            other => *other = Value::Bool(random.chance(50)),
        }
    }
    changed
}

/// The pointers of all subschemas.
fn find_schemas(schema: &Value, at: &mut String, found: &mut Vec<String>) {
    found.push(at.clone());
    let length = at.len();
    let mut visit = |step: String, schema: &Value| {
        at.push_str(&step);
        find_schemas(schema, at, found);
        at.truncate(length);
    };
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "properties" | "patternProperties" | "dependentSchemas" | "$defs" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    visit(format!("/{keyword}/{name}"), schema);
                }
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                for (index, schema) in value.as_array().into_iter().flatten().enumerate() {
                    visit(format!("/{keyword}/{index}"), schema);
                }
            }
            "not"
            | "if"
            | "then"
            | "else"
            | "items"
            | "contains"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames" => visit(format!("/{keyword}"), value),
            _ => {}
        }
    }
}

/// Whether a value contains a property that only the new schema describes, where the old one is open. Independent of the code
/// under test: it follows the value, not the schemas.
fn has_new_property(
    value: &Value,
    old: &Value,
    new: &Value,
    old_here: &[&Value],
    new_here: &[&Value],
) -> bool {
    let (old_here, new_here) = (applying(old, old_here), applying(new, new_here));
    let inside = |here: &[&'_ Value], name: Option<&str>, index: usize| -> Vec<Value> {
        here.iter()
            .flat_map(|schema| below(schema, name, index))
            .collect()
    };
    let descend = |value: &Value, name: Option<&str>, index: usize| {
        let (old_inside, new_inside) = (
            inside(&old_here, name, index),
            inside(&new_here, name, index),
        );
        let refs = |schemas: &'_ [Value]| {
            schemas
                .iter()
                .collect::<Vec<_>>()
                .into_iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        let (old_inside, new_inside) = (refs(&old_inside), refs(&new_inside));
        let (old_inside, new_inside): (Vec<_>, Vec<_>) =
            (old_inside.iter().collect(), new_inside.iter().collect());
        has_new_property(value, old, new, &old_inside, &new_inside)
    };
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let named = |here: &[&Value]| {
                here.iter()
                    .any(|schema| schema["properties"].get(name).is_some())
            };
            (named(&new_here) && !named(&old_here) && !old_here.is_empty())
                || descend(value, Some(name), 0)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .any(|(index, item)| descend(item, None, index)),
        _ => false,
    }
}

/// The schemas and all that apply to the same value.
fn applying<'a>(root: &'a Value, schemas: &[&'a Value]) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = Vec::new();
    let mut open = schemas.to_vec();
    while let Some(schema) = open.pop() {
        found.push(schema);
        for keyword in ["allOf", "anyOf", "oneOf"] {
            open.extend(schema[keyword].as_array().into_iter().flatten());
        }
        for keyword in ["not", "if", "then", "else"] {
            open.extend(schema.get(keyword));
        }
        open.extend(
            schema["dependentSchemas"]
                .as_object()
                .into_iter()
                .flat_map(Map::values),
        );
        let reference = schema["$ref"]
            .as_str()
            .map(|reference| reference.trim_start_matches('#'));
        open.extend(reference.and_then(|reference| root.pointer(reference)));
    }
    found
}

/// The schemas for a member or an item.
fn below(schema: &Value, name: Option<&str>, index: usize) -> Vec<Value> {
    let mut found = Vec::new();
    if let Some(name) = name {
        found.extend(schema["properties"].get(name).cloned());
        found.extend(
            schema["patternProperties"]
                .as_object()
                .into_iter()
                .flat_map(Map::values)
                .cloned(),
        );
        found.extend(schema.get("additionalProperties").cloned());
        found.extend(schema.get("unevaluatedProperties").cloned());
    } else {
        found.extend(schema["prefixItems"].get(index).cloned());
        found.extend(schema.get("items").cloned());
        found.extend(schema.get("contains").cloned());
        found.extend(schema.get("unevaluatedItems").cloned());
    }
    found
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

#[derive(Default)]
struct Counts {
    compatible: usize,
    values: usize,
}

fn check_pair(random: &mut Random, old: &Value, new: &Value, counts: &mut Counts) {
    let Ok(found) = compare(TYPE, old, new) else {
        return;
    };
    if !found.is_empty() {
        return;
    }
    counts.compatible += 1;
    let (validates_old, validates_new) = (validator(old), validator(new));
    for _ in 0..60 {
        let percent = random.pick(&[20, 50, 80]);
        let mut members = members(random, 3, percent);
        members.insert("type".to_owned(), json!(TYPE));
        let value = Value::Object(members);
        let (in_old, in_new) = (
            validates_old.is_valid(&value),
            validates_new.is_valid(&value),
        );
        counts.values += usize::from(in_old || in_new);
        let excused = || has_new_property(&value, old, new, &[old], &[new]);
        assert!(
            in_old || !in_new,
            "a new writer may send {value}\nold {old}\nnew {new}"
        );
        assert!(
            !in_old || in_new || excused(),
            "an old writer may send {value}\nold {old}\nnew {new}"
        );
    }
}

#[test]
fn what_is_compatible_is_so_for_random_values() {
    let seed = std::env::var("DMWIRE_SCHEMA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let rounds = std::env::var("DMWIRE_SCHEMA_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let mut counts = Counts::default();
    for round in 0..rounds.unwrap_or(1000) {
        let seed = seed.unwrap_or(round);
        let mut random = Random(seed);
        let check = std::panic::AssertUnwindSafe(|| {
            let old = document(&mut random);
            let new = match random.below(8) {
                0 => document(&mut random),
                _ => changed(&mut random, &old),
            };
            check_pair(&mut random, &old, &new, &mut counts);
            check_pair(&mut random, &new, &old, &mut counts);
        });
        if let Err(panic) = std::panic::catch_unwind(check) {
            eprintln!("repeat with DMWIRE_SCHEMA_SEED={seed} cargo test --lib compatibility");
            std::panic::resume_unwind(panic);
        }
    }
    assert!(
        counts.compatible > 100,
        "only {} pairs were compatible",
        counts.compatible
    );
    assert!(
        counts.values > 1000,
        "only {} values were valid",
        counts.values
    );
}
