//! Keywords about values of any type, numbers and strings.

use serde_json::Number;

use super::super::facts::{Bound, Facts};
use super::super::pattern;
use super::super::schema::Schema;
use super::super::value::{Types, compare, divides, equal, integer, shown};
use super::{Part, Proof, fails};

/// Proves a keyword from the facts alone.
pub(super) fn prove(schema: &Schema, part: Part, facts: &Facts) -> Proof {
    let k = &schema.keywords;
    let at = schema.pointer.as_str();
    match part {
        Part::Types => {
            let types = k.types.unwrap_or(Types::ALL);
            let excess = facts.types.without(types);
            let example = facts
                .values
                .iter()
                .flatten()
                .find(|value| excess.contains(Types::of(value)));
            match example {
                _ if excess.is_empty() => Ok(()),
                Some(value) => fails(at, "type", shown(value)),
                None => fails(at, "type", excess.example()),
            }
        }
        Part::Values(index) => {
            let (keyword, values) = &k.values[index];
            let listed =
                |value: &&serde_json::Value| !values.iter().any(|allowed| equal(allowed, value));
            match &facts.values {
                Some(known) => match known.iter().find(listed) {
                    None => Ok(()),
                    Some(value) => fails(at, keyword, shown(value)),
                },
                None => fails(
                    at,
                    keyword,
                    format!("{} that is not listed", facts.types.example()),
                ),
            }
        }
        Part::MinLength | Part::MaxLength | Part::Pattern
            if !facts.types.overlaps(Types::STRING) =>
        {
            Ok(())
        }
        Part::MinLength if facts.min_length >= k.min_length => Ok(()),
        Part::MinLength => {
            let what = format!("a string of fewer than {} characters", k.min_length);
            fails(at, "minLength", what)
        }
        Part::MaxLength => match k.max_length {
            Some(max) if facts.max_length.is_none_or(|known| known > max) && !short(facts, max) => {
                fails(
                    at,
                    "maxLength",
                    format!("a string of more than {max} characters"),
                )
            }
            _ => Ok(()),
        },
        Part::Pattern => match &k.pattern {
            Some(pattern) if !matched(facts, pattern) => fails(
                at,
                "pattern",
                format!("a string that may not match {pattern:?}"),
            ),
            _ => Ok(()),
        },
        _ if !facts.types.overlaps(Types::NUMBER) => Ok(()),
        Part::Minimum => bounded(at, "minimum", k.minimum.as_ref(), false, facts, true),
        Part::ExclusiveMinimum => bounded(
            at,
            "exclusiveMinimum",
            k.exclusive_minimum.as_ref(),
            true,
            facts,
            true,
        ),
        Part::Maximum => bounded(at, "maximum", k.maximum.as_ref(), false, facts, false),
        Part::ExclusiveMaximum => bounded(
            at,
            "exclusiveMaximum",
            k.exclusive_maximum.as_ref(),
            true,
            facts,
            false,
        ),
        Part::MultipleOf => match &k.multiple_of {
            Some(divisor) if !is_multiple(facts, divisor) => fails(
                at,
                "multipleOf",
                format!("a number that may not be a multiple of {divisor}"),
            ),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn strings(facts: &Facts) -> Option<impl Iterator<Item = &str>> {
    let values = facts.values.as_ref()?;
    Some(values.iter().filter_map(serde_json::Value::as_str))
}

fn short(facts: &Facts, max: u64) -> bool {
    strings(facts).is_some_and(|mut texts| texts.all(|text| text.chars().count() as u64 <= max))
}

fn matched(facts: &Facts, pattern: &str) -> bool {
    facts.patterns.contains(pattern)
        || pattern::is_universal(pattern)
        || strings(facts).is_some_and(|mut texts| {
            texts.all(|text| pattern::matches(pattern, text) == Some(true))
        })
}

fn is_multiple(facts: &Facts, divisor: &Number) -> bool {
    let one = integer(divisor) == Some(1);
    (one && !facts.types.overlaps(Types::FRACTION))
        || facts.multiples.iter().any(|known| divides(divisor, known))
        || numbers(facts).is_some_and(|mut numbers| numbers.all(|number| divides(divisor, number)))
}

fn numbers(facts: &Facts) -> Option<impl Iterator<Item = &Number>> {
    let values = facts.values.as_ref()?;
    Some(values.iter().filter_map(serde_json::Value::as_number))
}

/// Whether all numbers are on the right side of a bound. `lower`: of a lower bound.
fn bounded(
    at: &str,
    keyword: &str,
    bound: Option<&Number>,
    excluded: bool,
    facts: &Facts,
    lower: bool,
) -> Proof {
    let Some(bound) = bound else {
        return Ok(());
    };
    let inside = |number: &Number, number_excluded: bool| {
        let order = if lower {
            compare(number, bound)
        } else {
            compare(bound, number)
        };
        order.is_gt() || (order.is_eq() && (!excluded || number_excluded))
    };
    let known: Option<&Bound> = if lower {
        facts.lower.as_ref()
    } else {
        facts.upper.as_ref()
    };
    let proved = known.is_some_and(|(number, known_excluded)| inside(number, *known_excluded))
        || numbers(facts).is_some_and(|mut numbers| numbers.all(|number| inside(number, false)));
    if proved {
        return Ok(());
    }
    let side = match (lower, excluded) {
        (true, false) => "below",
        (true, true) => "not above",
        (false, false) => "above",
        (false, true) => "not below",
    };
    fails(at, keyword, format!("a number {side} {bound}"))
}
