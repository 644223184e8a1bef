//! Real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dmwire::log::{Disk, DiskFile as _, Files, Log, LogError, Options, PAGE, Position};

use crate::support::{Folder, Random, env_number, random_seed};
use crate::workload::{Batch, ID, batch, open_with};

fn small() -> Options {
    Options::new(64 << 10, 4)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("it is UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn records_are_read_again_with_and_without_direct_io() {
    let mut random = Random::new(env_number("DMWIRE_LOG_SEED", random_seed));
    let folder = Folder::new();
    for (name, cached) in [("direct", false), ("cached", true)] {
        let files = |cached| {
            let files = Files::beside(folder.0.join(name));
            if cached { files.cached() } else { files }
        };
        // Files that are not of this log.
        for other in ["-log01", "-log1x", "-log", "-logs", "-lock"] {
            fs::write(folder.0.join(format!("{name}{other}")), "x").expect("it can be written");
        }
        let mut log = Log::create(files(cached), small(), ID).expect("it is created");
        let mut expected: Vec<Batch> = Vec::new();
        let mut settled = Position::START;
        let mut epoch = log.epoch();
        for round in 0..6 {
            for _ in 0..20 {
                let records = batch(&mut random);
                match log.append(&records) {
                    Ok(end) => expected.push((end, records)),
                    Err(LogError::Full { .. }) => {
                        settled = expected[expected.len() / 2].0;
                        log.recycle(settled);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            expected.retain(|(end, _)| *end > settled);
            drop(log);
            // The two ways read what the other has written.
            let disk = files(cached ^ (round % 2 == 0));
            let (opened, batches, recovery) = open_with(disk, small(), settled).expect("it opens");
            assert!(batches == expected);
            assert!(!recovery.incomplete && opened.epoch() > epoch);
            (log, epoch) = (opened, epoch + 1);
        }
        assert!(log.files().count() <= 4);
    }
    assert!(names(&folder.0).contains(&"direct-log0".to_owned()));
}

#[test]
fn a_file_system_that_rejects_direct_io_is_written_through_the_cache() {
    let folder = Folder::new();
    let files = Files::beside(folder.0.join("store"));
    let bytes = 16 * PAGE as u64;
    // A length that direct I/O does not allow takes the place of a file system that does not allow it at all.
    let mut file = files.create(3, bytes).expect("it is created");
    assert_eq!(
        (
            file.bytes().expect("a length"),
            files.numbers().expect("numbers")
        ),
        (bytes, vec![3])
    );
    file.write(b"odd", 1).expect("it is written");
    assert!(file.is_cached());
    file.write(b"even", 4).expect("it is written");
    file.sync().expect("it is synced");
    let mut read = [0; 9];
    file.read(&mut read, 0).expect("it is read");
    assert_eq!(&read, b"\0oddeven\0");
    // Once a write has succeeded, the same is an error.
    let mut file = files.open(3).expect("it opens");
    let mut memory = vec![7; 2 * PAGE];
    let start = memory.as_ptr().addr().wrapping_neg() % PAGE;
    let page = &mut memory[start..start + PAGE];
    file.write(page, 0).expect("it is written");
    if !file.is_cached() {
        assert!(file.write(b"odd", 1).is_err());
        assert!(!file.is_cached());
    }
    files.remove(3).expect("it is removed");
    assert!(names(&folder.0).is_empty());
}

/// A small file system in memory. Only root can mount it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(folder: &Folder, size: &str) -> Self {
        let path = folder.0.join("disk");
        fs::create_dir(&path).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output();
        match mount {
            Ok(output) if output.status.success() => Self(path),
            other => panic!("this test mounts a small file system and must run as root: {other:?}"),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_without_space_for_a_segment_is_full_and_not_broken() {
    let folder = Folder::new();
    let disk = SmallDisk::new(&folder, "200k");
    let files = Files::beside(disk.0.join("store"));
    let error =
        Log::create(files.clone(), Options::new(1 << 20, 4), ID).expect_err("there is no space");
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    assert!(
        names(&disk.0).is_empty(),
        "what there was space for is removed"
    );
    let mut log = Log::create(files.clone(), small(), ID).expect("it is created");
    let mut expected = Vec::new();
    let error = loop {
        match log.append(&[[1; 5000]]) {
            Ok(end) => expected.push((end, vec![vec![1; 5000]])),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    let settled = expected[expected.len() - 2].0;
    log.recycle(settled);
    expected.push((
        log.append(&[[1; 5000]]).expect("a segment is free"),
        vec![vec![1; 5000]],
    ));
    expected.retain(|(end, _)| *end > settled);
    let (_, batches, _) = open_with(files, small(), settled).expect("it opens");
    assert!(batches == expected);
}
