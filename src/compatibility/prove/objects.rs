//! Keywords about objects.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::super::conjunction::Conjunction;
use super::super::evaluate::allows;
use super::super::facts::{Facts, Members};
use super::super::pattern;
use super::super::place::{Distinguished, PlaceId, Step};
use super::super::read::child;
use super::super::schema::{Id, Schema};
use super::super::unevaluated::Covered;
use super::super::value::Types;
use super::{Failure, Goal, Part, Proof, Prover, fails};

/// Patterns whose matches are tried in all combinations. More are not decided.
const MAX_PATTERNS: usize = 6;

/// Members with one name, or with any name that is not considered separately.
struct Class<'a> {
    name: Option<&'a str>,
    /// The patterns that match the name.
    matched: BTreeSet<&'a str>,
}

impl Class<'_> {
    /// The schemas that apply to a member of this class.
    fn applied(&self, members: &Members) -> Vec<Id> {
        let own = self.name.and_then(|name| members.properties.get(name));
        let patterns = members.patterns.iter();
        let mut matched = patterns
            .filter(|(pattern, _)| self.matched.contains(pattern.as_str()))
            .peekable();
        if own.is_none() && matched.peek().is_none() {
            return members.others.into_iter().collect();
        }
        own.copied()
            .flatten()
            .into_iter()
            .chain(matched.filter_map(|(_, id)| *id))
            .collect()
    }

    fn step(&self) -> Step<'_> {
        Step::Member(self.name, &self.matched)
    }
}

/// The value of a failure if there are too many patterns.
const TOO_MANY_PATTERNS: &str = "an object with names that could not be compared";

impl Prover {
    pub(super) fn prove_object(
        &mut self,
        schema: &Schema,
        goal: &Goal,
        facts: &Rc<Facts>,
    ) -> Proof {
        if !facts.types.overlaps(Types::OBJECT) {
            return Ok(());
        }
        let k = &schema.keywords;
        let at = schema.pointer.as_str();
        match goal.part {
            Part::Members => {
                let named = |map: &std::collections::BTreeMap<String, Id>| {
                    map.iter()
                        .map(|(name, id)| (name.clone(), Some(*id)))
                        .collect()
                };
                let members = Members {
                    properties: named(&k.properties),
                    patterns: named(&k.pattern_properties),
                    others: k.additional_properties,
                };
                self.prove_members(goal, facts, &members)
            }
            Part::UnevaluatedMembers => {
                let mut covered = Covered::default();
                match k.unevaluated_properties {
                    Some(others)
                        if !self.evaluates_all(goal.right, goal, facts, true, &mut covered) =>
                    {
                        self.prove_members(goal, facts, &covered.others(others))
                    }
                    _ => Ok(()),
                }
            }
            Part::Names => self.prove_names(schema, facts),
            Part::Required => match k.required.difference(&facts.required).next() {
                Some(name) => fails(
                    at,
                    "required",
                    format!("an object without the property {name:?}"),
                ),
                None => Ok(()),
            },
            Part::MinProperties if facts.min_properties >= k.min_properties => Ok(()),
            Part::MinProperties => {
                let what = format!("an object of fewer than {} properties", k.min_properties);
                fails(at, "minProperties", what)
            }
            Part::MaxProperties => match k.max_properties {
                Some(max) if self.most_members(facts).is_none_or(|most| most > max) => fails(
                    at,
                    "maxProperties",
                    format!("an object of more than {max} properties"),
                ),
                _ => Ok(()),
            },
            Part::DependentRequired => self.prove_dependent_required(schema, goal),
            Part::DependentSchemas => self.prove_dependent_schemas(schema, goal),
            _ => Ok(()),
        }
    }

    fn prove_dependent_required(&mut self, schema: &Schema, goal: &Goal) -> Proof {
        for (name, names) in &schema.keywords.dependent_required {
            let left = goal.left.and(self.graph.with(name));
            let facts = self.facts(&left);
            if let Some(missing) = names.difference(&facts.required).next()
                && !self.is_empty(left, goal.place)
            {
                let what = format!("an object with the property {name:?} and without {missing:?}");
                return fails(&child(&schema.pointer, "dependentRequired"), name, what);
            }
        }
        Ok(())
    }

