//! `dmwire export`: prints the messages of a user.

use std::io::{self, Write};

use clap::ArgMatches;
use dmwire::config::Resolved;
use dmwire::store::sqlite::admin;
use dmwire::store::{ExportQuery, StoredMessage};

use super::{
    Command, CommandError, Settings, existing_store, failed, not_printed, store_failed, user_arg,
    user_of,
};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("export")
            .about("Print all messages of a user's conversations, one JSON object per line")
            .arg(user_arg())
    },
    settings: Settings::Only(&["store", "room_history"]),
    run,
};

/// Messages in one page, and bytes of content.
const MESSAGES: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let cannot = "cannot export";
    let path = existing_store(matches, cannot)?;
    let user = user_of(own)?;
    let room_history = Resolved::new(matches)?.config.rooms.room_history;
    let mut reader = admin::reader_of(&path, user, room_history).map_err(store_failed(cannot))?;
    let mut out = io::BufWriter::new(io::stdout());
    let mut after = None;
    loop {
        let page = reader
            .export(&ExportQuery {
                user: user.into(),
                after,
                limit: MESSAGES,
                bytes: PAGE_BYTES,
            })
            .map_err(failed(cannot))?;
        let Some(page) = page else {
            let what = format!("{}: {user} was erased meanwhile", path.display());
            return Err(failed(cannot)(what));
        };
        for message in &page.messages {
            print(message, &mut out).map_err(not_printed("the messages"))?;
        }
        after = page.next;
        if after.is_none() {
            return out.flush().map_err(not_printed("the messages"));
        }
    }
}

/// Prints a message as `history` frames contain it.
fn print(message: &StoredMessage, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    dmwire::delivery::render::past_message(message).write(&mut line);
    line.push(b'\n');
    out.write_all(&line)
}
