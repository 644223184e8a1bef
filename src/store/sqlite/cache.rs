//! Rows that the writer keeps in memory, so that storing a message needs no lookups.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::byte_use::ByteUses;
use super::counts::{self, Counts};
use super::number::unsigned;
use super::pending::{PendingLog, Superseded, TrimmedTo};
use super::retention::kept_entries;
use super::rooms::RoomCache;
use super::unknown_recipients::UnknownRecipients;
use crate::store::UserStatus;

/// The maximum number of users and of conversations in the cache. Beyond it the cache is emptied.
const MAX_CACHED: usize = 100_000;

/// Equal to the file after each commit; emptied, except for `bytes`, when a transaction is rolled back.
#[derive(Debug, Default)]
pub struct Cache {
    pub users: HashMap<Arc<str>, User>,
    conversations: HashMap<(i64, i64), DirectConversation>,
    pub rooms: RoomCache,
    /// Users whose inboxes exceed their limit.
    pub overfull: VecDeque<i64>,
    /// Users whose lists of conversations are to be settled.
    pub unsettled: BTreeSet<i64>,
    /// Of users with messages in the pending log.
    pub trimmed_to: TrimmedTo,
    pub unknown_recipients: UnknownRecipients,
    pub bytes: ByteUses,
    /// For users whose messages are in the pending log: the newest entry, as the tables do not have it.
    pending_heads: HashMap<i64, u64>,
}

/// A row of `users`, with the state of the user's inbox.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub n: i64,
    /// The newest entry.
    pub head: u64,
    /// The newest entry that retention has removed.
    pub trimmed_to: u64,
    /// The number of entries with a superseded change.
    pub superseded: u64,
    /// The entry up to which the user's list of conversations is complete.
    pub listed: u64,
    /// The user has connected at least once.
    pub connected: bool,
    /// A key has named the user.
    pub named: bool,
    /// The newest entry that any device has received: the received marks of conversations are moved up to here.
    pub received: u64,
    /// The user hides being online.
    pub is_invisible: bool,
}

/// A direct conversation of two users.
#[derive(Clone, Copy, Debug)]
pub struct DirectConversation {
    pub n: i64,
    /// Whether the user with the lower number blocks the other one, and the reverse. Kept here because every message needs
    /// the conversation anyway.
    pub low_blocks: bool,
    pub high_blocks: bool,
    /// There are messages of the user with the lower number, and of the other one.
    pub low_wrote: bool,
    pub high_wrote: bool,
    /// The other user must not know yet all that the user with the lower number has received, or the other one.
    pub low_deferred: bool,
    pub high_deferred: bool,
    /// Of the newest message, also if that is in the pending log.
    pub counts: Counts,
}

impl User {
    /// True if messages to the user are not messages to an unknown recipient.
    pub fn is_known(&self) -> bool {
        self.connected || self.named
    }

    /// The number of entries beyond the limit of the inbox.
    pub fn excess(&self, inbox_limit: u64) -> u64 {
        (self.head - self.trimmed_to).saturating_sub(kept_entries(inbox_limit, self.superseded))
    }
}

impl DirectConversation {
    /// True if `to` blocks `from`.
    pub fn blocks(&self, from: i64, to: i64) -> bool {
        if to < from {
            self.low_blocks
        } else {
            self.high_blocks
        }
    }

    /// True if there are messages of both users, also deleted ones; always for one user. The writing side of
    /// [`Reader::is_mutual`](crate::store::Reader::is_mutual).
    pub fn is_mutual(&self, a: i64, b: i64) -> bool {
        a == b || self.low_wrote && self.high_wrote
    }

    /// True if there are messages of `user`, also deleted ones, in this conversation with `other`.
    pub fn has_written(&self, user: i64, other: i64) -> bool {
        if user <= other {
            self.low_wrote
        } else {
            self.high_wrote
        }
    }

