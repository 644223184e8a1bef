//! `dmwire restore`: puts a copy of a backup in place of the store.

use std::io::{self, Write as _};

use clap::ArgMatches;
use dmwire::store::sqlite::admin;

use super::backup::describe;
use super::{Command, CommandError, Settings, failed, file_arg, file_of, store_failed, store_file};

pub const COMMAND: Command = Command {
    clap: || {
        let file = file_arg(
            "Backup to restore; the store itself, to continue without its write-ahead log if that is lost",
        );
        clap::Command::new("restore")
            .about("Replace the store by a copy of a backup; the server must not be running on it")
            .arg(file)
    },
    settings: Settings::Only(&["store"]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let store = store_file(matches)?;
    let file = file_of(own);
    let restored = admin::restore(&file, &store).map_err(store_failed("nothing was restored"))?;
    let (store, file) = (store.display(), file.display());
    let contents = &restored.contents;
    let mut lines = vec![format!(
        "restored {store} from {file}: {}",
        describe(contents)
    )];
    if restored.without_log {
        lines.push(format!(
            "{file} was read without its write-ahead log: what only the log had is lost"
        ));
    }
    lines.extend(restored.removed.iter().map(|path| {
        format!(
            "removed {}, which the former store had left",
            path.display()
        )
    }));
    lines.push(format!(
        "the store has the new epoch {}: clients are told `truncated` with the reason `reset`, and read their inboxes again",
        contents.epoch
    ));
    writeln!(io::stdout(), "{}", lines.join("\n"))
        .map_err(failed("the store is restored, but this cannot be printed"))
}
