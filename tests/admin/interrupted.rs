//! `dmwire backup` and `dmwire restore`: the order of syncs and renames, and commands that are killed before each of them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::helpers::{FAST, assert_verified, listing};
use crate::support::{Client, Folder, Server, dmwire, preload, program, run_to_end, to};

/// Runs commands with a library that records and interrupts them.
struct Interrupted {
    folder: Arc<Folder>,
    preloaded: PathBuf,
    // The library's folder.
    _other: Folder,
}

impl Interrupted {
    fn new() -> Self {
        let other = Folder::new();
        Self {
            folder: Arc::new(Folder::new()),
            preloaded: preload::compile(&other.0, "name_operations"),
            _other: other,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.folder.0, arguments);
        command.env(preload::VARIABLE, &self.preloaded);
        command
    }

    /// The operations of a command, with names relative to the folder; `.` is the folder.
    fn operations(&self, arguments: &[&str]) -> Vec<String> {
        let log = self.folder.0.join("operations");
        let mut command = self.command(arguments);
        command.env("NAME_OPERATIONS_LOG", &log);
        let output = run_to_end(command);
        assert_eq!(output.code, Some(0), "{output:?}");
        let text = fs::read_to_string(&log).expect("operations are recorded");
        fs::remove_file(log).expect("it can be removed");
        let folder = fs::canonicalize(&self.folder.0).expect("the folder");
        let folder = folder.to_str().expect("text");
        text.lines()
            .map(|line| {
                let line = line.replace(&format!("{folder}/"), "");
                line.replace(folder, ".").trim_end().to_owned()
            })
            .collect()
    }

    /// Runs a command that is killed in place of its operation of this number. False: it has fewer and succeeded.
    fn kill_at(&self, number: usize, arguments: &[&str]) -> bool {
        let mut command = self.command(arguments);
        command.env("NAME_OPERATIONS_KILL_AT", number.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("it runs");
        assert!(status.success() || status.signal() == Some(9), "{status}");
        !status.success()
    }

    /// A store with this number of messages from `a` to `b`, killed.
    fn killed_store(&self, messages: usize) -> Server {
        let mut server = Server::start_in(&self.folder, &FAST);
        let mut a = Client::connect(&server, "a", "");
        a.until("synced");
        (0..messages).for_each(|_| drop(a.ask(&to("b", "x"))));
        server.kill();
        server
    }
}

fn position(operations: &[String], operation: &str) -> usize {
    let found = operations.iter().rposition(|found| found == operation);
    found.unwrap_or_else(|| panic!("{operation:?} is not in {operations:#?}"))
}

fn assert_order(operations: &[String], expected: &[&str]) {
    let positions: Vec<_> = expected
        .iter()
        .map(|expected| position(operations, expected))
        .collect();
    assert!(
        positions.is_sorted(),
        "{expected:?} are not in this order in {operations:#?}"
    );
}

#[test]
fn a_new_file_is_synced_before_it_gets_its_name_and_its_name_before_the_command_ends() {
    let interrupted = Interrupted::new();
    let _server = interrupted.killed_store(3);
    fs::write(interrupted.folder.0.join("copy.db-wal"), "left").expect("a file");
    let operations = interrupted.operations(&["backup", "copy.db"]);
    let expected = [
        "unlink copy.db-wal",
        "sync copy.db.part",
        "rename copy.db.part copy.db",
        "sync .",
    ];
    assert_order(&operations, &expected);
    let first = operations.iter().position(|found| found == "sync .");
    assert!(
        first < Some(position(&operations, "sync copy.db.part")),
        "the removal of the log is on the disk before the new file: {operations:#?}"
    );
    let operations = interrupted.operations(&["restore", "copy.db"]);
    let renamed = "rename dmwire.db.part dmwire.db";
    assert_order(
        &operations,
        &[
            "sync dmwire.db.part",
            renamed,
            "unlink dmwire.db-wal",
            "sync .",
        ],
    );
    let between =
        &operations[position(&operations, renamed)..position(&operations, "unlink dmwire.db-wal")];
    assert!(
        between.iter().any(|found| found == "sync ."),
        "{operations:#?}"
    );
}

#[test]
fn a_restore_that_is_killed_before_any_of_its_steps_leaves_no_mixture() {
    let interrupted = Interrupted::new();
    let mut server = interrupted.killed_store(5);
    let folder = &interrupted.folder.0;
    assert_eq!(dmwire(folder, &["backup", "old.db"]).code, Some(0));
    server.restart();
    drop(server);
    let mut server = interrupted.killed_store(4);
    let path = |suffix: &str| folder.join(format!("dmwire.db{suffix}"));
    let suffixes = ["", "-wal", "-shm", "-lock"];
    let left = suffixes.map(|suffix| fs::read(path(suffix)).expect("it is left"));
    let (mut former, mut restored, mut refused) = (0, 0, 0);
    for number in 1.. {
        for (suffix, bytes) in suffixes.iter().zip(&left) {
            fs::write(path(suffix), bytes).expect("it is put back");
        }
        let was_killed = interrupted.kill_at(number, &["restore", "old.db"]);
        let output = dmwire(folder, &["verify"]);
        if output.code == Some(0) {
            server.restart();
            let mut b = Client::connect(&server, "b", "?since=0&ack=manual");
            match b.until("synced")["seq"].as_u64() {
                Some(9) if was_killed => former += 1,
                Some(5) => restored += 1,
                seq => panic!("killed at {number}: {seq:?}"),
            }
            server.kill();
        } else {
            refused += 1;
            assert!(output.err.contains("dmwire restore"), "{output:?}");
            let mut start = program(folder, &["--listen", "127.0.0.1:0", "--log", "off"]);
            start.stdout(Stdio::null());
            let output = run_to_end(start);
            assert_eq!(output.code, Some(1), "{output:?}");
        }
        // It can be repeated.
        let output = dmwire(folder, &["restore", "old.db"]);
        assert!(output.out.contains("5 messages"), "{output:?}");
        assert_verified(folder, "dmwire.db");
        if !was_killed {
            break;
        }
    }
    assert!(
        former > 3 && restored > 1 && refused > 0,
        "{former}, {restored}, {refused}"
    );
    assert!(listing(folder).iter().all(|name| !name.contains(".part")));
}

#[test]
fn a_backup_that_is_killed_before_any_of_its_steps_leaves_a_whole_file_or_none() {
    let interrupted = Interrupted::new();
    let _server = interrupted.killed_store(5);
    let folder = &interrupted.folder.0;
    for number in 1.. {
        let was_killed = interrupted.kill_at(number, &["backup", "copy.db"]);
        if !folder.join("copy.db").exists() {
            let output = dmwire(folder, &["backup", "copy.db"]);
            assert!(output.out.contains("5 messages"), "{output:?}");
        }
        assert_verified(folder, "copy.db");
        fs::remove_file(folder.join("copy.db")).expect("it is there");
        if !was_killed {
            assert!(number > 5, "{number} operations");
            return;
        }
    }
}
