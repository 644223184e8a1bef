//! What is known of the values that a conjunction of schemas allows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use super::conjunction::{Choice, Conjunction};
use super::evaluate::allows;
use super::schema::{Contains, Graph, Id, Keywords};
use super::value::{Types, compare, integer};

/// `properties`, `patternProperties` and `additionalProperties` of one schema, or the like. `None`: no restriction.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pub properties: BTreeMap<String, Option<Id>>,
    pub patterns: BTreeMap<String, Option<Id>>,
    pub others: Option<Id>,
}

/// `prefixItems` and `items` of one schema, or the like. `None`: no restriction.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    pub prefix: Vec<Option<Id>>,
    pub others: Option<Id>,
}

impl Items {
    pub fn at(&self, index: usize) -> Option<Id> {
        self.prefix.get(index).copied().unwrap_or(self.others)
    }
}

/// A bound of numbers: the value, and whether the value itself is excluded.
pub(super) type Bound = (Number, bool);

#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The conjunction with all references and `allOf` followed.
    pub all: BTreeSet<Id>,
    pub none: BTreeSet<Id>,
    pub types: Types,
    /// All values, if they are finitely many.
    pub values: Option<Vec<Value>>,
    pub lower: Option<Bound>,
    pub upper: Option<Bound>,
    pub multiples: Vec<Number>,
    pub min_length: u64,
    pub max_length: Option<u64>,
    pub patterns: BTreeSet<String>,
    pub members: Vec<Members>,
    pub required: BTreeSet<String>,
    pub min_properties: u64,
    pub max_properties: Option<u64>,
    pub names: BTreeSet<Id>,
    pub dependent: Vec<(String, BTreeSet<String>)>,
    pub items: Vec<Items>,
    pub min_items: u64,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub contains: Vec<Contains>,
    /// The first alternatives that are not decided yet.
    pub choice: Option<(Id, Choice)>,
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// The tighter one of two bounds. `lower`: of lower bounds.
fn tighter(a: Option<Bound>, b: Option<Bound>, lower: bool) -> Option<Bound> {
    let (Some(a), Some(b)) = (a.clone(), b.clone()) else {
        return a.or(b);
    };
    let order = if lower {
        compare(&a.0, &b.0)
    } else {
        compare(&b.0, &a.0)
    };
    let first = order.is_gt() || (order.is_eq() && a.1);
    Some(if first { a } else { b })
}

impl Facts {
    pub fn of(graph: &mut Graph, conjunction: &Conjunction) -> Self {
        let mut facts = Self {
            all: BTreeSet::new(),
            none: BTreeSet::new(),
            types: Types::ALL,
            values: None,
            lower: None,
            upper: None,
            multiples: Vec::new(),
            min_length: 0,
            max_length: None,
            patterns: BTreeSet::new(),
            members: Vec::new(),
            required: BTreeSet::new(),
            min_properties: 0,
            max_properties: None,
            names: BTreeSet::new(),
            dependent: Vec::new(),
            items: Vec::new(),
            min_items: 0,
            max_items: None,
            unique_items: false,
            contains: Vec::new(),
            choice: None,
        };
        let mut open: Vec<Id> = conjunction.all.iter().copied().collect();
        let mut none: Vec<Id> = conjunction.none.iter().copied().collect();
        loop {
            if let Some(id) = open.pop() {
                if facts.all.insert(id) {
                    facts.add(graph, id, &mut open, &mut none);
                }
            } else if let Some(id) = none.pop() {
                if facts.none.insert(id) {
                    facts.exclude(graph, id, &mut open, &mut none);
                }
            } else {
                open = facts.implied(graph);
                if open.is_empty() {
                    break;
                }
            }
        }
        facts
            .members
            .extend(super::unevaluated::members(graph, &facts));
        facts.items.extend(super::unevaluated::items(graph, &facts));
        facts.settle(graph);
        facts.find_choice(graph, conjunction);
        facts
    }

