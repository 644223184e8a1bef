//! Bounds the time that the validation of content takes, whatever the content is, and rejects a schema without a sufficient bound.
//!
//! Every value of the content is checked by the subschemas that apply to its place. The module goes through all kinds of places:
//! it starts with the whole content and the whole schema, and continues with the members and elements, to which each of the
//! subschemas may apply others. For each kind of place it adds up the costs of the keywords and divides them by the smallest number
//! of bytes that a value takes there. The largest such quotient, times the size of the content, is the bound. It also holds for
//! recursive schemas: if the number of subschemas grew with the depth, the quotient would grow beyond the limit.

mod load;

use std::collections::{BTreeMap, HashSet};

use super::schema::{Graph, Id};
use load::{Arrival, Load, UNIQUE_BYTE};

/// The size of content for which the bound holds.
const CONTENT_BYTES: f64 = 65_536.0;
/// The most nanoseconds that the validation may take, without parsing.
const MAX_NANOSECONDS: f64 = 3_500_000.0;
/// The most combinators and references that apply to one value within each other.
const MAX_IN_PLACE: usize = 12;
/// The most subschemas that apply to one value.
const MAX_APPLIED: u32 = 256;
/// The deepest value of content: the frame, the content and the values in it have 32 levels.
const MAX_DEPTH: usize = 31;
/// The most kinds of places that are examined.
const MAX_PLACES: usize = 20_000;

/// The subschemas that apply to a place, with the number of times that each does.
type Applied = BTreeMap<Id, u32>;

/// A kind of place in the content.
#[derive(Debug)]
struct Place {
    applied: Applied,
    /// Arrays with `uniqueItems` around it.
    unique: u32,
    /// The content may have any number of such places.
    repeated: bool,
    depth: usize,
}

impl Place {
    fn key(&self) -> (Applied, u32, bool) {
        (self.applied.clone(), self.unique, self.repeated)
    }
}

/// Checks that the validation of content by this schema takes a limited time.
pub(super) fn check(graph: &Graph) -> Result<(), String> {
    check_recursion(graph)?;
    let mut search = Search {
        graph,
        seen: HashSet::new(),
        waiting: Vec::new(),
        once: 0.0,
    };
    let root = Place {
        applied: Applied::from([(0, 1)]),
        unique: 0,
        repeated: false,
        depth: 1,
    };
    search.reach(root, &Arrival::ROOT)?;
    while let Some((place, load)) = search.waiting.pop() {
        search.descend(&place, &load)?;
    }
    Ok(())
}

/// Rejects recursion through combinators: the number of checks would multiply with every level.
fn check_recursion(graph: &Graph) -> Result<(), String> {
    for (id, node) in graph.nodes.iter().enumerate() {
        let combined = node.in_place.iter().flat_map(|(keyword, ids)| {
            let pair = |target: &Id| (*keyword, *target);
            ids.iter().map(pair)
        });
        let dependent = node.dependent.iter();
        let dependent = dependent.map(|(_, target)| ("dependentSchemas", *target));
        for (keyword, target) in combined.chain(dependent) {
            if reaches(graph, target, id) {
                return Err(format!(
                    "at {}/{keyword}: a recursive `$ref` under `{keyword}` cannot be bounded",
                    node.pointer
                ));
            }
        }
    }
    Ok(())
}

/// Whether the schema `from` applies, directly or indirectly, the schema `to`.
fn reaches(graph: &Graph, from: Id, to: Id) -> bool {
    let mut seen = HashSet::from([from]);
    let mut waiting = vec![from];
    while let Some(id) = waiting.pop() {
        if id == to {
            return true;
        }
        graph.nodes[id].each_applied(&mut |next| {
            if seen.insert(next) {
                waiting.push(next);
            }
        });
    }
    false
}

struct Search<'a> {
    graph: &'a Graph,
    seen: HashSet<(Applied, u32, bool)>,
    /// Places whose members and elements are not examined yet, with all subschemas that apply to them.
    waiting: Vec<(Place, Load)>,
    /// Nanoseconds for the places that occur once.
    once: f64,
}

