//! Schemas with the same keywords, which need no proof.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::schema::{Condition, Contains, Graph, Id, Keywords};

/// The pairs of schemas that have been compared.
#[derive(Debug, Default)]
pub(super) struct Same {
    known: HashMap<(Id, Id), bool>,
    shapes: HashMap<Id, (Keywords, Vec<Id>)>,
}

impl Same {
    /// Whether two schemas have the same keywords, and their subschemas too. References count as their targets, and
    /// recursive ones are the same if nothing on the way differs.
    pub fn are_same(&mut self, graph: &Graph, a: Id, b: Id) -> bool {
        if let Some(same) = self.known.get(&(a, b)) {
            return *same;
        }
        let mut assumed = HashSet::from([(a, b)]);
        let mut open = vec![(a, b)];
        while let Some((a, b)) = open.pop() {
            if a == b {
                continue;
            }
            let mut shape = |id: Id| {
                self.shapes
                    .entry(id)
                    .or_insert_with(|| shape(&graph.get(id).keywords))
                    .clone()
            };
            let ((shape_a, children_a), (shape_b, children_b)) = (shape(a), shape(b));
            if shape_a != shape_b || children_a.len() != children_b.len() {
                assumed.clear();
                break;
            }
            let pairs = children_a.into_iter().zip(children_b);
            open.extend(pairs.filter(|pair| assumed.insert(*pair)));
        }
        let same = !assumed.is_empty();
        self.known
            .extend(assumed.into_iter().map(|pair| (pair, true)));
        *self.known.entry((a, b)).or_insert(same)
    }
}

/// The keywords without their subschemas, and the subschemas.
fn shape(keywords: &Keywords) -> (Keywords, Vec<Id>) {
    let mut shape = keywords.clone();
    let mut children = Vec::new();
    let mut take = |id: &mut Id| children.push(std::mem::take(id));
    let map = |map: &mut BTreeMap<String, Id>, take: &mut dyn FnMut(&mut Id)| {
        map.values_mut().for_each(take);
    };
    shape.references.iter_mut().for_each(|(_, id)| take(id));
    map(&mut shape.properties, &mut take);
    map(&mut shape.pattern_properties, &mut take);
    map(&mut shape.dependent_schemas, &mut take);
    for list in [
        &mut shape.prefix_items,
        &mut shape.all_of,
        &mut shape.any_of,
        &mut shape.one_of,
    ] {
        list.iter_mut().for_each(&mut take);
    }
    for one in [
        &mut shape.additional_properties,
        &mut shape.unevaluated_properties,
        &mut shape.property_names,
        &mut shape.items,
        &mut shape.unevaluated_items,
        &mut shape.not,
    ] {
        one.iter_mut().for_each(&mut take);
    }
    if let Some(Contains { schema, .. }) = &mut shape.contains {
        take(schema);
    }
    if let Some(Condition {
        test,
        then,
        otherwise,
    }) = &mut shape.condition
    {
        take(test);
        then.iter_mut().chain(otherwise).for_each(take);
    }
    (shape, children)
}
