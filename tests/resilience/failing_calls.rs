//! System calls of the real server fail: after a failed sync, or an I/O error in a commit, a flush or a checkpoint, nothing more
//! is acknowledged and the server exits with code 74; a full disk only rejects messages. In both cases nothing acknowledged is
//! lost.
//!
//! A library is preloaded into the server and makes chosen calls fail. The tests of `failing_device` use devices that fail.

mod commands;
mod faults;
mod scene;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Client, Folder, Server, eventually, program, run_to_end, to};
use faults::Faults;
use scene::{DISK_FAILED, LARGE, Reply, Scene};

/// What the server does while calls fail.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A client sends a message.
    Commit,
    /// A message has been acknowledged and is moved from the pending log to its tables.
    Flush,
    /// The write-ahead log is copied into the database file, because it is long.
    Checkpoint,
    /// It is copied and truncated, because a message was deleted.
    Truncation,
    /// Expired entries are removed.
    Retention,
    /// The server is told to stop.
    Shutdown,
    /// The server starts after a crash.
    Start,
}

/// A phase, and the rules of the calls that fail in it ("CALL SUFFIX FAULT SKIP COUNT THREAD AFTER").
type Case = (Phase, &'static [&'static str]);

use Phase::{Checkpoint, Commit, Flush, Retention, Shutdown, Start, Truncation};

/// Faults after which the server must exit.
const FATAL: &[Case] = &[
    (Commit, &["sync -wal EIO 0 1 * -"]),
    (Commit, &["sync -wal ENOSPC 0 1 * -"]),
    (Commit, &["sync -wal EDQUOT 0 0 * -"]),
    (Commit, &["write -wal EIO 0 1 * -"]),
    (Commit, &["write -wal EIO 3 0 * -"]),
    (Commit, &["write -wal EROFS 0 0 * -"]),
    (Commit, &["write -wal SHORT+EIO 1 1 * -"]),
    (Flush, &["write -wal EIO 0 1 * sync"]),
    (Flush, &["write -wal SHORT+EIO 2 1 * sync"]),
    (Flush, &["sync -wal EIO 1 1 * -"]),
    (Checkpoint, &["write .db EIO 3 1 checkpointer -"]),
    (Checkpoint, &["sync .db EIO 0 1 writer -"]),
    (Truncation, &["sync -wal EIO 0 1 checkpointer -"]),
    (Truncation, &["sync -wal ENOSPC 0 0 checkpointer -"]),
    (Truncation, &["read -wal EIO 2 1 checkpointer -"]),
    (Truncation, &["write .db EIO 2 1 checkpointer -"]),
    (Truncation, &["write .db SHORT+EIO 0 1 checkpointer -"]),
    (Truncation, &["sync .db EIO 0 1 checkpointer -"]),
    (Truncation, &["sync .db ENOSPC 0 0 checkpointer -"]),
    (Truncation, &["write .db EIO 0 0 * -"]),
    (Truncation, &["sync .db EIO 0 0 * -"]),
    (Retention, &["write -wal EIO 0 1 * -"]),
    (Retention, &["sync -wal EIO 0 1 * -"]),
    (Shutdown, &["write -wal EIO 0 0 * sync"]),
    (Shutdown, &["sync .db EIO 0 0 * -"]),
    (Shutdown, &["write .db EIO 0 0 * -"]),
    (Start, &["sync -wal EIO 0 0 * -"]),
    (Start, &["sync .db EIO 0 0 * -"]),
    (Start, &["sync .db ENOSPC 0 1 * -"]),
    (Start, &["write .db EIO 0 0 * -"]),
    (Start, &["read -wal EIO 0 0 * -"]),
];

fn run_fatal(case: &Case) {
    let (phase, rules) = *case;
    let name = format!("{phase:?} {rules:?}");
    let arguments: &[&str] = match phase {
        Retention => &["--inbox-days", "0.00004"],
        _ => &[],
    };
    let mut scene = Scene::new(&name, arguments);
    match phase {
        Commit => {
            scene.faults.set(rules);
            scene.assert_nothing_more_is_acknowledged(0);
        }
        Flush => {
            scene.faults.set(rules);
            scene.must_store("before the flush");
            scene.wait_for_failure_with_messages();
            scene.assert_nothing_more_is_acknowledged(0);
        }
        Checkpoint => {
            scene.faults.set(rules);
            scene.fill_log();
            // Another thread may have been committing when the call failed.
            scene.assert_nothing_more_is_acknowledged(20);
        }
        Truncation => {
            scene.faults.set(rules);
            scene.delete();
            scene.faults.wait_for_failure(&name);
            scene.assert_nothing_more_is_acknowledged(20);
        }
        Retention => {
            scene.faults.set(rules);
            scene.faults.wait_for_failure(&name);
            scene.assert_nothing_more_is_acknowledged(0);
        }
        Shutdown => {
            scene.faults.set(rules);
            scene.must_store("before the shutdown");
            scene.server.signal("TERM");
        }
        Start => {
            scene.must_store("before the crash");
            scene.server.kill();
            scene.faults.set(rules);
            scene.assert_does_not_start(DISK_FAILED);
        }
    }
    if !matches!(phase, Start) {
        scene.assert_exits();
    }
    if rules.iter().all(|rule| rule.split(' ').nth(4) == Some("0"))
        && rules.iter().all(|rule| rule.ends_with("* -"))
    {
        // The disk still fails.
        let _ = scene.assert_does_not_start(DISK_FAILED);
    }
    if matches!(phase, Retention) {
        // The entries have expired, or are about to.
        scene.restart();
        scene.assert_verified();
    } else {
        scene.assert_recovers();
    }
}

