//! Keywords about arrays.

use std::rc::Rc;

use super::super::conjunction::Conjunction;
use super::super::facts::{Facts, Items};
use super::super::place::Step;
use super::super::schema::{Id, Schema};
use super::super::value::Types;
use super::{Failure, Goal, Part, Proof, Prover, fails};

/// Items that are compared one by one. Longer tuples are not decided.
const MAX_PREFIX: usize = 64;

impl Prover {
    pub(super) fn prove_array(&mut self, schema: &Schema, goal: &Goal, facts: &Rc<Facts>) -> Proof {
        if !facts.types.overlaps(Types::ARRAY)
            || facts.max_items == Some(0)
                && goal.part != Part::MinItems
                && goal.part != Part::Contains
        {
            return Ok(());
        }
        let k = &schema.keywords;
        let at = schema.pointer.as_str();
        match goal.part {
            Part::Items => {
                let items = Items {
                    prefix: k.prefix_items.iter().map(|id| Some(*id)).collect(),
                    others: k.items,
                };
                self.prove_items(goal, facts, &items)
            }
            Part::UnevaluatedItems => {
                let (Some(others), Some(covered)) = (
                    k.unevaluated_items,
                    self.evaluated_items(goal.right, goal, facts, true),
                ) else {
                    return Ok(());
                };
                let items = Items {
                    prefix: vec![None; covered],
                    others: Some(others),
                };
                self.prove_items(goal, facts, &items)
            }
            Part::MinItems if facts.min_items >= k.min_items => Ok(()),
            Part::MinItems => fails(
                at,
                "minItems",
                format!("an array of fewer than {} items", k.min_items),
            ),
            Part::MaxItems => match k.max_items {
                Some(max) if self.most_items(facts).is_none_or(|most| most > max) => {
                    fails(at, "maxItems", format!("an array of more than {max} items"))
                }
                _ => Ok(()),
            },
            Part::UniqueItems
                if facts.unique_items || self.most_items(facts).is_some_and(|most| most <= 1) =>
            {
                Ok(())
            }
            Part::UniqueItems => fails(at, "uniqueItems", "an array with equal items"),
            Part::Contains => self.prove_contains(schema, facts),
            _ => Ok(()),
        }
    }

    /// The largest number of items.
    fn most_items(&mut self, facts: &Facts) -> Option<u64> {
        let end = prefix_end(facts);
        let never = self.graph.never();
        let first = (0..=end.min(MAX_PREFIX)).find(|index| {
            let item = item(facts, *index);
            self.holds_inside(item, never, None, Step::Item(*index))
                .is_ok()
        });
        facts
            .max_items
            .into_iter()
            .chain(first.map(|first| first as u64))
            .min()
    }

    fn prove_items(&mut self, goal: &Goal, facts: &Facts, right: &Items) -> Proof {
        let lengths = facts.items.iter().map(|items| items.prefix.len());
        let distinguished = [right.prefix.len(), self.distinguished(goal.place).prefix];
        let end = lengths.chain(distinguished).max().unwrap_or(0);
        let mut failures = Vec::new();
        for index in 0..=end {
            if index > MAX_PREFIX || facts.max_items.is_some_and(|max| max <= index as u64) {
                break;
            }
            let Some(schema) = right.at(index) else {
                continue;
            };
            let item = item(facts, index);
            if let Err(more) = self.holds_inside(item, schema, goal.place, Step::Item(index)) {
                let schema = self.graph.get(schema);
                if schema.keywords.never {
                    let what = format!("an array of more than {index} items");
                    failures.push(Failure {
                        pointer: schema.pointer.clone(),
                        what,
                    });
                } else {
                    failures.extend(more);
                }
            }
        }
        if end > MAX_PREFIX {
            let pointer = self.graph.get(goal.right).pointer.clone();
            failures.push(Failure {
                pointer,
                what: "an array with too many kinds of items to compare".to_owned(),
            });
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    fn prove_contains(&mut self, schema: &Schema, facts: &Facts) -> Proof {
        let Some(contains) = schema.keywords.contains else {
            return Ok(());
        };
        let end = prefix_end(facts);
        // `contains` concerns items at any index: what is known of all of them.
        let rest = if end == 0 {
            item(facts, 0)
        } else {
            Conjunction::default()
        };
        let inside = |prover: &mut Self, known: Id, right: Id| {
            prover
                .holds_inside(rest.and(known), right, None, Step::Item(end))
                .is_ok()
        };
        let enough = contains.min == 0
            || facts.contains.iter().any(|known| {
                known.min >= contains.min && inside(self, known.schema, contains.schema)
            })
            || (facts.min_items >= contains.min
                && self.first_items_match(contains.min, contains.schema, facts));
        if !enough {
            let what = format!("an array with fewer than {} matching items", contains.min);
            return fails(&schema.pointer, "contains", what);
        }
        let Some(max) = contains.max else {
            return Ok(());
        };
        let few = facts.max_items.is_some_and(|most| most <= max)
            || facts.contains.iter().any(|known| {
                known.max.is_some_and(|known| known <= max)
                    && inside(self, contains.schema, known.schema)
            });
        if few {
            return Ok(());
        }
        fails(
            &schema.pointer,
            "maxContains",
            format!("an array with more than {max} matching items"),
        )
    }

    fn first_items_match(&mut self, count: u64, schema: Id, facts: &Facts) -> bool {
        let end = prefix_end(facts);
        let last = usize::try_from(count - 1).unwrap_or(usize::MAX).min(end);
        last <= MAX_PREFIX
            && (0..=last).all(|index| {
                let item = item(facts, index);
                self.holds_inside(item, schema, None, Step::Item(index))
                    .is_ok()
            })
    }

    /// The number of items at the start that a schema evaluates in every array. `None`: all.
    fn evaluated_items(
        &mut self,
        id: Id,
        goal: &Goal,
        facts: &Facts,
        is_outer: bool,
    ) -> Option<usize> {
        let schema = self.graph.get(id);
        let k = &schema.keywords;
        if k.items.is_some() || (!is_outer && k.unevaluated_items.is_some()) {
            return None;
        }
        let mut most = k.prefix_items.len();
        for id in self.applied(&schema, goal, facts) {
            most = most.max(self.evaluated_items(id, goal, facts, false)?);
        }
        Some(most)
    }
}

/// The conjunction of everything that is known of the item at an index.
fn item(facts: &Facts, index: usize) -> Conjunction {
    Conjunction::of(facts.items.iter().filter_map(|items| items.at(index)))
}

/// The number of items that have schemas of their own.
fn prefix_end(facts: &Facts) -> usize {
    let lengths = facts.items.iter().map(|items| items.prefix.len());
    lengths.max().unwrap_or(0)
}
