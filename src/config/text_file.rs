//! Files with text: those that were written with another encoding than UTF-8, or by a program that adds bytes to the text, and those that
//! are missing.

use std::io::{Error, ErrorKind};
use std::path::Path;

/// What is wrong with the encoding of a text file, as a continuation of "FILE ..."; `None` if it is UTF-8 or ASCII.
///
/// A file with a secret or a key must not be read in another way than its author expects: a byte order mark would become part of a secret,
/// and hide the first key of a PEM file.
pub fn encoding_fault(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Some("begins with a byte order mark (BOM); save it as UTF-8 without BOM");
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Some("is in UTF-16 or UTF-32 (as `>` of PowerShell writes it); save it as UTF-8");
    }
    if bytes.contains(&0) {
        return Some(
            "contains a NUL byte, as UTF-16 and binary files do; save it as text in UTF-8",
        );
    }
    None
}

/// Why a file cannot be read. If a folder of its path is missing, the text names the folder: the file itself may be all right.
pub fn read_error(path: &Path, error: &Error) -> String {
    let folders = || {
        let folders = path.ancestors().skip(1);
        folders.filter(|folder| !folder.as_os_str().is_empty())
    };
    let is_missing = |folder: &&Path| matches!(folder.try_exists(), Ok(false));
    match error.kind() {
        ErrorKind::NotFound => folders()
            .take_while(is_missing)
            .last()
            .map(|folder| format!("the folder {} does not exist", folder.display())),
        ErrorKind::NotADirectory => folders()
            .find(|folder| folder.is_file())
            .map(|file| format!("{} is not a folder", file.display())),
        _ => None,
    }
    .unwrap_or_else(|| error.to_string())
}
