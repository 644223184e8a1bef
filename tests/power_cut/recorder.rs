//! Runs a server whose writes are recorded by `record_writes.c`, and reads the recording.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::{self, Disk};
use crate::support::{Folder, Server, eventually, preload};

/// The server has nothing left to write when it has written nothing for this time.
const IDLE: Duration = Duration::from_millis(700);

/// An operation of the server.
#[derive(Debug)]
pub struct Record {
    pub operation: Operation,
    /// The number of the file, which is valid until the next `Start`. 0 is the folder.
    pub file: u64,
}

#[derive(Debug)]
pub enum Operation {
    /// A process has started; its files are numbered anew.
    Start,
    Open {
        name: String,
        created: bool,
    },
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    Truncate {
        size: u64,
    },
    SyncBegin,
    SyncEnd {
        /// The record of the `SyncBegin`.
        began: u64,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
}

/// Everything that a server has done.
pub struct Recording {
    pub records: Vec<Record>,
}

impl Recording {
    /// The volume of all writes.
    pub fn bytes(&self) -> usize {
        let bytes = |record: &Record| match &record.operation {
            Operation::Write { data, .. } => data.len(),
            _ => 0,
        };
        self.records.iter().map(bytes).sum()
    }

    /// Checks that nothing that the folder has was missed.
    pub fn assert_equals(&self, folder: &Path) {
        let mut disk = Disk::default();
        for record in &self.records {
            disk.apply(record);
        }
        let (recorded, real) = (disk.contents(), disk::read(folder));
        assert!(recorded.keys().eq(real.keys()), "{:?}", real.keys());
        for (name, bytes) in &real {
            assert!(
                recorded[name] == *bytes,
                "{name} has other contents than were recorded"
            );
        }
    }
}

/// Builds the library that records.
pub fn compile(folder: &Arc<Folder>) -> Library {
    Library {
        path: preload::compile(&folder.0, "record_writes"),
        _folder: folder.clone(),
    }
}

/// The compiled library.
#[derive(Clone)]
pub struct Library {
    path: PathBuf,
    _folder: Arc<Folder>,
}

/// Variables of a server's environment.
pub type Environment = Vec<(&'static str, PathBuf)>;

/// Starts a server with these variables in its environment.
pub fn start(folder: &Arc<Folder>, arguments: &[&str], environment: &Environment) -> Server {
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    Server::start_with(folder, arguments, &environment)
}

/// Variables that give a server a boot id, without recording it.
pub fn boot(library: &Library, folder: &Path, boot: &str) -> Environment {
    let file = folder.join("boot_id");
    fs::write(&file, boot_id(boot)).expect("the boot id can be written");
    vec![
        (preload::VARIABLE, library.path.clone()),
        ("RECORD_BOOT_ID", file),
    ]
}

/// A text in the form of a boot id.
fn boot_id(boot: &str) -> String {
    let bytes = boot.bytes().cycle().take(16).collect::<Vec<_>>();
    let bytes = bytes.try_into().expect("16 bytes");
    format!("{}\n", uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// Waits until a server has written nothing for some time.
struct Idle {
    position: u64,
    since: Instant,
}

impl Idle {
    fn new(position: u64) -> Self {
        Self {
            position,
            since: Instant::now(),
        }
    }

    fn reached(&mut self, position: u64) -> bool {
        if position != self.position {
            *self = Self::new(position);
        }
        self.since.elapsed() >= IDLE
    }
}

/// A folder in which the server's writes are recorded.
pub struct Recorder {
    data: Arc<Folder>,
    log: PathBuf,
    control: File,
    environment: Environment,
    _files: Folder,
}

impl Recorder {
    /// Records in a folder, which may have files already.
    pub fn new(library: &Library, data: Arc<Folder>, boot_id: &str) -> Self {
        let files = Folder::new();
        let real = fs::canonicalize(&data.0).expect("the folder exists");
        let (log, control) = (files.0.join("log"), files.0.join("control"));
        fs::write(&log, b"").expect("the log can be created");
        let bytes = [0_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
        fs::write(&control, bytes).expect("the control file can be created");
        let mut environment = boot(library, &files.0, boot_id);
        environment.extend([
            ("RECORD_FOLDER", real),
            ("RECORD_LOG", log.clone()),
            ("RECORD_CONTROL", control.clone()),
        ]);
        let control = File::options().read(true).write(true).open(&control);
        Self {
            data,
            log,
            control: control.expect("the control file can be opened"),
            environment,
            _files: files,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.data.0
    }

    pub fn start(&self, arguments: &[&str]) -> Server {
        start(&self.data, arguments, &self.environment)
    }

    /// Starts a server that kills itself, usually before it is ready: see [`Recorder::kill_after`].
    pub fn start_killed(&self, arguments: &[&str]) {
        let mut command = crate::support::program(&self.data.0, arguments);
        command
            .args(["--listen", "127.0.0.1:0"])
            .envs(self.environment.iter().cloned())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("the server can be started");
        // Killed from outside only while it does nothing, so that the recording is complete.
        let mut idle = Idle::new(self.position());
        eventually("the server is killed", || {
            !matches!(child.try_wait(), Ok(None)) || idle.reached(self.position())
        });
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The number of complete records. Everything that a client has received before was caused by them.
    pub fn position(&self) -> u64 {
        let mut bytes = [0; 8];
        self.control
            .read_exact_at(&mut bytes, 0)
            .expect("the control file is there");
        u64::from_le_bytes(bytes)
    }

    /// The server kills itself before its next operation when it has done `operations` more.
    pub fn kill_after(&self, operations: u64) {
        let limit = self.position() + operations;
        self.control
            .write_all_at(&limit.to_le_bytes(), 8)
            .expect("the control file can be written");
    }

    pub fn wait_for(&self, position: u64) {
        eventually("the server writes", || self.position() >= position);
    }

    /// Waits until the server has nothing left to write.
    pub fn wait_until_idle(&self) {
        let mut idle = Idle::new(self.position());
        eventually("the server is idle", || idle.reached(self.position()));
    }

    /// Reads the log of a server that has ended. If it was killed from outside, the last operation may be missing.
    pub fn recording(&self) -> Recording {
        let bytes = fs::read(&self.log).expect("the log is there");
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        for _ in 0..self.position() {
            let number = |n: usize| {
                let bytes = rest[8 * n..8 * n + 8].try_into();
                u64::from_le_bytes(bytes.expect("8 bytes"))
            };
            let (code, file, value, length) = (number(0), number(1), number(2), number(3));
            let data = &rest[32..32 + length as usize];
            rest = &rest[32 + length as usize..];
            let text = || String::from_utf8(data.to_vec()).expect("names are UTF-8");
            let operation = match code {
                1 => Operation::Start,
                2 => Operation::Open {
                    name: text(),
                    created: value == 1,
                },
                3 => Operation::Write {
                    offset: value,
                    data: data.into(),
                },
                4 => Operation::Truncate { size: value },
                5 => Operation::SyncBegin,
                6 => Operation::SyncEnd { began: value },
                7 => Operation::Unlink { name: text() },
                8 => {
                    let names = text();
                    let (from, to) = names.split_once('\0').expect("two names");
                    Operation::Rename {
                        from: from.to_owned(),
                        to: to.to_owned(),
                    }
                }
                _ => panic!("the server does something that is not modelled: {}", text()),
            };
            records.push(Record { operation, file });
        }
        assert!(!records.is_empty(), "the library was not loaded");
        Recording { records }
    }
}
