//! Logging: which lines are written, and how.

use std::io::{self, IsTerminal as _};

use super::RawValue;
use super::setting::{choice, section, text};

section! {
    /// Which log lines are written, and in which format.
    pub struct LoggingConfig = config.logging, "Logging";

    /// Lowest level that is logged (off, error, warn, info, debug or trace), or levels by module, such as
    /// `info,dmwire::store=debug`
    log: String = "info".into(), text("FILTER", filter).common();

    /// Format of a log line: plain, or json for one object per line
    log_format: LogFormat = LogFormat::Plain,
        choice(&[("plain", LogFormat::Plain), ("json", LogFormat::Json)]);
}

/// True if log lines on stderr may be coloured: it is a terminal, and neither `NO_COLOR` nor `TERM=dumb` is set.
pub fn stderr_shows_colors() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text: time, level, message, ` key=value`.
    #[default]
    Plain,
    /// One JSON object per line.
    Json,
}

/// Checks a log filter more strictly than the logger does: the logger would take a misspelt level for the name of a module
/// and log nothing from then on.
fn filter(raw: &RawValue) -> Result<String, String> {
    let is_level = |level: &str| level.trim().parse::<log::LevelFilter>().is_ok();
    let valid = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => {
            !target.trim().is_empty() && !target.contains('/') && is_level(level)
        }
        None => is_level(directive),
    };
    if raw.as_str().split(',').all(valid) {
        Ok(raw.as_str().to_owned())
    } else {
        Err(format!(
            "{raw} is not a log filter; expected a level (off, error, warn, info, debug or trace) or levels by module, \
             such as info,dmwire::store=debug"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_consists_of_levels() {
        for valid in [
            "info",
            "WARN",
            "off,dmwire=debug",
            "info, dmwire::store=trace",
        ] {
            assert!(filter(&valid.into()).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "inof",
            "dmwire",
            "info,",
            "dmwire=loud",
            "=info",
            "info/word",
        ] {
            assert!(filter(&invalid.into()).is_err(), "{invalid}");
        }
    }
}
