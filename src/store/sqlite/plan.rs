//! Decides, before a batch runs, which of its messages must be inserted into the tables directly instead of waiting in the
//! pending log, and which pending messages must be in the tables first, because an operation of the batch looks for them
//! there.

use std::collections::HashSet;

use rusqlite::Connection;

use super::cache::Cache;
use super::pending::{PendingLog, Selection};
use super::rooms::{conversation_of, first_membership};
use crate::store::{Conversation, MessageRef, NewMessage, RoomDeletionId, Write};

/// Messages of the batch that must not wait in the pending log.
#[derive(Debug, Default)]
pub struct Direct<'a> {
    /// Between these two users.
    pairs: HashSet<(&'a str, &'a str)>,
    /// From or to these users.
    users: HashSet<&'a str>,
    /// In these rooms.
    rooms: HashSet<&'a str>,
}

impl Direct<'_> {
    /// True for a message in this room.
    pub fn contains_room(&self, room: &str) -> bool {
        !self.rooms.is_empty() && self.rooms.contains(room)
    }

    /// True for a message between these users.
    pub fn contains(&self, from: &str, to: &str) -> bool {
        let is_listed = |users: &HashSet<&str>| users.contains(from) || users.contains(to);
        !self.pairs.is_empty() && self.pairs.contains(&pair(from, to))
            || !self.users.is_empty() && is_listed(&self.users)
    }
}

impl<'a> Direct<'a> {
    fn insert(&mut self, place: Place<'a>) {
        match place {
            Place::Pair(a, b) => self.pairs.insert((a, b)),
            Place::Room(name) => self.rooms.insert(name),
        };
    }
}

/// A conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    /// Of two users, in a fixed order.
    Pair(&'a str, &'a str),
    Room(&'a str),
}

impl<'a> Place<'a> {
    fn of(user: &'a str, conversation: &'a Conversation) -> Self {
        match conversation {
            Conversation::Direct(peer) => {
                let (a, b) = pair(user, peer);
                Self::Pair(a, b)
            }
            Conversation::Room(name) => Self::Room(name),
        }
    }
}

/// Two users in a fixed order.
fn pair<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    if a <= b { (a, b) } else { (b, a) }
}

/// Plans a batch: messages that must be inserted directly, and pending messages that must be flushed first. If events are kept, the
/// messages of a room must be in the tables before a change of its members.
pub fn plan<'a>(
    connection: &Connection,
    cache: &mut Cache,
    log: &PendingLog,
    batch: &[&'a Write],
    keeps_events: bool,
) -> rusqlite::Result<(Direct<'a>, Selection)> {
    let mut find = Finder {
        connection,
        cache,
        log,
    };
    let mut direct = Direct::default();
    let mut needed = Vec::new();
    let mut ids = HashSet::new();
    // A message that is inserted directly, because the batch also has a watermark of its user, must find all earlier messages
    // of that user in the tables.
    let mixed = batch.iter().any(|write| matches!(write, Write::Message(_)));
    for write in batch {
        match write {
            Write::Message(NewMessage {
                from,
                to,
                id,
                fresh: false,
                ..
            })
            | Write::Repeat(
                MessageRef {
                    actor: from,
                    conversation: to,
                    id,
                },
                ..,
            ) => {
                // The id may be one that a pending message has: the duplicate check looks in the tables.
                let place = Place::of(from, to);
                let conversation = find.pending_conversation(place)?;
                let is_pending = conversation.is_some_and(|n| log.has_id(n, id.as_bytes()));
                if is_pending || !ids.insert((place, *id)) {
                    direct.insert(place);
                    needed.extend(conversation);
                }
            }
            Write::Edit(message, _)
            | Write::Delete(message)
            | Write::Moderate(message)
            | Write::React { message, .. }
            | Write::Read(message) => {
                let place = Place::of(&message.actor, &message.conversation);
                direct.insert(place);
                needed.extend(find.pending_conversation(place)?);
            }
            Write::DeleteRoom { room } => {
                direct.insert(Place::Room(room));
                needed.extend(find.pending_conversation(Place::Room(room))?);
            }
            // What the first step has found in the log is in the tables, unless a crash has come in between.
            Write::ContinueDeletion(RoomDeletionId(room)) => {
                let conversation = conversation_of(*room);
                needed.extend(Some(conversation).filter(|n| log.has_conversation(*n)));
            }
            Write::Watermark { user, seq, .. } => {
                direct.users.insert(user);
                if !log.is_empty()
                    && let Some(user) = find.cache.find_user(connection, user)?
                {
                    let seq = if mixed { u64::MAX } else { *seq };
                    needed.extend(log.conversations_of(user.n, seq));
                }
            }
            Write::Join { room, .. } | Write::Leave { room, .. } if keeps_events => {
                direct.insert(Place::Room(room));
                needed.extend(find.pending_conversation(Place::Room(room))?);
            }
            Write::EraseStep { is_first: true, .. } => needed.extend(log.conversations()),
            Write::EraseStep { user, .. } => {
                needed.extend(log.conversations_of(*user, u64::MAX));
                if keeps_events && !log.is_empty() {
                    // The step may end this membership.
                    let room = first_membership(connection, *user)?.map(conversation_of);
                    needed.extend(room.filter(|room| log.has_conversation(*room)));
                }
            }
            Write::Message(_)
            | Write::Events(_)
            | Write::Erase { .. }
            | Write::Block { .. }
            | Write::Status { .. }
            | Write::Reveal { .. }
            | Write::Seen { .. }
            | Write::LostSessions { .. }
            | Write::Revoke { .. }
            | Write::EndRevocation { .. }
            | Write::Join { .. }
            | Write::Leave { .. } => {}
        }
    }
    let needed = log.select_conversations(needed.into_iter());
    Ok((direct, needed))
}

struct Finder<'a> {
    connection: &'a Connection,
    cache: &'a mut Cache,
    log: &'a PendingLog,
}

impl Finder<'_> {
    /// The number of a conversation, unless the pending log is empty.
    fn pending_conversation(&mut self, place: Place<'_>) -> rusqlite::Result<Option<i64>> {
        if self.log.is_empty() {
            return Ok(None);
        }
        let (a, b) = match place {
            Place::Pair(a, b) => (a, b),
            Place::Room(name) => {
                let room = self.cache.rooms.find(self.connection, self.log, name)?;
                return Ok(room.map(|room| room.conversation()));
            }
        };
        let (Some(a), Some(b)) = (
            self.cache.find_user(self.connection, a)?,
            self.cache.find_user(self.connection, b)?,
        ) else {
            return Ok(None);
        };
        let known = self
            .cache
            .find_conversation(self.connection, self.log, a.n, b.n)?;
        Ok(known.map(|conversation| conversation.n))
    }
}
