//! The `dmwire` program: command line to configuration, logging, and the server. All else is in the library.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dmwire::config::{self, Command, CommandLine, Config, ConfigError, StoreUrl};
use dmwire::store::sqlite::admin;

/// Something that was asked for could not be done.
const FAILED: u8 = 1;
/// What was asked for makes no sense; clap ends with the same code.
const MISCONFIGURED: u8 = 2;

/// Of a variable that is called like a setting.
const NO_SETTING: &str = "but it is no setting of dmwire and does nothing";

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
        Command::Serve => serve(line, line.resolve()?.for_serving()?),
        Command::SchemaExport(dir) => export_schema(&dir),
        Command::Backup(file) => {
            let path = store_file(line)?;
            admin::backup(&path, &file).map_err(failed("no backup was made"))
        }
        Command::Verify => verify(&store_file(line)?),
        Command::Export(user) => {
            let path = store_file(line)?;
            let mut out = io::BufWriter::new(io::stdout());
            admin::export(&path, &user, &mut out).map_err(failed("cannot export"))
        }
        Command::Erase(user) => erase(&store_file(line)?, &user),
        Command::Token(user, seconds) => {
            let resolved = line.resolve()?;
            let config = resolved.for_serving()?;
            let (token, signed_with) = dmwire::auth::token(config, &user, seconds)
                .map_err(failed("no token can be made"))?;
            writeln!(io::stdout(), "{token}").map_err(failed("cannot print the token"))?;
            // A server with other settings refuses it, and tells nobody why.
            let _ = writeln!(io::stderr(), "signed with {signed_with}");
            Ok(())
        }
        Command::Config => {
            let resolved = line.resolve()?;
            resolved.for_serving()?;
            for name in line.unknown_variables() {
                let _ = writeln!(io::stderr(), "dmwire: {name} is set, {NO_SETTING}");
            }
            write!(io::stdout(), "{resolved}").map_err(failed("cannot print the settings"))
        }
        Command::Healthcheck => config::healthcheck(&line.resolve()?.config)
            .map_err(failed("the server is not healthy")),
    }
}

fn serve(line: &CommandLine, config: &Config) -> Result<(), Failure> {
    dmwire::logging::init(config.log_format, &config.log);
    for name in line.unknown_variables() {
        log::warn!("{name} is set, {NO_SETTING}");
    }
    dmwire::run(config.clone()).map_err(|error| Failure(FAILED, error.to_string()))
}

/// The file that the settings name as the store.
fn store_file(line: &CommandLine) -> Result<PathBuf, Failure> {
    match line.resolve()?.config.store {
        StoreUrl::Sqlite(path) => Ok(path),
        StoreUrl::Memory => Err(Failure(
            MISCONFIGURED,
            "--store memory: is gone with its server; this needs a file, --store sqlite:PATH"
                .into(),
        )),
    }
}

fn verify(path: &Path) -> Result<(), Failure> {
    let findings = admin::verify(path).map_err(failed("cannot verify"))?;
    let mut out = io::stdout();
    let said = findings
        .iter()
        .try_for_each(|finding| writeln!(out, "{finding}"));
    said.map_err(failed("cannot print what was found"))?;
    match findings.len() {
        0 => writeln!(out, "{} is whole", path.display()).map_err(failed("cannot print")),
        n => Err(Failure(
            FAILED,
            format!("{} is damaged: {n} findings", path.display()),
        )),
    }
}

fn erase(path: &Path, user: &str) -> Result<(), Failure> {
    let now = dmwire::protocol::Timestamp::now().0;
    let erased = admin::erase(path, user, now).map_err(failed("cannot erase"))?;
    writeln!(
        io::stdout(),
        "erased {user}: {} messages, {} reactions, {} entries of the inbox",
        erased.messages,
        erased.reactions,
        erased.entries
    )
    .map_err(failed("cannot print"))
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
