//! Keys of the API: the file, scopes, rates, SIGHUP, and the key that a server generates.

use std::fs;
use std::sync::Arc;

use crate::helpers::{Ops, new_key};
use crate::support::{Folder, dmwire, eventually};

const CALL: &str = "/v1/users/8888/conversations";

fn with_file(lines: &str) -> (Arc<Folder>, Ops) {
    let folder = Arc::new(Folder::new());
    fs::write(folder.0.join("keys"), lines).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    (folder, ops)
}

#[test]
fn a_call_needs_a_key_of_the_file_with_the_scope() {
    let (reader, reader_line) = new_key("reader");
    let (writer, writer_line) = new_key("writer");
    let (all, all_line) = new_key("all");
    let lines =
        format!("# keys\n{reader_line} read # reads\n{writer_line} write,admin\n\n{all_line}\n");
    let (_folder, ops) = with_file(&lines);
    for key in [&reader, &all] {
        ops.get_with(CALL, key).assert_ok();
    }
    ops.get_with(CALL, &writer)
        .assert_error(403, "forbidden", None);
    for headers in [
        &[][..],
        &["Authorization: Bearer"],
        &["Authorization: Bearer x"],
        &["Authorization: Basic eDp5"],
        &["Authorization: Bearer \u{e9}"],
    ] {
        let response = ops.request(&format!("GET {CALL}"), headers, b"");
        response.assert_error(401, "unauthorized", None);
        assert!(response.head.contains("www-authenticate: bearer"));
    }
    // The file has the hash, which is not the key.
    let hash = all_line.split(' ').nth(1).expect("a hash");
    ops.get_with(CALL, hash)
        .assert_error(401, "unauthorized", None);
    // Keys are not taken from the URL, which proxies log.
    ops.get(&format!("{CALL}?token={all}"))
        .assert_error(401, "unauthorized", None);
    let twice = format!("Authorization: Bearer {all}");
    ops.request(&format!("GET {CALL}"), &[&twice, &twice], b"")
        .assert_error(400, "invalid_request", None);
    // Health checks need none, and what does not exist is not protected.
    ops.get("/healthz").assert_ok();
    ops.get("/readyz").assert_ok();
    ops.get("/v1/nothing").assert_error(404, "not_found", None);
    let log = ops.server.log();
    for key in [&reader, &writer, &all] {
        assert!(!log.contains(key.as_str()), "a key is in the log: {log}");
    }
}

#[test]
fn an_invalid_file_is_an_invalid_setting() {
    let folder = Folder::new();
    let (_, line) = new_key("shop");
    for (text, part) in [
        ("shop".to_owned(), "line 1"),
        (format!("{line} root"), "unknown scope"),
        (format!("{line}\n{line}"), "line 2"),
        (format!("#\n{line}\nshop {}", "0".repeat(64)), "line 3"),
        ("\u{feff}# BOM".to_owned(), "byte order mark"),
    ] {
        fs::write(folder.0.join("keys"), &text).expect("a writable folder");
        let arguments = ["--api-key-file", "keys", "--listen", "127.0.0.1:0"];
        let arguments = [&arguments[..], &["--ops-listen", "127.0.0.1:0"]].concat();
        let output = dmwire(&folder.0, &arguments);
        assert_eq!(output.code, Some(2), "{output:?}");
        let expected = output.err.contains("api_key_file: keys") && output.err.contains(part);
        assert!(expected, "{part}: {output:?}");
        assert!(!folder.0.join("dmwire.db").exists());
    }
    fs::remove_file(folder.0.join("keys")).expect("the file is there");
    let output = dmwire(
        &folder.0,
        &["--api-key-file", "keys", "--listen", "127.0.0.1:0"],
    );
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains("api_key_file: keys"), "{output:?}");
}

#[test]
fn sighup_reads_the_file_again_and_keeps_the_keys_if_it_is_invalid() {
    let (first, first_line) = new_key("first");
    let (second, second_line) = new_key("second");
    let (folder, ops) = with_file(&first_line);
    ops.get_with(CALL, &second)
        .assert_error(401, "unauthorized", None);
    let file = folder.0.join("keys");
    fs::write(&file, &second_line).expect("a writable folder");
    ops.server.signal("HUP");
    eventually("the new key is valid", || {
        ops.get_with(CALL, &second).status == 200
    });
    // The first key is revoked.
    ops.get_with(CALL, &first)
        .assert_error(401, "unauthorized", None);
    fs::write(&file, "nonsense").expect("a writable folder");
    ops.server.signal("HUP");
    ops.server.wait_for_log("stay as they were");
    ops.get_with(CALL, &second).assert_ok();
}

