//! A store that has been used, and checks of command outputs.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Client, Folder, Output, Server, dmwire, to};

pub const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

pub fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Asserts that the program exits with this code and one line that contains all of `words`.
pub fn assert_failed(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert_eq!(output.err.lines().count(), 1, "{output:?}");
    for word in words {
        assert!(output.err.contains(word), "{word:?} is not in {output:?}");
    }
}

pub fn assert_verified(folder: &Path, store: &str) {
    let output = dmwire(folder, &["verify", "--store", &format!("sqlite:{store}")]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out, format!("{store} is whole\n"));
}

/// Reads an inbox from the first entry up to `synced`.
pub fn replay(client: &mut Client) -> Vec<Value> {
    let mut entries = Vec::new();
    loop {
        let frame = client.recv();
        match frame["type"].as_str() {
            Some("synced") => return entries,
            Some("truncated") => {}
            _ => {
                assert_eq!(frame["seq"], entries.len() as u64 + 1, "{frame}");
                entries.push(frame);
            }
        }
    }
}

/// A store with messages and changes of all kinds, not in use.
pub fn used_store() -> Arc<Folder> {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::connect(&server, "b", "?ack=manual");
    let mut ids = Vec::new();
    for n in 1..=10 {
        ids.push(a.ask(&to("b", &format!("text {n}")))["id"].clone());
    }
    a.ask(&to("a", "note"));
    a.expect("message");
    a.ask(&to("c", "to c"));
    let at = |tag: &str, n: usize| json!({"type": tag, "target_user": "b", "id": ids[n]});
    let mut edit = at("edit", 0);
    edit["message"] = json!("edited");
    a.ask(&edit);
    a.ask(&at("delete", 1));
    let mut react = at("react", 2);
    react["emoji"] = json!("+");
    a.ask(&react);
    react["target_user"] = json!("a");
    while b.recv()["seq"] != 13 {}
    b.ask(&react);
    b.send(&json!({"type": "received", "seq": 10}));
    b.send(&json!({"type": "read", "target_user": "a", "id": ids[4]}));
    b.close();
    server.stop();
    folder
}
