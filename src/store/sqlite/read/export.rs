//! Reads all messages of a user: those of the direct conversations, those that the user may read in rooms, and the user's own ones in all
//! rooms.
//!
//! Conversations are read in the order of the numbers of the other users and of the rooms, and the messages of each in the order of their
//! own numbers. So a page continues behind the last message of the page before, whatever has been sent, left or removed since, and no message
//! is read twice. The lists of conversations, in which a new message moves its conversation to the front, do not have this property.
//!
//! A page looks up each of its conversations, and seeks its messages by an index: the primary key, or, for the own messages in a room that the
//! user cannot read, `room_authors`, whose entries end with the primary key. So it takes time in proportion to its messages and
//! conversations, however many messages of others the rooms have.

use rusqlite::{OptionalExtension as _, Result};

use super::SqliteReader;
use super::row::{select_messages, size, stored_message};
use crate::store::export::ExportPart;
use crate::store::sqlite::rooms::conversation_of;
use crate::store::{ExportPage, ExportPosition, ExportQuery, StoredMessage};

/// The conversations that one page looks up at most. Those without messages would make it long otherwise.
const MAX_EXAMINED: usize = 1000;

/// Messages of a conversation whose numbers are between two others.
struct Range {
    conversation: i64,
    /// Only the messages of the user, in a room.
    only_own: bool,
    after: i64,
    before: i64,
}

/// A page that is being read.
struct Page<'a> {
    query: &'a ExportQuery,
    messages: Vec<StoredMessage>,
    bytes: usize,
}

impl Page<'_> {
    /// Adds a message. False: there is no room for it.
    fn add(&mut self, message: StoredMessage) -> bool {
        self.bytes += size(&message);
        let is_full = self.bytes > self.query.bytes && !self.messages.is_empty();
        if is_full || self.messages.len() == self.query.limit {
            return false;
        }
        self.messages.push(message);
        true
    }

    fn end(self, next: Option<ExportPosition>) -> ExportPage {
        ExportPage {
            messages: self.messages,
            next,
        }
    }
}

impl SqliteReader {
    /// Reads a page of an export, within a transaction of the caller. `None`: the user is not known, or not any more.
    pub(super) fn read_export(&self, query: &ExportQuery) -> Result<Option<ExportPage>> {
        let Some(user) = self.user(&query.user)? else {
            return Ok(None);
        };
        let mut at = match query.after {
            None => ExportPosition::start(user),
            Some(after) if after.user == user => after,
            // The name belongs to another user now.
            Some(_) => return Ok(None),
        };
        let mut page = Page {
            query,
            messages: Vec::new(),
            bytes: 0,
        };
        for _ in 0..MAX_EXAMINED {
            if at.message.is_none() {
                match self.next_place(at)? {
                    Some(next) => at = next,
                    None => return Ok(Some(page.end(None))),
                }
            }
            for range in self.ranges(at)? {
                if !self.read_range(&range, &mut at, &mut page)? {
                    return Ok(Some(page.end(Some(at))));
                }
            }
            at.message = None;
        }
        Ok(Some(page.end(Some(at))))
    }

