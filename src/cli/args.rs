//! The command line.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use dmwire::{config, logging};

use super::{COMMANDS, Settings};

const INTRO: &str = "\
A self-hosted direct-messaging server: typed JSON over WebSocket.

Without a command it serves, by default to this machine only:

  dmwire
  dmwire --listen 0.0.0.0:8080 --jwt-key issuer.pem --store sqlite:/var/lib/dmwire/dmwire.db

Each setting is a flag, an environment variable, or a key of a TOML file (max_frame_bytes for --max-frame-bytes). Flags \
take precedence over variables, and variables over the file.";

/// Parses the command line of the process. Ends the process after `--help` and `--version` with exit code 0, and for an
/// invalid command line with 2.
pub fn parse() -> ArgMatches {
    command().try_get_matches().unwrap_or_else(|error| {
        if error.kind() == ErrorKind::InvalidUtf8
            && let Some(name) = argument_not_in_utf8(std::env::args_os().skip(1))
                .or_else(config::variable_not_in_utf8)
        {
            logging::print_last(&format!("dmwire: {name}: the value is not in UTF-8"));
            std::process::exit(error.exit_code());
        }
        if let (ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument, Some(text)) =
            (error.kind(), value_without_equals())
        {
            logging::print_last(&format!("dmwire: {text}"));
            std::process::exit(error.exit_code());
        }
        error.exit()
    })
}

/// The error for a flag with a value that has to follow `=`.
fn value_without_equals() -> Option<String> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let pairs = || {
        let pairs = arguments.windows(2);
        pairs.filter_map(|pair| Some((pair[0].to_str()?, pair[1].to_str()?)))
    };
    let is_hidden =
        |(flag, value): &(&str, &str)| config::takes_secret(flag) && value.starts_with('-');
    if let Some((flag, _)) = pairs().find(is_hidden) {
        return Some(format!(
            "{flag}: a secret has to follow; one that begins with a hyphen follows an equals sign, {flag}=SECRET. A public key is set with \
             --jwt-key FILE"
        ));
    }
    let (flag, value) = pairs().find(|(flag, value)| config::needs_equals(flag, value))?;
    Some(format!(
        "{flag}: the value follows an equals sign, {flag}={value}; {flag} without a value stands for {flag}=true"
    ))
}

/// The flag whose value is not in UTF-8, or a text for an argument that belongs to no flag. The value itself may be a secret.
fn argument_not_in_utf8(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut previous = None;
    for argument in arguments {
        if argument.to_str().is_none() {
            let bytes = argument.as_encoded_bytes();
            let name = bytes.split(|&byte| byte == b'=').next();
            let own = name.and_then(|name| str::from_utf8(name).ok());
            let own = own.filter(|name| is_setting(name)).map(str::to_owned);
            let name = own.or_else(|| previous.filter(|_| !bytes.starts_with(b"--")));
            return Some(name.unwrap_or_else(|| "an argument".to_owned()));
        }
        previous = argument.into_string().ok().filter(|name| is_setting(name));
    }
    None
}

/// Whether an argument is the flag of a setting or of the file of settings.
fn is_setting(argument: &str) -> bool {
    let name = argument.strip_prefix("--");
    name.is_some_and(|name| config::args().any(|arg| arg.get_long() == Some(name)))
}

fn command() -> Command {
    // Settings may stand before a command or after it.
    let settings = config::args().map(|arg| arg.global(true));
    let mut command = Command::new("dmwire")
        .version(env!("CARGO_PKG_VERSION"))
        .about(INTRO)
        .args(settings)
        .subcommands(COMMANDS.map(|command| (command.clap)()));
    // Gives each command its own copy of the settings, which it can then hide.
    command.build();
    for entry in COMMANDS {
        let name = (entry.clap)().get_name().to_owned();
        command = match entry.settings {
            Settings::All => command,
            Settings::Only(keys) => {
                command.mut_subcommand(name, |command| show_only(command, keys))
            }
            Settings::None => command.mut_subcommand(name, hide_settings),
        };
    }
    command
}

/// Hides all settings but these, and shows these in the short help as well.
fn show_only(command: Command, keys: &'static [&'static str]) -> Command {
    command.mut_args(move |arg| {
        let id = arg.get_id().as_str();
        let shown = keys.contains(&id) || id == "config";
        if shown {
            arg.hide_short_help(false)
        } else {
            hide_setting(arg)
        }
    })
}

fn hide_settings(command: Command) -> Command {
    command
        .mut_args(hide_setting)
        .mut_subcommands(hide_settings)
}

fn hide_setting(arg: Arg) -> Arg {
    let is_setting = arg.is_global_set();
    let hidden = arg.is_hide_set() || is_setting;
    arg.hide(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn an_argument_that_is_not_in_utf8_is_named_by_its_flag_only() {
        use std::os::unix::ffi::OsStringExt as _;
        let named = |arguments: &[&[u8]]| {
            argument_not_in_utf8(
                arguments
                    .iter()
                    .map(|bytes| OsString::from_vec(bytes.to_vec())),
            )
        };
        for (arguments, name) in [
            (&[&b"--jwt-secret"[..], b"\xff"][..], "--jwt-secret"),
            (&[b"--jwt-secret=\xff"], "--jwt-secret"),
            (&[b"--listen", b"[::1]:8080", b"\xff"], "an argument"),
            (&[b"--listen=[::1]:8080", b"\xff"], "an argument"),
            (&[b"--jwt-secret\xff"], "an argument"),
            (&[b"--open", b"--\xff=1"], "an argument"),
            (&[b"token", b"\xff"], "an argument"),
        ] {
            assert_eq!(named(arguments).as_deref(), Some(name), "{arguments:?}");
        }
        assert_eq!(named(&[b"--listen", b"[::1]:8080"]), None);
    }

    #[test]
    fn each_command_names_settings_that_exist() {
        let known: Vec<_> = config::args().map(|arg| arg.get_id().to_string()).collect();
        for command in COMMANDS {
            if let Settings::Only(keys) = command.settings {
                for key in keys {
                    assert!(known.iter().any(|known| known == key), "{key}");
                }
            }
        }
    }
}
