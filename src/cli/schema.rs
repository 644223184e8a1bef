//! `dmwire schema export`: writes the JSON Schemas of the protocol.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

use super::{Command, CommandError, Settings, failed};

pub const COMMAND: Command = Command {
    clap: || {
        let dir = Arg::new("dir")
            .value_name("DIR")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("Directory; it is created if it does not exist");
        clap::Command::new("schema")
            .about("Export the JSON Schemas of the protocol")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                clap::Command::new("export")
                    .about("Write the schemas into a directory")
                    .arg(dir),
            )
    },
    settings: Settings::None,
    run,
};

fn run(_: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let export = own.subcommand_matches("export");
    let Some(dir) = export.and_then(|own| own.get_one::<PathBuf>("dir")) else {
        return Ok(());
    };
    let what = format!("cannot write the schemas to {}", dir.display());
    dmwire::protocol::Contract::built_in()
        .export(dir)
        .map_err(failed(what))
}
