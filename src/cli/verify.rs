//! `dmwire verify`: checks the integrity of the store.

use std::io::{self, Write as _};

use clap::ArgMatches;
use dmwire::store::sqlite::admin;

use super::{Command, CommandError, Settings, existing_store, not_printed, store_failed};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("verify")
            .about("Check the integrity of the store; the exit code is 0 if it is intact")
    },
    settings: Settings::Only(&["store"]),
    run,
};

fn run(matches: &ArgMatches, _: &ArgMatches) -> Result<(), CommandError> {
    let path = existing_store(matches, "cannot verify")?;
    let findings = admin::verify(&path).map_err(store_failed("cannot verify"))?;
    let mut out = io::stdout();
    for finding in &findings {
        writeln!(out, "{finding}").map_err(not_printed("the findings"))?;
    }
    match findings.len() {
        0 => writeln!(out, "{} is whole", path.display()).map_err(not_printed("the result")),
        n => Err(CommandError::Failed(format!(
            "{} is damaged: {n} findings",
            path.display()
        ))),
    }
}
