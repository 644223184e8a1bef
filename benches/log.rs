//! Measures the write-ahead log: `cargo bench --bench log -- --help`. `benches/peers/log` compares it with other logs.
//!
//! All files are in a folder that is removed at the end.

#[path = "support/interleaved.rs"]
mod interleaved;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use dmwire::log::{Files, Log, LogError, Options, Position};
use rusqlite::Connection;
use uuid::Uuid;

use interleaved::{Failed, Subject, compare};

/// Measures the write-ahead log.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds for each log and batch size.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of each record.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Parent of the folder [default: the system's temporary folder].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

const BATCHES: [usize; 4] = [1, 16, 100, 800];
const SEGMENT_SIZES: [u64; 4] = [1 << 20, 4 << 20, 16 << 20, 64 << 20];

fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let dir = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder(dir.join(format!("dmwire-log-bench-{}", std::process::id())));
    fs::create_dir_all(&folder.0)?;
    ways_of_writing(&arguments, &folder.0)?;
    segment_sizes(&arguments, &folder.0)?;
    opening(&arguments, &folder.0)
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder does no harm.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn create(files: Files, options: Options) -> Result<Log, LogError> {
    Log::create(files, options, Uuid::new_v4())
}

/// A log whose records are settled at once.
fn appending(name: &str, mut log: Log) -> Subject<'static> {
    Subject::new(name, move |batch| {
        let end = log.append(batch)?;
        log.recycle(end);
        Ok(())
    })
}

/// The log with and without direct I/O, and a commit of SQLite.
fn ways_of_writing(arguments: &Arguments, folder: &Path) -> Result<(), Failed> {
    let direct = create(Files::beside(folder.join("direct")), Options::default())?;
    let cached = Files::beside(folder.join("cached")).cached();
    let cached = create(cached, Options::default())?;
    let sqlite = Connection::open(folder.join("sqlite"))?;
    sqlite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE log (id INTEGER PRIMARY KEY, records BLOB)",
    )?;
    let commit = |batch: &[Vec<u8>]| -> Result<(), Failed> {
        // As the store does: a batch is one row.
        let mut insert = sqlite.prepare_cached("INSERT INTO log (records) VALUES (?1)")?;
        insert.execute([batch.concat()])?;
        Ok(())
    };
    let mut subjects = [
        appending("direct", direct),
        appending("fdatasync", cached),
        Subject::new("SQLite, one row", commit),
    ];
    for count in BATCHES {
        compare(&mut subjects, count, arguments.bytes, arguments.seconds)?;
    }
    Ok(())
}

fn segment_sizes(arguments: &Arguments, folder: &Path) -> Result<(), Failed> {
    let mut subjects = Vec::new();
    for bytes in SEGMENT_SIZES {
        let name = format!("segments of {} MiB", bytes >> 20);
        let files = Files::beside(folder.join(format!("size{bytes}")));
        let began = Instant::now();
        let log = create(files, Options::new(bytes, 2))?;
        println!(
            "{name}: created in {:.1} ms",
            began.elapsed().as_secs_f64() * 1e3
        );
        subjects.push(appending(&name, log));
    }
    for count in [1, 100] {
        compare(&mut subjects, count, arguments.bytes, arguments.seconds)?;
    }
    Ok(())
}

/// Opens a log of 64 MiB that is not settled.
fn opening(arguments: &Arguments, folder: &Path) -> Result<(), Failed> {
    for count in [1, 100] {
        let files = Files::beside(folder.join(format!("open{count}")));
        let id = Uuid::new_v4();
        let mut log = Log::create(files.clone(), Options::default(), id)?;
        let batch = vec![vec![7; arguments.bytes]; count];
        let mut records = 0;
        while log.used_bytes() < 64 << 20 {
            log.append(&batch)?;
            records += count;
        }
        drop(log);
        let began = Instant::now();
        let mut found = 0;
        Log::open(files, Options::default(), id, Position::START, |_, _| {
            found += 1;
        })?;
        println!(
            "64 MiB in batches of {count}: {records} records, {:.0} bytes each, opened in {:.0} ms",
            f64::from(64 << 20) / records as f64,
            began.elapsed().as_secs_f64() * 1e3
        );
        if found != records {
            return Err("records are missing".into());
        }
    }
    Ok(())
}
