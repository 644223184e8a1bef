//! Compares the write-ahead log with other logs: `cargo run --release`, optionally with a folder and the seconds for each log and batch
//! size. Each batch is durable before the next one is appended.

#[path = "../../../support/interleaved.rs"]
mod interleaved;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dmwire::log::{Files, Log, Options};
use okaywal::{Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

use interleaved::{Failed, Subject, compare};

/// Bytes of each record.
const BYTES: usize = 200;
/// The number of batches after which raft-engine removes or recycles files.
const RELEASE: u64 = 1000;

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let folder = dir.join(format!("dmwire-log-peers-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(&folder, seconds);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, seconds: f64) -> Result<(), Failed> {
    let files = Files::beside(folder.join("dmwire"));
    let mut log = Log::create(files, Options::default(), uuid::Uuid::new_v4())?;
    let dmwire = move |batch: &[Vec<u8>]| -> Result<(), Failed> {
        let end = log.append(batch)?;
        log.recycle(end);
        Ok(())
    };

    let files = Files::beside(folder.join("cached")).cached();
    let mut log = Log::create(files, Options::default(), uuid::Uuid::new_v4())?;
    let cached = move |batch: &[Vec<u8>]| -> Result<(), Failed> {
        let end = log.append(batch)?;
        log.recycle(end);
        Ok(())
    };

    let config = Config {
        dir: folder.join("raft-engine").to_string_lossy().into_owned(),
        target_file_size: ReadableSize::mb(16),
        purge_threshold: ReadableSize::mb(64),
        // Records are not compressed.
        batch_compression_threshold: ReadableSize(0),
        enable_log_recycle: true,
        prefill_for_recycle: true,
        prefill_limit: Some(ReadableSize::mb(128)),
        ..Config::default()
    };
    let engine = Engine::open(config)?;
    let mut count = 0;
    let raft_engine = move |batch: &[Vec<u8>]| -> Result<(), Failed> {
        // The next batch replaces the records, so that those of old files are not needed.
        let mut log_batch = LogBatch::default();
        for (n, record) in (0_u32..).zip(batch) {
            log_batch.put(1, n.to_be_bytes().to_vec(), record.clone())?;
        }
        engine.write(&mut log_batch, true)?;
        count += 1;
        if count % RELEASE == 0 {
            engine.purge_expired_files()?;
        }
        Ok(())
    };

    let okaywal = okaywal::Configuration::default_for(folder.join("okaywal"))
        .preallocate_bytes(16 << 20)
        .checkpoint_after_bytes(16 << 20)
        .open(Settled)?;
    let okaywal = move |batch: &[Vec<u8>]| -> Result<(), Failed> {
        let mut entry = okaywal.begin_entry()?;
        for record in batch {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    };

    let mut subjects = [
        Subject::new("dmwire", dmwire),
        Subject::new("dmwire, fdatasync", cached),
        Subject::new("raft-engine", raft_engine),
        Subject::new("okaywal", okaywal),
    ];
    for count in [1, 16, 800] {
        compare(&mut subjects, count, BYTES, seconds)?;
    }
    Ok(())
}

/// A receiver of records to which okaywal gives them when it needs their space.
#[derive(Debug)]
struct Settled;

impl LogManager for Settled {
    fn recover(&mut self, _: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}
