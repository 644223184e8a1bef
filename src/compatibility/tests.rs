//! Changes keyword by keyword, and random changes.

mod arrays;
mod limits;
mod logic;
mod objects;
mod random;
mod references;
mod scalars;

use serde_json::{Value, json};

use super::{Rule, compare};

const TYPE: &str = "order.updated";

/// The locations of the breaks of one rule.
fn breaks(old: &Value, new: &Value, rule: Rule) -> Vec<String> {
    let breaks = compare(TYPE, old, new).unwrap_or_else(|error| panic!("{old} -> {new}: {error}"));
    let breaks = breaks.into_iter().filter(|found| found.rule == rule);
    breaks.map(|found| found.location).collect()
}

/// Both schemas allow the same values.
#[track_caller]
fn equivalent(a: Value, b: Value) {
    for (old, new) in [(&a, &b), (&b, &a)] {
        let found = compare(TYPE, old, new).expect("the schemas can be compared");
        assert!(found.is_empty(), "{old} -> {new}: {found:?}");
    }
}

/// The same for the schemas of a property.
#[track_caller]
fn same_property(a: Value, b: Value) {
    equivalent(
        json!({"properties": {"p": a}}),
        json!({"properties": {"p": b}}),
    );
}

/// `narrow` allows fewer values than `wide`, by the keywords at these locations of `narrow`.
#[track_caller]
fn narrower(narrow: Value, wide: Value, locations: &[&str]) {
    assert_eq!(
        breaks(&wide, &narrow, Rule::OldWriter),
        locations,
        "{wide} -> {narrow}"
    );
    assert_eq!(
        breaks(&wide, &narrow, Rule::NewWriter),
        [""; 0],
        "{wide} -> {narrow}"
    );
    assert_eq!(
        breaks(&narrow, &wide, Rule::NewWriter),
        locations,
        "{narrow} -> {wide}"
    );
    assert_eq!(
        breaks(&narrow, &wide, Rule::OldWriter),
        [""; 0],
        "{narrow} -> {wide}"
    );
}

/// The same for the schemas of a property; the locations are relative to it.
#[track_caller]
fn narrower_property(narrow: Value, wide: Value, locations: &[&str]) {
    let locations: Vec<_> = locations
        .iter()
        .map(|location| format!("/properties/p{location}"))
        .collect();
    let locations: Vec<_> = locations.iter().map(String::as_str).collect();
    narrower(
        json!({"properties": {"p": narrow}}),
        json!({"properties": {"p": wide}}),
        &locations,
    );
}

/// Each schema allows values that the other one does not.
#[track_caller]
fn different_properties(a: Value, b: Value) {
    let [old, new] = [a, b].map(|p| json!({"properties": {"p": p}}));
    assert_ne!(
        breaks(&old, &new, Rule::OldWriter),
        [""; 0],
        "{old} -> {new}"
    );
    assert_ne!(
        breaks(&old, &new, Rule::NewWriter),
        [""; 0],
        "{old} -> {new}"
    );
}
