//! `dmwire serve`, the default command: runs the server.

use clap::ArgMatches;
use dmwire::config::{Resolved, unknown_variables};

use super::{Command, CommandError, Settings};

pub const COMMAND: Command = Command {
    clap: || clap::Command::new("serve").about("Run the server (the default command)"),
    settings: Settings::All,
    run,
};

/// Follows the name of an environment variable that looks like a setting.
pub const NOT_A_SETTING: &str = "is set, but dmwire has no such setting";

fn run(matches: &ArgMatches, _: &ArgMatches) -> Result<(), CommandError> {
    let resolved = Resolved::new(matches)?;
    let config = resolved.for_serving()?;
    dmwire::logging::init(config.logging.log_format, &config.logging.log);
    for name in unknown_variables() {
        log::warn!("{name} {NOT_A_SETTING}");
    }
    dmwire::run(config.clone())
        .map_err(|error| CommandError::FailedWith(error.to_string(), error.exit_code()))
}
