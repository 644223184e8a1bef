//! Events: what the store keeps for receivers that get all messages and changes of memberships in order.
//!
//! Triggers of the writing connection add a row for each message that moves to its table, and for each change of a membership. So a commit
//! of messages has no more work than without receivers, and no code that stores messages knows of events. The rows have the order of
//! the transactions that added them: a reader that has seen one has seen all earlier ones. Messages of a conversation move in order, and
//! those of a room before a change of its members ([`plan`](super::plan)), so events of a conversation have the order of their commits.
//!
//! A row refers to its message, or to its room and user, by their numbers. Retention may remove the message before all receivers have got
//! the event, which they notice. Rooms and users are kept until then. The name of an erased user is the one that the user has got.

use rusqlite::{Connection, Result, params};

use super::batch::Batch;
use super::kinds;
use crate::store::{
    EventFeed, EventKind, EventWrite, Outcome, ReceiverKey, ReceiverState, WaitingMessages,
};

/// `kind` of an event about users who have not received a message.
const WAITING: i64 = 8;
/// The maximum number of users of such an event.
const MAX_WAITING: usize = 1000;
/// Rows that one step of [`trim`] removes at most.
const TRIM: i64 = 4096;

/// The kind of an event from the table. Other values are not written.
pub fn kind_of(kind: i64) -> EventKind {
    match kind {
        kinds::JOINED => EventKind::Joined,
        kinds::LEFT => EventKind::Left,
        WAITING => EventKind::Waiting,
        _ => EventKind::Message,
    }
}

/// Has events added from now on, for as long as the connection is open.
pub fn keep(connection: &Connection, feed: &EventFeed) -> Result<()> {
    if feed.messages {
        connection.execute_batch(
            "CREATE TEMP TRIGGER message_events AFTER INSERT ON main.messages BEGIN
                INSERT INTO events (conversation, message, kind, at) VALUES (new.conversation, new.n, 0, new.sent_at);
             END",
        )?;
    }
    if feed.memberships {
        // Each change is an entry in the inbox of the user whom it is about.
        connection.execute_batch(
            "CREATE TEMP TRIGGER membership_events AFTER INSERT ON main.inbox
             WHEN new.kind IN (6, 7) AND new.user = new.by BEGIN
                INSERT INTO events (conversation, message, kind, at, user, members)
                    VALUES (new.conversation, new.message, new.kind, new.at, new.by, new.emoji);
             END",
        )?;
    }
    Ok(())
}

/// Removes some of the rows that no receiver needs any more. True: there may be more.
pub fn trim(connection: &Connection) -> Result<bool> {
    let number = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, Option<i64>>(0));
    let (Some(oldest), Some(newest)) = (
        number("SELECT min(id) FROM events")?,
        number("SELECT max(id) FROM events")?,
    ) else {
        return Ok(false);
    };
    let needed = number("SELECT min(needed) FROM receivers")?;
    let end = needed.map_or(i64::MAX, |needed| needed.min(newest));
    if oldest >= end {
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM events WHERE id < min(?1, ?2)")?
        .execute([end, oldest.saturating_add(TRIM)])?;
    Ok(true)
}

impl Batch<'_> {
    /// Stores a change of receivers, or events that a receiver has found.
    pub fn record_events(&mut self, write: &EventWrite) -> Result<Outcome> {
        match write {
            EventWrite::Receivers(receivers) => self.set_receivers(receivers)?,
            EventWrite::Progress(receiver, state) => self.set_progress(receiver, state)?,
            EventWrite::Waiting(receiver, found) => self.add_waiting(receiver, found)?,
        }
        Ok(Outcome::EventsRecorded)
    }

    fn set_receivers(&mut self, receivers: &[ReceiverKey]) -> Result<()> {
        let known: Vec<Vec<u8>> = self
            .tx
            .prepare("SELECT receiver FROM receivers")?
            .query_map((), |row| row.get(0))?
            .collect::<Result<_>>()?;
        for former in &known {
            if !receivers.iter().any(|receiver| receiver[..] == former[..]) {
                self.tx
                    .execute("DELETE FROM receivers WHERE receiver = ?1", [former])?;
            }
        }
        for receiver in receivers {
            self.tx.execute(
                "INSERT INTO receivers (receiver, position, needed, memory)
                 SELECT ?1, next, next, '' FROM (SELECT coalesce(max(id), 0) + 1 AS next FROM events)
                 WHERE true ON CONFLICT DO NOTHING",
                [&receiver[..]],
            )?;
        }
        Ok(())
    }

    fn set_progress(&mut self, receiver: &ReceiverKey, state: &ReceiverState) -> Result<()> {
        self.tx
            .prepare_cached(
                "UPDATE receivers SET position = ?2, needed = ?3, memory = ?4 WHERE receiver = ?1",
            )?
            .execute(params![
                &receiver[..],
                state.position,
                state.needed,
                state.memory
            ])
            .map(drop)
    }

    fn add_waiting(&mut self, receiver: &ReceiverKey, found: &WaitingMessages) -> Result<()> {
        let moved = self
            .tx
            .prepare_cached(
                "UPDATE receivers SET position = ?2, needed = ?2 WHERE receiver = ?1 AND position = ?3",
            )?
            .execute(params![&receiver[..], found.position, found.first])?;
        if moved == 0 {
            // An attempt whose result was not known has added them.
            return Ok(());
        }
        let mut add = self.tx.prepare_cached(
            "INSERT INTO events (conversation, message, kind, at, users) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for message in &found.messages {
            for users in message.users.chunks(MAX_WAITING) {
                let numbers: Vec<_> = users.iter().map(ToString::to_string).collect();
                add.execute(params![
                    message.conversation,
                    message.message,
                    WAITING,
                    self.now,
                    numbers.join(",")
                ])?;
            }
        }
        Ok(())
    }
}
