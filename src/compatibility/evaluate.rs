//! Validation of a single value, as far as it is decided without a regex engine: for the values of `enum` and `const`.

use serde_json::{Map, Value};

use super::pattern;
use super::schema::{Graph, Id, Keywords};
use super::value::{Types, compare, divides, equal};

/// All of the answers: false if one is false, and undecided if one is undecided and none is false.
fn all(answers: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut decided = Some(true);
    for answer in answers {
        match answer {
            Some(false) => return Some(false),
            Some(true) => {}
            None => decided = None,
        }
    }
    decided
}

fn not(answer: Option<bool>) -> Option<bool> {
    answer.map(|answer| !answer)
}

/// Any of the answers.
fn any(answers: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    not(all(answers.into_iter().map(not)))
}

/// How many of the answers are true: the smallest and the largest number.
fn count(answers: impl IntoIterator<Item = Option<bool>>) -> (u64, u64) {
    answers
        .into_iter()
        .fold((0, 0), |(least, most), answer| match answer {
            Some(true) => (least + 1, most + 1),
            None => (least, most + 1),
            Some(false) => (least, most),
        })
}

/// Whether a number between the two lies in the range.
fn within((least, most): (u64, u64), min: u64, max: Option<u64>) -> Option<bool> {
    let max = max.unwrap_or(u64::MAX);
    if least >= min && most <= max {
        Some(true)
    } else if most < min || least > max {
        Some(false)
    } else {
        None
    }
}

/// Whether the schema allows the value; `None`: not decided.
pub(super) fn allows(graph: &Graph, id: Id, value: &Value) -> Option<bool> {
    let schema = graph.get(id);
    let keywords = &schema.keywords;
    let in_range = keywords
        .types
        .is_none_or(|types| types.contains(Types::of(value)));
    if keywords.never || !in_range || !keywords.allows_value(value) {
        return Some(false);
    }
    let by_type = match value {
        Value::Number(number) => numeric(keywords, number),
        Value::String(text) => string(keywords, text),
        Value::Array(items) => array(graph, keywords, items),
        Value::Object(members) => object(graph, keywords, members),
        Value::Null | Value::Bool(_) => Some(true),
    };
    if by_type == Some(false) {
        return by_type;
    }
    let applied = |id: &Id| allows(graph, *id, value);
    let references = all(keywords.references.iter().map(|(_, id)| applied(id)));
    let all_of = all(keywords.all_of.iter().map(applied));
    let any_of = keywords.any_of.is_empty().then_some(Some(true));
    let any_of = any_of.unwrap_or_else(|| any(keywords.any_of.iter().map(applied)));
    let one_of = keywords.one_of.is_empty().then_some(Some(true));
    let one_of =
        one_of.unwrap_or_else(|| within(count(keywords.one_of.iter().map(applied)), 1, Some(1)));
    let negated = keywords.not.map_or(Some(true), |id| not(applied(&id)));
    let condition = keywords.condition.map_or(Some(true), |condition| {
        let branch = |id: Option<Id>| id.map_or(Some(true), |id| applied(&id));
        match applied(&condition.test) {
            Some(true) => branch(condition.then),
            Some(false) => branch(condition.otherwise),
            None => all([branch(condition.then), branch(condition.otherwise)]).filter(|both| *both),
        }
    });
    all([
        by_type, references, all_of, any_of, one_of, negated, condition,
    ])
}

fn numeric(keywords: &Keywords, number: &serde_json::Number) -> Option<bool> {
    let holds = |bound: &Option<serde_json::Number>, test: fn(std::cmp::Ordering) -> bool| {
        bound
            .as_ref()
            .is_none_or(|bound| test(compare(number, bound)))
    };
    let bounded = holds(&keywords.minimum, std::cmp::Ordering::is_ge)
        && holds(&keywords.exclusive_minimum, std::cmp::Ordering::is_gt)
        && holds(&keywords.maximum, std::cmp::Ordering::is_le)
        && holds(&keywords.exclusive_maximum, std::cmp::Ordering::is_lt);
    if !bounded {
        return Some(false);
    }
    match &keywords.multiple_of {
        None => Some(true),
        Some(divisor) if divides(divisor, number) => Some(true),
        // Whether a fraction divides a number is a question of rounding.
        Some(divisor) => {
            let integers =
                super::value::integer(divisor).is_some() && super::value::integer(number).is_some();
            integers.then_some(false)
        }
    }
}