fn run_all(phases: &[Phase]) {
    let wanted = |case: &&Case| {
        phases
            .iter()
            .any(|phase| std::mem::discriminant(phase) == std::mem::discriminant(&case.0))
    };
    each(FATAL.iter().filter(wanted), run_fatal);
}

/// Commits that did not wait for the disk may be lost with it, so clients must not rely on their numbers.
#[test]
fn a_failed_disk_changes_the_epoch_of_a_store_that_does_not_wait_for_it() {
    for (durability, keeps_epoch) in [("normal", false), ("full", true)] {
        let mut scene = Scene::new(durability, &["--durability", durability]);
        scene.faults.set(&["sync .db EIO 0 1 checkpointer -"]);
        scene.delete();
        scene.faults.wait_for_failure(durability);
        scene.assert_exits();
        scene.restart();
        assert_eq!(scene.keeps_epoch(), keeps_epoch, "{durability}");
        // A later crash is not a failed disk.
        let epoch = scene.server_epoch();
        scene.server.kill();
        scene.restart();
        assert_eq!(scene.server_epoch(), epoch, "{durability}");
    }
}

/// Runs all cases and reports all that fail.
fn each<'a>(cases: impl Iterator<Item = &'a Case>, run: impl Fn(&Case)) {
    let failed: Vec<_> = cases
        .inspect(|case| eprintln!("{case:?}"))
        .filter(|case| std::panic::catch_unwind(AssertUnwindSafe(|| run(case))).is_err())
        .map(|case| format!("{case:?}"))
        .collect();
    assert!(failed.is_empty(), "failed cases:\n{}", failed.join("\n"));
}

/// A full disk, and calls that are interrupted or write less than they should: nothing acknowledged is lost, the server
/// continues, and everything is stored when there is space again.
const HARMLESS: &[Case] = &[
    (Commit, &["write -wal ENOSPC 0 0 * -"]),
    (Commit, &["write -wal ENOSPC 4 0 * -"]),
    (Commit, &["write -wal SHORT+ENOSPC 1 0 * -"]),
    (Commit, &["write -wal SHORT 0 0 * -"]),
    (Commit, &["write -wal ZERO 2 0 * -"]),
    (Commit, &["write -wal EINTR 0 3 * -"]),
    (Flush, &["write -wal ENOSPC 0 0 * sync"]),
    (Flush, &["write -wal SHORT+ENOSPC 2 0 * sync"]),
    // The index of the write-ahead log grows with it.
    (
        Checkpoint,
        &["write .db ENOSPC 0 0 * -", "write -shm ENOSPC 0 0 * -"],
    ),
    // SQLite continues with a longer log.
    (Truncation, &["truncate -wal EIO 0 1 * -"]),
    (Truncation, &["write .db ENOSPC 0 0 * -"]),
    (Truncation, &["write .db SHORT+ENOSPC 0 0 * -"]),
    (Truncation, &["write .db SHORT 0 0 * -"]),
    (Truncation, &["write -wal ENOSPC 0 0 * -"]),
    (Retention, &["write -wal ENOSPC 0 0 * -"]),
    (Shutdown, &["write -wal ENOSPC 0 0 * sync"]),
    (Shutdown, &["write .db ENOSPC 0 0 * -"]),
    (Start, &["write -wal ENOSPC 0 0 * -"]),
    (Start, &["write .db ENOSPC 0 0 * -"]),
    (Start, &["write -shm ENOSPC 0 0 * -"]),
];

