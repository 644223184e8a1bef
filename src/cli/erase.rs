//! `dmwire erase`: removes the data of a user.

use std::io::{self, Write as _};

use clap::ArgMatches;
use dmwire::config::Resolved;
use dmwire::store::sqlite::admin;

use super::{
    Command, CommandError, Settings, existing_store, failed, store_failed, user_arg, user_of,
};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("erase")
            .about("Remove the data of a user from the store; the server must not be running on it")
            .arg(user_arg())
    },
    settings: Settings::Only(&["store", "small_room"]),
    run,
};

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let path = existing_store(matches, "cannot erase")?;
    let user = user_of(own)?;
    let small_room = Resolved::new(matches)?.config.rooms.small_room;
    let now = dmwire::protocol::Timestamp::now().0;
    let erased =
        admin::erase(&path, user, now, small_room).map_err(store_failed("cannot erase"))?;
    writeln!(
        io::stdout(),
        "erased {user}: {} messages, {} reactions, {} inbox entries",
        erased.messages,
        erased.reactions,
        erased.entries
    )
    .map_err(failed("cannot print"))
}
