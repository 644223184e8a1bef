//! `dmwire backup`: copies the store to a file.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};
use dmwire::store::sqlite::admin;

use super::{Command, CommandError, Settings, store_failed, store_file};

pub const COMMAND: Command = Command {
    clap: || {
        let file = Arg::new("file")
            .value_name("FILE")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("File to write; it must not exist");
        clap::Command::new("backup")
            .about("Copy a consistent snapshot of the store to a file, also while the server runs")
            .arg(file)
    },
    settings: Settings::Only(&["store"]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let path = store_file(matches)?;
    let copy = own.get_one::<PathBuf>("file").cloned().unwrap_or_default();
    admin::backup(&path, &copy).map_err(store_failed("no backup was made"))
}
