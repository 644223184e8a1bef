//! Libraries that are loaded before the C library of a program and replace some of its functions.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names a library to preload.
pub const VARIABLE: &str = "LD_PRELOAD";

/// Compiles `tests/support/NAME.c` to a library in `folder`.
pub fn compile(folder: &Path, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/support/{name}.c"));
    let library = folder.join(format!("{name}.so"));
    let output = Command::new("cc")
        .args([
            "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ])
        .arg(&library)
        .arg(&source)
        .args(["-ldl", "-lpthread"])
        .output();
    match output {
        Ok(output) if output.status.success() => library,
        other => panic!(
            "this test compiles {} with `cc`: {other:?}",
            source.display()
        ),
    }
}
