//! Damaged files: records that were acknowledged are never skipped.

use std::collections::BTreeMap;

use dmwire::log::{Log, LogError, Options, PAGE, Position, Problem};
use uuid::Uuid;

use crate::memory_disk::{Image, MemoryDisk, Operation};
use crate::support::{Random, env_number, random_seed};
use crate::workload::{Action, Batch, ID, Known, Load, Step, open, options, smallest};

/// A log in which segments were used several times, batches continue in other segments, and several segments have batches that are
/// not settled.
fn load(options: Options, random: &mut Random) -> Load {
    loop {
        let mut load = Load::new(options);
        load.run(40, random);
        let known = load.known_at(usize::MAX);
        let is_last_small = known.acknowledged.last().is_some_and(|(_, records)| {
            let bytes = records.iter().map(Vec::len).sum::<usize>();
            (1..1000).contains(&bytes)
        });
        // All segments exist, and more than half of them have batches that are not settled.
        let is_large = 2 * load.log.used_bytes() > load.log.capacity();
        let bytes = load.log.files().map(|file| file.bytes).sum::<u64>();
        if is_last_small && is_large && bytes == load.log.capacity() {
            return load;
        }
    }
}

/// The page that the last batch has: its file and its offset.
fn last_page(load: &Load) -> (u32, usize) {
    let is_append = |step: &&Step| matches!(step.action, Action::Append(_));
    let step = load.steps.iter().rev().find(is_append);
    let step = step.expect("there is one");
    match &load.disk.operations()[step.operations.1 - 1] {
        Operation::Write {
            number,
            offset,
            data,
        } if data.len() == PAGE => (*number, *offset),
        other => panic!("{other:?}"),
    }
}

/// What became of a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Complete,
    /// The last batch looks like one that was being written.
    WithoutLast,
    Rejected,
}

/// Opens a damaged log: it has everything that was acknowledged, or it is rejected. The last batch may be missing if it is damaged.
fn outcome(image: &Image, known: &Known, may_lose_last: bool) -> (Outcome, Option<LogError>) {
    match open(MemoryDisk::with(image.clone()), known.settled) {
        Ok((_, batches, _)) if batches == known.acknowledged => (Outcome::Complete, None),
        Ok((_, batches, _)) => {
            let most = known.acknowledged.len() - 1;
            assert!(may_lose_last, "acknowledged batches are skipped");
            assert!(
                batches == known.acknowledged[..most],
                "acknowledged batches are skipped"
            );
            (Outcome::WithoutLast, None)
        }
        Err(error) => (Outcome::Rejected, Some(error)),
    }
}

#[test]
fn a_bit_that_changes_anywhere_is_reported_or_does_not_matter() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    let load = load(smallest(), &mut random);
    let known = load.known_at(usize::MAX);
    let last = last_page(&load);
    let mut image = load.disk.image();
    let mut count = BTreeMap::new();
    let used = load.log.files().filter(|file| file.is_used);
    let used: Vec<_> = used.map(|file| file.number).collect();
    for number in 0..image.files.len() as u32 {
        for at in 0..image.files[&number].len() {
            let page = at - at % PAGE;
            let is_last = last == (number, page);
            // All bits of the headers. What a segment has that is not in use matters less.
            let is_header = at % PAGE < 64;
            if !is_header && !used.contains(&number) && at % 16 != 0 {
                continue;
            }
            for bit in if is_header { 0..8 } else { 0..1 } {
                let bit = if is_header { bit } else { random.below(8) };
                flip(&mut image, number, at, bit);
                let (outcome, error) = outcome(&image, &known, is_last);
                flip(&mut image, number, at, bit);
                *count.entry(outcome).or_insert(0) += 1;
                match error {
                    None => {}
                    Some(LogError::Damaged {
                        path,
                        offset,
                        problem,
                    }) => {
                        assert_eq!(path.to_str(), Some(&*format!("store-log{number}")), "{at}");
                        assert!(
                            offset as usize <= page,
                            "byte {at}, but {problem} at {offset}"
                        );
                    }
                    Some(LogError::Missing { path, .. }) => {
                        assert_eq!(path.to_str(), Some(&*format!("store-log{number}")));
                        assert!(at < 64, "{at}");
                    }
                    Some(error) => panic!("byte {at} of {number}: {error}"),
                }
            }
        }
    }
    assert!(
        count.len() == 3 && count.values().all(|count| *count > 300),
        "{count:?}"
    );
}

fn flip(image: &mut Image, number: u32, at: usize, bit: usize) {
    image.files.get_mut(&number).expect("the file exists")[at] ^= 1 << bit;
}

#[test]
fn a_page_that_is_lost_is_reported_or_does_not_matter() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    for _ in 0..10 {
        let load = load(options(), &mut random);
        let known = load.known_at(usize::MAX);
        let last = last_page(&load);
        let image = load.disk.image();
        for (number, bytes) in &image.files {
            for page in (0..bytes.len()).step_by(PAGE) {
                let is_last = last == (*number, page);
                let mut zeros = image.clone();
                zeros.files.get_mut(number).expect("it exists")[page..page + PAGE].fill(0);
                outcome(&zeros, &known, is_last);
                let mut shorter = image.clone();
                shorter
                    .files
                    .get_mut(number)
                    .expect("it exists")
                    .truncate(page + 100);
                let (outcome, _) = outcome(&shorter, &known, false);
                assert_ne!(outcome, Outcome::WithoutLast);
            }
        }
    }
}

