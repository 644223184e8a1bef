//! Reads the history of a conversation.

use rusqlite::{OptionalExtension as _, Result, params};

use super::SqliteReader;
use super::row::{select_messages, size, stored_message};
use crate::store::{
    Conversation, HistoryAnswer, HistoryPage, HistoryPosition, HistoryQuery, RoomMode,
};

impl SqliteReader {
    pub(super) fn read_history(&self, query: &HistoryQuery) -> Result<HistoryAnswer> {
        let place = match &query.conversation {
            Conversation::Direct(peer) => self
                .conversation(&query.user, peer)?
                .map(|conversation| (conversation, 0)),
            Conversation::Room(_) if self.rooms.mode == RoomMode::Off => {
                return Ok(HistoryAnswer::UnknownRoom);
            }
            Conversation::Room(name) => {
                let Some(member) = self.member(&query.user, name)? else {
                    return Ok(HistoryAnswer::NotMember);
                };
                Some((member.conversation(), self.first_visible(&member)))
            }
        };
        self.read_messages(query, place)
    }

    /// Reads messages of a conversation from a number on. `place`: the two; `None`: there is no such conversation.
    pub(super) fn read_messages(
        &self,
        query: &HistoryQuery,
        place: Option<(i64, i64)>,
    ) -> Result<HistoryAnswer> {
        let Some((conversation, oldest)) = place else {
            return Ok(match query.position {
                // A conversation without messages is empty, and has no message to start from.
                Some(_) => HistoryAnswer::UnknownMessage,
                None => HistoryAnswer::Page(HistoryPage {
                    messages: Vec::new(),
                    more: false,
                }),
            });
        };
        let forwards = matches!(query.position, Some(HistoryPosition::After(_)));
        let from = match query.position {
            None => i64::MAX,
            Some(HistoryPosition::Before(id) | HistoryPosition::After(id)) => {
                let n: Option<i64> = self
                    .connection
                    .prepare_cached("SELECT n FROM messages WHERE conversation = ?1 AND id = ?2")?
                    .query_row(params![conversation, id.as_bytes()], |row| row.get(0))
                    .optional()?;
                match n {
                    Some(n) if n >= oldest => n,
                    _ => return Ok(HistoryAnswer::UnknownMessage),
                }
            }
        };
        // Numbers are not that high: without a first message there is none to show.
        let mut first = match query.not_before {
            Some(not_before) => self
                .first_shown(conversation, 0, not_before)?
                .unwrap_or(i64::MAX),
            None => 0,
        };
        first = first.max(oldest);
        if forwards {
            first = first.max(from + 1);
        }
        let sql = if forwards {
            select_messages!(
                "m.n, ",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n < ?2 AND m.n >= ?3 ORDER BY m.n ASC LIMIT ?4"
            )
        } else {
            select_messages!(
                "m.n, ",
                "FROM messages AS m JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient
                 WHERE m.conversation = ?1 AND m.n < ?2 AND m.n >= ?3 ORDER BY m.n DESC LIMIT ?4"
            )
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        // One more than requested tells whether there are more.
        let limit = query.limit as i64 + 1;
        let before = if forwards { i64::MAX } else { from };
        let mut rows = statement.query([conversation, before, first, limit])?;
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let mut message = stored_message(row, 1)?;
            message.reactions = self.reactions(conversation, n)?;
            bytes += size(&message);
            if messages.len() == query.limit || (bytes > query.bytes && !messages.is_empty()) {
                more = true;
                break;
            }
            messages.push(message);
        }
        if !forwards {
            messages.reverse();
        }
        Ok(HistoryAnswer::Page(HistoryPage { messages, more }))
    }

    pub(super) fn reactions(
        &self,
        conversation: i64,
        n: i64,
    ) -> Result<Vec<(String, Vec<String>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT r.emoji, u.id FROM reactions AS r JOIN users AS u ON u.n = r.user
             WHERE r.conversation = ?1 AND r.message = ?2 AND NOT r.removed ORDER BY r.at, r.seq",
        )?;
        let mut rows = statement.query([conversation, n])?;
        let mut reactions: Vec<(String, Vec<String>)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (emoji, user): (String, String) = (row.get(0)?, row.get(1)?);
            match reactions.iter_mut().find(|(known, _)| *known == emoji) {
                Some((_, users)) => users.push(user),
                None => reactions.push((emoji, vec![user])),
            }
        }
        Ok(reactions)
    }
}
