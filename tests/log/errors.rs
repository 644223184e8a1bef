//! Failing writes, and a full disk.

use std::io::ErrorKind;

use dmwire::log::{Log, LogError, Options, PAGE, Position};

use crate::memory_disk::{Failure, MemoryDisk};
use crate::support::{Random, env_number, random_seed};
use crate::workload::{Action, ID, Load, Step, batch, open, open_with, options};

#[test]
fn after_a_failed_write_nothing_is_appended_and_nothing_acknowledged_is_lost() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    for kind in [
        ErrorKind::Other,
        ErrorKind::StorageFull,
        ErrorKind::ReadOnlyFilesystem,
    ] {
        for after in 0..40 {
            let mut load = Load::new(options());
            load.disk.fail(Some(Failure { after, kind }));
            let mut failed = None;
            while failed.is_none() {
                let records = batch(&mut random);
                let (before, end) = (load.disk.count(), load.log.end());
                match load.log.append(&records) {
                    Ok(position) => load.steps.push(Step {
                        operations: (before, load.disk.count()),
                        action: Action::Append((position, records)),
                    }),
                    Err(LogError::Full { .. }) => {
                        load.steps.push(Step {
                            operations: (before, before),
                            action: Action::Settle(end),
                        });
                        load.log.recycle(end);
                    }
                    Err(LogError::DiskFull { path, .. }) => {
                        // Only a new segment, before anything was written.
                        assert_eq!(kind, ErrorKind::StorageFull);
                        assert!(
                            !load
                                .disk
                                .image()
                                .files
                                .keys()
                                .any(|n| format!("store-log{n}") == path.to_string_lossy())
                        );
                        assert_eq!(load.log.end(), end);
                        // There is space again.
                        match load.log.append(&records) {
                            Ok(position) => load.steps.push(Step {
                                operations: (before, load.disk.count()),
                                action: Action::Append((position, records)),
                            }),
                            Err(LogError::Full { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        break;
                    }
                    Err(LogError::Broken(reason)) => failed = Some((reason, records)),
                    Err(error) => panic!("{error}"),
                }
            }
            load.disk.fail(None);
            let known = load.known_at(usize::MAX);
            let Some((reason, in_flight)) = failed else {
                let (_, batches, _) = open(load.disk.clone(), known.settled).expect("it opens");
                assert_eq!(batches, known.acknowledged);
                continue;
            };
            assert!(reason.starts_with("store-log"), "{reason}");
            let count = load.disk.count();
            for _ in 0..3 {
                let error = load.log.append(&["more"]).expect_err("the log is broken");
                assert!(matches!(error, LogError::Broken(again) if again == reason));
            }
            assert_eq!(load.disk.count(), count, "nothing is written any more");
            let (_, mut batches, _) = open(load.disk.clone(), known.settled).expect("it opens");
            if batches.len() > known.acknowledged.len() {
                assert_eq!(batches.pop().map(|(_, records)| records), Some(in_flight));
            }
            assert_eq!(batches, known.acknowledged);
        }
    }
}

#[test]
fn a_log_that_is_full_takes_records_again_when_others_are_settled() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let mut ends = Vec::new();
    let full = loop {
        match log.append(&[[7; 3 * PAGE]]) {
            Ok(end) => ends.push(end),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::Full { segments: 5 }), "{full}");
    let (end, count) = (log.end(), disk.count());
    // One that fits is appended.
    assert!(log.append(&[[7; 3 * PAGE]]).is_err());
    assert_eq!(
        (log.end(), disk.count()),
        (end, count),
        "nothing was written"
    );
    assert!(log.used_bytes() <= log.capacity());
    // The first segment has part of the second batch.
    log.recycle(ends[0]);
    assert!(log.append(&[[7; 3 * PAGE]]).is_err());
    log.recycle(ends[1]);
    let last = log.append(&[[8; 3 * PAGE]]).expect("a segment is free");
    assert_eq!(disk.image().files.len(), 5);
    let (log, batches, _) = open(disk, ends[1]).expect("it opens");
    assert_eq!(batches.len(), ends.len() - 1);
    assert_eq!(batches.last(), Some(&(last, vec![vec![8; 3 * PAGE]])));
    assert_eq!(log.end(), last);
}

#[test]
fn a_batch_is_as_large_as_the_log_at_most() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let most = 4 * (4 * PAGE - 64) - 4;
    let error = log
        .append(&[vec![1; most + 1]])
        .expect_err("it is too large");
    assert!(matches!(error, LogError::TooLarge { .. }), "{error}");
    let end = log.append(&[vec![1; most]]).expect("it fits");
    assert_eq!(log.append::<&[u8]>(&[]).expect("nothing is appended"), end);
    let (mut log, batches, _) = open(disk.clone(), Position::START).expect("it opens");
    assert_eq!(batches, [(end, vec![vec![1; most]])]);
    log.recycle(end);
    let end = log.append(&[vec![2; most]]).expect("it fits again");
    let (_, batches, _) = open(disk, end).expect("it opens");
    assert!(batches.is_empty());
}

#[test]
fn the_size_of_segments_may_change() {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let mut expected = Vec::new();
    let mut settled = Position::START;
    for pages in [3, 9, 4, 12] {
        for n in 0..30 {
            let record = vec![n; 900 * usize::from(n)];
            let mut appended = log.append(&[&record]);
            if matches!(appended, Err(LogError::Full { .. })) {
                settled = log.end();
                log.recycle(settled);
                appended = log.append(&[&record]);
            }
            match appended {
                Ok(end) => expected.push((end, vec![record])),
                Err(LogError::Full { .. } | LogError::TooLarge { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        expected.retain(|(end, _)| *end > settled);
        let options = Options::new(pages * PAGE as u64, 4);
        let (opened, batches, _) = open_with(disk.clone(), options, settled).expect("it opens");
        assert!(batches == expected);
        log = opened;
    }
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let disk = MemoryDisk::default();
    drop(Log::create(disk.clone(), options(), ID).expect("it is created"));
    let image = disk.image();
    for length in [0, PAGE, 3 * PAGE, 6 * PAGE] {
        for is_begun in [false, true] {
            let mut left = image.clone();
            let file = left.files.get_mut(&0).expect("it exists");
            if !is_begun {
                file.fill(0);
            }
            file.truncate(length);
            let disk = MemoryDisk::with(left);
            let mut log =
                Log::create(disk, options(), uuid::Uuid::from_u128(3)).expect("it is created");
            assert!(log.append(&["x"]).is_ok());
        }
    }
    let mut other = image;
    other.files.insert(1, b"a file of somebody".to_vec());
    let error = Log::create(MemoryDisk::with(other), options(), ID).expect_err("it exists");
    assert!(matches!(error, LogError::Exists { .. }), "{error}");
    let disk = MemoryDisk::default();
    disk.fail(Some(Failure {
        after: 0,
        kind: ErrorKind::StorageFull,
    }));
    let error = Log::create(disk, options(), ID).expect_err("the disk is full");
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
}
