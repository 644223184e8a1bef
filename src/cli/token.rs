//! `dmwire token`: prints a token for a first test.

use std::io::{self, Write as _};

use clap::{Arg, ArgMatches};
use dmwire::auth::MAX_LIFETIME;
use dmwire::config::Resolved;

use super::{Command, CommandError, Settings, not_printed, required, user_arg};

pub const COMMAND: Command = Command {
    clap: || {
        let ttl = Arg::new("ttl")
            .long("ttl")
            .default_value("1h")
            .value_parser(duration)
            .help("Lifetime of the token, such as 90s, 15m, 1h or 7d; a number without a unit is in seconds");
        clap::Command::new("token")
            .about("Print a token for a user, signed with the first configured secret, for tests")
            .arg(user_arg())
            .arg(ttl)
    },
    settings: Settings::Only(&[
        "listen",
        "open",
        "auth",
        "jwt_secret",
        "jwt_secret_file",
        "jwt_issuer",
        "jwt_audience",
        "store",
    ]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let resolved = Resolved::new(matches)?;
    let config = resolved.for_serving()?;
    let seconds = own.get_one::<u64>("ttl").copied().unwrap_or_default();
    let secret_file = config.storage.secret_file();
    let (token, signed_with) = dmwire::auth::issue_token(
        config.access(),
        &config.auth,
        secret_file.as_deref(),
        required(own, "user"),
        seconds,
    )
    .map_err(|error| {
        let code = if error.is_invalid() { 2 } else { 1 };
        CommandError::FailedWith(format!("no token can be made: {error}"), code)
    })?;
    writeln!(io::stdout(), "{token}").map_err(not_printed("the token"))?;
    // A server with other settings rejects the token without saying why.
    let _ = writeln!(io::stderr(), "signed with {signed_with}");
    Ok(())
}

/// A time such as `90s`, `15m`, `1h` or `7d`, in seconds.
fn duration(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, unit)) if !unit.is_ascii_digit() => (&text[..at], unit),
        _ => (text, 's'),
    };
    let factor = match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = factor
        .zip(digits.parse::<u64>().ok().filter(|_| plain))
        .and_then(|(factor, count)| count.checked_mul(factor));
    seconds
        .filter(|seconds| (1..=MAX_LIFETIME).contains(seconds))
        .ok_or_else(|| {
            format!("{text:?} is not a time such as 90s, 15m, 1h or 7d, up to ten years")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [
            ("1", 1),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("7d", 604_800),
            ("3653d", MAX_LIFETIME),
        ] {
            assert_eq!(duration(text), Ok(seconds));
        }
        for invalid in [
            "",
            "0",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1y",
            "1 h",
            "3654d",
            "315619201s",
            "1é",
            "99999999999999999999d",
        ] {
            assert!(duration(invalid).is_err(), "{invalid}");
        }
    }
}
