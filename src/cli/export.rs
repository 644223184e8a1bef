//! `dmwire export`: prints the messages of a user.

use std::io::{self, Write};

use clap::ArgMatches;
use dmwire::config::Resolved;
use dmwire::store::sqlite::admin;
use dmwire::store::{
    Conversation, ConversationsQuery, HistoryAnswer, HistoryPosition, HistoryQuery, Reader,
    StoreError, StoredMessage,
};

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

/// Conversations in one page, messages in one page, and bytes of content in each.
const CONVERSATIONS: usize = 100;
const MESSAGES: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

fn run(matches: &ArgMatches, own: &ArgMatches) -> Result<(), CommandError> {
    let cannot = "cannot export";
    let path = existing_store(matches, cannot)?;
    let user = user_of(own)?;
    let room_history = Resolved::new(matches)?.config.rooms.room_history;
    let mut reader = admin::reader_of(&path, user, room_history).map_err(store_failed(cannot))?;
    let mut out = io::BufWriter::new(io::stdout());
    let mut cursor = None;
    loop {
        let page = reader
            .conversations(&ConversationsQuery {
                user: user.into(),
                limit: CONVERSATIONS,
                cursor,
                not_before: None,
                bytes: PAGE_BYTES,
            })
            .map_err(failed(cannot))?;
        let Some(page) = page else {
            // Retention has removed the conversation at the end of the previous page. A restart would repeat messages.
            let what = format!("{}: the store has changed; export again", path.display());
            return Err(failed(cannot)(what));
        };
        for conversation in &page.items {
            let pages = history(reader.as_mut(), user, &conversation.conversation)
                .map_err(failed(cannot))?;
            for message in pages.iter().rev().flatten() {
                print(message, &mut out).map_err(not_printed("the messages"))?;
            }
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return out.flush().map_err(not_printed("the messages"));
        }
    }
}

/// The history of a conversation, page by page from its newest end; the messages of a page are in order.
fn history(
    reader: &mut dyn Reader,
    user: &str,
    conversation: &Conversation,
) -> Result<Vec<Vec<StoredMessage>>, StoreError> {
    let mut position = None;
    let mut pages = Vec::new();
    loop {
        let page = reader.history(&HistoryQuery {
            user: user.into(),
            conversation: conversation.clone(),
            position,
            limit: MESSAGES,
            not_before: None,
            bytes: PAGE_BYTES,
        })?;
        let HistoryAnswer::Page(page) = page else {
            return Ok(pages);
        };
        let oldest = page.messages.first();
        position = oldest.map(|message| HistoryPosition::Before(message.id));
        pages.push(page.messages);
        if !page.more {
            return Ok(pages);
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