    fn add(&mut self, graph: &Graph, id: Id, open: &mut Vec<Id>, none: &mut Vec<Id>) {
        let schema = graph.get(id);
        let keywords = &schema.keywords;
        if keywords.never {
            self.types = Types::NONE;
        }
        open.extend(keywords.references.iter().map(|(_, id)| *id));
        open.extend(&keywords.all_of);
        none.extend(keywords.not);
        for only in [&keywords.any_of, &keywords.one_of] {
            if let [only] = only.as_slice() {
                open.push(*only);
            }
        }
        self.types = self.types & keywords.types.unwrap_or(Types::ALL);
        for (_, values) in &keywords.values {
            self.values = Some(match self.values.take() {
                None => values.clone(),
                Some(mut known) => {
                    known.retain(|value| {
                        values.iter().any(|other| super::value::equal(value, other))
                    });
                    known
                }
            });
        }
        self.add_scalars(keywords);
        let restricts = |id: &Id| Some(*id);
        if !keywords.properties.is_empty()
            || !keywords.pattern_properties.is_empty()
            || keywords.additional_properties.is_some()
        {
            let named = |map: &BTreeMap<String, Id>| {
                map.iter()
                    .map(|(name, id)| (name.clone(), restricts(id)))
                    .collect()
            };
            self.members.push(Members {
                properties: named(&keywords.properties),
                patterns: named(&keywords.pattern_properties),
                others: keywords.additional_properties,
            });
        }
        self.required.extend(keywords.required.iter().cloned());
        self.min_properties = self.min_properties.max(keywords.min_properties);
        self.max_properties = least(self.max_properties, keywords.max_properties);
        self.names.extend(keywords.property_names);
        let dependent = keywords.dependent_required.iter();
        self.dependent
            .extend(dependent.map(|(name, names)| (name.clone(), names.clone())));
        if !keywords.prefix_items.is_empty() || keywords.items.is_some() {
            let prefix = keywords.prefix_items.iter().map(restricts).collect();
            self.items.push(Items {
                prefix,
                others: keywords.items,
            });
        }
        self.min_items = self.min_items.max(keywords.min_items);
        self.max_items = least(self.max_items, keywords.max_items);
        self.unique_items |= keywords.unique_items;
        self.contains.extend(keywords.contains);
    }

    fn add_scalars(&mut self, keywords: &Keywords) {
        let bound =
            |number: &Option<Number>, excluded| number.clone().map(|number| (number, excluded));
        for lower in [
            bound(&keywords.minimum, false),
            bound(&keywords.exclusive_minimum, true),
        ] {
            self.lower = tighter(self.lower.take(), lower, true);
        }
        for upper in [
            bound(&keywords.maximum, false),
            bound(&keywords.exclusive_maximum, true),
        ] {
            self.upper = tighter(self.upper.take(), upper, false);
        }
        self.multiples.extend(keywords.multiple_of.clone());
        self.min_length = self.min_length.max(keywords.min_length);
        self.max_length = least(self.max_length, keywords.max_length);
        self.patterns.extend(keywords.pattern.clone());
    }

    /// Takes from a schema that must not hold what can be said without it.
    fn exclude(&mut self, graph: &mut Graph, id: Id, open: &mut Vec<Id>, none: &mut Vec<Id>) {
        let schema = graph.get(id);
        let keywords = &schema.keywords;
        let only = |keywords: Keywords| keywords == Keywords::default();
        if only(keywords.clone()) {
            self.types = Types::NONE;
        } else if let Some(types) = keywords.types
            && only(Keywords {
                types: None,
                ..keywords.clone()
            })
        {
            self.types = self.types.without(types);
        } else if let [(_, reference)] = keywords.references.as_slice()
            && only(Keywords {
                references: Vec::new(),
                ..keywords.clone()
            })
        {
            none.push(*reference);
        } else if only(Keywords {
            any_of: Vec::new(),
            ..keywords.clone()
        }) {
            none.extend(&keywords.any_of);
        } else if let Some(inner) = keywords.not
            && only(Keywords {
                not: None,
                ..keywords.clone()
            })
        {
            open.push(inner);
        } else if keywords.required.len() == 1
            && keywords.types.is_none_or(|types| types == Types::OBJECT)
            && only(Keywords {
                types: None,
                required: BTreeSet::new(),
                ..keywords.clone()
            })
        {
            if keywords.types.is_none() {
                self.types = self.types & Types::OBJECT;
            }
            open.extend(keywords.required.iter().map(|name| graph.without(name)));
        }
    }

