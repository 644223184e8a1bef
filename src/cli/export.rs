//! `dmwire export`: prints the messages of a user.

use std::io;

use clap::ArgMatches;
use dmwire::store::sqlite::admin;

use super::{Command, CommandError, Settings, failed, required, store_file, user_arg};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("export")
            .about("Print all messages of a user's conversations, one JSON object per line")
            .arg(user_arg())
    },
    settings: Settings::Some(&["store"]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let path = store_file(matches)?;
    let mut out = io::BufWriter::new(io::stdout());
    admin::export(&path, required(own, "user"), &mut out).map_err(failed("cannot export"))
}
