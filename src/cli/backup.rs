//! `dmwire backup`: copies the store to a file.

use std::io::{self, Write as _};

use clap::ArgMatches;
use dmwire::protocol::Timestamp;
use dmwire::store::sqlite::admin::{self, Contents};

use super::{
    Command, CommandError, Settings, existing_store, failed, file_arg, file_of, store_failed,
};

pub const COMMAND: Command = Command {
    clap: || {
        let file = file_arg("File to write; it must not exist");
        clap::Command::new("backup")
            .about("Copy a consistent snapshot of the store to a file, also while the server runs")
            .arg(file)
    },
    settings: Settings::Only(&["store"]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let path = existing_store(matches, "no backup was made")?;
    let file = file_of(own);
    let now = Timestamp::now();
    let backup = admin::backup(&path, &file).map_err(store_failed("no backup was made"))?;
    let removed = backup.removed.iter().map(|path| {
        format!(
            "removed {}, which an earlier file of this name had left",
            path.display()
        )
    });
    let mut lines: Vec<String> = removed.collect();
    lines.push(format!(
        "wrote {}: {}; it has everything that {} had acknowledged by {now}",
        file.display(),
        describe(&backup.contents),
        path.display()
    ));
    writeln!(io::stdout(), "{}", lines.join("\n"))
        .map_err(failed("the backup is made, but this cannot be printed"))
}

/// What a file contains, for people.
pub fn describe(contents: &Contents) -> String {
    let newest = contents.newest.map_or_else(String::new, |at| {
        format!(" (the newest of {})", Timestamp(at))
    });
    format!(
        "{} bytes, {} users, {} messages{newest}",
        contents.bytes, contents.users, contents.messages
    )
}
