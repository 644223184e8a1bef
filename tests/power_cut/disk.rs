//! The model of the disk: which contents of the folder a power cut may leave. `main.rs` describes what is modelled.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::recorder::{Operation, Record};
use crate::support::Random;

const SECTOR: usize = 512;

/// The contents of a folder.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// The folder after some of the recorded operations: what is certainly on the disk, and what is not yet.
#[derive(Default)]
pub struct Disk {
    /// The number of operations so far.
    position: u64,
    files: Vec<DiskFile>,
    /// The names that are certainly on the disk.
    names: BTreeMap<String, usize>,
    /// Later changes of names.
    renames: Vec<(u64, NameChange)>,
    /// The names as processes see them.
    current: BTreeMap<String, usize>,
    /// The numbers that the running process gives to files.
    numbers: HashMap<u64, usize>,
}

#[derive(Default)]
struct DiskFile {
    synced: Vec<u8>,
    pending: Vec<(u64, Change)>,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    Truncate { size: u64 },
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, file: usize },
    Unlink { name: String },
    Rename { from: String, to: String },
}

/// What a power cut loses of the operations that are not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// All of some files, nothing of others.
    Files,
    /// Some operations; the number is the percentage that is kept.
    Operations(usize),
    /// Some sectors of each write.
    Sectors(usize),
    /// One operation, or some of its sectors.
    One,
}

impl Loss {
    pub fn random(random: &mut Random) -> Self {
        match random.below(10) {
            0 | 1 => Self::All,
            2 => Self::None,
            3 | 4 => Self::Files,
            5 => Self::Operations(*random.pick(&[10, 50, 90])),
            6 | 7 => Self::Sectors(*random.pick(&[2, 50, 50, 98])),
            _ => Self::One,
        }
    }
}

impl Disk {
    /// A folder that has been on the disk for a long time.
    pub fn with(contents: &Contents) -> Self {
        let mut disk = Self::default();
        for (name, bytes) in contents {
            disk.names.insert(name.clone(), disk.files.len());
            disk.files.push(DiskFile {
                synced: bytes.clone(),
                pending: Vec::new(),
            });
        }
        disk.current = disk.names.clone();
        disk
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn apply(&mut self, record: &Record) {
        let at = self.position;
        self.position += 1;
        let file = |disk: &Self| disk.numbers.get(&record.file).copied();
        let change = match &record.operation {
            Operation::Start => {
                self.numbers.clear();
                return;
            }
            Operation::Open { name, created } => {
                assert!(!name.contains('/'), "subfolders are not modelled: {name}");
                if *created {
                    let file = self.files.len();
                    self.files.push(DiskFile::default());
                    self.current.insert(name.clone(), file);
                    let name = name.clone();
                    self.renames.push((at, NameChange::Create { name, file }));
                }
                let file = *self.current.get(name).unwrap_or_else(|| {
                    panic!("{name} was created by an operation that was not recorded")
                });
                let before = self.numbers.insert(record.file, file);
                assert!(before.is_none_or(|before| before == file), "{name}");
                return;
            }
            Operation::SyncBegin => return,
            Operation::SyncEnd { began } => {
                if record.file == 0 {
                    self.sync_names(*began);
                } else {
                    let file = file(self).expect("a file that is synced was opened");
                    self.files[file].sync(*began);
                }
                return;
            }
            Operation::Unlink { name } => {
                self.current.remove(name);
                let name = name.clone();
                self.renames.push((at, NameChange::Unlink { name }));
                return;
            }
            Operation::Rename { from, to } => {
                let (from, to) = (from.clone(), to.clone());
                let file = self.current.remove(&from).expect("the name is known");
                self.current.insert(to.clone(), file);
                self.renames.push((at, NameChange::Rename { from, to }));
                return;
            }
            Operation::Write { offset, data } => Change::Write {
                offset: *offset,
                data: data.clone(),
            },
            Operation::Truncate { size } => Change::Truncate { size: *size },
        };
        let file = file(self).expect("a file that is written was opened");
        self.files[file].pending.push((at, change));
    }

    fn sync_names(&mut self, began: u64) {
        let synced = self.renames.partition_point(|(at, _)| *at < began);
        for (_, change) in self.renames.drain(..synced) {
            change.apply(&mut self.names);
        }
    }

    /// The folder as processes see it.
    pub fn contents(&self) -> Contents {
        self.after(Loss::None, &mut Random::new(0))
    }

    /// The folder after a power cut.
    pub fn after(&self, loss: Loss, random: &mut Random) -> Contents {
        let mut names = self.names.clone();
        let kept = match loss {
            Loss::All => 0,
            Loss::None => self.renames.len(),
            Loss::One if random.percent(80) => self.renames.len(),
            _ => random.below(self.renames.len() + 1),
        };
        for (_, change) in &self.renames[..kept] {
            change.apply(&mut names);
        }
        let pending = names.values().map(|file| self.files[*file].pending.len());
        let mut countdown = random.below(pending.sum());
        let mut contents = Contents::new();
        for (name, file) in names {
            let file = &self.files[file];
            let loss = match loss {
                Loss::Files if random.percent(50) => Loss::All,
                Loss::Files => Loss::None,
                loss => loss,
            };
            contents.insert(name, file.after(loss, &mut countdown, random));
        }
        contents
    }
}

impl DiskFile {
    fn sync(&mut self, began: u64) {
        let synced = self.pending.partition_point(|(at, _)| *at < began);
        for (_, change) in self.pending.drain(..synced) {
            change.apply(&mut self.synced, |_| true);
        }
    }