    /// Applies what depends on the presence of properties. Returns schemas that apply in addition.
    fn implied(&mut self, graph: &Graph) -> Vec<Id> {
        // Only objects have properties: a condition on them says nothing while other types are possible.
        if self.types != Types::OBJECT {
            return Vec::new();
        }
        loop {
            let before = self.required.len();
            for (name, names) in &self.dependent {
                if self.required.contains(name) {
                    self.required.extend(names.iter().cloned());
                }
            }
            if self.required.len() == before {
                break;
            }
        }
        let mut implied = Vec::new();
        for id in &self.all {
            let schema = graph.get(*id);
            let dependent = &schema.keywords.dependent_schemas;
            let applies = dependent
                .iter()
                .filter(|(name, _)| self.required.contains(*name));
            implied.extend(
                applies
                    .map(|(_, id)| *id)
                    .filter(|id| !self.all.contains(id)),
            );
        }
        implied
    }

    /// Draws conclusions from several facts.
    fn settle(&mut self, graph: &Graph) {
        if self
            .multiples
            .iter()
            .any(|number| integer(number).is_some())
        {
            self.types = self.types.without(Types::FRACTION);
        }
        if !self.types.overlaps(Types::FRACTION) {
            self.lower = self.lower.take().map(|bound| whole(bound, 1));
            self.upper = self.upper.take().map(|bound| whole(bound, -1));
        }
        if let (Some(lower), Some(upper)) = (&self.lower, &self.upper) {
            let order = compare(&lower.0, &upper.0);
            if order.is_gt() || (order.is_eq() && (lower.1 || upper.1)) {
                self.types = self.types.without(Types::NUMBER);
            }
        }
        let crossed = |min: u64, max: Option<u64>| max.is_some_and(|max| min > max);
        if crossed(self.min_length, self.max_length) {
            self.types = self.types.without(Types::STRING);
        }
        for items in &self.items {
            let first = (0..=items.prefix.len()).find(|index| {
                let schema = items.at(*index);
                schema.is_some_and(|id| graph.get(id).keywords.never)
            });
            self.max_items = least(self.max_items, first.map(|first| first as u64));
        }
        self.min_properties = self.min_properties.max(self.required.len() as u64);
        for contains in &self.contains {
            self.min_items = self.min_items.max(contains.min);
        }
        if crossed(self.min_items, self.max_items) {
            self.types = self.types.without(Types::ARRAY);
        }
        if crossed(self.min_properties, self.max_properties) {
            self.types = self.types.without(Types::OBJECT);
        }
        if self.values.is_none() && (Types::NULL | Types::BOOLEAN).contains(self.types) {
            let mut values = Vec::new();
            if self.types.contains(Types::NULL) {
                values.push(Value::Null);
            }
            if self.types.contains(Types::BOOLEAN) {
                values.extend([Value::Bool(false), Value::Bool(true)]);
            }
            self.values = Some(values);
        }
        if let Some(values) = &mut self.values {
            values.retain(|value| {
                self.types.contains(Types::of(value))
                    && self
                        .all
                        .iter()
                        .all(|id| allows(graph, *id, value) != Some(false))
                    && self
                        .none
                        .iter()
                        .all(|id| allows(graph, *id, value) != Some(true))
            });
            let found = values.iter().map(Types::of).fold(Types::NONE, |a, b| a | b);
            self.types = self.types & found;
        }
    }

    fn find_choice(&mut self, graph: &Graph, conjunction: &Conjunction) {
        let is_open = |choice: &(Id, Choice)| !conjunction.chosen.contains(choice);
        self.choice = self.all.iter().find_map(|id| {
            let schema = graph.get(*id);
            let keywords = &schema.keywords;
            let dependent = keywords.dependent_schemas.keys().enumerate();
            let dependent = dependent.filter(|(_, name)| !self.required.contains(*name));
            [
                (keywords.any_of.len() > 1).then_some(Choice::AnyOf),
                (keywords.one_of.len() > 1).then_some(Choice::OneOf),
                keywords.condition.is_some().then_some(Choice::Condition),
            ]
            .into_iter()
            .flatten()
            .chain(dependent.map(|(index, _)| Choice::Dependent(index)))
            .map(|choice| (*id, choice))
            .find(is_open)
        });
    }
}

/// A bound of integers, which includes its value.
fn whole((number, excluded): Bound, step: i128) -> Bound {
    let rounded = match integer(&number) {
        Some(value) if excluded => Some(value + step),
        Some(value) => Some(value),
        None => number
            .as_f64()
            .filter(|value| value.abs() < 2f64.powi(53))
            .map(|value| {
                (if step > 0 {
                    value.ceil()
                } else {
                    value.floor()
                }) as i128
            }),
    };
    match rounded.and_then(Number::from_i128) {
        Some(rounded) => (rounded, false),
        None => (number, excluded),
    }
}
