//! `dmwire schema`: writes the JSON Schemas of the protocol, and compares versions of content types.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};
use dmwire::compatibility::{self, SchemaSet};
use dmwire::content_types;
use dmwire::ops::openapi;
use dmwire::protocol::Contract;

use super::{Command, CommandError, Settings, failed, not_printed};

const CHECK: &str = "\
Compare two versions of the schemas of content types: two directories with files NAME.schema.json, or two files.

A change is compatible if everything that the old schema allows is allowed by the new one, and the reverse, so that old \
writers are accepted and old readers understand new writers. A schema may be extended: an optional property may be added \
where the old schema allows further properties, and a type may be added.

Prints a line for each break: the type, a JSON Pointer into the schema that rejects a value, and the value. Exit codes: 0 \
compatible, 1 breaking, 2 a schema cannot be used (not JSON, not a schema, or a regular expression that the server rejects), \
NEW is a directory without schemas, or no content whose `type` is the name of a file in it satisfies the schema. \
What cannot be decided counts as breaking. If NEW is a directory that a server would not start with, for example because a \
schema is expensive to validate, a warning on stderr says why.";

pub const COMMAND: Command = Command {
    clap: || {
        let path = |id, name| {
            let arg = Arg::new(id).value_name(name).required(true);
            arg.value_parser(value_parser!(PathBuf))
        };
        let dir = path("dir", "DIR").help("Directory; it is created if it does not exist");
        clap::Command::new("schema")
            .about("Export the JSON Schemas of the protocol, or compare those of content types")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                clap::Command::new("export")
                    .about("Write the schemas, and the AsyncAPI and OpenAPI descriptions, into a directory")
                    .arg(dir),
            )
            .subcommand(
                clap::Command::new("check")
                    .about("Compare two versions of the schemas of content types")
                    .long_about(CHECK)
                    .arg(path("old", "OLD").help("Directory or file with the schemas in use"))
                    .arg(
                        path("new", "NEW").help("Directory or file with the schemas to introduce"),
                    ),
            )
    },
    settings: Settings::None,
    run,
};

fn run(_: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let path = |own: &ArgMatches, name| own.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    match own.subcommand() {
        Some(("export", own)) => export(&path(own, "dir")),
        Some(("check", own)) => check(&path(own, "old"), &path(own, "new")),
        _ => Ok(()),
    }
}

fn export(dir: &Path) -> Result<(), CommandError> {
    let what = format!("cannot write the schemas to {}", dir.display());
    Contract::built_in()
        .with_document(openapi::describe)
        .export(dir)
        .map_err(failed(what))
}

fn check(old: &Path, new: &Path) -> Result<(), CommandError> {
    let breaks = SchemaSet::read(old)
        .and_then(|old| compatibility::check(&old, &SchemaSet::read(new)?))
        .map_err(|error| CommandError::FailedWith(error.to_string(), 2))?;
    if let (true, Err(error)) = (new.is_dir(), content_types::load_at_start(new)) {
        if error.is_of_no_use() {
            return Err(CommandError::FailedWith(error.to_string(), 2));
        }
        let mut out = io::stderr().lock();
        writeln!(
            out,
            "dmwire: warning: a server would not start with the new schemas: {error}"
        )
        .map_err(not_printed("a warning"))?;
    }
    let mut out = io::stdout().lock();
    for found in &breaks {
        writeln!(out, "{found}").map_err(not_printed("the breaks"))?;
    }
    if breaks.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Breaking)
    }
}
