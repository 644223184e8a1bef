//! Runs of the program in a temporary folder.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A temporary folder, removed when it is dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dmwire-test-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program, to be run in a folder, without `DMWIRE_*` variables of the environment.
pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder);
    command
}

/// Runs the program in a folder and waits until it exits.
pub fn dmwire(folder: &Path, arguments: &[&str]) -> Output {
    run_to_end(program(folder, arguments))
}

/// Runs a command and waits until it exits, which must happen in time.
pub fn run_to_end(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut out = child.stdout.take().expect("stdout is piped");
    let mut err = child.stderr.take().expect("stderr is piped");
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let until = Instant::now() + 3 * DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break Some(status);
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let output = Output {
        code: status.and_then(|status| status.code()),
        out: out.join().expect("stdout is read"),
        err: err.join().expect("stderr is read"),
    };
    assert!(status.is_some(), "the program does not exit: {output:?}");
    output
}