    /// `countdown` counts down to the operation that [`Loss::One`] loses.
    fn after(&self, loss: Loss, countdown: &mut usize, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut longest = bytes.len();
        for (_, change) in &self.pending {
            let kept = match loss {
                Loss::All => 0,
                Loss::None | Loss::Files => 100,
                Loss::Operations(percent) => 100 * usize::from(random.percent(percent)),
                Loss::Sectors(percent) => percent,
                Loss::One => {
                    let is_lost = *countdown == 0;
                    *countdown = countdown.wrapping_sub(1);
                    if is_lost {
                        *random.pick(&[0, 0, 50])
                    } else {
                        100
                    }
                }
            };
            // A truncation happens as a whole or not at all.
            change.apply(&mut bytes, |whole| {
                kept == 100 || random.percent(if whole && kept > 0 { 50 } else { kept })
            });
            longest = longest.max(change.end());
        }
        // The length may reach the disk without the data.
        if loss != Loss::All && loss != Loss::None && bytes.len() < longest && random.percent(30) {
            bytes.resize(longest, 0);
        }
        bytes
    }
}

impl Change {
    fn end(&self) -> usize {
        match self {
            Self::Write { offset, data } => *offset as usize + data.len(),
            Self::Truncate { .. } => 0,
        }
    }

    /// Applies the sectors for which `keep` returns true. Its argument is true for a truncation.
    fn apply(&self, bytes: &mut Vec<u8>, mut keep: impl FnMut(bool) -> bool) {
        match self {
            Self::Truncate { size } => {
                if keep(true) {
                    bytes.resize(*size as usize, 0);
                }
            }
            Self::Write { offset, data } => {
                let (mut at, end) = (*offset as usize, self.end());
                while at < end {
                    let next = end.min((at / SECTOR + 1) * SECTOR);
                    if keep(false) {
                        bytes.resize(bytes.len().max(next), 0);
                        let from = at - *offset as usize;
                        bytes[at..next].copy_from_slice(&data[from..from + next - at]);
                    }
                    at = next;
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything that is not synced is lost"),
            Self::None => f.write_str("nothing is lost"),
            Self::Files => f.write_str("some files lose everything that is not synced"),
            Self::Operations(kept) => write!(f, "{kept} % of the operations are kept"),
            Self::Sectors(kept) => write!(f, "{kept} % of the sectors are kept"),
            Self::One => f.write_str("one operation is lost"),
        }
    }
}

/// The files of a folder that survive a power cut.
pub fn read(folder: &Path) -> Contents {
    let mut contents = Contents::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if !name.ends_with("-shm") {
            contents.insert(name, fs::read(entry.path()).expect("a file can be read"));
        }
    }
    contents
}

pub fn write(folder: &Path, contents: &Contents) {
    for (name, bytes) in contents {
        fs::write(folder.join(name), bytes).expect("a file can be written");
    }
}