fn string(keywords: &Keywords, text: &str) -> Option<bool> {
    let length = text.chars().count() as u64;
    if length < keywords.min_length || keywords.max_length.is_some_and(|max| length > max) {
        return Some(false);
    }
    let pattern = keywords.pattern.as_deref();
    pattern.map_or(Some(true), |pattern| pattern::matches(pattern, text))
}

fn array(graph: &Graph, keywords: &Keywords, items: &[Value]) -> Option<bool> {
    let length = items.len() as u64;
    if within((length, length), keywords.min_items, keywords.max_items) == Some(false) {
        return Some(false);
    }
    if keywords.unique_items
        && (0..items.len()).any(|at| items[..at].iter().any(|other| equal(other, &items[at])))
    {
        return Some(false);
    }
    let applied = items.iter().enumerate().map(|(index, item)| {
        let schema = keywords.prefix_items.get(index).copied().or(keywords.items);
        schema.map_or(Some(true), |schema| allows(graph, schema, item))
    });
    let contained = keywords.contains.map_or(Some(true), |contains| {
        let matching = items
            .iter()
            .map(|item| allows(graph, contains.schema, item));
        within(count(matching), contains.min, contains.max)
    });
    // Which items are evaluated is not calculated.
    let unevaluated = match keywords.unevaluated_items {
        Some(id) if !items.is_empty() => graph.is_trivial(id).then_some(true),
        _ => Some(true),
    };
    all([all(applied), contained, unevaluated])
}

fn object(graph: &Graph, keywords: &Keywords, members: &Map<String, Value>) -> Option<bool> {
    let size = members.len() as u64;
    let has = |name: &String| members.contains_key(name);
    let dependent = &keywords.dependent_required;
    if within(
        (size, size),
        keywords.min_properties,
        keywords.max_properties,
    ) == Some(false)
        || !keywords.required.iter().all(has)
        || !dependent
            .iter()
            .all(|(name, names)| !has(name) || names.iter().all(has))
    {
        return Some(false);
    }
    let mut schemas = keywords
        .dependent_schemas
        .iter()
        .filter(|(name, _)| has(name))
        .peekable();
    let dependent = if schemas.peek().is_none() {
        Some(true)
    } else {
        let value = Value::Object(members.clone());
        all(schemas.map(|(_, id)| allows(graph, *id, &value)))
    };
    let unevaluated = match keywords.unevaluated_properties {
        Some(id) if !members.is_empty() => graph.is_trivial(id).then_some(true),
        _ => Some(true),
    };
    let each = members
        .iter()
        .map(|(name, value)| member(graph, keywords, name, value));
    all([all(each), dependent, unevaluated])
}

fn member(graph: &Graph, keywords: &Keywords, name: &str, value: &Value) -> Option<bool> {
    let allowed_name = keywords.property_names.map_or(Some(true), |id| {
        allows(graph, id, &Value::String(name.to_owned()))
    });
    let own = keywords.properties.get(name);
    let mut answers = vec![allowed_name];
    answers.extend(own.map(|id| allows(graph, *id, value)));
    let mut covered = Some(own.is_some());
    for (pattern, id) in &keywords.pattern_properties {
        let matched = pattern::matches(pattern, name);
        covered = any([covered, matched]);
        // If it is not decided whether the pattern matches, an allowed value is allowed in both cases.
        match matched {
            Some(true) => answers.push(allows(graph, *id, value)),
            Some(false) => {}
            None => answers.push(allows(graph, *id, value).filter(|allowed| *allowed)),
        }
    }
    if let Some(id) = keywords.additional_properties {
        match covered {
            Some(true) => {}
            Some(false) => answers.push(allows(graph, id, value)),
            None => answers.push(allows(graph, id, value).filter(|allowed| *allowed)),
        }
    }
    all(answers)
}