    /// True if `other` must not know yet all that `user` has received.
    pub fn is_deferred(&self, user: i64, other: i64) -> bool {
        if user <= other {
            self.low_deferred
        } else {
            self.high_deferred
        }
    }

    /// True if one of the two users blocks the other.
    pub fn has_block(&self) -> bool {
        self.low_blocks || self.high_blocks
    }
}

impl Cache {
    /// An empty cache over a file whose pending log has these newest entries.
    pub fn new(pending_heads: HashMap<i64, u64>) -> Self {
        Self {
            pending_heads,
            ..Self::default()
        }
    }

    /// Empties the cache after a rollback.
    pub fn roll_back(&mut self, pending_heads: HashMap<i64, u64>) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.rolled_back();
        *self = Self {
            bytes,
            ..Self::new(pending_heads)
        };
    }

    /// Empties a part of the cache that has become too large. `pending_heads` is called if users are removed.
    pub fn shrink(&mut self, pending_heads: impl FnOnce() -> HashMap<i64, u64>) {
        if self.unknown_recipients.len() > MAX_CACHED {
            self.unknown_recipients.clear();
        }
        self.rooms.shrink();
        if self.users.len() > MAX_CACHED || self.conversations.len() > MAX_CACHED {
            self.users = HashMap::new();
            self.conversations = HashMap::new();
            self.pending_heads = pending_heads();
        }
    }

    /// True if there are users whose inboxes are to be trimmed, or lists settled.
    pub fn has_grown(&self) -> bool {
        !self.overfull.is_empty() || !self.unsettled.is_empty()
    }

    /// The pending log is empty.
    pub fn log_flushed(&mut self) {
        self.trimmed_to = TrimmedTo::new();
        self.pending_heads = HashMap::new();
    }

    /// Entries of inboxes were superseded by entries that have moved to their table.
    pub fn add_superseded(&mut self, superseded: Superseded) {
        for (id, count) in superseded {
            if let Some(user) = self.users.get_mut(id.as_str()) {
                user.superseded += count;
            }
        }
    }

    /// Looks a user up.
    pub fn find_user(
        &mut self,
        connection: &Connection,
        id: &str,
    ) -> rusqlite::Result<Option<User>> {
        if let Some(user) = self.users.get(id) {
            return Ok(Some(*user));
        }
        let user = connection
            .prepare_cached(
                "SELECT n, floor, listed, (SELECT max(seq) FROM inbox WHERE user = users.n),
                    connected, (SELECT max(received) FROM devices WHERE user = users.n), superseded, status, known
                 FROM users WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let trimmed_to = unsigned(row.get(1)?);
                let newest: Option<i64> = row.get(3)?;
                Ok(User {
                    n: row.get(0)?,
                    trimmed_to,
                    listed: unsigned(row.get(2)?),
                    // Numbers are not used again after all entries were removed.
                    head: newest.map_or(trimmed_to, unsigned),
                    connected: row.get(4)?,
                    received: row.get::<_, Option<i64>>(5)?.map_or(0, unsigned),
                    superseded: unsigned(row.get(6)?),
                    is_invisible: UserStatus::of_number(row.get(7)?) == UserStatus::Invisible,
                    named: row.get(8)?,
                })
            })
            .optional()?;
        let user = user.map(|user| User {
            head: user
                .head
                .max(self.pending_heads.get(&user.n).copied().unwrap_or(0)),
            ..user
        });
        if let Some(user) = user {
            self.users.insert(id.into(), user);
        }
        Ok(user)
    }

    /// Looks the conversation of two users up.
    pub fn find_conversation(
        &mut self,
        connection: &Connection,
        log: &PendingLog,
        a: i64,
        b: i64,
    ) -> rusqlite::Result<Option<DirectConversation>> {
        let pair = (a.min(b), a.max(b));
        if let Some(conversation) = self.conversations.get(&pair) {
            return Ok(Some(*conversation));
        }
        let conversation = connection
            .prepare_cached(
                "SELECT n, EXISTS (SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2),
                    EXISTS (SELECT 1 FROM blocks WHERE user = ?2 AND blocked = ?1), low_wrote, high_wrote,
                    EXISTS (SELECT 1 FROM deferred WHERE user = ?1 AND conversation = n),
                    EXISTS (SELECT 1 FROM deferred WHERE user = ?2 AND conversation = n)
                 FROM conversations WHERE low = ?1 AND high = ?2",
            )?
            .query_row([pair.0, pair.1], |row| {
                Ok(DirectConversation {
                    n: row.get(0)?,
                    low_blocks: row.get(1)?,
                    high_blocks: row.get(2)?,
                    low_wrote: row.get(3)?,
                    high_wrote: row.get(4)?,
                    low_deferred: row.get(5)?,
                    high_deferred: row.get(6)?,
                    counts: Counts::NONE,
                })
            })
            .optional()?;
        let Some(mut conversation) = conversation else {
            return Ok(None);
        };
        // After a crash the log may have messages that are in the table already, and older than the newest one there.
        let stored = counts::newest(connection, conversation.n, pair)?;
        conversation.counts = match log.newest_counts(conversation.n) {
            Some(pending) if pending.messages() > stored.messages() => pending,
            _ => stored,
        };
        self.conversations.insert(pair, conversation);
        Ok(Some(conversation))
    }

    /// A message was added to a conversation: `counts` are its own.
    pub fn message_added(&mut self, pair: (i64, i64), counts: Counts) {
        if let Some(conversation) = self.conversations.get_mut(&pair) {
            conversation.counts = counts;
        }
    }

    /// A conversation has messages of one of its users, or none any more.
    pub fn set_wrote(&mut self, pair: (i64, i64), is_low: bool, wrote: bool) {
        if let Some(conversation) = self.conversations.get_mut(&pair) {
            if is_low {
                conversation.low_wrote = wrote;
            } else {
                conversation.high_wrote = wrote;
            }
        }
    }

    /// `other` must not know yet all that `user` has received, or may know it.
    pub fn set_deferred(&mut self, user: i64, other: i64, deferred: bool) {
        let pair = (user.min(other), user.max(other));
        if let Some(conversation) = self.conversations.get_mut(&pair) {
            if user <= other {
                conversation.low_deferred = deferred;
            } else {
                conversation.high_deferred = deferred;
            }
        }
    }

    /// All others may know what `user` has received.
    pub fn set_none_deferred(&mut self, user: i64) {
        for ((low, high), conversation) in &mut self.conversations {
            conversation.low_deferred &= *low != user;
            conversation.high_deferred &= *high != user;
        }
    }

    /// A user was removed.
    pub fn forget_user(&mut self, id: &str, n: i64) {
        self.users.remove(id);
        self.bytes.forget(n);
        self.overfull.retain(|user| *user != n);
        self.unsettled.remove(&n);
        self.trimmed_to.remove(&n);
        self.pending_heads.remove(&n);
    }

    /// A conversation was removed.
    pub fn forget_conversation(&mut self, pair: (i64, i64)) {
        self.conversations.remove(&pair);
    }

    /// Adds a conversation that has just been created.
    pub fn add_conversation(&mut self, pair: (i64, i64), conversation: DirectConversation) {
        self.conversations.insert(pair, conversation);
    }

    /// A block was set or removed.
    pub fn set_block(&mut self, actor: i64, other: i64, on: bool) {
        let pair = (actor.min(other), actor.max(other));
        if let Some(conversation) = self.conversations.get_mut(&pair) {
            if actor < other {
                conversation.low_blocks = on;
            } else {
                conversation.high_blocks = on;
            }
        }
    }
}

/// True if `user` blocks `other`.
pub fn blocks(connection: &Connection, user: i64, other: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2")?
        .exists([user, other])
}
