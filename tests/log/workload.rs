//! A load of the log, and what is known about it.

use dmwire::log::{Disk, Log, LogError, Options, PAGE, Position, Recovery};
use uuid::Uuid;

use crate::memory_disk::{Image, MemoryDisk};
use crate::support::Random;

/// A batch and its position.
pub type Batch = (Position, Vec<Vec<u8>>);

pub const ID: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);

/// Small segments, so that each test uses all of them several times.
pub fn options() -> Options {
    Options::new(6 * PAGE as u64, 5)
}

/// A log of which every bit is changed.
pub fn smallest() -> Options {
    Options::new(4 * PAGE as u64, 4)
}

/// Reads the log, and returns its batches after `settled`.
pub fn open<D: Disk>(
    disk: D,
    settled: Position,
) -> Result<(Log<D>, Vec<Batch>, Recovery), LogError> {
    open_with(disk, options(), settled)
}

pub fn open_with<D: Disk>(
    disk: D,
    options: Options,
    settled: Position,
) -> Result<(Log<D>, Vec<Batch>, Recovery), LogError> {
    let mut batches: Vec<Batch> = Vec::new();
    let (log, recovery) = Log::open(disk, options, ID, settled, |position, record| match batches
        .last_mut()
    {
        Some((last, records)) if *last == position => records.push(record.to_vec()),
        _ => batches.push((position, vec![record.to_vec()])),
    })?;
    assert_eq!(recovery.batches, batches.len() as u64);
    let records = batches.iter().map(|(_, records)| records.len() as u64);
    assert_eq!(recovery.records, records.sum::<u64>());
    Ok((log, batches, recovery))
}

/// Something that was done with the log.
#[derive(Clone, Debug)]
pub struct Step {
    /// The number of operations of the disk before it and after it.
    pub operations: (usize, usize),
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    Append(Batch),
    /// A batch that was rejected because the log is full.
    Full,
    /// A position is recorded up to which records are settled.
    Settle(Position),
    Other,
}

/// A log with its history.
pub struct Load {
    pub disk: MemoryDisk,
    pub log: Log<MemoryDisk>,
    pub steps: Vec<Step>,
    /// The disk before its first operation.
    pub start: Image,
    /// The number of operations that have created the log.
    pub created_at: usize,
    /// The batches that are not settled when the load begins.
    pub before: Vec<Batch>,
    pub settled_before: Position,
    settled: Position,
}

/// The state of a log at a time.
pub struct Known {
    /// The batches that are acknowledged and not settled.
    pub acknowledged: Vec<Batch>,
    /// The batch that is being written.
    pub in_flight: Option<Vec<Vec<u8>>>,
    pub settled: Position,
}

impl Load {
    pub fn new(options: Options) -> Self {
        let disk = MemoryDisk::default();
        let log = Log::create(disk.clone(), options, ID).expect("the log is created");
        let created_at = disk.count();
        Self {
            created_at,
            ..Self::with(disk, log, Image::default(), Vec::new(), Position::START)
        }
    }

    pub fn with(
        disk: MemoryDisk,
        log: Log<MemoryDisk>,
        start: Image,
        before: Vec<Batch>,
        settled: Position,
    ) -> Self {
        Self {
            disk,
            log,
            steps: Vec::new(),
            start,
            created_at: 0,
            before,
            settled_before: settled,
            settled,
        }
    }

    pub fn run(&mut self, steps: usize, random: &mut Random) {
        for _ in 0..steps {
            self.step(random);
        }
    }

    pub fn step(&mut self, random: &mut Random) {
        let before = self.disk.count();
        let action = match random.below(10) {
            0 => {
                // Some of the batches that are known.
                let unsettled: Vec<_> = self.known_at(usize::MAX).acknowledged;
                if let Some((position, _)) = unsettled.get(random.below(unsettled.len())) {
                    self.settled = *position;
                }
                Action::Settle(self.settled)
            }
            1 | 2 => {
                self.log.recycle(self.settled);
                Action::Other
            }
            3 if random.percent(20) => {
                let known = self.known_at(usize::MAX);
                let (log, batches, recovery) =
                    open(self.disk.clone(), self.settled).expect("it opens");
                assert_eq!(batches, known.acknowledged);
                let is_append = |step: &Step| matches!(step.action, Action::Append(_));
                assert!(!recovery.incomplete || !self.steps.iter().any(is_append));
                self.log = log;
                Action::Other
            }
            _ => {
                let records = batch(random);
                match self.log.append(&records) {
                    Ok(position) => Action::Append((position, records)),
                    Err(LogError::Full { .. }) => Action::Full,
                    Err(LogError::TooLarge { .. }) => Action::Other,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let full = matches!(action, Action::Full);
        self.steps.push(Step {
            operations: (before, self.disk.count()),
            action,
        });
        if full {
            let last = self.known_at(usize::MAX).acknowledged.pop();
            self.settled = last.map_or(self.settled, |(position, _)| position);
            self.steps.push(Step {
                operations: (self.disk.count(), self.disk.count()),
                action: Action::Settle(self.settled),
            });
            self.log.recycle(self.settled);
        }
    }

    /// What is known when this number of operations has taken place. Recording a position takes none.
    pub fn known_at(&self, count: usize) -> Known {
        let mut known = Known {
            acknowledged: self.before.clone(),
            in_flight: None,
            settled: self.settled_before,
        };
        for step in &self.steps {
            if step.operations.0 > count {
                break;
            }
            match &step.action {
                Action::Append(batch) if step.operations.1 <= count => {
                    known.acknowledged.push(batch.clone());
                }
                Action::Append((_, records)) => known.in_flight = Some(records.clone()),
                Action::Settle(position) => known.settled = *position,
                Action::Full | Action::Other => {}
            }
        }
        let settled = known.settled;
        known
            .acknowledged
            .retain(|(position, _)| *position > settled);
        known
    }
}

/// Records of a random batch: most are small, some need several pages or segments.
pub fn batch(random: &mut Random) -> Vec<Vec<u8>> {
    let (count, most) = *random.pick(&[
        (1, 200),
        (1, 200),
        (3, 60),
        (20, 300),
        (1, 2 * PAGE),
        (3, 4 * PAGE),
        (40, 10),
        (1, 9 * PAGE),
    ]);
    let record = |random: &mut Random| {
        let byte = random.next() as u8;
        vec![byte; random.below(most)]
    };
    (0..=random.below(count)).map(|_| record(random)).collect()
}
