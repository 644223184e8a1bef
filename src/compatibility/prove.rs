//! Proofs of inclusion: that every value which a conjunction of schemas allows is allowed by another schema.
//!
//! A goal is proved keyword by keyword from the facts of the conjunction. If they do not suffice, the conjunction is split
//! into the cases of its alternatives (`anyOf`, `oneOf`, `if`, `dependentSchemas`). What is not proved counts as a break.
//!
//! A goal that comes up again within its own proof is assumed, if the proof has descended to a member or an item in between:
//! JSON values are finite, so this is a proof by induction on their depth.

use std::collections::HashMap;
use std::rc::Rc;

use super::conjunction::{Choice, Conjunction, cases};
use super::facts::Facts;
use super::place::{PlaceId, Places, Step};
use super::same::Same;
use super::schema::{Graph, Id};

mod arrays;
mod logic;
mod objects;
mod scalars;

/// Effort after which a comparison is given up: the number of goals, each weighted with the size of its conjunction.
const MAX_EFFORT: usize = 300_000;
/// Nested goals, so that the stack suffices.
const MAX_DEPTH: usize = 160;

/// A value that the goal does not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Failure {
    /// JSON Pointer of the keyword that rejects the value.
    pub pointer: String,
    /// The value, in words.
    pub what: String,
}

pub(super) type Proof = Result<(), Vec<Failure>>;

/// The keyword of a schema that is to be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// All keywords.
    All,
    /// All keywords, up to the first one that fails: a proof without an explanation.
    Quick,
    Never,
    /// That no value exists, without splitting the conjunction.
    Contradiction,
    Reference(usize),
    Types,
    Values(usize),
    Minimum,
    ExclusiveMinimum,
    Maximum,
    ExclusiveMaximum,
    MultipleOf,
    MinLength,
    MaxLength,
    Pattern,
    Members,
    UnevaluatedMembers,
    Names,
    Required,
    MinProperties,
    MaxProperties,
    DependentRequired,
    DependentSchemas,
    Items,
    UnevaluatedItems,
    Contains,
    MinItems,
    MaxItems,
    UniqueItems,
    AllOf(usize),
    AnyOf,
    OneOf,
    Not,
    Condition,
}

/// That every value of `left` is allowed by a part of the schema `right`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Goal {
    left: Conjunction,
    right: Id,
    part: Part,
    /// The place of the value, if properties that are new there are not sent.
    place: Option<PlaceId>,
}

/// A goal whose proof is under way.
struct Open {
    goal: Goal,
    /// Members and items between the root and the value.
    descents: usize,
}

pub(super) struct Prover {
    pub graph: Graph,
    places: Places,
    facts: HashMap<Conjunction, Rc<Facts>>,
    proofs: HashMap<Goal, Proof>,
    open: Vec<Open>,
    descents: usize,
    /// The lowest index in `open` of a goal that was assumed.
    assumed: usize,
    effort: usize,
    same: Same,
}

impl Prover {
    pub fn new(graph: Graph) -> Self {
        Self {
            graph,
            places: Places::default(),
            facts: HashMap::new(),
            proofs: HashMap::new(),
            open: Vec::new(),
            descents: 0,
            assumed: usize::MAX,
            effort: 0,
            same: Same::default(),
        }
    }

    /// Proves that `right` allows everything that all of `left` allow. With `excused`, the values contain no properties that
    /// are new in the second of these schemas.
    pub fn includes(&mut self, left: &[Id], right: Id, excused: Option<(Id, Id)>) -> Proof {
        self.effort = 0;
        let place = excused.map(|(old, new)| self.places.root(&self.graph, old, new));
        let left = self.without_new_properties(Conjunction::of(left.iter().copied()), place);
        self.prove(Goal {
            left,
            right,
            part: Part::All,
            place,
        })
    }