fn run_harmless(case: &Case) {
    let (phase, rules) = *case;
    let name = format!("{phase:?} {rules:?}");
    let arguments: &[&str] = match phase {
        Retention => &["--inbox-days", "0.00004"],
        _ => &[],
    };
    let mut scene = Scene::new(&name, arguments);
    let assert_stored_or_rejected = |replies: &[Reply]| {
        for reply in replies {
            // If the index of the log cannot grow, the message may be in the log already.
            let code = if rules[rules.len() - 1].contains("-shm") {
                "internal"
            } else {
                "overloaded"
            };
            let expected = *reply == Reply::Ack || *reply == Reply::Error(code.to_owned());
            assert!(expected, "{name}: {replies:?}");
        }
    };
    match phase {
        Commit | Flush => {
            scene.faults.set(rules);
            let replies: Vec<_> = (0..30).map(|_| scene.say(1000)).collect();
            assert_stored_or_rejected(&replies);
            if matches!(phase, Flush) {
                assert_eq!(replies[0], Reply::Ack, "{name}");
            }
        }
        Checkpoint => {
            scene.faults.set(rules);
            for _ in 0..16 {
                assert_stored_or_rejected(&scene.say_all(20, LARGE));
            }
        }
        Truncation => {
            scene.faults.set(rules);
            scene.delete();
            scene.faults.wait_for_failure(&name);
        }
        Retention => {
            scene.faults.set(rules);
            scene.faults.wait_for_failure(&name);
        }
        Shutdown => {
            scene.faults.set(rules);
            scene.must_store("before the shutdown");
            scene.server.signal("TERM");
            let status = scene.server.wait(Duration::from_secs(10));
            assert_eq!(status.code(), Some(0), "{name}: {}", scene.server.log());
        }
        Start => {
            scene.must_store("before the crash");
            scene.server.kill();
            scene.faults.set(rules);
            let (code, log) = scene.try_start();
            // It starts, or says that there is no space.
            assert!(matches!(code, None | Some(1)), "{name}: {log}");
        }
    }
    assert!(
        !scene.faults.failed().is_empty(),
        "{name}: no call has failed"
    );
    if matches!(phase, Shutdown | Start) {
        scene.restart();
    } else {
        scene.faults.clear();
        eventually("messages are stored again", || scene.say(10) == Reply::Ack);
        scene.send_again();
    }
    if matches!(phase, Retention) {
        scene.assert_verified();
    } else {
        scene.check();
        scene.server.kill();
        scene.assert_recovers();
    }
}

#[test]
fn a_full_disk_in_a_commit_or_flush_rejects_messages() {
    each(
        HARMLESS
            .iter()
            .filter(|(phase, _)| matches!(phase, Commit | Flush)),
        run_harmless,
    );
}

#[test]
fn a_full_disk_in_a_checkpoint_is_harmless() {
    each(
        HARMLESS
            .iter()
            .filter(|(phase, _)| matches!(phase, Checkpoint)),
        run_harmless,
    );
}

#[test]
fn a_full_disk_in_retention_shutdown_or_start_is_harmless() {
    each(
        HARMLESS
            .iter()
            .filter(|(phase, _)| matches!(phase, Truncation | Retention | Shutdown | Start)),
        run_harmless,
    );
}

#[test]
fn a_failed_call_in_a_commit_or_flush_ends_the_server() {
    run_all(&[Commit, Flush]);
}

#[test]
fn a_failed_call_in_a_checkpoint_ends_the_server() {
    run_all(&[Checkpoint]);
}

#[test]
fn a_failed_call_in_a_truncation_ends_the_server() {
    run_all(&[Truncation]);
}

#[test]
fn a_failed_call_in_retention_shutdown_or_start_ends_the_server() {
    run_all(&[Retention, Shutdown, Start]);
}

#[test]
fn a_first_start_on_a_failing_disk_can_be_repeated() {
    for rule in [
        "sync .db EIO 0 0 * -",
        "sync .db EIO 1 0 * -",
        "sync -journal EIO 0 0 * -",
        "sync -wal EIO 0 0 * -",
        "write .db EIO 0 0 * -",
        "write -journal EIO 0 0 * -",
        "write -wal EIO 5 0 * -",
        "sync -lock EIO 0 0 * -",
    ] {
        let folder = Arc::new(Folder::new());
        let faults = Faults::new(&folder.0);
        faults.set(&[rule]);
        for _ in 0..2 {
            let mut command = program(&folder.0, &["--listen", "127.0.0.1:0", "--log", "off"]);
            command.envs(faults.environment());
            let output = run_to_end(command);
            assert_eq!(output.code, Some(DISK_FAILED), "{rule}: {output:?}");
        }
        let server = Server::start_in(&folder, &[]);
        let ack = Client::fresh(&server, "a").ask(&to("b", "stored"));
        assert_eq!(ack["seq"], 1, "{rule}: {ack}");
    }
}
