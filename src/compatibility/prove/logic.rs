//! `anyOf`, `oneOf`, `not`, and `if` with `then` and `else`.

use super::super::conjunction::Conjunction;
use super::super::place::PlaceId;
use super::super::schema::{Id, Schema};
use super::{Failure, Goal, Part, Proof, Prover, fails};

impl Prover {
    pub(super) fn prove_logic(&mut self, schema: &Schema, goal: &Goal) -> Proof {
        let k = &schema.keywords;
        let (left, place) = (&goal.left, goal.place);
        match goal.part {
            Part::AnyOf => {
                let one = k
                    .any_of
                    .iter()
                    .any(|id| self.is_included(left.clone(), *id, place));
                if one {
                    Ok(())
                } else {
                    self.no_alternative(schema, "anyOf", &k.any_of, left, place)
                }
            }
            Part::OneOf => {
                let held: Vec<_> = k
                    .one_of
                    .iter()
                    .map(|id| self.is_included(left.clone(), *id, place))
                    .collect();
                let Some(first) = held.iter().position(|held| *held) else {
                    return self.no_alternative(schema, "oneOf", &k.one_of, left, place);
                };
                let mut others = k
                    .one_of
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| *index != first);
                if others.all(|(_, id)| self.is_empty(left.and(*id), place)) {
                    return Ok(());
                }
                fails(
                    &schema.pointer,
                    "oneOf",
                    "a value that may match several alternatives",
                )
            }
            Part::Not => match k.not {
                Some(id) if !self.is_empty(left.and(id), place) => fails(
                    &schema.pointer,
                    "not",
                    "a value that may match the negated schema",
                ),
                _ => Ok(()),
            },
            Part::Condition => {
                let Some(condition) = k.condition else {
                    return Ok(());
                };
                let mut failures = Vec::new();
                let cases = [
                    (left.and(condition.test), condition.then),
                    (left.and_not(condition.test), condition.otherwise),
                ];
                for (left, branch) in cases {
                    if let Some(branch) = branch
                        && let Err(more) = self.holds(left, branch, place)
                    {
                        failures.extend(more);
                    }
                }
                if failures.is_empty() {
                    Ok(())
                } else {
                    Err(failures)
                }
            }
            _ => Ok(()),
        }
    }

    /// Explains why no alternative is proved: by the failures of the only one that matters, if there is one.
    fn no_alternative(
        &mut self,
        schema: &Schema,
        keyword: &str,
        alternatives: &[Id],
        left: &Conjunction,
        place: Option<PlaceId>,
    ) -> Proof {
        let mut best: Option<Vec<Failure>> = None;
        for id in alternatives {
            if self.is_empty(left.and(*id), place) {
                continue;
            }
            if let Err(failures) = self.holds(left.clone(), *id, place)
                && best.as_ref().is_none_or(|best| failures.len() < best.len())
            {
                best = Some(failures);
            }
        }
        if let Some(failures) = best {
            return Err(failures);
        }
        let example = self.facts(left).types.example();
        fails(
            &schema.pointer,
            keyword,
            format!("{example} that matches no alternative"),
        )
    }
}