impl Search<'_> {
    /// Adds a place, if it is new, and checks the cost of a value there.
    fn reach(&mut self, mut place: Place, arrival: &Arrival) -> Result<(), String> {
        let mut all = Applied::new();
        for (id, count) in &place.applied {
            self.expand(*id, *count, &mut all, &mut Vec::new())?;
        }
        let Some(first) = all.keys().next().copied() else {
            return Ok(());
        };
        let pointer = &self.graph.nodes[first].pointer;
        let applied: u32 = all.values().sum();
        if applied > MAX_APPLIED {
            return Err(format!(
                "at {pointer}: {applied} schemas apply to the same value; at most {MAX_APPLIED} are possible"
            ));
        }
        let mut load = Load::default();
        for (id, count) in &all {
            load.add(self.graph, *id, f64::from(*count));
        }
        place.applied = all;
        if self.seen.contains(&place.key()) {
            // The same schemas apply to several places, or to a place within itself.
            place.repeated = true;
        }
        let density = load.per_byte(arrival, f64::from(place.unique));
        if !place.repeated {
            self.once += load.largest(arrival);
        }
        let bytes = if place.repeated {
            density * CONTENT_BYTES
        } else {
            load.string_byte.max(load.name_byte) * CONTENT_BYTES
        };
        let time = bytes + self.once;
        if time > MAX_NANOSECONDS {
            return Err(format!(
                "at {pointer}: validating 64 KiB of content may take {:.1} ms; too many keywords, references or patterns \
                 apply to each value here",
                time / 1e6
            ));
        }
        if self.seen.insert(place.key()) {
            if self.seen.len() > MAX_PLACES {
                return Err("the schema has too many combinations of subschemas".to_owned());
            }
            if place.depth < MAX_DEPTH {
                self.waiting.push((place, load));
            }
        }
        Ok(())
    }

    /// Adds a subschema and those that it applies to the same value.
    fn expand(
        &self,
        id: Id,
        count: u32,
        all: &mut Applied,
        stack: &mut Vec<Id>,
    ) -> Result<(), String> {
        let node = &self.graph.nodes[id];
        if stack.contains(&id) {
            return Err(format!(
                "at {}: the reference leads back to the same schema without a property or item between",
                node.pointer
            ));
        }
        if stack.len() > MAX_IN_PLACE {
            return Err(format!(
                "at {}: more than {MAX_IN_PLACE} combinators and references within each other apply to one value",
                node.pointer
            ));
        }
        let total = all.entry(id).or_default();
        *total = total.saturating_add(count);
        if *total > MAX_APPLIED || all.len() > MAX_APPLIED as usize {
            return Err(format!(
                "at {}: more than {MAX_APPLIED} schemas apply to the same value",
                node.pointer
            ));
        }
        stack.push(id);
        let in_place = node.in_place.iter().flat_map(|(_, ids)| ids).copied();
        let dependent = node.dependent.iter().map(|(_, id)| *id);
        for next in in_place.chain(dependent).chain(node.reference) {
            self.expand(next, count, all, stack)?;
        }
        stack.pop();
        Ok(())
    }

    /// Checks the cost of `uniqueItems` for an array whose elements, which may have no other rules, are compared `unique` times.
    fn check_unique(&self, array: &Place, unique: u32) -> Result<(), String> {
        let time = f64::from(unique) * UNIQUE_BYTE * CONTENT_BYTES + self.once;
        if unique > array.unique && time > MAX_NANOSECONDS {
            let pointers = array
                .applied
                .keys()
                .map(|id| &self.graph.nodes[*id].pointer);
            let pointer = pointers.min_by_key(|pointer| pointer.len());
            return Err(format!(
                "at {}: {unique} times `uniqueItems` within each other or for the same array may take {:.1} ms for 64 KiB of content",
                pointer.map_or("", String::as_str),
                time / 1e6
            ));
        }
        Ok(())
    }

    /// Reaches the members and elements of a value.
    fn descend(&mut self, place: &Place, load: &Load) -> Result<(), String> {
        let nodes = || {
            let applied = place.applied.iter();
            applied.map(|(id, count)| (&self.graph.nodes[*id], *count))
        };
        let mut children = Vec::new();
        let names: HashSet<&str> = nodes()
            .flat_map(|(node, _)| node.properties.iter().map(|(name, _)| &**name))
            .collect();
        for name in names.into_iter().map(Some).chain([None]) {
            let mut applied = Applied::new();
            for (node, count) in nodes() {
                let mut properties = node.properties.iter();
                let listed = properties.find(|(known, _)| Some(&**known) == name);
                let patterns = node.pattern_properties.iter().map(|(_, id)| *id);
                let additional = node.additional_properties.filter(|_| listed.is_none());
                for id in patterns.chain(listed.map(|(_, id)| *id)).chain(additional) {
                    *applied.entry(id).or_default() += count;
                }
            }
            let arrival = Arrival::member(name, load);
            children.push((applied, arrival, place.unique, name.is_none()));
        }
        let unique = nodes().map(|(node, count)| count * u32::from(node.is_unique()));
        let unique = place.unique + unique.sum::<u32>();
        self.check_unique(place, unique)?;
        let prefix = nodes().map(|(node, _)| node.prefix_items.len()).max();
        for index in 0..=prefix.unwrap_or(0) {
            let mut applied = Applied::new();
            for (node, count) in nodes() {
                let own = node.prefix_items.get(index).copied().or(node.items);
                for id in own.into_iter().chain(node.contains) {
                    *applied.entry(id).or_default() += count;
                }
            }
            let is_last = Some(index) == prefix || prefix.is_none();
            children.push((applied, Arrival::element(load), unique, is_last));
        }
        for (applied, arrival, unique, many) in children {
            let child = Place {
                applied,
                unique,
                repeated: place.repeated || many,
                depth: place.depth + 1,
            };
            self.reach(child, &arrival)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