#[test]
fn a_file_that_is_missing_copied_or_an_earlier_state_is_reported_or_does_not_matter() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    let mut count = BTreeMap::new();
    for _ in 0..10 {
        let load = load(options(), &mut random);
        let known = load.known_at(usize::MAX);
        let image = load.disk.image();
        let last = last_page(&load);
        for number in image.files.keys() {
            let mut missing = image.clone();
            missing.files.remove(number);
            let (missing, _) = outcome(&missing, &known, false);
            *count.entry(("missing", missing)).or_insert(0) += 1;

            let mut copied = image.clone();
            copied.files.insert(90, image.files[number].clone());
            let (copied, _) = outcome(&copied, &known, false);
            *count.entry(("copied", copied)).or_insert(0) += 1;

            let mut renamed = image.clone();
            let file = renamed.files.remove(number).expect("it exists");
            renamed.files.insert(91, file);
            let (renamed, _) = outcome(&renamed, &known, false);
            assert_eq!(renamed, Outcome::Complete, "names do not matter");

            // An earlier state of the last segment is a valid log; later batches are missing without a trace.
            if *number == last.0 {
                continue;
            }
            let mut earlier = Image::default();
            for operation in load.disk.operations() {
                earlier.apply(&operation);
                if let Some(file) = earlier.files.get(number)
                    && *file != image.files[number]
                {
                    let mut old = image.clone();
                    old.files.insert(*number, file.clone());
                    let (old, _) = outcome(&old, &known, false);
                    *count.entry(("old", old)).or_insert(0) += 1;
                }
            }
        }
    }
    for case in [
        ("missing", Outcome::Complete),
        ("missing", Outcome::Rejected),
        ("copied", Outcome::Rejected),
        ("old", Outcome::Complete),
        ("old", Outcome::Rejected),
    ] {
        assert!(
            count.get(&case).is_some_and(|count| *count > 1),
            "{count:?}"
        );
    }
}

#[test]
fn another_log_is_rejected() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), Uuid::from_u128(7)).expect("it is created");
    let end = log.append(&["a record"]).expect("it is appended");
    let other = disk.image().files[&0].clone();
    let error = open(disk.clone(), end).expect_err("the id is another one");
    assert!(matches!(error, LogError::Foreign { .. }), "{error}");
    let error = Log::create(disk, options(), ID).expect_err("there is a log");
    assert!(matches!(error, LogError::Exists { .. }), "{error}");

    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let end = log.append(&["a record"]).expect("it is appended");
    let mut image = disk.image();
    image.files.insert(1, other.clone());
    let error = open(MemoryDisk::with(image), end).expect_err("a file is of another log");
    assert!(error.to_string().starts_with("store-log1: "), "{error}");
    // Frames of another log are not read.
    let mut image = disk.image();
    let file = image.files.get_mut(&0).expect("it exists");
    file[2 * PAGE..3 * PAGE].copy_from_slice(&other[PAGE..2 * PAGE]);
    let (_, batches, _) = open(MemoryDisk::with(image), Position::START).expect("it opens");
    assert_eq!(batches, [(end, vec![b"a record".to_vec()])]);
}

#[test]
fn positions_of_the_owner_and_of_the_log_must_agree() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let first = log.append(&[[1; 5000]]).expect("it is appended");
    let early = disk.image();
    let second = log.append(&[[2; 10]]).expect("it is appended");
    let open_at = |image: &Image, number| {
        open(
            MemoryDisk::with(image.clone()),
            Position::from_number(number),
        )
    };
    let error = open_at(&early, second.number()).expect_err("the log is older");
    assert!(
        matches!(error, LogError::Behind { end, settled, .. } if end == first && settled == second)
    );
    for number in [
        first.number() - 1,
        first.number() + 1,
        first.number() - PAGE as u64,
    ] {
        let error = open_at(&disk.image(), number).expect_err("it is inside a batch");
        assert!(matches!(error, LogError::NotABatch { .. }), "{error}");
    }
    let error = open_at(&disk.image(), 1 << 40).expect_err("there is no such segment");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    let error = open(MemoryDisk::default(), Position::START).expect_err("there is no log");
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    let (_, batches, _) = open_at(&disk.image(), first.number()).expect("it opens");
    let expected: Vec<Batch> = vec![(second, vec![vec![2; 10]])];
    assert_eq!(batches, expected);
}

#[test]
fn an_incomplete_write_is_told_from_damage() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    log.append(&["one"]).expect("it is appended");
    log.append(&["two"]).expect("it is appended");
    let mut image = disk.image();
    image.files.get_mut(&0).expect("it exists")[2 * PAGE + 68] ^= 1;
    let (_, batches, recovery) =
        open(MemoryDisk::with(image.clone()), Position::START).expect("it opens");
    assert_eq!((batches.len(), recovery.incomplete), (1, true));
    // The same with one more batch.
    log.append(&["three"]).expect("it is appended");
    let after = disk.image();
    let page = 3 * PAGE..4 * PAGE;
    image.files.get_mut(&0).expect("it exists")[page.clone()]
        .copy_from_slice(&after.files[&0][page]);
    let error = open(MemoryDisk::with(image), Position::START).expect_err("it is damaged");
    let LogError::Damaged {
        path,
        offset,
        problem,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (path.to_str(), offset),
        (Some("store-log0"), 2 * PAGE as u64)
    );
    assert_eq!(problem, Problem::Frame);
}
