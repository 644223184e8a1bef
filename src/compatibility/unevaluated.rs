//! What `unevaluatedProperties` and `unevaluatedItems` restrict on the side of the writer: the members and items that no
//! other keyword can have evaluated.

use std::collections::BTreeSet;

use super::facts::{Facts, Items, Members};
use super::schema::{Graph, Id, Keywords};

/// Names and patterns of properties.
#[derive(Clone, Debug, Default)]
pub(super) struct Covered {
    pub names: BTreeSet<String>,
    pub patterns: BTreeSet<String>,
}

impl Covered {
    /// The restriction of all other members by a schema.
    pub fn others(self, schema: Id) -> Members {
        Members {
            properties: self.names.into_iter().map(|name| (name, None)).collect(),
            patterns: self
                .patterns
                .into_iter()
                .map(|pattern| (pattern, None))
                .collect(),
            others: Some(schema),
        }
    }
}

/// The restrictions of members by `unevaluatedProperties`.
pub(super) fn members(graph: &Graph, facts: &Facts) -> Vec<Members> {
    let restricted = facts.all.iter().filter_map(|id| {
        let schema = graph.get(*id).keywords.unevaluated_properties?;
        let mut covered = Covered::default();
        let bounded = covers_members(graph, facts, *id, true, &mut covered);
        bounded.then(|| covered.others(schema))
    });
    restricted.collect()
}

/// The subschemas for the same value that may evaluate something. One that must not hold does not, and neither does one below
/// `not`, or the branch of a condition that does not apply.
fn may_apply<'a>(keywords: &'a Keywords, facts: &'a Facts) -> impl Iterator<Item = Id> + 'a {
    let unused = keywords.condition.and_then(|condition| {
        if facts.none.contains(&condition.test) {
            condition.then
        } else if facts.all.contains(&condition.test) {
            condition.otherwise
        } else {
            None
        }
    });
    // A reference may lead to the same schema from elsewhere.
    let is_only = move |id: Id| keywords.in_place().filter(|other| *other == id).count() == 1;
    let is_unused = move |id: Id| (Some(id) == keywords.not || Some(id) == unused) && is_only(id);
    keywords
        .in_place()
        .filter(move |id| !is_unused(*id) && !facts.none.contains(id))
}

/// Adds the members that a schema may evaluate. False: it may evaluate any member.
fn covers_members(
    graph: &Graph,
    facts: &Facts,
    id: Id,
    is_outer: bool,
    covered: &mut Covered,
) -> bool {
    let schema = graph.get(id);
    let keywords = &schema.keywords;
    if keywords.additional_properties.is_some()
        || (!is_outer && keywords.unevaluated_properties.is_some())
    {
        return false;
    }
    covered.names.extend(keywords.properties.keys().cloned());
    covered
        .patterns
        .extend(keywords.pattern_properties.keys().cloned());
    may_apply(keywords, facts).all(|id| covers_members(graph, facts, id, false, covered))
}

/// The restrictions of items by `unevaluatedItems`.
pub(super) fn items(graph: &Graph, facts: &Facts) -> Vec<Items> {
    let restricted = facts.all.iter().filter_map(|id| {
        let schema = graph.get(*id).keywords.unevaluated_items?;
        let prefix = covers_items(graph, facts, *id, true)?;
        Some(Items {
            prefix: vec![None; prefix],
            others: Some(schema),
        })
    });
    restricted.collect()
}

/// The number of items at the start that a schema may evaluate. `None`: it may evaluate any item.
fn covers_items(graph: &Graph, facts: &Facts, id: Id, is_outer: bool) -> Option<usize> {
    let schema = graph.get(id);
    let keywords = &schema.keywords;
    if keywords.items.is_some()
        || keywords.contains.is_some()
        || (!is_outer && keywords.unevaluated_items.is_some())
    {
        return None;
    }
    let mut most = keywords.prefix_items.len();
    for id in may_apply(keywords, facts) {
        most = most.max(covers_items(graph, facts, id, false)?);
    }
    Some(most)
}