    /// The first conversation behind that of a position, before its first message.
    fn next_place(&self, at: ExportPosition) -> Result<Option<ExportPosition>> {
        let ExportPosition {
            user, part, place, ..
        } = at;
        let in_part = |part, place| ExportPosition {
            part,
            place,
            message: Some(0),
            ..at
        };
        let mut place = place;
        if part == ExportPart::WithHigher {
            if let Some(other) = self.number(
                "SELECT high FROM conversations WHERE low = ?1 AND high > ?2 ORDER BY high LIMIT 1",
                [user, place],
            )? {
                return Ok(Some(in_part(ExportPart::WithHigher, other)));
            }
            place = 0;
        }
        if part != ExportPart::Rooms {
            if let Some(other) = self.number(
                "SELECT low FROM conversations WHERE high = ?1 AND low > ?2 AND low < ?1 ORDER BY low LIMIT 1",
                [user, place],
            )? {
                return Ok(Some(in_part(ExportPart::WithLower, other)));
            }
            place = 0;
        }
        let as_member = self.number(
            "SELECT room FROM members WHERE user = ?1 AND room > ?2 ORDER BY room LIMIT 1",
            [user, place],
        )?;
        // The second condition is that of the index, and the first one is to be its range: the conversation of a room with a higher number
        // has a lower one.
        let as_author = self
            .number(
                "SELECT conversation FROM messages WHERE sender = ?1 AND conversation < ?2 AND conversation < 0
                 ORDER BY conversation DESC LIMIT 1",
                [user, conversation_of(place)],
            )?
            .map(conversation_of);
        let next = as_member.into_iter().chain(as_author).min();
        Ok(next.map(|room| in_part(ExportPart::Rooms, room)))
    }

    fn number(&self, sql: &str, parameters: [i64; 2]) -> Result<Option<i64>> {
        self.connection
            .prepare_cached(sql)?
            .query_row(parameters, |row| row.get(0))
            .optional()
    }

    /// What the user gets of the rest of the conversation at a position, in order.
    fn ranges(&self, at: ExportPosition) -> Result<Vec<Range>> {
        let after = at.message.unwrap_or_default();
        let (low, high) = (at.user.min(at.place), at.user.max(at.place));
        if at.part != ExportPart::Rooms {
            let conversation = self.number(
                "SELECT n FROM conversations WHERE low = ?1 AND high = ?2",
                [low, high],
            )?;
            let all = conversation.map(|conversation| Range {
                conversation,
                only_own: false,
                after,
                before: i64::MAX,
            });
            return Ok(all.into_iter().collect());
        }
        let conversation = conversation_of(at.place);
        let readable = self.first_readable(at.user, at.place)?;
        let own = Range {
            conversation,
            only_own: true,
            after,
            before: readable.unwrap_or(i64::MAX),
        };
        let all = readable.map(|first| Range {
            conversation,
            only_own: false,
            after: after.max(first - 1),
            before: i64::MAX,
        });
        Ok([own].into_iter().chain(all).collect())
    }

    /// Adds the messages of a range to a page, and moves the position behind the last one. False: the page is full.
    fn read_range(
        &self,
        range: &Range,
        at: &mut ExportPosition,
        page: &mut Page<'_>,
    ) -> Result<bool> {
        if range.after >= range.before {
            return Ok(true);
        }
        // One more than there is room for.
        let limit = (page.query.limit - page.messages.len()) as i64 + 1;
        let bounds = [range.conversation, range.after, range.before, limit];
        if range.only_own {
            // The numbers are in the index.
            let mut statement = self.connection.prepare_cached(
                "SELECT n FROM messages WHERE sender = ?5 AND conversation < 0 AND conversation = ?1 AND n > ?2 AND n < ?3
                 ORDER BY n LIMIT ?4",
            )?;
            let [conversation, after, before, limit] = bounds;
            let mut rows = statement.query([conversation, after, before, limit, at.user])?;
            while let Some(row) = rows.next()? {
                let n = row.get(0)?;
                if !page.add(self.read_message(range.conversation, n)?) {
                    return Ok(false);
                }
                at.message = Some(n);
            }
            return Ok(true);
        }
        let mut statement = self.connection.prepare_cached(select_messages!(
            "m.n, ",
            "FROM messages AS m JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient
             WHERE m.conversation = ?1 AND m.n > ?2 AND m.n < ?3 ORDER BY m.n LIMIT ?4"
        ))?;
        let mut rows = statement.query(bounds)?;
        while let Some(row) = rows.next()? {
            let n = row.get(0)?;
            let mut message = stored_message(row, 1)?;
            message.reactions = self.reactions(range.conversation, n)?;
            if !page.add(message) {
                return Ok(false);
            }
            at.message = Some(n);
        }
        Ok(true)
    }
}
