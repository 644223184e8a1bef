//! Chooses when the power is cut: more often around operations after which mistakes are likely than in between.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::recorder::{Operation, Record};
use crate::support::Random;

/// Chooses up to `count` different numbers of operations after which the power is cut, in order.
pub fn choose(records: &[Record], count: usize, random: &mut Random) -> Vec<u64> {
    let kinds: Vec<Vec<u64>> = interesting(records).into_values().collect();
    let mut chosen = BTreeSet::new();
    // Starts with any kind, as there may be more kinds than points. The same point may be chosen several times.
    let first = random.below(kinds.len() + 2);
    for n in first..first + count * 20 {
        if chosen.len() == count {
            break;
        }
        let anywhere = random.next() % (records.len() as u64 + 1);
        // The next point of a kind after any time: some kinds are frequent at the first start only.
        let point = kinds.get(n % (kinds.len() + 2)).map(|points| {
            let next = points.partition_point(|point| *point < anywhere);
            points[next % points.len()]
        });
        chosen.insert(point.unwrap_or(anywhere));
    }
    chosen.into_iter().collect()
}

/// Interesting points by kind.
fn interesting(records: &[Record]) -> BTreeMap<&'static str, Vec<u64>> {
    let mut points: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    let mut names: HashMap<u64, &str> = HashMap::new();
    for (n, record) in records.iter().enumerate() {
        let (before, after) = (n as u64, n as u64 + 1);
        let name = names.get(&record.file).copied().unwrap_or("");
        let is_log = name.ends_with("-wal");
        let mut add = |kind, point| points.entry(kind).or_default().push(point);
        match &record.operation {
            Operation::Start => {
                names.clear();
                add("start", before);
            }
            Operation::Open { name, created } => {
                names.insert(record.file, name);
                if *created {
                    add("create", after);
                }
            }
            Operation::Write { offset: 0, .. } if is_log => add("log header", after),
            Operation::Write { .. } if is_log => {}
            Operation::Write { offset: 0, .. } => add("file header", after),
            Operation::Write { .. } => add("write to the file", after),
            Operation::Truncate { .. } => add("truncate", after),
            // Most is pending just before the end of a sync.
            Operation::SyncBegin => {}
            Operation::SyncEnd { .. } if record.file == 0 => {
                add("before the sync of the folder", before);
            }
            Operation::SyncEnd { .. } if is_log => {
                add("before the sync of the log", before);
                add("after the sync of the log", after);
            }
            Operation::SyncEnd { .. } => {
                add("before the sync of the file", before);
                add("after the sync of the file", after);
            }
            Operation::Unlink { .. } | Operation::Rename { .. } => add("rename", after),
        }
    }
    // The first operations of each start.
    let all = records.len() as u64;
    let starts = points.get("start").cloned().unwrap_or_default();
    let soon = starts.iter().flat_map(|start| *start..all.min(start + 40));
    points.insert("soon after a start", soon.collect());
    let ends: Vec<u64> = starts.iter().skip(1).copied().chain([all]).collect();
    let ending = ends.iter().flat_map(|end| end.saturating_sub(30)..=*end);
    points.insert("end of a run", ending.collect());
    // The first and the last sync of the file in each run are parts of the recovery and of the shutdown.
    let syncs = points.get("before the sync of the file").cloned();
    let syncs = syncs.unwrap_or_default();
    for (kind, bounds, back) in [("recovery", &starts, 0), ("shutdown", &ends, 1)] {
        let place = |bound: &u64| syncs.partition_point(|sync| sync < bound).checked_sub(back);
        let edges: Vec<u64> = bounds
            .iter()
            .filter_map(|bound| syncs.get(place(bound)?).copied())
            .collect();
        if !edges.is_empty() {
            points.insert(kind, edges);
        }
    }
    points.insert("first start", (0..all.min(60)).collect());
    points
}
