//! Runs of the program with settings from several sources.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// One run of the program, prepared.
pub struct Run {
    pub folder: PathBuf,
    pub command: Command,
}

/// What a run left behind.
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
        fs::create_dir_all(&folder).expect("the folder for tests can be written");
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
        fs::write(self.folder.join(name), text).expect("the folder for tests can be written");
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

    /// The settings printed by a run of `dmwire config` that must succeed.
    pub fn settings(self) -> String {
        let outcome = self.end();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.stderr, "");
        outcome.stdout
    }

    /// Must end with exit code 2 and one complaint that holds all of `parts`.
    pub fn refused_with(self, parts: &[&str]) {
        let said = format!("{:?}", self.command);
        let outcome = self.end();
        assert_eq!(outcome.code, Some(2), "{said}: {outcome:?}");
        assert!(
            outcome.stderr.starts_with("dmwire: "),
            "{said}: {outcome:?}"
        );
        for part in parts {
            assert!(
                outcome.stderr.contains(part),
                "{said}: {part:?} is not in {}",
                outcome.stderr
            );
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nothing.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}
