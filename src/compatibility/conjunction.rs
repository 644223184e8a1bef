//! Conjunctions of schemas, and their cases.

use std::collections::BTreeSet;

use super::schema::{Graph, Id};

/// A conjunction: values that all of `all` allow and none of `none` allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Conjunction {
    pub all: BTreeSet<Id>,
    pub none: BTreeSet<Id>,
    /// The alternatives that have been replaced by one of their cases.
    pub chosen: BTreeSet<(Id, Choice)>,
}

/// A keyword that has alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Choice {
    AnyOf,
    OneOf,
    Condition,
    /// The N-th of `dependentSchemas`.
    Dependent(usize),
    /// The types that are possible.
    Types,
}

impl Conjunction {
    pub fn of(schemas: impl IntoIterator<Item = Id>) -> Self {
        Self {
            all: schemas.into_iter().collect(),
            ..Self::default()
        }
    }

    pub fn and(&self, schema: Id) -> Self {
        let mut both = self.clone();
        both.all.insert(schema);
        both
    }

    pub fn and_not(&self, schema: Id) -> Self {
        let mut both = self.clone();
        both.none.insert(schema);
        both
    }

    fn choose(&self, choice: (Id, Choice)) -> Self {
        let mut chosen = self.clone();
        chosen.chosen.insert(choice);
        chosen
    }
}

/// The cases of alternatives: one of them applies to every value of the conjunction.
pub(super) fn cases(
    graph: &mut Graph,
    conjunction: &Conjunction,
    (id, choice): (Id, Choice),
) -> Vec<Conjunction> {
    let schema = graph.get(id);
    let keywords = &schema.keywords;
    let base = conjunction.choose((id, choice));
    match choice {
        Choice::AnyOf => keywords.any_of.iter().map(|case| base.and(*case)).collect(),
        Choice::OneOf => {
            let cases = keywords.one_of.iter().enumerate();
            let others = |index: usize| {
                keywords
                    .one_of
                    .iter()
                    .enumerate()
                    .filter(move |(other, _)| *other != index)
            };
            let case = |(index, case): (usize, &Id)| {
                others(index).fold(base.and(*case), |case, (_, other)| case.and_not(*other))
            };
            cases.map(case).collect()
        }
        Choice::Condition => match keywords.condition {
            None => vec![base],
            Some(condition) => {
                let with = |case: Conjunction, branch: Option<Id>| match branch {
                    Some(branch) => case.and(branch),
                    None => case,
                };
                vec![
                    with(base.and(condition.test), condition.then),
                    with(base.and_not(condition.test), condition.otherwise),
                ]
            }
        },
        Choice::Dependent(index) => match keywords.dependent_schemas.iter().nth(index) {
            None => vec![base],
            Some((name, dependent)) => {
                vec![
                    base.and(graph.without(name)),
                    base.and(graph.with(name)).and(*dependent),
                ]
            }
        },
        Choice::Types => vec![base],
    }
}