    fn without_new_properties(
        &mut self,
        mut left: Conjunction,
        place: Option<PlaceId>,
    ) -> Conjunction {
        if let Some(place) = place {
            for name in self.places.new_properties(&self.graph, place) {
                left.all.insert(self.graph.without(&name));
            }
        }
        left
    }

    fn facts(&mut self, left: &Conjunction) -> Rc<Facts> {
        if let Some(facts) = self.facts.get(left) {
            return facts.clone();
        }
        let facts = Rc::new(Facts::of(&mut self.graph, left));
        self.facts.insert(left.clone(), facts.clone());
        facts
    }

    /// Proves that a schema allows the values of a conjunction at the same place.
    fn holds(&mut self, left: Conjunction, right: Id, place: Option<PlaceId>) -> Proof {
        self.prove(Goal {
            left,
            right,
            part: Part::All,
            place,
        })
    }

    /// Proves that a schema allows members or items whose values are those of a conjunction.
    fn holds_inside(
        &mut self,
        left: Conjunction,
        right: Id,
        place: Option<PlaceId>,
        step: Step<'_>,
    ) -> Proof {
        let place = place.map(|place| self.places.step(&self.graph, place, step));
        let left = self.without_new_properties(left, place);
        self.descents += 1;
        let proof = self.prove(Goal {
            left,
            right,
            part: Part::All,
            place,
        });
        self.descents -= 1;
        proof
    }

    /// Like [`holds`](Self::holds), without an explanation.
    fn is_included(&mut self, left: Conjunction, right: Id, place: Option<PlaceId>) -> bool {
        let part = Part::Quick;
        self.prove(Goal {
            left,
            right,
            part,
            place,
        })
        .is_ok()
    }

    /// Proves that no value is in the conjunction.
    fn is_empty(&mut self, left: Conjunction, place: Option<PlaceId>) -> bool {
        let never = self.graph.never();
        self.holds(left, never, place).is_ok()
    }

    fn prove(&mut self, goal: Goal) -> Proof {
        let facts = self.facts(&goal.left);
        let same = |id: &Id| self.same.are_same(&self.graph, *id, goal.right);
        if facts.types.is_empty() || self.graph.is_trivial(goal.right) || facts.all.iter().any(same)
        {
            return Ok(());
        }
        if let Some(proof) = self.proofs.get(&goal) {
            return proof.clone();
        }
        if let Some(index) = self.open.iter().position(|open| open.goal == goal) {
            if self.open[index].descents == self.descents {
                return self.gives_up(&goal);
            }
            self.assumed = self.assumed.min(index);
            return Ok(());
        }
        self.effort += 1 + goal.left.all.len() + goal.left.none.len();
        if self.effort > MAX_EFFORT || self.open.len() >= MAX_DEPTH {
            return self.gives_up(&goal);
        }
        let assumed_before = std::mem::replace(&mut self.assumed, usize::MAX);
        self.open.push(Open {
            goal: goal.clone(),
            descents: self.descents,
        });
        let proof = self.prove_part(&goal, &facts);
        self.open.pop();
        // A proof that assumes an outer goal holds only if that goal is proved.
        if self.assumed >= self.open.len() || proof.is_err() {
            self.assumed = usize::MAX;
            self.proofs.insert(goal, proof.clone());
        }
        self.assumed = self.assumed.min(assumed_before);
        proof
    }

    fn gives_up(&self, goal: &Goal) -> Proof {
        Err(vec![Failure {
            pointer: self.graph.get(goal.right).pointer.clone(),
            what: "values that could not be compared within the limits of the comparison"
                .to_owned(),
        }])
    }

