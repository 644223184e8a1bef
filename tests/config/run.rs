//! Runs of the program with settings from several sources, each in a directory of its own and without inherited `DMWIRE_*`
//! variables.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A run of the program that has not started yet.
pub struct Run {
    pub folder: PathBuf,
    pub command: Command,
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(args: &str) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("config_cli-{}-{run}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("the test directory is writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        command.current_dir(&folder).args(args.split_whitespace());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DMWIRE_") {
                command.env_remove(name);
            }
        }
        Self { folder, command }
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.join(name), text).expect("the test directory is writable");
        self
    }

    pub fn end(mut self) -> Outcome {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Outcome {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// The standard output of a run that must succeed without a message on standard error.
    pub fn output(self) -> String {
        let outcome = self.end();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.stderr, "");
        outcome.stdout
    }

    /// The run must end with exit code 2 and an error that contains all of `parts`.
    pub fn fails_with(self, parts: &[&str]) {
        let command = format!("{:?}", self.command);
        let outcome = self.end();
        assert_eq!(outcome.code, Some(2), "{command}: {outcome:?}");
        assert!(
            outcome.stderr.starts_with("dmwire: "),
            "{command}: {outcome:?}"
        );
        for part in parts {
            assert!(
                outcome.stderr.contains(part),
                "{command}: {part:?} is not in {}",
                outcome.stderr
            );
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A directory that remains does not disturb other runs.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}
