//! The command line: what is asked of the program, and with which settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::source::Sources;
use super::value::duration;
use super::{ConfigError, Settings};

const INTRO: &str = "\
A self-hosted direct-messaging server: typed JSON over WebSocket.

Without a command it serves, by default to this machine only:

  dmwire
  dmwire --listen 0.0.0.0:8080 --jwt-key issuer.pem --store sqlite:/var/lib/dmwire/dmwire.db

Each setting is a flag, or a variable, or a key of a TOML file (max_frame_bytes for --max-frame-bytes); the flag is the \
strongest, the file the weakest.";

/// What is asked of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Write the JSON Schemas of the protocol into a folder.
    SchemaExport(PathBuf),
    /// Copy the store to a file.
    Backup(PathBuf),
    /// Check that the store is whole.
    Verify,
    /// Print every message of a user.
    Export(String),
    /// Remove a user's traces.
    Erase(String),
    /// Print a token for trying out, of this user and for so many seconds.
    Token(String, u64),
    /// Print the settings in force.
    Config,
    /// Ask a running server whether it is alive.
    Healthcheck,
}

/// The command line, taken apart; its settings are looked at by [`CommandLine::resolve`], for a command that needs them.
pub struct CommandLine {
    words: Words,
    matches: ArgMatches,
}

#[derive(Parser)]
#[command(name = "dmwire", version, about = INTRO)]
struct Words {
    #[arg(
        long,
        env = "DMWIRE_CONFIG",
        value_name = "FILE",
        help = "TOML file with settings [default: dmwire.toml in the working directory, if it is there]"
    )]
    // Not a path yet: clap refuses an empty path, and an empty variable is none.
    config: Option<OsString>,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Work with the protocol's JSON Schemas
    #[command(subcommand)]
    Schema(Schema),
    /// Copy the store to a file, all of one moment, also while the server runs
    Backup {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Check that the store is whole; exit code 0 says yes
    Verify,
    /// Print every message of a user's conversations, one JSON object a line
    Export {
        /// The user
        #[arg(long)]
        user: String,
    },
    /// Remove a user's traces from the store; the server must not be running on it
    Erase {
        /// The user
        #[arg(long)]
        user: String,
    },
    /// Print a token of a user, signed with the first secret of the settings, for trying out
    Token {
        /// The user
        #[arg(long)]
        user: String,
        /// How long it holds, such as 90s, 15m, 1h or 7d
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: u64,
    },
    /// Print the settings in force as TOML, each with where it came from
    Config,
    /// Ask the server at the first listen address whether it is alive; exit code 0 says yes
    Healthcheck,
}

#[derive(Subcommand)]
enum Schema {
    /// Write the schemas into a folder
    Export {
        /// The folder; made if it is not there
        dir: PathBuf,
    },
}

impl CommandLine {
    /// Takes the program's command line apart. Ends the process where there is nothing more to do: after `--help` and
    /// `--version` with exit code 0, after a command line that makes no sense with 2.
    pub fn parse() -> Self {
        let matches = Self::clap().get_matches();
        match Words::from_arg_matches(&matches) {
            Ok(words) => Self { words, matches },
            Err(error) => error.exit(),
        }
    }

    /// What is asked for.
    pub fn command(&self) -> Command {
        match &self.words.command {
            None => Command::Serve,
            Some(Verb::Schema(Schema::Export { dir })) => Command::SchemaExport(dir.clone()),
            Some(Verb::Backup { file }) => Command::Backup(file.clone()),
            Some(Verb::Verify) => Command::Verify,
            Some(Verb::Export { user }) => Command::Export(user.clone()),
            Some(Verb::Erase { user }) => Command::Erase(user.clone()),
            Some(Verb::Token { user, ttl }) => Command::Token(user.clone(), *ttl),
            Some(Verb::Config) => Command::Config,
            Some(Verb::Healthcheck) => Command::Healthcheck,
        }
    }

    /// The command line as clap knows it. Settings may stand before a command or after it. The help names their variables
    /// without the values, which are nobody's business in a bug report.
    pub(super) fn clap() -> clap::Command {
        let mut command = Words::command().mut_args(|arg| arg.global(true).hide_env_values(true));
        // From here on the commands have their copies of the settings, and the one that needs none can hide its own.
        command.build();
        command.mut_subcommand("schema", without_settings)
    }

    /// Variables that are called like a setting and are none: they may be misspelt. Those that Kubernetes sets for a service
    /// called `dmwire` are left out.
    pub fn unknown_variables(&self) -> Vec<String> {
        let clap = Self::clap();
        let known: Vec<_> = clap
            .get_arguments()
            .filter_map(clap::Arg::get_env)
            .collect();
        let mut unknown: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| !known.contains(&name.as_os_str()))
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| {
                let rest = name.strip_prefix("DMWIRE_");
                rest.is_some_and(|rest| !rest.starts_with("PORT") && !rest.starts_with("SERVICE_"))
            })
            .collect();
        unknown.sort();
        unknown
    }

    pub(super) fn sources(&self) -> Result<Sources<'_>, ConfigError> {
        Sources::read(
            &self.words.settings,
            &self.matches,
            self.words.config.as_deref().map(Path::new),
        )
    }
}

fn without_settings(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let is_setting = arg.is_global_set();
            arg.hide(is_setting)
        })
        .mut_subcommands(without_settings)
}
