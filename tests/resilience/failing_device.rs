//! The device of the store fails for a moment: ext4 on a loop device whose image cannot be written. After a failed sync the
//! kernel counts pages as written that are not on the device, so a server that continued would acknowledge what a crash of the
//! machine loses. It must exit with code 74 instead. Nothing that any client was told may be missing: on the device as it was
//! when the server exited, after a restart without unmounting, and after unmounting.
//!
//! Only root can run these tests. `DMWIRE_DEVICE_ROUNDS` sets the number of failures of each kind, 3 by default. The random
//! decisions follow from a seed that is printed and that `DMWIRE_DEVICE_SEED` sets.

mod load;
mod volume;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Client, Folder, Output, Random, Server, dmwire, env_number, random_seed, to};
use load::{User, acknowledged, check, run, users};
use volume::{FailingDisk, Failure};

/// The exit code after a failure of the disk.
const DISK_FAILED: i32 = 74;

/// How long a server whose disk has failed may take to exit, and how long it is observed if it does not notice the failure.
const EXIT: Duration = Duration::from_secs(10);
const UNNOTICED: Duration = Duration::from_millis(700);

fn arguments(store: &str) -> Vec<String> {
    let store = format!("sqlite:{store}/dmwire.db");
    let fixed =
        "--messages-per-second 1000000 --burst 1000000 --inbox-limit 1000000 --min-free-disk 0";
    let words = fixed.split(' ').map(str::to_owned);
    words.chain(["--store".to_owned(), store]).collect()
}

/// Starts a server on the store in the folder `at`. An error if it exits with the code of a failed disk.
fn start(folder: &Arc<Folder>, at: &str) -> Result<Server, String> {
    let arguments = arguments(at);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Server::try_start_with(folder, &arguments, &[]).map_err(|(status, log)| {
        assert_eq!(status.code(), Some(DISK_FAILED), "{log}");
        assert_message(&log);
        log
    })
}

/// The last line must tell the operator what has happened: while serving, and at start, where it names the file.
fn assert_message(log: &str) {
    let last = log.lines().last().unwrap_or_default();
    let serving = last.contains("the disk of the store has failed");
    let starting = last.starts_with("dmwire: ") && last.contains("disk");
    assert!(serving || starting, "{log}");
}

fn verify(folder: &Path, at: &str) -> Output {
    dmwire(
        folder,
        &["verify", "--store", &format!("sqlite:{at}/dmwire.db")],
    )
}

/// Starts a server on the store at `at`, compares it with what the users know, and kills it.
fn check_store(folder: &Arc<Folder>, at: &str, users: &mut [User], remember: bool, when: &str) {
    let mut server = start(folder, at).expect("the disk works");
    eprintln!("  checking {when}");
    check(users, &server, remember);
    server.kill();
    let output = verify(&folder.0, at);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// One failure at a random moment, and everything after it.
fn round(random: &mut Random, failure: Failure) -> String {
    let folder = Arc::new(Folder::new());
    let mut disk = FailingDisk::new(&folder.0, failure);
    let mut users = users(random);
    let mut server = start(&folder, "disk").expect("the disk works");
    let moment = Duration::from_micros(50_000 + random.next() % 1_000_000);
    let duration = Duration::from_micros(5_000 + random.next() % 300_000);
    let heals = random.percent(70);
    let mut ended = false;
    run(&mut users, &server, |running| {
        std::thread::sleep(moment);
        disk.fail();
        std::thread::sleep(duration);
        if heals {
            disk.heal();
        }
        let until = Instant::now() + UNNOTICED;
        while !ended && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            ended = running() == 0;
        }
    });
    let status = ended.then(|| server.wait(EXIT));
    let summary = format!(
        "{failure:?}: after {moment:?} for {duration:?} ({heals}): exit {:?}; {} acknowledged",
        status.and_then(|status| status.code()),
        acknowledged(&users)
    );
    eprintln!("{summary}");
    if let Some(status) = status {
        assert_eq!(status.code(), Some(DISK_FAILED), "{}", server.log());
        assert_message(&server.log());
        if !heals && let Ok(mut server) = start(&folder, "disk") {
            // The start has written nothing that failed.
            server.kill();
        }
    }
    server.kill();
    disk.heal();
    // What a power failure at this moment would leave.
    let copy = disk.copy(&folder.0.join("copy"));
    check_store(
        &folder,
        "copy",
        &mut users,
        false,
        "the device as it was when the server exited",
    );
    drop(copy);
    // The kernel still has the pages in its cache that it could not write.
    match start(&folder, "disk") {
        Ok(mut server) => {
            check(&mut users, &server, true);
            run(&mut users, &server, |_| {
                std::thread::sleep(Duration::from_millis(random.next() % 300));
            });
            server.kill();
            let copy = disk.copy(&folder.0.join("copy"));
            check_store(
                &folder,
                "copy",
                &mut users,
                false,
                "the device after the next run",
            );
            drop(copy);
        }
        // The journal of the file system has aborted: it must be mounted again. That also happens when only the device of the files
        // fails, if the file system moves its own data there from the journal.
        Err(log) => assert!(
            failure == Failure::FilesAndJournal || log.contains("Read-only file system"),
            "{log}"
        ),
    }
    disk.volume.remount();
    check_store(
        &folder,
        "disk",
        &mut users,
        true,
        "the file system mounted again",
    );
    summary
}

fn rounds(failure: Failure) {
    let mut random = Random::new(env_number("DMWIRE_DEVICE_SEED", random_seed));
    for _ in 0..env_number("DMWIRE_DEVICE_ROUNDS", || 3) {
        let began = Instant::now();
        let summary = round(&mut random, failure);
        eprintln!("{summary}; {:.1} s", began.elapsed().as_secs_f64());
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_device_of_the_files_fails() {
    rounds(Failure::Files);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_device_of_files_and_journal_fails() {
    rounds(Failure::FilesAndJournal);
}

#[test]
fn a_start_on_a_device_that_still_fails_exits_again() {
    let folder = Arc::new(Folder::new());
    let mut disk = FailingDisk::new(&folder.0, Failure::FilesAndJournal);
    let mut server = start(&folder, "disk").expect("the disk works");
    let mut a = Client::fresh(&server, "a");
    for n in 1..=20 {
        assert_eq!(a.ask(&to("b", &format!("{n}")))["seq"], n);
    }
    disk.fail();
    a.send(&to("b", "lost"));
    while let Ok(answer) = a.next() {
        assert_eq!(answer["type"], "error", "{answer}");
    }
    assert_eq!(
        server.wait(EXIT).code(),
        Some(DISK_FAILED),
        "{}",
        server.log()
    );
    assert_message(&server.log());
    for _ in 0..3 {
        assert!(start(&folder, "disk").is_err());
    }
    disk.heal();
    disk.volume.remount();
    let server = start(&folder, "disk").expect("the disk works");
    let mut a = Client::connect(&server, "a", "?since=0&ack=manual");
    for n in 1..=20 {
        assert_eq!(a.expect("message")["seq"], n);
    }
}
