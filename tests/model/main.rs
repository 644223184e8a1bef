//! Random interleavings of all actions that change or read an inbox, compared with a simple model: every session must receive
//! exactly the entries that PROTOCOL sections 5 and 11 require. Presence (section 12) has a model of its own.
//!
//! A run consists of a few users with a few devices, and follows from its seed. `DMWIRE_MODEL_SEED` sets the seed of the first
//! run; `DMWIRE_MODEL_SECONDS` sets for how long new runs are started (0: only the first run, to repeat a failure).

#[path = "../support/support.rs"]
mod support;

mod checks;
mod concurrent;
mod device;
mod inbox_model;
mod presence;
mod presence_model;
mod queries;
mod requests;
mod rooms;
mod run;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rooms::Rules;
use run::{ENTRIES, RUNS, Run, SESSIONS_SEEN};
use support::{Server, env_number, random_seed};

const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

/// The settings of the servers. Four users fill the rooms of the second one, and may not be in all of them. The third one removes
/// entries while sessions are resumed; it keeps all that may be sent at the same time.
const RULES: [Rules; 3] = [
    Rules {
        small: 100,
        limit: 1000,
        per_user: 1000,
        hides_earlier: false,
        inbox_limit: 10_000,
    },
    Rules {
        small: 2,
        limit: 3,
        per_user: 1,
        hides_earlier: true,
        inbox_limit: 10_000,
    },
    Rules {
        small: 3,
        limit: 1000,
        per_user: 1000,
        hides_earlier: false,
        inbox_limit: 30,
    },
];

/// Prints the seed of a run that panics.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to repeat this run: DMWIRE_MODEL_SEED={} DMWIRE_MODEL_SECONDS=0",
                self.0
            );
        }
    }
}

/// Seeds that have failed before, and the rules of their runs. Their results partly depend on timing, so each one runs several
/// times.
const REGRESSIONS: [(u64, Option<Rules>); 2] = [
    // Two messages with the same id, in different conversations of one user, edited at the same time.
    (279_117_326_410_730, None),
    // A session with `ack=auto` that ends in the step in which it has acknowledged its first entries.
    (237_537_943_113_702, Some(RULES[0])),
];

fn start_server(arguments: &[&str], rules: Option<Rules>) -> Server {
    let rules = rules.map_or_else(Vec::new, |rules| rules.arguments());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    Server::start(&[&FAST[..], arguments, &rules].concat())
}

#[test]
fn seeds_that_have_failed_before_pass() {
    for (seed, rules) in REGRESSIONS {
        for _ in 0..3 {
            // Each run needs users without messages.
            let server = start_server(&[], rules);
            let print_seed = PrintSeed(seed);
            Run::new(&server, seed, rules).execute();
            drop(print_seed);
        }
    }
}

/// The server may resume a device by what its other sessions have acknowledged in the same step.
#[test]
fn what_a_session_has_read_is_known_when_it_ends_and_when_another_one_begins() {
    let server = start_server(&[], None);
    let mut run = Run::new(&server, 1, None);
    let key = (0, "d0".to_owned());
    let device = run.connect_as(0, ("d0", false), "&since=0", 0);
    run.devices.push(device);
    run.burst();
    let read = run.devices[0].cursor;
    assert!(read > 0, "it has read nothing");
    let _other = run.connect_as(0, ("d1", true), "&since=0", 0);
    assert_eq!(run.watermarks.get(&key).map(|mark| mark.high), Some(read));
    run.burst();
    run.disconnect_device();
    let left = run.left[&key];
    assert!(left > read, "it has read nothing more");
    assert_eq!(run.watermarks[&key].high, left);
}

#[test]
fn every_session_receives_the_entries_of_the_model() {
    let seed = env_number("DMWIRE_MODEL_SEED", random_seed);
    let seconds = env_number("DMWIRE_MODEL_SECONDS", || 14);
    // With a small outbox, sessions read from the store instead of receiving entries when they are committed.
    let narrow = ["--outbox-bytes", "1024"];
    let more = [&[][..], &narrow, &[]];
    let servers = [0, 1, 2].map(|which: usize| start_server(more[which], Some(RULES[which])));
    let next = AtomicU64::new(seed);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..if seconds == 0 { 1 } else { 2 } {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let print_seed = PrintSeed(seed);
                    let which = (seed % 3) as usize;
                    Run::new(&servers[which], seed, Some(RULES[which])).execute();
                    drop(print_seed);
                    if began.elapsed() >= Duration::from_secs(seconds) {
                        return;
                    }
                }
            });
        }
    });
    for server in &servers {
        let (valid, output) = server.verify();
        assert!(valid, "verify: {output}");
    }
    eprintln!(
        "{} runs, {} entries in their inboxes, {} sessions, {} of them after entries were removed; {:.1} s",
        RUNS.load(Ordering::Relaxed),
        ENTRIES.load(Ordering::Relaxed),
        SESSIONS_SEEN.load(Ordering::Relaxed),
        device::TRUNCATED.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
}

/// The settings of the runs about presence.
const PRESENCE_RULES: [presence_model::Rules; 3] = [
    presence_model::Rules {
        has_grace: false,
        for_everyone: false,
    },
    presence_model::Rules {
        has_grace: true,
        for_everyone: false,
    },
    presence_model::Rules {
        has_grace: false,
        for_everyone: true,
    },
];

#[test]
fn every_session_is_told_the_presence_of_the_model() {
    let seed = env_number("DMWIRE_MODEL_SEED", random_seed);
    let rounds = if env_number("DMWIRE_MODEL_SECONDS", || 14) > 14 {
        100
    } else {
        20
    };
    std::thread::scope(|scope| {
        for (n, rules) in PRESENCE_RULES.into_iter().enumerate() {
            scope.spawn(move || {
                let print_seed = PrintSeed(seed);
                presence::Run::new(seed ^ n as u64, rules).execute(rounds);
                drop(print_seed);
            });
        }
    });
}
