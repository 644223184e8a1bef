//! `dmwire config`: prints the effective settings.

use std::io::{self, Write as _};

use clap::ArgMatches;
use dmwire::config::{Resolved, unknown_variables};

use super::serve::NOT_A_SETTING;
use super::{Command, CommandError, Settings, not_printed};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("config")
            .about("Print the effective settings as TOML, each with its source")
    },
    settings: Settings::All,
    run,
};

fn run(matches: &ArgMatches, _: &ArgMatches) -> Result<(), CommandError> {
    let resolved = Resolved::new(matches)?;
    resolved.for_serving()?;
    for name in unknown_variables() {
        let _ = writeln!(io::stderr(), "dmwire: {name} {NOT_A_SETTING}");
    }
    write!(io::stdout(), "{resolved}").map_err(not_printed("the settings"))
}
