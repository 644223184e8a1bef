//! Reads the columns of a message.

use rusqlite::{Result, Row};
use uuid::Uuid;

use crate::store::{Conversation, StoredMessage};

/// An upper bound of the bytes that a message takes in an answer besides its content and reactions.
pub const OVERHEAD: usize = 512;

/// A query of the columns of a [`StoredMessage`], from `m` (messages), `f` (its author) and `t` (its recipient, if it was not sent to
/// a room).
macro_rules! select_messages {
    ($before:literal, $after:literal) => {
        concat!(
            "SELECT ",
            $before,
            "f.id, t.id, m.id, m.sent_at, m.reply_to, m.edited_at,
                coalesce(m.deleted_at,
                    CASE WHEN t.n IS NULL THEN (SELECT r.deleted_at FROM rooms AS r WHERE r.n = -m.conversation) END),
                CASE WHEN t.n IS NULL
                    THEN (SELECT coalesce(r.former, r.name) FROM rooms AS r WHERE r.n = -m.conversation) END,
                coalesce(m.content, (SELECT x.content FROM contents AS x WHERE x.n = m.n)) ",
            $after
        )
    };
}

pub(super) use select_messages;

/// Reads the message whose columns begin at `at`.
pub fn stored_message(row: &Row<'_>, at: usize) -> Result<StoredMessage> {
    let content: Option<String> = row.get(at + 8)?;
    let mut message = message_without_content(row, at)?;
    // The messages of a deleted room have content until all steps of the deletion are done.
    if message.deleted_at.is_none() {
        message.content = content.unwrap_or_default();
    }
    Ok(message)
}

/// As [`stored_message`], without the last column.
pub fn message_without_content(row: &Row<'_>, at: usize) -> Result<StoredMessage> {
    let to = match row.get(at + 1)? {
        Some(user) => Conversation::Direct(user),
        None => Conversation::Room(row.get(at + 7)?),
    };
    Ok(StoredMessage {
        from: row.get(at)?,
        to,
        id: row.get(at + 2).map(Uuid::from_bytes)?,
        sent_at: row.get(at + 3)?,
        reply_to: row
            .get::<_, Option<[u8; 16]>>(at + 4)?
            .map(Uuid::from_bytes),
        edited_at: row.get(at + 5)?,
        deleted_at: row.get(at + 6)?,
        content: String::new(),
        reactions: Vec::new(),
    })
}

/// An upper bound of the bytes that a message takes in an answer.
pub fn size(message: &StoredMessage) -> usize {
    let users = |users: &Vec<String>| users.iter().map(|user| user.len() + 3).sum::<usize>();
    let reactions = message.reactions.iter();
    // An escaped character of a reaction takes up to six bytes.
    let reactions: usize = reactions
        .map(|(emoji, by)| 6 * emoji.len() + 24 + users(by))
        .sum();
    message.content.len() + OVERHEAD + reactions
}