    fn prove_dependent_schemas(&mut self, schema: &Schema, goal: &Goal) -> Proof {
        let mut failures = Vec::new();
        for (name, id) in &schema.keywords.dependent_schemas {
            let left = goal.left.and(self.graph.with(name));
            if let Err(more) = self.holds(left, *id, goal.place) {
                failures.extend(more);
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// The names in the facts, and the patterns.
    fn names_and_patterns<'a>(
        facts: &'a Facts,
        right: Option<&'a Members>,
        place: &'a Distinguished,
    ) -> (BTreeSet<String>, BTreeSet<&'a str>) {
        let all = || facts.members.iter().chain(right);
        let mut names: BTreeSet<String> = all()
            .flat_map(|members| members.properties.keys().cloned())
            .collect();
        let patterns = all().flat_map(|members| members.patterns.keys());
        let patterns: BTreeSet<&str> = patterns
            .chain(&place.patterns)
            .map(String::as_str)
            .collect();
        names.extend(place.names.iter().cloned());
        names.extend(facts.required.iter().cloned());
        names.extend(
            patterns
                .iter()
                .filter_map(|pattern| pattern::only_match(pattern)),
        );
        (names, patterns)
    }

    pub(super) fn distinguished(&self, place: Option<PlaceId>) -> Distinguished {
        place
            .map(|place| self.places.distinguished(&self.graph, place))
            .unwrap_or_default()
    }

    /// Calls `visit` for every class of members. False: there are too many.
    fn each_class(
        names: &BTreeSet<String>,
        patterns: &BTreeSet<&str>,
        mut visit: impl FnMut(&Class<'_>),
    ) -> bool {
        let mut decided = true;
        for name in names.iter().map(|name| Some(name.as_str())).chain([None]) {
            let answer = |pattern: &&str| match name {
                Some(name) => pattern::matches(pattern, name),
                None if pattern::is_universal(pattern) => Some(true),
                // All names that it matches are considered separately.
                None if pattern::only_match(pattern).is_some() => Some(false),
                None => None,
            };
            let certain = patterns
                .iter()
                .copied()
                .filter(|pattern| answer(pattern) == Some(true));
            let certain: BTreeSet<&str> = certain.collect();
            let unknown: Vec<&str> = patterns
                .iter()
                .copied()
                .filter(|pattern| answer(pattern).is_none())
                .collect();
            if unknown.len() > MAX_PATTERNS {
                decided = false;
                continue;
            }
            for bits in 0..1_u32 << unknown.len() {
                let chosen = unknown
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| bits & (1 << index) != 0);
                let matched = certain
                    .iter()
                    .copied()
                    .chain(chosen.map(|(_, pattern)| *pattern))
                    .collect();
                visit(&Class { name, matched });
            }
        }
        decided
    }

    /// Whether an object may have a member of this name.
    fn may_have(&self, facts: &Facts, name: &str) -> bool {
        let name = Value::String(name.to_owned());
        facts
            .names
            .iter()
            .all(|id| allows(&self.graph, *id, &name) != Some(false))
    }

    fn prove_members(&mut self, goal: &Goal, facts: &Rc<Facts>, right: &Members) -> Proof {
        if facts.max_properties == Some(0) {
            return Ok(());
        }
        let mut failures = Vec::new();
        let place = self.distinguished(goal.place);
        let (names, patterns) = Self::names_and_patterns(facts, Some(right), &place);
        let decided = Self::each_class(&names, &patterns, |class| {
            let goals = class.applied(right);
            if goals.is_empty() || class.name.is_some_and(|name| !self.may_have(facts, name)) {
                return;
            }
            let known = facts
                .members
                .iter()
                .flat_map(|members| class.applied(members));
            let left = Conjunction::of(known);
            for id in goals {
                if let Err(more) = self.holds_inside(left.clone(), id, goal.place, class.step()) {
                    let schema = self.graph.get(id);
                    if schema.keywords.never {
                        let what = match class.name {
                            Some(name) => format!("an object with the property {name:?}"),
                            None => "an object with other properties".to_owned(),
                        };
                        failures.push(Failure {
                            pointer: schema.pointer.clone(),
                            what,
                        });
                    } else {
                        failures.extend(more);
                    }
                }
            }
        });
        if !decided {
            let pointer = self.graph.get(goal.right).pointer.clone();
            failures.push(Failure {
                pointer,
                what: TOO_MANY_PATTERNS.to_owned(),
            });
        }
        failures.sort();
        failures.dedup();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// The names of all members that are possible, if they are finitely many.
    fn possible_names(&mut self, facts: &Facts) -> Option<BTreeSet<String>> {
        let place = Distinguished::default();
        let (names, patterns) = Self::names_and_patterns(facts, None, &place);
        let mut possible = BTreeSet::new();
        let mut finite = true;
        let decided = Self::each_class(&names, &patterns, |class| {
            let mut known = facts
                .members
                .iter()
                .flat_map(|members| class.applied(members));
            if known.any(|id| self.graph.get(id).keywords.never) {
                return;
            }
            match class.name {
                Some(name) if self.may_have(facts, name) => drop(possible.insert(name.to_owned())),
                Some(_) => {}
                None => finite = false,
            }
        });
        (decided && finite).then_some(possible)
    }

    fn most_members(&mut self, facts: &Facts) -> Option<u64> {
        let possible = self.possible_names(facts).map(|names| names.len() as u64);
        facts.max_properties.into_iter().chain(possible).min()
    }

    fn prove_names(&mut self, schema: &Schema, facts: &Facts) -> Proof {
        let Some(right) = schema.keywords.property_names else {
            return Ok(());
        };
        if facts.max_properties == Some(0) {
            return Ok(());
        }
        let possible = self.possible_names(facts);
        let mut failures = Vec::new();
        let mut lefts = Vec::new();
        match possible {
            Some(names) => {
                lefts.extend(
                    names
                        .into_iter()
                        .map(|name| self.graph.constant(&Value::String(name))),
                );
            }
            None => lefts.push(self.graph.of_types(Types::STRING)),
        }
        for left in lefts {
            let left = Conjunction::of(facts.names.iter().copied()).and(left);
            // A name is a value inside the object, but not a member or an item: no property is new in it.
            self.descents += 1;
            let proof = self.holds(left, right, None);
            self.descents -= 1;
            if let Err(more) = proof {
                let named = |failure: Failure| Failure {
                    what: format!("as the name of a property: {}", failure.what),
                    ..failure
                };
                failures.extend(more.into_iter().map(named));
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// Adds the members that a schema evaluates in every object of the conjunction. True: it evaluates all.
    fn evaluates_all(
        &mut self,
        id: Id,
        goal: &Goal,
        facts: &Facts,
        is_outer: bool,
        covered: &mut Covered,
    ) -> bool {
        let schema = self.graph.get(id);
        let k = &schema.keywords;
        if k.additional_properties.is_some() || (!is_outer && k.unevaluated_properties.is_some()) {
            return true;
        }
        covered.names.extend(k.properties.keys().cloned());
        covered
            .patterns
            .extend(k.pattern_properties.keys().cloned());
        let applied = self.applied(&schema, goal, facts);
        applied
            .into_iter()
            .any(|id| self.evaluates_all(id, goal, facts, false, covered))
    }

    /// The schemas that apply to every value of the conjunction, because of keywords that apply schemas in place.
    pub(super) fn applied(&mut self, schema: &Schema, goal: &Goal, facts: &Facts) -> Vec<Id> {
        let k = &schema.keywords;
        let mut applied: Vec<Id> = k
            .references
            .iter()
            .map(|(_, id)| *id)
            .chain(k.all_of.iter().copied())
            .collect();
        for id in k.any_of.iter().chain(&k.one_of) {
            if self.holds(goal.left.clone(), *id, goal.place).is_ok() {
                applied.push(*id);
            }
        }
        if let Some(condition) = k.condition {
            if self
                .holds(goal.left.clone(), condition.test, goal.place)
                .is_ok()
            {
                applied.push(condition.test);
                applied.extend(condition.then);
            } else if self.is_empty(goal.left.and(condition.test), goal.place) {
                applied.extend(condition.otherwise);
            }
        }
        let dependent = k.dependent_schemas.iter();
        applied.extend(
            dependent
                .filter(|(name, _)| facts.required.contains(*name))
                .map(|(_, id)| *id),
        );
        applied
    }

    /// Whether no value of this type is possible, because of a member or an item that is not possible.
    pub(super) fn is_type_impossible(&mut self, types: Types, facts: &Rc<Facts>) -> bool {
        let never = self.graph.never();
        if types == Types::OBJECT {
            let patterns = facts
                .members
                .iter()
                .flat_map(|members| members.patterns.keys());
            let patterns: Vec<&String> = patterns.collect();
            return facts.required.iter().any(|name| {
                let matched = patterns.iter().map(|pattern| pattern.as_str());
                let certain = matched
                    .filter(|pattern| pattern::matches(pattern, name) == Some(true))
                    .collect();
                let class = Class {
                    name: Some(name),
                    matched: certain,
                };
                // Where it is not decided whether a pattern matches, `additionalProperties` may not apply.
                let is_decided = |members: &&Members| {
                    members.properties.contains_key(name)
                        || members
                            .patterns
                            .keys()
                            .all(|pattern| pattern::matches(pattern, name).is_some())
                };
                let known = facts
                    .members
                    .iter()
                    .filter(is_decided)
                    .flat_map(|members| class.applied(members));
                let left = Conjunction::of(known);
                !self.may_have(facts, name)
                    || self.holds_inside(left, never, None, class.step()).is_ok()
            });
        }
        if types == Types::ARRAY {
            let end = facts
                .items
                .iter()
                .map(|items| items.prefix.len() as u64)
                .max()
                .unwrap_or(0);
            return (0..facts.min_items.min(end + 1)).any(|index| {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let known = facts.items.iter().filter_map(|items| items.at(index));
                self.holds_inside(Conjunction::of(known), never, None, Step::Item(index))
                    .is_ok()
            });
        }
        false
    }
}
