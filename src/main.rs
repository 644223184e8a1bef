//! The `dmwire` program. The commands are in `cli`, everything else is in the library.

mod cli;

use std::process::ExitCode;

use dmwire::logging;

fn main() -> ExitCode {
    match cli::run(&cli::args::parse()) {
        Ok(()) => {
            log::logger().flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            if let Some(text) = error.text() {
                logging::print_last(&format!("dmwire: {text}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}
