//! Compares what clients know of their inboxes with the entries that the store has.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Result, params};
use uuid::Uuid;

use super::SqliteReader;
use crate::store::KnownEntry;
use crate::store::sqlite::kinds::{ERASED, JOINED, LEFT, SUPERSEDED};
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending::{self, Item};

/// An entry that a client knows, of a range that the inbox keeps.
pub(super) struct Comparison {
    /// The index of the query.
    pub index: usize,
    /// The user of the inbox.
    pub user: i64,
    pub entry: KnownEntry,
}

/// An entry as it is stored, with the times of its message.
struct Stored {
    /// `None`: the message of a superseded change has expired.
    id: Option<[u8; 16]>,
    at: i64,
    kind: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
}

/// An entry in the pending log.
struct Pending {
    at: i64,
    about: Subject,
}

/// What an entry in the pending log is about.
enum Subject {
    /// A message of the log, with this id.
    Message(Uuid),
    /// A message that is in its table, or a place at which there is none: conversation and number.
    Stored(i64, i64),
}

impl Pending {
    fn of(item: &Item<'_>) -> Self {
        let about = match item {
            Item::Message(record) => Subject::Message(Uuid::from_bytes(*record.id)),
            Item::Entries(record) => Subject::Stored(record.about.conversation, record.about.n),
        };
        Self {
            at: item.at(),
            about,
        }
    }
}

impl SqliteReader {
    /// Returns the indexes of those whose stored entry is another one. Runs in a transaction of the caller, so that an entry is
    /// seen either in its table or in the pending log.
    pub(super) fn diverged(&self, known: &[Comparison]) -> Result<Vec<usize>> {
        let mut diverged = Vec::new();
        let mut pending: HashMap<_, Vec<&Comparison>> = HashMap::new();
        for comparison in known {
            let Comparison { index, user, entry } = comparison;
            match self.stored(*user, entry.seq)? {
                Some(stored) if stored.is_same(entry) => {}
                Some(_) => diverged.push(*index),
                None => pending
                    .entry((*user, entry.seq))
                    .or_default()
                    .push(comparison),
            }
        }
        if pending.is_empty() {
            return Ok(diverged);
        }
        // The log is read once for all of them, and not flushed: openings must not wait for the writer.
        let mut found = Vec::new();
        pending::each_item(&self.connection, |item| {
            for key in item.entries() {
                let waiting = pending.get(&key).into_iter().flatten();
                found.extend(waiting.map(|comparison| (*comparison, Pending::of(item))));
            }
        })?;
        for (Comparison { index, entry, .. }, pending) in found {
            // A client that was sent another form of the entry, such as that of a deleted message, has read it from the table.
            let other_id = match entry.id {
                Some(id) => self.id_of_subject(&pending)? != Some(id),
                None => false,
            };
            if other_id || entry.at.is_some_and(|at| at != pending.at) {
                diverged.push(*index);
            }
        }
        Ok(diverged)
    }

    /// The id of the message that an entry in the log is about. `None`: it is about a member.
    fn id_of_subject(&self, pending: &Pending) -> Result<Option<Uuid>> {
        match pending.about {
            Subject::Message(id) => Ok(Some(id)),
            Subject::Stored(conversation, n) => self.id_of(conversation, n),
        }
    }

    fn stored(&self, user: i64, seq: u64) -> Result<Option<Stored>> {
        self.connection
            .prepare_cached(
                "SELECT m.id, i.at, i.kind, m.edited_at, m.deleted_at
                 FROM inbox AS i LEFT JOIN messages AS m ON m.conversation = i.conversation AND m.n = i.message
                 WHERE i.user = ?1 AND i.seq = ?2",
            )?
            .query_row(params![user, signed(seq)], |row| {
                Ok(Stored {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    kind: row.get(2)?,
                    edited_at: row.get(3)?,
                    deleted_at: row.get(4)?,
                })
            })
            .optional()
    }
}

impl Stored {
    /// True if the client may know this entry: the message is the same, and the time is one that a session may have been sent
    /// for it.
    fn is_same(&self, known: &KnownEntry) -> bool {
        // An entry about a member or an erased user is about no message.
        if known.id.is_some() && [JOINED, LEFT, ERASED].contains(&self.kind) {
            return false;
        }
        if let (Some(known), Some(stored)) = (known.id, self.id)
            && *known.as_bytes() != stored
        {
            return false;
        }
        let Some(at) = known.at else {
            return true;
        };
        // The replay shows an entry of a deleted message as `deleted`.
        if at == self.at || Some(at) == self.deleted_at {
            return true;
        }
        // A server that did not mark superseded edits has replayed them with the time of the last one, which was any of those
        // that follow in this inbox. They are not looked for, because there may be many. After a rollback, the entries have later
        // times than those that the client knows.
        let may_be_later = |last: i64| at == last || (self.at..=last).contains(&at);
        self.kind == SUPERSEDED && self.edited_at.is_some_and(may_be_later)
    }
}
