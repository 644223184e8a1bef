//! `dmwire api-key`: prints a key of the HTTP API.

use std::io::{self, Write as _};

use clap::{Arg, ArgMatches};
use dmwire::ops::keys::NewKey;

use super::{Command, CommandError, Settings, not_printed, required};

pub const COMMAND: Command = Command {
    clap: || {
        let name = Arg::new("name")
            .value_name("NAME")
            .required(true)
            .help("Name of the key, which the log shows");
        let scopes = Arg::new("scopes")
            .value_name("SCOPES")
            .help("What the key allows: read, write and admin, separated by commas [default: all]");
        clap::Command::new("api-key")
            .about("Print a new key of the HTTP API, and its line for --api-key-file")
            .arg(name)
            .arg(scopes)
    },
    settings: Settings::None,
    run,
};

fn run(_: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let scopes = own.get_one::<String>("scopes");
    let key = NewKey::generate(required(own, "name"), scopes.map(String::as_str))
        .map_err(|error| CommandError::FailedWith(format!("no key can be made: {error}"), 2))?;
    writeln!(io::stdout(), "{}\n{}", key.key(), key.line()).map_err(not_printed("the key"))
}
