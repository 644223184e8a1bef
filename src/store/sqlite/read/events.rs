//! Reads events.

use std::ops::Range;

use ring::digest::{Context, SHA256};
use rusqlite::{OptionalExtension as _, Result, Row, params};

use super::SqliteReader;
use super::row::{select_messages, stored_message};
use crate::store::sqlite::events::kind_of;
use crate::store::sqlite::kinds;
use crate::store::sqlite::rooms::{DELETED, is_room};
use crate::store::{
    EventData, EventKind, EventReader, EventRef, EventSubject, MembershipEntry, MembershipEvent,
    ReceiverKey, ReceiverState, StoreError, StoredMessage, WaitingMessage, WaitingMessages,
};

/// Events, and users of rooms, that one search for waiting messages looks at.
const SEARCH_EVENTS: i64 = 512;
const SEARCH_USERS: usize = 20_000;

type Answer<T> = std::result::Result<T, StoreError>;

/// A row of an event, with what is needed to find its subject.
struct EventRow {
    event: EventRef,
    n: i64,
    user: Option<i64>,
    users: Option<String>,
    members: Option<String>,
    message: Option<StoredMessage>,
}

fn event_ref(row: &Row<'_>) -> Result<EventRef> {
    Ok(EventRef {
        id: row.get(0)?,
        conversation: row.get(1)?,
        kind: kind_of(row.get(2)?),
        at: row.get(3)?,
    })
}

impl EventReader for SqliteReader {
    fn flush_events(&mut self) -> Answer<()> {
        Ok(self.see_all_messages()?)
    }

    fn receivers(&mut self) -> Answer<Vec<ReceiverKey>> {
        let mut statement = self.connection.prepare("SELECT receiver FROM receivers")?;
        let receivers = statement.query_map((), |row| row.get(0))?;
        Ok(receivers.collect::<Result<_>>()?)
    }

    fn receiver(&mut self, receiver: &ReceiverKey) -> Answer<Option<ReceiverState>> {
        let sql = "SELECT position, needed, memory FROM receivers WHERE receiver = ?1";
        let state = self.connection.query_row(sql, [&receiver[..]], |row| {
            Ok(ReceiverState {
                position: row.get(0)?,
                needed: row.get(1)?,
                memory: row.get(2)?,
            })
        });
        Ok(state.optional()?)
    }

    fn events(&mut self, first: i64, limit: usize) -> Answer<Vec<EventRef>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, conversation, kind, at FROM events WHERE id >= ?1 ORDER BY id LIMIT ?2",
        )?;
        let events = statement.query_map(params![first, limit as i64], event_ref)?;
        Ok(events.collect::<Result<_>>()?)
    }

    fn events_of(
        &mut self,
        conversation: i64,
        range: Range<i64>,
        limit: usize,
    ) -> Answer<Vec<EventRef>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, conversation, kind, at FROM events
             WHERE conversation = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4",
        )?;
        let limit = limit as i64;
        let range = params![conversation, range.start, range.end, limit];
        let events = statement.query_map(range, event_ref)?;
        Ok(events.collect::<Result<_>>()?)
    }

    fn event_data(&mut self, events: &[EventRef]) -> Answer<Vec<Option<EventData>>> {
        self.exclude_pending()?;
        let view = self.connection.unchecked_transaction()?;
        let data = events.iter().map(|event| self.data(event.id));
        let data = data.collect::<Result<_>>()?;
        view.finish()?;
        Ok(data)
    }

    fn waiting(&mut self, first: i64, until: i64, forced: i64) -> Answer<WaitingMessages> {
        self.exclude_pending()?;
        if self.lacks_entries(first, until, forced)? {
            // What is seen of the events now is flushed with all entries.
            let sql = "SELECT coalesce(max(id), 0) FROM events";
            let last = self.connection.query_row(sql, (), |row| row.get(0))?;
            self.see_all_messages()?;
            if self.includes_pending {
                // The events are read without the log.
                let error = "messages cannot be moved to their tables";
                return Err(StoreError::Unavailable(error.to_owned()));
            }
            self.events_with_entries = last;
        }
        let view = self.connection.unchecked_transaction()?;
        let found = self.find_waiting(first, until, forced)?;
        view.finish()?;
        Ok(found)
    }
}

