//! Measures the disk as a reference for latency.

use std::io;

use serde_json::json;

use crate::disk::{Percentiles, fdatasync};
use crate::options::Options;
use crate::report::Report;
use crate::tally::Tally;
use crate::target::Target;

/// Number of writes measured before and after a run.
const COUNT: usize = 300;

/// The disk's speed before a run, if it was requested.
pub struct DiskLatency(Option<Percentiles>);

impl DiskLatency {
    /// Measures the disk before a run.
    pub fn before(target: &Target, options: &Options) -> io::Result<Self> {
        let wanted = options.fsync.then(|| fdatasync(&target.folder(), COUNT));
        wanted.transpose().map(Self)
    }

    /// Measures again and reports. Latencies are compared with the mean of both measurements.
    pub fn after(self, target: &Target, report: &mut Report, tally: &mut Tally) -> io::Result<()> {
        let Some(before) = self.0 else {
            return Ok(());
        };
        let after = fdatasync(&target.folder(), COUNT)?;
        let p50 = f64::from(tally.latency(500)) / f64::midpoint(before.p50, after.p50);
        let p99 = f64::from(tally.latency(990)) / f64::midpoint(before.p99, after.p99);
        report.line(
            "fdatasync of 4 KiB",
            format!(
                "p50 {:.0} us, p99 {:.0} us before; p50 {:.0} us, p99 {:.0} us after",
                before.p50, before.p99, after.p50, after.p99
            ),
        );
        report.line("latency/fdatasync", format!("p50 {p50:.1}, p99 {p99:.1}"));
        report.value(
            "fsync_us",
            json!({
                "before": {"p50": before.p50, "p99": before.p99},
                "after": {"p50": after.p50, "p99": after.p99},
            }),
        );
        Ok(())
    }
}
