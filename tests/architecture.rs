//! The dependency rules of `docs/architecture.md`: each module of the crate imports only modules of lower layers, so there
//! are no import cycles. The check reads the source text: paths that begin with `crate::`, and `super::` in top-level files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the lowest layer to the highest. A module may import any module of a layer below its own, and none of
/// its own layer.
const LAYERS: &[&[&str]] = &[
    &["clock", "config", "counters", "log", "supervise"],
    &[
        "blocks",
        "disk_space",
        "listener",
        "logging",
        "protocol",
        "store",
        "tls",
        "websocket",
    ],
    &[
        "compatibility",
        "content_types",
        "limits",
        "metrics",
        "page",
    ],
    &["auth", "outbox"],
    &["readers", "registry"],
    &["contacts", "revocations", "writer"],
    &["presence"],
    &["delivery"],
    &["router"],
    &["ingest", "memberships"],
    &["notify", "webhooks"],
    &["context"],
    &["session"],
    &["http"],
    &["ops"],
    &["server"],
    &["cli"],
];

/// Names that `lib.rs` exports from a module.
const EXPORTED: &[(&str, &str)] = &[
    ("run", "server"),
    ("serve", "server"),
    ("RunError", "server"),
    ("DISK_FAILED", "supervise"),
];

fn layer_of(name: &str) -> Option<usize> {
    let exported = EXPORTED.iter().find(|(exported, _)| *exported == name);
    let module = exported.map_or(name, |(_, module)| *module);
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the source directory is readable") {
        let path = entry.expect("the source directory is readable").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The names that follow `prefix` in `code`: `crate::a::B` and `crate::{a::B, c}` give `a` and `c`.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let word = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| is_word(c) || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item_starts = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => item_starts = true,
                _ if item_starts && is_word(c) => {
                    names.insert(word(&list[at..]));
                    item_starts = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// The code of a file without comments and without its unit tests, which may use any module.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file is readable");
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_module_imports_only_modules_of_lower_layers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 50, "found only {} source files", files.len());
    let mut violations = Vec::new();
    let mut imports = 0;
    for file in &files {
        let path = file.strip_prefix(&source).expect("the file is in src");
        let first = path
            .iter()
            .next()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let module = first.trim_end_matches(".rs");
        if matches!(first, "lib.rs" | "main.rs") {
            continue;
        }
        let Some(layer) = layer_of(module) else {
            violations.push(format!("{module} has no layer in {}", file!()));
            continue;
        };
        let code = code_of(file);
        let mut names = names_after(&code, "crate::");
        if module == "cli" {
            names.append(&mut names_after(&code, "dmwire::"));
        }
        if path.iter().count() == 1 {
            names.append(&mut names_after(&code, "super::"));
        }
        for name in names.iter().filter(|name| *name != module) {
            let Some(imported) = layer_of(name) else {
                violations.push(format!(
                    "{} imports `{name}`, which has no layer",
                    path.display()
                ));
                continue;
            };
            imports += 1;
            if imported >= layer {
                violations.push(format!(
                    "{} imports `{name}`, which is not below it",
                    path.display()
                ));
            }
        }
    }
    assert!(
        imports > 50,
        "found only {imports} imports: does the check still read them?"
    );
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn imported_names_are_read_from_paths_and_lists() {
    let code = "use crate::a::B;\nuse crate::{c, d::{E, f}, g as h};\nlet x = crate::i::j(); notcrate::k::L";
    let names = names_after(code, "crate::");
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "c", "d", "g", "i"]
    );
}