impl SqliteReader {
    fn data(&self, id: i64) -> Result<Option<EventData>> {
        let row = self
            .connection
            .prepare_cached(select_messages!(
                "e.id, e.conversation, e.kind, e.at, e.message, e.user, e.users, e.members, m.n, ",
                "FROM events AS e
                 LEFT JOIN messages AS m ON e.kind NOT IN (6, 7) AND m.conversation = e.conversation AND m.n = e.message
                 LEFT JOIN users AS f ON f.n = m.sender LEFT JOIN users AS t ON t.n = m.recipient WHERE e.id = ?1"
            ))?
            .query_row([id], |row| {
                let has_message = row.get::<_, Option<i64>>(8)?.is_some();
                Ok(EventRow {
                    event: event_ref(row)?,
                    n: row.get(4)?,
                    user: row.get(5)?,
                    users: row.get(6)?,
                    members: row.get(7)?,
                    message: has_message.then(|| stored_message(row, 9)).transpose()?,
                })
            })
            .optional()?;
        let Some(mut row) = row else {
            return Ok(None);
        };
        let subject = match (row.event.kind, row.message.take()) {
            (EventKind::Message, Some(message)) => Some(EventSubject::Message(message)),
            (EventKind::Waiting, Some(message)) => {
                let users = self.waiting_users(&row)?;
                Some(EventSubject::Waiting(message, users))
            }
            (EventKind::Message | EventKind::Waiting, None) => None,
            (EventKind::Joined | EventKind::Left, _) => {
                self.membership(&row)?.map(EventSubject::Membership)
            }
        };
        Ok(subject.map(|subject| EventData {
            event: row.event,
            identity: identity(&row, &subject),
            subject,
        }))
    }

