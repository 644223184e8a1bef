//! Commands whose system calls fail.

use std::sync::Arc;

use super::faults::Faults;
use super::scene::DISK_FAILED;
use crate::support::{Client, Folder, Output, Server, dmwire, program, run_to_end, to};

/// A store that is not in use, with messages of `a`; with a write-ahead log that a killed server has left, or without one.
fn store(killed: bool) -> Arc<Folder> {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &[]);
    let mut a = Client::fresh(&server, "a");
    for n in 0..20 {
        a.ask(&to("b", &format!("{n} {}", "x".repeat(500))));
    }
    if killed {
        server.kill();
    } else {
        server.stop();
    }
    folder
}

fn run(folder: &Folder, arguments: &[&str], rules: &[&str]) -> Output {
    let faults = Faults::new(&folder.0);
    faults.set(rules);
    let mut command = program(&folder.0, arguments);
    command.envs(faults.environment());
    let output = run_to_end(command);
    assert!(!faults.failed().is_empty(), "{rules:?}: no call has failed");
    output
}

fn assert_whole(folder: &Folder, name: &str) {
    let output = dmwire(&folder.0, &["verify", "--store", &format!("sqlite:{name}")]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn assert_failed(output: &Output, name: &str, what: &str) {
    assert_eq!(output.code, Some(DISK_FAILED), "{what}: {output:?}");
    assert!(output.err.contains(name), "{what}: {output:?}");
}

#[test]
fn a_backup_on_a_failing_disk_leaves_no_file() {
    for rule in [
        "write .part EIO 3 0 * -",
        "write .part SHORT+EIO 5 1 * -",
        "sync .part EIO 0 0 * -",
        "sync .part ENOSPC 0 1 * -",
    ] {
        for killed in [false, true] {
            let folder = store(killed);
            let output = run(&folder, &["backup", "copy.db"], &[rule]);
            assert_failed(&output, "copy.db", rule);
            assert!(!folder.0.join("copy.db").exists(), "{rule}: {output:?}");
            // The store is not affected, and the next backup succeeds.
            assert_whole(&folder, "dmwire.db");
            let output = dmwire(&folder.0, &["backup", "copy.db"]);
            assert_eq!(output.code, Some(0), "{rule}: {output:?}");
            assert_whole(&folder, "copy.db");
        }
    }
}

#[test]
fn a_restore_on_a_failing_disk_keeps_the_store() {
    for rule in [
        "write .part EIO 3 0 * -",
        "sync .part EIO 0 0 * -",
        "sync .part ENOSPC 0 1 * -",
    ] {
        let folder = store(false);
        let output = dmwire(&folder.0, &["backup", "copy.db"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let before = std::fs::read(folder.0.join("dmwire.db")).expect("the store");
        let output = run(&folder, &["restore", "copy.db"], &[rule]);
        assert_failed(&output, "dmwire.db", rule);
        let after = std::fs::read(folder.0.join("dmwire.db")).expect("the store");
        assert!(before == after, "{rule}: the store has changed");
        let output = dmwire(&folder.0, &["restore", "copy.db"]);
        assert_eq!(output.code, Some(0), "{rule}: {output:?}");
        assert_whole(&folder, "dmwire.db");
    }
}

#[test]
fn an_erasure_on_a_failing_disk_is_reported_and_can_be_repeated() {
    for rule in [
        "sync -wal EIO 0 0 * -",
        "sync -wal EIO 3 1 * -",
        "write -wal EIO 5 0 * -",
        "sync .db EIO 0 0 * -",
        "write .db EIO 2 0 * -",
    ] {
        for killed in [false, true] {
            let folder = store(killed);
            let output = run(&folder, &["erase", "--user", "a"], &[rule]);
            assert_failed(&output, "dmwire.db", rule);
            std::fs::remove_file(folder.0.join("faults")).expect("the rules are removed");
            // The server starts, whether the user is erased or not.
            let mut server = Server::start_in(&folder, &[]);
            server.stop();
            assert_whole(&folder, "dmwire.db");
            let output = dmwire(&folder.0, &["erase", "--user", "a"]);
            let erased = output.code == Some(0);
            assert!(
                erased || output.err.contains("no user"),
                "{rule}: {output:?}"
            );
        }
    }
}

#[test]
fn a_store_that_cannot_be_read_is_not_reported_as_whole() {
    for (rule, killed) in [
        ("read .db EIO 0 0 * -", false),
        ("read .db EIO 3 0 * -", false),
        ("read -wal EIO 2 0 * -", true),
    ] {
        let folder = store(killed);
        let output = run(&folder, &["verify"], &[rule]);
        assert!(output.code != Some(0), "{rule}: {output:?}");
        assert!(output.err.contains("dmwire.db"), "{rule}: {output:?}");
        assert!(!output.out.contains("is whole"), "{rule}: {output:?}");
        assert_whole(&folder, "dmwire.db");
    }
}
