//! Values that are measured when they are asked for: sessions, memory, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Ops;
use crate::config::StoreUrl;
use crate::writer::QueueDepth;

/// The values at one time. `None`: the system does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Open sessions.
    pub sessions: usize,
    /// Users with a session.
    pub users: usize,
    /// What waits for a commit.
    pub queue: QueueDepth,
    /// Short and long reads that wait for a thread.
    pub queued_reads: (usize, usize),
    /// When the process was started, in seconds since 1970-01-01T00:00:00Z.
    pub started: f64,
    /// CPU time of the process.
    pub cpu_seconds: f64,
    /// Bytes that the process has in memory.
    pub memory_bytes: Option<u64>,
    /// Size of the database file.
    pub store_bytes: Option<u64>,
    /// Size of its write-ahead log.
    pub wal_bytes: Option<u64>,
    /// Bytes of unsent and incomplete messages beyond what each session has free.
    pub buffer_bytes: usize,
    /// Their limit.
    pub buffer_limit_bytes: usize,
    /// The clock has not jumped lately.
    pub clock_settled: bool,
    /// Jumps of the clock.
    pub clock_jumps: u64,
    /// New messages can be stored.
    pub ready: bool,
}

impl Gauges {
    /// Measures. It reads files of `/proc` and the sizes of the store's files, which takes some tens of microseconds.
    pub fn now(ops: &Ops) -> Self {
        let context = &ops.context;
        let (sessions, users) = context.registry.counts();
        let (store_bytes, wal_bytes) = match &context.config.storage.store {
            StoreUrl::Sqlite(path) => (size(path), size(&wal(path))),
            StoreUrl::Memory => (None, None),
        };
        Self {
            sessions,
            users,
            queue: context.router.queued_writes(),
            queued_reads: context.router.queued_reads(),
            started: ops.started,
            cpu_seconds: cpu_seconds(),
            memory_bytes: memory_bytes(),
            store_bytes,
            wal_bytes,
            buffer_bytes: context.limits.memory.used(),
            buffer_limit_bytes: context.limits.memory.limit(),
            clock_jumps: context.router.clock().jumps(),
            clock_settled: context.router.clock().is_settled(),
            ready: context.router.unavailable().is_none(),
        }
    }
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// The CPU time of this process.
fn cpu_seconds() -> f64 {
    let time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
    time.unwrap_or_default().as_secs_f64()
}

/// The resident memory of this process.
fn memory_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The part of the machine's memory that is in use, in percent.
pub fn memory_percent() -> Option<f64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<f64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    Some(rounded(100.0 * (total - available) / total, 10.0))
}

/// The average number of running processes within the last minute.
pub fn cpu_load() -> Option<f64> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_whitespace().next()?.parse().ok()
}

/// Rounds to a fraction of 1, so that frames are short.
pub fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
