//! Power cuts: everything that a client was told survives.
//!
//! A real server runs under load while a library that is loaded into it (`tests/support/record_writes.c`) records what it writes and
//! syncs in its folder. From the recording the test constructs folders that a power cut may leave (`disk`), starts a server on
//! each, and compares it with what clients had been told before the cut (`checks`).
//!
//! **Modelled.** After a power cut, a file has everything that was written before its last completed `fsync` or `fdatasync`
//! began. Each later write may be missing, complete, or torn at 512-byte sectors, independently of all others, and each later
//! truncation may be missing. A file may be longer than its data, with zeros at the end. Creating, removing and renaming files
//! takes effect in order, and is certain only after a sync of the folder: a sync of a new file does not save its name.
//! SQLite's shared memory is missing or has random contents. The next start has another boot id. A second power cut may
//! interrupt the first start after a power cut.
//!
//! **Not modelled.** Devices that lose synced data or damage sectors that are not written, sectors that cannot be read, and failing syncs.
//! The test fails if the server uses something that is not modelled: links, subfolders, renames from or to another folder,
//! `fallocate`. A sync that bypasses the C library is not seen, so that the test is stricter than the disk; a write that does is noticed, because
//! the recording is compared with the real folder.
//!
//! `DMWIRE_POWER_CUTS` sets the number of power cuts of each recording. The random decisions follow from a seed that is printed
//! and that `DMWIRE_CRASH_SEED` sets; the timing of the operating system remains random. An image that fails is stored in
//! Cargo's folder for temporary files.

#[path = "../support/support.rs"]
mod support;

mod checks;
mod cut_points;
mod disk;
mod images;
mod known;
mod recorder;
mod rooms;
mod workload;

use std::sync::Arc;
use std::time::Instant;

use crate::support::{Folder, Random, env_number, random_seed};
use checks::Setting;
use images::Images;
use recorder::Recorder;
use workload::Users;

/// Limits that the load does not reach. In particular, no entry is removed because of the inbox limit.
const ARGUMENTS: &[&str] = &[
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
    "--user-messages-per-second",
    "1000000",
    "--user-burst",
    "1000000",
    "--inbox-limit",
    "100000000",
];

/// The volumes of the phases of a recording, in operations of each user.
struct Load {
    first: usize,
    next: usize,
}

/// Records a server from its first start on: load, idle times, a clean shutdown, and crashes.
fn record(
    recorder: &Recorder,
    users: &mut Users<'_>,
    arguments: &[&str],
    load: &Load,
    random: &mut Random,
) {
    let mut server = recorder.start(arguments);
    let wait_until_idle = || recorder.wait_until_idle();
    // All users join rooms.
    assert!(users.run(&server, 0), "the server stops by itself");
    assert!(users.run(&server, load.first), "the server stops by itself");
    wait_until_idle();
    // A shutdown under load.
    let began = recorder.position();
    users.run_while(&server, usize::MAX, || {
        recorder.wait_for(began + 200 + random.next() % 400);
        server.signal("TERM");
    });
    let status = server.wait(crate::support::DEADLINE);
    assert!(status.success(), "{}", server.log());
    server.restart();
    assert!(users.run(&server, load.next));
    wait_until_idle();
    // Crashes at random operations, and during the recovery after the first one.
    recorder.kill_after(200 + random.next() % 2000);
    assert!(!users.run(&server, usize::MAX), "the server is killed");
    server.kill();
    recorder.kill_after(1 + random.next() % 30);
    recorder.start_killed(arguments);
    recorder.kill_after(u64::MAX / 2);
    server.restart();
    assert!(users.run(&server, load.next));
    recorder.kill_after(200 + random.next() % 400);
    assert!(!users.run(&server, usize::MAX), "the server is killed");
    server.kill();
    // The last start stops cleanly without load.
    recorder.kill_after(u64::MAX / 2);
    server.restart();
    assert!(users.run(&server, load.next / 4));
    assert!(users.run(&server, 0), "all users read everything");
    wait_until_idle();
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
}

fn survive_power_cuts(durability: &'static str, load: &Load, cuts: u64) {
    let began = Instant::now();
    let seed = env_number("DMWIRE_CRASH_SEED", random_seed);
    let cuts = env_number("DMWIRE_POWER_CUTS", || cuts);
    let mut random = Random::new(seed);
    let folder = Arc::new(Folder::new());
    let library = recorder::compile(&folder);
    let recorder = Recorder::new(&library, Arc::new(Folder::new()), "first boot");
    let arguments = [ARGUMENTS, &["--durability", durability]].concat();
    let mut users = Users::new(&recorder, &mut random);
    record(&recorder, &mut users, &arguments, load, &mut random);
    let recording = recorder.recording();
    recording.assert_equals(recorder.folder());
    let known = users.into_known();
    eprintln!(
        "{durability}: recorded {} operations, {} MiB, {} entries; {:.1} s",
        recording.records.len(),
        recording.bytes() >> 20,
        known.entries(),
        began.elapsed().as_secs_f64()
    );
    let setting = Setting {
        preloaded: library,
        arguments,
        keeps_epoch: durability == "full",
    };
    let images = Images {
        recording: &recording,
        known: &known,
        setting: &setting,
        count: cuts as usize,
    };
    let tally = images.check(&mut random);
    assert_eq!(
        tally.checked.new_epochs == 0,
        setting.keeps_epoch,
        "{tally}"
    );
    eprintln!(
        "{durability}: {tally}; {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn acknowledged_entries_survive_power_cuts() {
    survive_power_cuts(
        "full",
        &Load {
            first: 250,
            next: 150,
        },
        12,
    );
}

#[test]
fn without_waiting_for_the_disk_a_power_cut_that_loses_entries_changes_the_epoch() {
    survive_power_cuts(
        "normal",
        &Load {
            first: 100,
            next: 60,
        },
        12,
    );
}
