//! A process that appends and is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use dmwire::log::{Files, Log, LogError, Options, Position};

use crate::support::{Folder, Random, env_number, random_seed};
use crate::workload::{Batch, ID, open_with};

const VARIABLE: &str = "DMWIRE_LOG_WRITER";

fn options() -> Options {
    Options::new(256 << 10, 4)
}

/// The records of a batch, whose number is in the first.
fn records(number: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(number);
    let mut records = vec![number.to_le_bytes().to_vec()];
    records.resize_with(1 + random.below(6), || {
        vec![random.next() as u8; random.below(3000)]
    });
    records
}

/// Runs in a process of its own: appends batches until it is killed, and prints the position of each. Every tenth line is a position up
/// to which the records are settled.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return;
    };
    let path = Path::new(&path);
    let text =
        std::fs::read_to_string(path.with_extension("state")).expect("the state can be read");
    let numbers: Vec<u64> = text
        .split(' ')
        .map(|n| n.parse().expect("a number"))
        .collect();
    let (settled, mut next) = (Position::from_number(numbers[0]), numbers[1]);
    let (mut log, _, _) = open_with(Files::beside(path), options(), settled).expect("it opens");
    let mut out = std::io::stdout();
    loop {
        let end = match log.append(&records(next)) {
            Ok(end) => end,
            Err(LogError::Full { .. }) => panic!("the log is full"),
            Err(error) => panic!("{error}"),
        };
        writeln!(out, "\nappended {next} {end}").expect("it can be printed");
        next += 1;
        if next.is_multiple_of(10) {
            // The line is what makes the position durable in this test.
            writeln!(out, "\nsettled {end}").expect("it can be printed");
            log.recycle(end);
        }
    }
}

#[test]
fn acknowledged_batches_survive_the_death_of_the_process() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    let folder = Folder::new();
    let path = folder.0.join("store");
    drop(Log::create(Files::beside(&path), options(), ID).expect("it is created"));
    let (mut settled, mut next) = (Position::START, 0);
    let mut known: Vec<Batch> = Vec::new();
    for _ in 0..env_number("DMWIRE_LOG_KILLS", || 10) {
        let state = format!("{} {next}", settled.number());
        std::fs::write(path.with_extension("state"), state).expect("it can be written");
        let mut child = Command::new(std::env::current_exe().expect("its path"))
            .args(["--exact", "kills::writer", "--nocapture"])
            .env(VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut rest = 1 + random.below(120);
        for line in out.lines() {
            let line = line.expect("it can be read");
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words[..] {
                ["appended", _, _] => {
                    assert_eq!(number(1), next);
                    known.push((Position::from_number(number(2)), records(next)));
                    next += 1;
                }
                ["settled", _] => settled = Position::from_number(number(1)),
                _ => continue,
            }
            rest = rest.saturating_sub(1);
            if rest == 0 {
                // Lines that are in the pipe already are read.
                child.kill().expect("it can be killed");
            }
        }
        assert!(!child.wait().expect("it has ended").success());
        known.retain(|(position, _)| *position > settled);
        let (_, batches, _) =
            open_with(Files::beside(&path), options(), settled).expect("it opens");
        let (before, extra) = batches.split_at(known.len().min(batches.len()));
        assert!(before == known);
        // One that was not acknowledged.
        assert!(extra.len() <= 1);
        for (_, found) in extra {
            assert!(*found == records(next));
            next += 1;
        }
        known = batches;
    }
}
