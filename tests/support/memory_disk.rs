//! A disk in memory for the log: it records what is written, and gives the states in which a crash may leave it.

#![allow(dead_code, missing_docs)] // each test binary uses its own part of it

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::rc::Rc;

use dmwire::log::{Disk, DiskFile};

/// The files, and the names that a power cut may lose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub files: BTreeMap<u32, Vec<u8>>,
    pub uncertain_names: BTreeSet<u32>,
}

/// Something that was done, and is durable.
#[derive(Clone, Debug)]
pub enum Operation {
    Create {
        number: u32,
        bytes: usize,
    },
    Write {
        number: u32,
        offset: usize,
        data: Rc<[u8]>,
    },
    Remove {
        number: u32,
    },
    SyncNames,
}

impl Image {
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { number, bytes } => {
                self.files.insert(*number, vec![0; *bytes]);
                self.uncertain_names.remove(number);
            }
            Operation::Write {
                number,
                offset,
                data,
            } => self.write(*number, *offset, data),
            Operation::Remove { number } => {
                self.files.remove(number);
            }
            Operation::SyncNames => self.uncertain_names.clear(),
        }
    }

    fn write(&mut self, number: u32, offset: usize, data: &[u8]) {
        let file = self.files.get_mut(&number).expect("the file exists");
        file[offset..offset + data.len()].copy_from_slice(data);
    }

    /// Applies the units of a write, of `unit` bytes each, for which `is_kept` returns true.
    pub fn write_torn(
        &mut self,
        operation: &Operation,
        unit: usize,
        is_kept: impl Fn(usize) -> bool,
    ) {
        let Operation::Write {
            number,
            offset,
            data,
        } = operation
        else {
            panic!("{operation:?} is not a write");
        };
        for (n, part) in data.chunks(unit).enumerate() {
            if is_kept(n) {
                self.write(*number, offset + n * unit, part);
            }
        }
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// The operation: 0 is the next one.
    pub after: usize,
    pub kind: ErrorKind,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    operations: Vec<Operation>,
    failure: Option<Failure>,
}

impl State {
    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        if let Some(failure) = &mut self.failure {
            if failure.after == 0 {
                let kind = failure.kind;
                self.failure = None;
                // A part of a write takes place.
                if matches!(operation, Operation::Write { .. }) {
                    self.image.write_torn(&operation, 512, |n| n % 2 == 1);
                }
                return Err(kind.into());
            }
            failure.after -= 1;
        }
        self.image.apply(&operation);
        self.operations.push(operation);
        Ok(())
    }
}

/// The disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Rc<RefCell<State>>);

impl MemoryDisk {
    pub fn with(image: Image) -> Self {
        let disk = Self::default();
        disk.0.borrow_mut().image = image;
        disk
    }

    pub fn image(&self) -> Image {
        self.0.borrow().image.clone()
    }

    /// The number of operations so far.
    pub fn count(&self) -> usize {
        self.0.borrow().operations.len()
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.0.borrow().operations.clone()
    }

    pub fn fail(&self, failure: Option<Failure>) {
        self.0.borrow_mut().failure = failure;
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn numbers(&self) -> io::Result<Vec<u32>> {
        Ok(self.0.borrow().image.files.keys().copied().collect())
    }

    fn path(&self, number: u32) -> PathBuf {
        format!("store-log{number}").into()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.borrow_mut().perform(Operation::SyncNames)
    }

    fn open(&self, number: u32) -> io::Result<MemoryFile> {
        if !self.0.borrow().image.files.contains_key(&number) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(MemoryFile {
            disk: self.clone(),
            number,
        })
    }

    fn create(&self, number: u32, bytes: u64) -> io::Result<MemoryFile> {
        let bytes = bytes as usize;
        self.0
            .borrow_mut()
            .perform(Operation::Create { number, bytes })?;
        self.open(number)
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        self.0.borrow_mut().perform(Operation::Remove { number })
    }
}

/// A file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    number: u32,
}

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().image.files[&self.number].len() as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, pages: &mut [u8], offset: u64) -> io::Result<()> {
        assert_aligned(pages, offset);
        let state = self.disk.0.borrow();
        let offset = offset as usize;
        let part = state.image.files[&self.number].get(offset..).unwrap_or(&[]);
        let length = part.len().min(pages.len());
        pages[..length].copy_from_slice(&part[..length]);
        pages[length..].fill(0);
        Ok(())
    }

    fn write(&mut self, pages: &[u8], offset: u64) -> io::Result<()> {
        assert_aligned(pages, offset);
        self.disk.0.borrow_mut().perform(Operation::Write {
            number: self.number,
            offset: offset as usize,
            data: pages.into(),
        })
    }

    fn is_cached(&self) -> bool {
        false
    }
}

/// Direct I/O requires it.
fn assert_aligned(pages: &[u8], offset: u64) {
    let page = dmwire::log::PAGE;
    assert_eq!(pages.as_ptr().addr() % page, 0);
    assert_eq!(pages.len() % page, 0);
    assert_eq!(offset % page as u64, 0);
}