#[test]
fn each_key_has_a_rate_of_its_own() {
    let (first, first_line) = new_key("first");
    let (second, second_line) = new_key("second");
    let folder = Arc::new(Folder::new());
    let lines = format!("{first_line}\n{second_line}\n");
    fs::write(folder.0.join("keys"), lines).expect("a writable folder");
    let arguments = ["--api-key-file", "keys", "--api-requests-per-second", "1"];
    let ops = Ops::start_in(&folder, &arguments);
    let mut limited = None;
    eventually("the rate is reached", || {
        let response = ops.get_with(CALL, &first);
        let reached = response.status == 429;
        limited = Some(response);
        reached
    });
    let limited = limited.expect("a response");
    limited.assert_error(429, "rate_limited", None);
    let wait = limited.json()["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=1000).contains(&wait), "{limited:?}");
    assert!(limited.head.contains("retry-after: 1"), "{limited:?}");
    ops.get_with(CALL, &second).assert_ok();
    // Rejected keys and health checks are not counted.
    ops.get("/healthz").assert_ok();
}

#[test]
fn a_port_that_other_machines_reach_gets_a_generated_key() {
    let folder = Arc::new(Folder::new());
    let mut ops = Ops::start_in(&folder, &["--ops-listen", "0.0.0.0:0"]);
    ops.server.wait_for_output("This one is shown only now");
    let line = ops.server.wait_for_output("  ");
    let key = line.trim().to_owned();
    ops.get(CALL).assert_error(401, "unauthorized", None);
    ops.get_with(CALL, &key).assert_ok();
    assert!(!ops.server.log().contains(&key));
    let file = fs::read_to_string(folder.0.join("dmwire.db-api-key")).expect("a file");
    assert!(!file.contains(&key), "the file has the key itself");
    ops.server.signal("TERM");
    ops.server.wait(crate::support::DEADLINE);
    // The same key at the next start, and it is not printed again.
    let again = Ops::start_in(&folder, &["--ops-listen", "0.0.0.0:0"]);
    again.get_with(CALL, &key).assert_ok();
    let arguments = ["--store", "memory:", "--ops-listen", "0.0.0.0:0"];
    let memory = Ops::start(&arguments);
    memory
        .server
        .wait_for_output("lasts until the server stops");
    let key = memory.server.wait_for_output("  ");
    memory.get_with(CALL, key.trim()).assert_ok();
}

#[test]
fn without_a_key_file_the_api_is_closed_unless_only_this_machine_reaches_the_server() {
    for arguments in [
        &["--open"][..],
        &["--jwt-secret", "0123456789abcdef0123456789abcdef"],
        &["--trusted-proxy", "127.0.0.1"],
        &["--listen", "0.0.0.0:0"],
    ] {
        let ops = Ops::start(arguments);
        ops.get(CALL).assert_error(401, "unauthorized", None);
        ops.get_with(CALL, "x")
            .assert_error(401, "unauthorized", None);
        ops.get("/healthz").assert_ok();
    }
}

#[test]
fn the_command_prints_a_key_and_its_line() {
    let (key, line) = new_key("shop");
    assert!(key.len() >= 43 && key.is_ascii(), "{key}");
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!((words.len(), words[0], words[1].len()), (2, "shop", 64));
    assert_ne!(new_key("shop").0, key);
    let folder = Folder::new();
    let output = dmwire(&folder.0, &["api-key", "shop", "write,read"]);
    assert!(output.out.ends_with(" write,read\n"), "{output:?}");
    for arguments in [
        &["api-key"][..],
        &["api-key", "a b"],
        &["api-key", ""],
        &["api-key", "shop", "all"],
        &["api-key", "shop", "read,"],
        &["api-key", "shop", "read", "write"],
    ] {
        let output = dmwire(&folder.0, arguments);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert_eq!(output.out, "");
    }
}
