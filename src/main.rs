//! The `dmwire` program: command line to configuration, logging, and the server. All else is in the library.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use dmwire::config::{self, Command, CommandLine, Config, ConfigError};

/// Something that was asked for could not be done.
const FAILED: u8 = 1;
/// What was asked for makes no sense; clap ends with the same code.
const MISCONFIGURED: u8 = 2;

/// Why the program ends before its time, and its exit code.
struct Failure(u8, String);

fn main() -> ExitCode {
    match perform(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, what)) => {
            // With stderr gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "dmwire: {what}");
            ExitCode::from(code)
        }
    }
}

fn perform(line: &CommandLine) -> Result<(), Failure> {
    match line.command() {
        Command::Serve => serve(line.resolve()?.for_serving()?),
        Command::SchemaExport(dir) => export_schema(&dir),
        Command::Config => {
            let resolved = line.resolve()?;
            resolved.for_serving()?;
            write!(io::stdout(), "{resolved}").map_err(failed("cannot print the settings"))
        }
        Command::Healthcheck => config::healthcheck(&line.resolve()?.config)
            .map_err(failed("the server is not healthy")),
    }
}

fn serve(config: &Config) -> Result<(), Failure> {
    dmwire::logging::init(config.log_format, &config.log);
    dmwire::run(config.clone()).map_err(|error| Failure(FAILED, error.to_string()))
}

fn export_schema(dir: &Path) -> Result<(), Failure> {
    let what = format!("cannot write the schemas to {}", dir.display());
    dmwire::protocol::schema::export(dir).map_err(failed(what))
}

fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(FAILED, format!("{what}: {error}"))
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self(MISCONFIGURED, error.to_string())
    }
}