    fn prove_part(&mut self, goal: &Goal, facts: &Rc<Facts>) -> Proof {
        if goal.part == Part::Quick {
            let mut parts = self.parts(goal.right).into_iter();
            let all = parts.all(|part| {
                self.prove(Goal {
                    part,
                    ..goal.clone()
                })
                .is_ok()
            });
            return if all { Ok(()) } else { Err(Vec::new()) };
        }
        if goal.part == Part::All {
            let mut failures = Vec::new();
            for part in self.parts(goal.right) {
                // What is evaluated depends on the other keywords. If these fail already, it says nothing new.
                let depends = matches!(part, Part::UnevaluatedMembers | Part::UnevaluatedItems);
                if depends && !failures.is_empty() {
                    continue;
                }
                if let Err(more) = self.prove(Goal {
                    part,
                    ..goal.clone()
                }) {
                    failures.extend(more);
                }
            }
            failures.sort();
            failures.dedup();
            return if failures.is_empty() {
                Ok(())
            } else {
                Err(failures)
            };
        }
        let Err(failures) = self.prove_directly(goal, facts) else {
            return Ok(());
        };
        if goal.part == Part::Contradiction {
            return Err(failures);
        }
        let never = self.graph.never();
        if self
            .prove(Goal {
                right: never,
                part: Part::Contradiction,
                ..goal.clone()
            })
            .is_ok()
        {
            return Ok(());
        }
        let cases = match facts.choice {
            Some(choice) => cases(&mut self.graph, &goal.left, choice),
            None => self.value_cases(goal, facts),
        };
        if cases.is_empty() {
            return Err(failures);
        }
        let mut failures = Vec::new();
        for left in cases {
            if let Err(more) = self.prove(Goal {
                left,
                ..goal.clone()
            }) {
                failures.extend(more);
            }
        }
        failures.sort();
        failures.dedup();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// The conjunction for each of its values or types, where that can help.
    fn value_cases(&mut self, goal: &Goal, facts: &Facts) -> Vec<Conjunction> {
        let chosen = (usize::MAX, Choice::Types);
        let helps = matches!(
            goal.part,
            Part::AnyOf | Part::OneOf | Part::Values(_) | Part::Not | Part::Condition
        );
        if !helps || goal.left.chosen.contains(&chosen) {
            return Vec::new();
        }
        let schemas: Vec<Id> = match &facts.values {
            Some(values) => values
                .iter()
                .map(|value| self.graph.constant(value))
                .collect(),
            None => facts
                .types
                .each()
                .map(|types| self.graph.of_types(types))
                .collect(),
        };
        if schemas.len() < 2 {
            return Vec::new();
        }
        let case = |schema| {
            let mut case = goal.left.and(schema);
            case.chosen.insert(chosen);
            case
        };
        schemas.into_iter().map(case).collect()
    }

    /// Whether the facts contradict each other in a way that takes proofs to find out.
    fn is_impossible(&mut self, goal: &Goal, facts: &Rc<Facts>) -> bool {
        // The types first: it takes less effort.
        let mut types = facts.types.each();
        if types.all(|one| self.is_type_impossible(one, facts)) {
            return true;
        }
        // A schema that must not hold, but does.
        let mut none = facts.none.iter();
        none.any(|none| self.is_included(goal.left.clone(), *none, goal.place))
    }

    /// The keywords of a schema.
    fn parts(&self, id: Id) -> Vec<Part> {
        let schema = self.graph.get(id);
        let k = &schema.keywords;
        let mut parts = Vec::new();
        let mut add = |present: bool, part: Part| parts.extend(present.then_some(part));
        add(k.never, Part::Never);
        add(k.types.is_some(), Part::Types);
        (0..k.references.len()).for_each(|index| add(true, Part::Reference(index)));
        (0..k.values.len()).for_each(|index| add(true, Part::Values(index)));
        add(k.minimum.is_some(), Part::Minimum);
        add(k.exclusive_minimum.is_some(), Part::ExclusiveMinimum);
        add(k.maximum.is_some(), Part::Maximum);
        add(k.exclusive_maximum.is_some(), Part::ExclusiveMaximum);
        add(k.multiple_of.is_some(), Part::MultipleOf);
        add(k.min_length > 0, Part::MinLength);
        add(k.max_length.is_some(), Part::MaxLength);
        add(k.pattern.is_some(), Part::Pattern);
        let members = !k.properties.is_empty()
            || !k.pattern_properties.is_empty()
            || k.additional_properties.is_some();
        add(members, Part::Members);
        add(k.property_names.is_some(), Part::Names);
        add(!k.required.is_empty(), Part::Required);
        add(k.min_properties > 0, Part::MinProperties);
        add(k.max_properties.is_some(), Part::MaxProperties);
        add(!k.dependent_required.is_empty(), Part::DependentRequired);
        add(!k.dependent_schemas.is_empty(), Part::DependentSchemas);
        add(!k.prefix_items.is_empty() || k.items.is_some(), Part::Items);
        add(k.contains.is_some(), Part::Contains);
        add(k.min_items > 0, Part::MinItems);
        add(k.max_items.is_some(), Part::MaxItems);
        add(k.unique_items, Part::UniqueItems);
        (0..k.all_of.len()).for_each(|index| add(true, Part::AllOf(index)));
        add(!k.any_of.is_empty(), Part::AnyOf);
        add(!k.one_of.is_empty(), Part::OneOf);
        add(k.not.is_some(), Part::Not);
        add(k.condition.is_some(), Part::Condition);
        add(k.unevaluated_properties.is_some(), Part::UnevaluatedMembers);
        add(k.unevaluated_items.is_some(), Part::UnevaluatedItems);
        parts
    }

    /// Proves a keyword without splitting the conjunction.
    fn prove_directly(&mut self, goal: &Goal, facts: &Rc<Facts>) -> Proof {
        let schema = self.graph.get(goal.right);
        let k = &schema.keywords;
        match goal.part {
            Part::All | Part::Quick => Ok(()),
            Part::Contradiction if self.is_impossible(goal, facts) => Ok(()),
            Part::Never | Part::Contradiction => Err(vec![Failure {
                pointer: schema.pointer.clone(),
                what: facts.example(),
            }]),
            Part::Reference(index) => {
                self.holds(goal.left.clone(), k.references[index].1, goal.place)
            }
            Part::AllOf(index) => self.holds(goal.left.clone(), k.all_of[index], goal.place),
            Part::Types
            | Part::Values(_)
            | Part::Minimum
            | Part::ExclusiveMinimum
            | Part::Maximum
            | Part::ExclusiveMaximum
            | Part::MultipleOf
            | Part::MinLength
            | Part::MaxLength
            | Part::Pattern => scalars::prove(&schema, goal.part, facts),
            Part::Members
            | Part::UnevaluatedMembers
            | Part::Names
            | Part::Required
            | Part::MinProperties
            | Part::MaxProperties
            | Part::DependentRequired
            | Part::DependentSchemas => self.prove_object(&schema, goal, facts),
            Part::Items
            | Part::UnevaluatedItems
            | Part::Contains
            | Part::MinItems
            | Part::MaxItems
            | Part::UniqueItems => self.prove_array(&schema, goal, facts),
            // Different alternatives may apply in the cases of the conjunction, so these come first.
            Part::AnyOf | Part::OneOf if facts.choice.is_some() => Err(Vec::new()),
            Part::AnyOf | Part::OneOf | Part::Not | Part::Condition => {
                self.prove_logic(&schema, goal)
            }
        }
    }
}

/// A failure at a keyword of a schema.
fn fails(pointer: &str, keyword: &str, what: impl Into<String>) -> Proof {
    Err(vec![Failure {
        pointer: super::read::child(pointer, keyword),
        what: what.into(),
    }])
}

impl Facts {
    /// A value, in words.
    fn example(&self) -> String {
        match self.values.as_deref() {
            Some([value, ..]) => super::value::shown(value),
            _ => self.types.example().to_owned(),
        }
    }
}
