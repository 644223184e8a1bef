//! Which properties are new at a place: the part of the rules that lets a schema name further properties.
//!
//! A place is a value within an instance, with all subschemas of both files that may apply to it.

use std::collections::{BTreeSet, HashMap};

use super::pattern;
use super::schema::{Graph, Id, Keywords};

/// The number of a place in [`Places`].
pub(super) type PlaceId = usize;

/// The schemas that may apply to one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Place {
    old: BTreeSet<Id>,
    new: BTreeSet<Id>,
}

/// A step from a value to one inside it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// The member with this name, or one that no `properties` names, and the patterns that match its name.
    Member(Option<&'a str>, &'a BTreeSet<&'a str>),
    /// The item at this index.
    Item(usize),
}

/// Members and items to which different schemas may apply.
#[derive(Clone, Debug, Default)]
pub(super) struct Distinguished {
    pub names: BTreeSet<String>,
    pub patterns: BTreeSet<String>,
    pub prefix: usize,
}

/// All places that the comparison has visited.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    known: HashMap<Place, PlaceId>,
}

impl Places {
    /// The place to which these two schemas apply.
    pub fn root(&mut self, graph: &Graph, old: Id, new: Id) -> PlaceId {
        self.intern(graph, &[old], &[new])
    }

    /// The place one step further.
    pub fn step(&mut self, graph: &Graph, place: PlaceId, step: Step<'_>) -> PlaceId {
        let at = |schemas: &BTreeSet<Id>| {
            let mut applied = Vec::new();
            for id in schemas {
                inside(graph, &graph.get(*id).keywords, step, &mut applied);
            }
            applied
        };
        let (old, new) = (at(&self.places[place].old), at(&self.places[place].new));
        self.intern(graph, &old, &new)
    }

    /// The names, patterns and numbers of items that the schemas of a place distinguish.
    pub fn distinguished(&self, graph: &Graph, place: PlaceId) -> Distinguished {
        let Place { old, new } = &self.places[place];
        let mut found = Distinguished::default();
        for id in old.iter().chain(new) {
            let schema = graph.get(*id);
            found
                .names
                .extend(schema.keywords.properties.keys().cloned());
            found
                .patterns
                .extend(schema.keywords.pattern_properties.keys().cloned());
            found.prefix = found.prefix.max(schema.keywords.prefix_items.len());
        }
        found
    }

    fn intern(&mut self, graph: &Graph, old: &[Id], new: &[Id]) -> PlaceId {
        let mut place = Place::default();
        for id in old {
            collect(graph, *id, true, &mut place.old);
        }
        for id in new {
            collect(graph, *id, false, &mut place.new);
        }
        if let Some(id) = self.known.get(&place) {
            return *id;
        }
        self.places.push(place.clone());
        self.known.insert(place, self.places.len() - 1);
        self.places.len() - 1
    }

    /// The properties that the new schema names here and the old one did not, although it allowed them with any value.
    pub fn new_properties(&self, graph: &Graph, place: PlaceId) -> BTreeSet<String> {
        let Place { old, new } = &self.places[place];
        let mut names = BTreeSet::new();
        if old.is_empty() {
            // The old schema said nothing about this value, so it may contain anything.
            return names;
        }
        for id in new {
            names.extend(graph.get(*id).keywords.properties.keys().cloned());
        }
        for id in old {
            let schema = graph.get(*id);
            names.retain(|name| is_open(graph, &schema.keywords, name));
        }
        names
    }
}

/// Whether a schema neither names a property nor restricts it.
fn is_open(graph: &Graph, keywords: &Keywords, name: &str) -> bool {
    let others = [
        keywords.additional_properties,
        keywords.unevaluated_properties,
    ];
    !keywords.properties.contains_key(name)
        && others.into_iter().flatten().all(|id| graph.is_trivial(id))
        && keywords
            .pattern_properties
            .keys()
            .all(|pattern| pattern::matches(pattern, name) == Some(false))
}

/// Adds a schema and all schemas that may apply to the same value. Of a new schema, those that only test a value (`not`,
/// `if`) do not count, because they do not describe what a writer sends.
fn collect(graph: &Graph, id: Id, with_tests: bool, found: &mut BTreeSet<Id>) {
    if !found.insert(id) {
        return;
    }
    let schema = graph.get(id);
    let keywords = &schema.keywords;
    for next in keywords.in_place() {
        let is_test =
            Some(next) == keywords.not || keywords.condition.is_some_and(|c| c.test == next);
        if with_tests || !is_test {
            collect(graph, next, with_tests, found);
        }
    }
}

/// Adds the schemas that may apply to a value inside. A schema for further properties that allows everything does not
/// describe them.
fn inside(graph: &Graph, keywords: &Keywords, step: Step<'_>, found: &mut Vec<Id>) {
    let described = |id: Option<Id>| id.filter(|id| !graph.is_trivial(*id));
    match step {
        Step::Member(name, matched) => {
            let own = name.and_then(|name| keywords.properties.get(name));
            let patterns = keywords.pattern_properties.iter();
            let patterns = patterns.filter(|(pattern, _)| matched.contains(pattern.as_str()));
            let before = found.len();
            found.extend(own.into_iter().chain(patterns.map(|(_, id)| id)));
            if found.len() == before {
                found.extend(described(keywords.additional_properties));
            }
            found.extend(described(keywords.unevaluated_properties));
        }
        Step::Item(index) => {
            found.extend(keywords.prefix_items.get(index).copied().or(keywords.items));
            found.extend(keywords.unevaluated_items);
            found.extend(keywords.contains.map(|contains| contains.schema));
        }
    }
}
