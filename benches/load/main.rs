//! The load generator: `cargo bench --bench load -- --help`.
//!
//! It starts the release binary itself on a free loopback port with a store in a temporary folder (or talks to the server
//! that `--at` names), puts one kind of load on it, and prints what it cost. Every message carries its number and the moment
//! it was meant to be sent, so that loss, order and doubles are checked and latency is honest. Traffic goes to loopback only.
//!
//! [`options`] says what is wanted, [`target`] is the server, [`socket`] a client's connection; [`pairs`], [`paced`],
//! [`fanout`], [`stalled`], [`storm`] and [`idle`] are the loads; [`tally`] counts and [`report`] prints.

mod beside;
#[path = "../support/disk.rs"]
mod disk;
mod fanout;
mod idle;
mod options;
mod paced;
mod pairs;
mod report;
mod socket;
mod stalled;
mod storm;
mod tally;
mod target;
mod wait;

use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser as _;
use tokio::task::LocalSet;

use options::Options;
use report::Report;
use target::Target;

fn main() -> ExitCode {
    let options = Options::parse();
    // Sleeps are to end when they should; the kernel may add 50 us otherwise. Threads inherit it.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let mut report = Report::default();
    let ended = load(&options, &mut report);
    report.print(options.json);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &Options, report: &mut Report) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let target = Rc::new(Target::new(options)?);
        if options.idle > 0 {
            idle::run(&target, options, report).await
        } else if options.storm > 0 {
            storm::run(target, options, report).await
        } else if options.devices > 0 {
            fanout::run(&target, options, report).await
        } else if options.stalled > 0 {
            stalled::run(&target, options, report).await
        } else if options.rate > 0.0 {
            paced::run(&target, options, report).await
        } else {
            pairs::run(&target, options, report).await
        }
    })
}
