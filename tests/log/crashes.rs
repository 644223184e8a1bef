//! Crashes at every operation of the disk.

use dmwire::log::{Log, PAGE};

use crate::memory_disk::{Image, MemoryDisk, Operation};
use crate::support::{Random, env_number, random_seed};
use crate::workload::{Batch, ID, Known, Load, batch, open, options};

/// The states in which a crash may leave the disk while an operation is under way.
fn torn(before: &Image, operation: &Operation, random: &mut Random) -> Vec<Image> {
    let mut images = vec![before.clone()];
    match operation {
        Operation::Write { data, .. } => {
            for unit in [512, PAGE] {
                let count = data.len() / unit;
                let mut tear = |is_kept: &dyn Fn(usize) -> bool| {
                    let mut image = before.clone();
                    image.write_torn(operation, unit, is_kept);
                    images.push(image);
                };
                tear(&|_| true);
                // The order of the parts is not known: a prefix, a suffix, all but one, and only one.
                for _ in 0..2 {
                    let at = random.below(count);
                    tear(&|n| n < at);
                    tear(&|n| n >= at);
                    tear(&|n| n != at);
                    tear(&|n| n == at);
                }
                tear(&|n| n > 0);
                tear(&|n| n == 0);
                for _ in 0..2 {
                    let mask = random.next();
                    tear(&|n| mask >> (n % 64) & 1 == 1);
                }
            }
        }
        Operation::Create { number, bytes } => {
            for length in [0, 100, 512, PAGE, PAGE + 7, bytes - 1, *bytes] {
                let mut image = before.clone();
                image.files.insert(*number, vec![0; length]);
                image.uncertain_names.insert(*number);
                images.push(image);
            }
        }
        Operation::Remove { .. } | Operation::SyncNames => {
            let mut image = before.clone();
            image.apply(operation);
            images.push(image);
        }
    }
    // A name that was not synced may be lost.
    let mut lost = Vec::new();
    for image in &images {
        for number in &image.uncertain_names {
            let mut image = image.clone();
            image.files.remove(number);
            lost.push(image);
        }
    }
    images.extend(lost);
    images
}

/// Opens a log after a crash, and checks that it has everything that was acknowledged, and nothing that was not written.
fn check(image: Image, known: &Known, depth: u32, random: &mut Random) {
    let disk = MemoryDisk::with(image.clone());
    let (log, batches, _) = open(disk.clone(), known.settled).expect("the log opens");
    let (expected, extra) = batches.split_at(known.acknowledged.len().min(batches.len()));
    assert!(
        expected == known.acknowledged,
        "acknowledged batches are missing"
    );
    match (extra, &known.in_flight) {
        ([], _) => {}
        ([(_, records)], Some(in_flight)) => assert!(records == in_flight),
        _ => panic!("more batches than were written"),
    }
    let mut load = Load::with(disk, log, image, batches, known.settled);
    if depth == 0 {
        append_and_reopen(&mut load, random);
        return;
    }
    load.run(5, random);
    crash(&load, 2, depth - 1, random);
}

fn append_and_reopen(load: &mut Load, random: &mut Random) {
    let mut expected: Vec<Batch> = load.before.clone();
    let records = batch(random);
    let appended = load.log.append(&records);
    let is_appended = appended.is_ok();
    expected.extend(appended.map(|position| (position, records)));
    let (_, batches, recovery) =
        open(load.disk.clone(), load.settled_before).expect("the log opens");
    assert!(batches == expected);
    assert!(!(is_appended && recovery.incomplete));
}

/// Crashes at every operation of a load, or at `count` random ones, in `count` random ways each.
fn crash(load: &Load, count: usize, depth: u32, random: &mut Random) {
    let operations = load.disk.operations();
    let mut image = load.start.clone();
    for (at, operation) in operations.iter().enumerate() {
        if count == usize::MAX || random.below(operations.len()) < count {
            let known = load.known_at(at);
            let mut images = torn(&image, operation, random);
            while images.len() > count {
                images.swap_remove(random.below(images.len()));
            }
            for image in images {
                if at < load.created_at {
                    // The owner does not know the log yet.
                    let again = Log::create(MemoryDisk::with(image), options(), ID);
                    again
                        .expect("the log is created")
                        .append(&["x"])
                        .expect("it is appended");
                    continue;
                }
                let deeper = depth.saturating_sub(u32::from(!random.percent(5)));
                check(image, &known, deeper, random);
            }
        }
        image.apply(operation);
    }
    assert!(image == load.disk.image());
}

#[test]
fn acknowledged_batches_survive_a_crash_at_any_operation() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    for _ in 0..env_number("DMWIRE_LOG_ROUNDS", || 1) {
        let mut load = Load::new(options());
        load.run(40, &mut random);
        crash(&load, usize::MAX, 2, &mut random);
    }
}
