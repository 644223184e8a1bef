//! The load generator: `cargo bench --bench load -- --help`.
//!
//! It starts the release binary on a free loopback port with a store in a temporary folder (or connects to the server given
//! with `--at`), generates one kind of load, and prints its cost. Every message carries its number and its scheduled send
//! time, so that loss, order and duplicates are checked and latency includes delays of the sender. Traffic stays on loopback.
//!
//! [`options`] are the command-line options, [`target`] is the server, [`socket`] a client's connection. [`pairs`],
//! [`paced`], [`fanout`], [`rooms`], [`beside_room`], [`stalled`], [`storm`], [`idle`] and [`api`] are the loads; [`members`] are those of
//! rooms. [`tally`] counts and [`report`] prints.

mod api;
mod beside_room;
#[path = "../support/disk.rs"]
mod disk;
mod disk_latency;
mod fanout;
mod idle;
mod members;
mod options;
mod paced;
mod pairs;
mod report;
mod rooms;
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
    // Reduce the timer slack: by default the kernel may extend each sleep by 50 us. Threads inherit the setting.
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
        let scraping = if options.scrape > 0.0 {
            Some(api::scrape(&target, options.scrape).await?)
        } else {
            None
        };
        let ended = if options.idle > 0 {
            idle::run(&target, options, report).await
        } else if !options.api.is_empty() {
            api::run(&target, options, report).await
        } else if options.storm > 0 {
            storm::run(target, options, report).await
        } else if options.beside_room > 0 {
            beside_room::run(&target, options, report).await
        } else if !options.rooms.is_empty() {
            rooms::run(&target, options, report).await
        } else if options.devices > 0 {
            fanout::run(&target, options, report).await
        } else if options.stalled > 0 {
            stalled::run(&target, options, report).await
        } else if options.rate > 0.0 {
            paced::run(&target, options, report).await
        } else {
            pairs::run(&target, options, report).await
        };
        match scraping {
            Some(scraping) if scraping.is_finished() => {
                ended?;
                scraping.await.map_err(io::Error::other)?
            }
            Some(scraping) => {
                scraping.abort();
                ended
            }
            None => ended,
        }
    })
}
