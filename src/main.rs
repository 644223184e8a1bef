//! The `dmwire` program. The commands are in `cli`, everything else is in the library.

mod cli;

use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(&cli::args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, the exit code is the only report.
            let _ = writeln!(io::stderr(), "dmwire: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
