//! Rules by which system calls of a server fail, and what has failed so far.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::{Folder, eventually, preload};

/// The library that makes calls fail; see `tests/support/failing_calls.c`. Compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(Folder, PathBuf)> = OnceLock::new();
    let compiled = LIBRARY.get_or_init(|| {
        let folder = Folder::new();
        let library = preload::compile(&folder.0, "failing_calls");
        (folder, library)
    });
    &compiled.1
}

/// The rules of one server. There are none at first.
pub struct Faults {
    rules: PathBuf,
    log: PathBuf,
}

impl Faults {
    pub fn new(folder: &Path) -> Self {
        Self {
            rules: folder.join("faults"),
            log: folder.join("failed-calls"),
        }
    }

    /// The environment of a program whose calls are to fail.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [
            (preload::VARIABLE, library()),
            ("FAILING_CALLS_RULES", &self.rules),
            ("FAILING_CALLS_LOG", &self.log),
        ]
    }

    /// Sets the rules, each in the form "CALL SUFFIX FAULT SKIP COUNT THREAD AFTER".
    pub fn set(&self, rules: &[&str]) {
        let lines = rules.iter().enumerate();
        let lines: Vec<_> = lines.map(|(id, rule)| format!("{id} {rule}\n")).collect();
        // Renamed, so that the library never reads a part of the file.
        let part = self.rules.with_extension("part");
        fs::write(&part, lines.concat()).expect("the rules can be written");
        fs::rename(&part, &self.rules).expect("the rules can be replaced");
    }

    pub fn clear(&self) {
        let _ = fs::remove_file(&self.rules);
    }

    /// The calls that have failed, one a line.
    pub fn failed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_for_failure(&self, what: &str) {
        eventually(&format!("{what}: a call fails"), || {
            !self.failed().is_empty()
        });
    }
}
