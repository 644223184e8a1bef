//! Writes a graph of subschemas as a schema for `jsonschema` that is equivalent to the original one and contains only keywords
//! whose cost is known.
//!
//! For a value that matches no branch of `anyOf` or `oneOf`, `jsonschema` lists all errors of all branches. The written schema
//! negates these keywords twice: the result is the same, and a single error is made.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::schema::{Graph, Id};

/// Returns the schema, and the pointers of its definitions in the original one.
pub(super) fn emit(graph: &Graph) -> (Value, HashMap<String, String>) {
    let targets = graph.nodes.iter().filter_map(|node| node.reference);
    let targets: BTreeSet<Id> = targets.collect();
    let pointer = |id: &Id| (id.to_string(), graph.nodes[*id].pointer.clone());
    let pointers = targets.iter().map(pointer).collect();
    (with_definitions(graph, 0, targets), pointers)
}

/// Returns a subschema as a schema of its own.
pub(super) fn part(graph: &Graph, id: Id) -> Value {
    let (mut targets, mut seen) = (BTreeSet::new(), HashSet::from([id]));
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        let node = &graph.nodes[id];
        targets.extend(node.reference);
        node.each_applied(&mut |id| {
            if seen.insert(id) {
                next.push(id);
            }
        });
    }
    with_definitions(graph, id, targets)
}

fn with_definitions(graph: &Graph, id: Id, targets: BTreeSet<Id>) -> Value {
    let mut root = subschema(graph, id);
    let definition = |id: Id| (id.to_string(), subschema(graph, id));
    let definitions: Map<String, Value> = targets.into_iter().map(definition).collect();
    if let Some(root) = root.as_object_mut()
        && !definitions.is_empty()
    {
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    root
}

fn subschema(graph: &Graph, id: Id) -> Value {
    let node = &graph.nodes[id];
    if let Some(boolean) = node.boolean {
        return boolean.into();
    }
    let mut out = node.assertions.clone();
    let mut all = Vec::new();
    for (keyword, ids) in &node.in_place {
        let mut branches: Vec<Value> = ids.iter().map(|id| subschema(graph, *id)).collect();
        match *keyword {
            "allOf" => all.append(&mut branches),
            "anyOf" | "oneOf" => all.push(json!({"not": {"not": {*keyword: branches}}})),
            keyword => drop(out.insert(keyword.to_owned(), branches.swap_remove(0))),
        }
    }
    if !all.is_empty() {
        out.insert("allOf".to_owned(), Value::Array(all));
    }
    let named = |named: &[(String, Id)]| -> Value {
        let member = |(name, id): &(String, Id)| (name.clone(), subschema(graph, *id));
        Value::Object(named.iter().map(member).collect())
    };
    for (keyword, members) in [
        ("dependentSchemas", &node.dependent),
        ("properties", &node.properties),
        ("patternProperties", &node.pattern_properties),
    ] {
        if !members.is_empty() {
            out.insert(keyword.to_owned(), named(members));
        }
    }
    for (keyword, id) in [
        ("additionalProperties", node.additional_properties),
        ("propertyNames", node.property_names),
        ("items", node.items),
        ("contains", node.contains),
    ] {
        if let Some(id) = id {
            out.insert(keyword.to_owned(), subschema(graph, id));
        }
    }
    if !node.prefix_items.is_empty() {
        let items = node.prefix_items.iter().map(|id| subschema(graph, *id));
        out.insert("prefixItems".to_owned(), items.collect());
    }
    if let Some(target) = node.reference {
        out.insert("$ref".to_owned(), format!("#/$defs/{target}").into());
    }
    Value::Object(out)
}
