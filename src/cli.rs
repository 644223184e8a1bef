//! The commands of the `dmwire` program.

mod api_key;
pub mod args;
mod backup;
mod config;
mod erase;
mod export;
mod healthcheck;
mod restore;
mod schema;
mod serve;
mod token;
mod verify;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};
use dmwire::DISK_FAILED;
use dmwire::config::{ConfigError, Resolved, StoreUrl};
use dmwire::protocol::types::is_erased_name;
use dmwire::store::StoreError;

/// A reason for which a command ends without success.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command cannot work with these settings.
    #[error("{0}")]
    Usage(&'static str),
    /// The command has failed.
    #[error("{0}")]
    Failed(String),
    /// The command has failed, with this exit code.
    #[error("{0}")]
    FailedWith(String, u8),
    /// Schemas are not compatible; the output says why.
    #[error("the schemas are not compatible")]
    Breaking,
    /// Nobody reads the output any more, as with `| head`.
    #[error("nobody reads the output")]
    OutputClosed,
}

impl CommandError {
    /// What is printed; `None`: nothing.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::OutputClosed | Self::Breaking => None,
            error => Some(error.to_string()),
        }
    }

    /// 1 for a failure and for breaking changes, 74 if the disk has failed; 2 for invalid settings, as clap ends with for an invalid command line; 141
    /// if nobody reads the output, as a shell reports for a program that SIGPIPE has ended.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Breaking => 1,
            Self::FailedWith(_, code) => *code,
            Self::Config(_) | Self::Usage(_) => 2,
            Self::OutputClosed => 141,
        }
    }
}

/// The subset of settings that the help of a command shows.
enum Settings {
    All,
    /// Those with these keys, and `--config`.
    Only(&'static [&'static str]),
    None,
}

/// A command: its arguments, the settings that concern it, and the function that runs it. The function gets all
/// arguments, and the command's own ones.
struct Command {
    clap: fn() -> clap::Command,
    settings: Settings,
    run: fn(&ArgMatches, &ArgMatches) -> Result<(), CommandError>,
}

/// All commands in the order of the help.
const COMMANDS: [Command; 11] = [
    serve::COMMAND,
    schema::COMMAND,
    backup::COMMAND,
    restore::COMMAND,
    verify::COMMAND,
    export::COMMAND,
    erase::COMMAND,
    token::COMMAND,
    api_key::COMMAND,
    config::COMMAND,
    healthcheck::COMMAND,
];

/// Runs the command of a command line; without a command, `serve`.
///
/// # Errors
/// [`CommandError`]
pub fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let Some((name, own)) = matches.subcommand() else {
        return (serve::COMMAND.run)(matches, matches);
    };
    let mut commands = COMMANDS.into_iter();
    let command = commands.find(|command| (command.clap)().get_name() == name);
    command.map_or(Ok(()), |command| (command.run)(matches, own))
}

/// The file of the store that the settings name.
fn store_file(matches: &ArgMatches) -> Result<PathBuf, CommandError> {
    match Resolved::new(matches)?.config.storage.store {
        StoreUrl::Sqlite(path) => Ok(path),
        StoreUrl::Memory => Err(CommandError::Usage(
            "--store memory: keeps nothing after the server stops; this command needs a file, --store sqlite:PATH",
        )),
    }
}

/// As [`store_file`], for commands that need a store. `what` is the effect that fails without one.
fn existing_store(matches: &ArgMatches, what: &'static str) -> Result<PathBuf, CommandError> {
    let path = store_file(matches)?;
    if matches!(path.try_exists(), Ok(false)) {
        // The command may run in another folder than the server.
        let looked_for = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        return Err(CommandError::Failed(format!(
            "{what}: there is no store {}; name the store of the server, --store sqlite:PATH",
            looked_for.display()
        )));
    }
    Ok(path)
}

/// The argument `--user` of the commands that concern one user.
fn user_arg() -> Arg {
    Arg::new("user").long("user").required(true).help("User id")
}

/// The value of [`user_arg`] for commands that concern the data of a user.
fn user_of(own: &ArgMatches) -> Result<&str, CommandError> {
    let user = required(own, "user");
    if is_erased_name(user) {
        return Err(CommandError::Failed(format!(
            "{user}: this user was erased; the server reserves names of this form"
        )));
    }
    Ok(user)
}

/// The argument FILE.
fn file_arg(help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// The value of [`file_arg`].
fn file_of(own: &ArgMatches) -> PathBuf {
    own.get_one("file").cloned().unwrap_or_default()
}

/// The value of a required argument.
fn required<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// Puts the failed step in front of an error of the store.
fn store_failed(what: impl Display) -> impl FnOnce(StoreError) -> CommandError {
    move |error| match &error {
        StoreError::Broken(_) => CommandError::FailedWith(format!("{what}: {error}"), DISK_FAILED),
        _ => CommandError::Failed(format!("{what}: {error}")),
    }
}

/// The error of a command whose only effect is its output.
fn not_printed(what: &'static str) -> impl FnOnce(io::Error) -> CommandError {
    move |error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::OutputClosed,
        _ => CommandError::Failed(format!("cannot print {what}: {error}")),
    }
}

/// Puts the failed step in front of an error.
fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> CommandError {
    move |error| CommandError::Failed(format!("{what}: {error}"))
}