    /// The users of a waiting message. The number of a user who was removed may be that of another one now, who has no entry about the
    /// message, and has joined the room after it. Retention may have removed the entry of a member.
    fn waiting_users(&self, row: &EventRow) -> Result<Vec<String>> {
        let EventRow { event, n, .. } = row;
        let sql = if is_room(event.conversation) {
            "SELECT id FROM users WHERE n = ?3 AND (EXISTS (SELECT 1 FROM inbox WHERE conversation = ?1 AND message = ?2
                AND user = ?3 AND conversation < 0 AND kind IN (0, 6, 7))
                OR EXISTS (SELECT 1 FROM members WHERE room = -?1 AND user = ?3 AND joined < ?2))"
        } else {
            "SELECT id FROM users WHERE n = ?3 AND EXISTS (SELECT 1 FROM messages WHERE conversation = ?1 AND n = ?2
                AND recipient = ?3)"
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let numbers = row.users.as_deref().unwrap_or_default().split(',');
        let mut users = Vec::new();
        for number in numbers.filter_map(|number| number.parse::<i64>().ok()) {
            let key = [event.conversation, *n, number];
            users.extend(statement.query_row(key, |row| row.get(0)).optional()?);
        }
        Ok(users)
    }

    /// The change of a membership.
    fn membership(&self, row: &EventRow) -> Result<Option<MembershipEntry>> {
        let (kind, event) = match row.event.kind {
            EventKind::Joined => (kinds::JOINED, MembershipEvent::Joined),
            _ => (kinds::LEFT, MembershipEvent::Left),
        };
        let conversation = row.event.conversation;
        let members = match &row.members {
            Some(members) => Some(members.clone()),
            None => self
                .connection
                .prepare_cached(
                    "SELECT emoji FROM inbox WHERE conversation = ?1 AND message = ?2 AND by = ?3 AND kind = ?4
                     AND conversation < 0 AND kind IN (0, 6, 7) LIMIT 1",
                )?
                .query_row(params![conversation, row.n, row.user, kind], |row| {
                    row.get(0)
                })
                .optional()?,
        };
        let Some(members) = members else {
            return Ok(None);
        };
        self.connection
            .prepare_cached(
                "SELECT coalesce(r.former, r.name), u.id FROM rooms AS r JOIN users AS u ON u.n = ?2 WHERE r.n = -?1",
            )?
            .query_row(params![conversation, row.user], |columns| {
                Ok(MembershipEntry {
                    // An event is in no inbox.
                    seq: 0,
                    room: columns.get(0)?,
                    user: columns.get(1)?,
                    event,
                    members: members.parse().unwrap_or_default(),
                    room_deleted: members == DELETED,
                    at: row.event.at,
                })
            })
            .optional()
    }

    /// True if an event that is due is about a message in a room whose entries may be missing: they move to their table after it.
    fn lacks_entries(&self, first: i64, until: i64, forced: i64) -> Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM (SELECT id, conversation, kind, at FROM events WHERE id >= ?1 ORDER BY id LIMIT ?2)
                 WHERE conversation < 0 AND kind = 0 AND (at <= ?3 OR id <= ?4) AND id > ?5 LIMIT 1",
            )?
            .exists([first, SEARCH_EVENTS, until, forced, self.events_with_entries])
    }

    fn find_waiting(&self, first: i64, until: i64, forced: i64) -> Result<WaitingMessages> {
        let mut statement = self.connection.prepare_cached(
            "SELECT e.id, e.conversation, e.message, e.kind, e.at, m.sender, m.recipient, m.to_seq
             FROM events AS e LEFT JOIN messages AS m ON e.kind = 0 AND m.conversation = e.conversation AND m.n = e.message
             WHERE e.id >= ?1 ORDER BY e.id LIMIT ?2",
        )?;
        let mut rows = statement.query([first, SEARCH_EVENTS])?;
        let mut found = WaitingMessages {
            first,
            position: first,
            ..WaitingMessages::default()
        };
        let (mut looked_at, mut count) = (0, 0);
        while let Some(row) = rows.next()? {
            let (id, kind, at): (i64, i64, i64) = (row.get(0)?, row.get(3)?, row.get(4)?);
            let is_message = kind_of(kind) == EventKind::Message;
            let is_due = at <= until || id <= forced;
            // Its entries may be missing.
            let is_early = is_message && is_room(row.get(1)?) && id > self.events_with_entries;
            if is_message && !is_due || is_early || count >= SEARCH_USERS {
                found.next = Some((id, at));
                return Ok(found);
            }
            found.position = id + 1;
            looked_at += 1;
            let Some(sender) = row.get::<_, Option<i64>>(5)? else {
                continue;
            };
            let place = (row.get(1)?, row.get(2)?);
            let users = if is_room(place.0) {
                self.waiting_members(place, sender)?
            } else {
                self.waiting_recipient(place, sender, (row.get(6)?, row.get(7)?))?
            };
            count += 1 + users.len();
            if !users.is_empty() {
                found.messages.push(WaitingMessage {
                    conversation: place.0,
                    message: place.1,
                    users,
                });
            }
        }
        if looked_at == SEARCH_EVENTS {
            // There may be more, which may be due.
            found.next = Some((found.position, until));
        }
        Ok(found)
    }

    /// The recipient of a direct message, who has not received it.
    fn waiting_recipient(
        &self,
        (conversation, n): (i64, i64),
        sender: i64,
        (recipient, seq): (i64, i64),
    ) -> Result<Vec<i64>> {
        if recipient == sender {
            return Ok(Vec::new());
        }
        let has_received = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM devices WHERE user = ?1 AND received >= ?2 UNION ALL
                 SELECT 1 FROM marks WHERE user = ?1 AND conversation = ?3 AND max(received, read) >= ?4",
            )?
            .exists([recipient, seq, conversation, n])?;
        Ok(if has_received {
            Vec::new()
        } else {
            vec![recipient]
        })
    }

    /// The members of a room who have a message in their inbox and have not received it.
    fn waiting_members(&self, (conversation, n): (i64, i64), sender: i64) -> Result<Vec<i64>> {
        self.connection
            .prepare_cached(
                "SELECT i.user FROM inbox AS i WHERE i.conversation = ?1 AND i.message = ?2 AND i.user != ?3
                 AND i.kind = 0 AND i.conversation < 0 AND i.kind IN (0, 6, 7)
                 AND NOT EXISTS (SELECT 1 FROM devices AS d WHERE d.user = i.user AND d.received >= i.seq)
                 AND NOT EXISTS (SELECT 1 FROM marks AS k WHERE k.user = i.user AND k.conversation = ?1 AND k.read >= ?2)",
            )?
            .query_map([conversation, n, sender], |row| row.get(0))?
            .collect()
    }
}

/// A hash of what makes the event this one: its number alone may be used again after the store was rolled back.
fn identity(row: &EventRow, subject: &EventSubject) -> [u8; 16] {
    let mut hash = Context::new(&SHA256);
    let kind: &[u8] = match row.event.kind {
        EventKind::Message => b"message",
        EventKind::Waiting => b"waiting",
        EventKind::Joined => b"joined",
        EventKind::Left => b"left",
    };
    hash.update(kind);
    for number in [row.event.conversation, row.n, row.event.at] {
        hash.update(&number.to_be_bytes());
    }
    hash.update(&row.user.unwrap_or_default().to_be_bytes());
    match subject {
        EventSubject::Message(message) => hash.update(message.id.as_bytes()),
        EventSubject::Waiting(message, _) => {
            hash.update(message.id.as_bytes());
            hash.update(row.users.as_deref().unwrap_or_default().as_bytes());
        }
        EventSubject::Membership(_) => {}
    }
    let mut identity = [0; 16];
    identity.copy_from_slice(&hash.finish().as_ref()[..16]);
    identity
}
