//! Applies the operations of a batch within its transaction. Each operation checks its rules before it changes anything, so
//! that one which is refused leaves no trace.

mod blocks;
mod change;
mod deferred;
mod erasure;
mod presence;
mod receipts;
mod revocations;
mod room_deletion;
mod rooms;
mod send;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::byte_use::Terms;
use super::cache::{self, Cache, DirectConversation, User};
use super::change_rate::ChangeRates;
use super::counts::Counts;
use super::entry_rate::EntryRates;
use super::epochs::{self, Epochs};
use super::listed::UNSETTLED;
use super::number::unsigned;
use super::pending::{PendingBatch, PendingLog};
use super::plan::Direct;
use super::rooms::Member;
use super::shared::Shared;
use crate::store::{
    ContentHash, ContentHasher, Conversation, MessageRef, NameHasher, NewMessage, Outcome,
    PresenceMode, Quotas, RecipientQuota, Repeated, RoomMode, RoomRules, Write,
};

/// Message numbers are reserved in the file in blocks of this size, so that opening a store need not look for the newest.
const RESERVE: i64 = 1_000_000;
/// An inbox is trimmed each time it has grown by this many entries beyond its limit, rather than for each entry.
const TRIM_EVERY: u64 = 256;

/// A batch that is being applied.
pub struct Batch<'a> {
    /// The connection, with a transaction open.
    pub tx: &'a Connection,
    pub cache: &'a mut Cache,
    pub numbers: &'a mut MessageNumbers,
    pub change_rates: &'a mut ChangeRates,
    pub entry_rates: &'a mut EntryRates,
    pub hasher: &'a ContentHasher,
    pub names: &'a NameHasher,
    pub epochs: &'a Epochs,
    pub inbox_limit: u64,
    /// How long a device is kept after its last use, in milliseconds.
    pub device_ms: i64,
    /// The present time is certain.
    pub is_certain: bool,
    pub quotas: &'a Quotas,
    pub rooms: &'a RoomRules,
    pub presence: PresenceMode,
    pub shared: &'a Shared,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub now: i64,
    pub direct: &'a Direct<'a>,
    pub log: &'a PendingLog,
    /// How often the write-ahead log was truncated in this run.
    pub log_truncations: i64,
    /// Messages that the batch adds to the pending log.
    pub pending: PendingBatch,
    pub effects: &'a mut Effects,
}

/// What a batch does outside of the store and its cache.
#[derive(Debug, Default)]
pub struct Effects {
    /// Users whose first session is recorded.
    connected: Vec<Arc<str>>,
    /// A quota for each message that was counted in it.
    counted: Vec<Arc<dyn RecipientQuota>>,
    /// The write-ahead log is to be truncated as soon as possible.
    pub truncates: bool,
}

impl Effects {
    /// The batch was committed.
    pub fn committed(self, shared: &Shared) {
        for user in self.connected {
            shared.remove_newly_connected(&user);
        }
    }

    /// The batch was rolled back.
    pub fn rolled_back(self) {
        for quota in self.counted {
            quota.release();
        }
    }
}

/// The numbers that order all messages of the store by their commit.
#[derive(Debug, Default)]
pub struct MessageNumbers {
    next: i64,
    /// Numbers below this one are reserved in the file.
    reserved: i64,
}

/// A message that an operation is about, with the users and their relation.
struct Found {
    conversation: i64,
    n: i64,
    sender: i64,
    from_seq: u64,
    sent_at: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
    change_seq: Option<i64>,
    /// A hash of the first content, if that has been replaced or removed.
    first: Option<ContentHash>,
    /// A hash of the present content, if that is long.
    hash: Option<ContentHash>,
    actor: User,
    others: Others,
    /// The other user blocks the acting user.
    blocked: bool,
    /// One of the two users blocks the other.
    has_block: bool,
    /// The conversation, if it is a direct one.
    direct: Option<DirectConversation>,
    /// A key acts in the name of the acting user.
    by_key: bool,
    /// A change is appended to the inbox of the acting user.
    has_entry: bool,
}

/// The other members of the conversation of a message.
enum Others {
    /// The other user of a direct conversation, with the id.
    Peer(Arc<str>, User),
    /// All members of a room, also the acting user.
    Room(Arc<Vec<Member>>),
}

impl Found {
    /// The entry of a change in the inbox of the acting user.
    fn entry(&self) -> Option<u64> {
        self.has_entry.then_some(self.actor.head + 1)
    }

    fn is_in_room(&self) -> bool {
        matches!(self.others, Others::Room(_))
    }
}

type Result<T> = rusqlite::Result<T>;

impl Batch<'_> {
    /// Applies one operation.
    pub fn apply(&mut self, write: &Write) -> Result<Outcome> {
        let is_about_room = matches!(write.conversation(), Some(Conversation::Room(_)))
            || matches!(
                write,
                Write::Join { .. } | Write::Leave { .. } | Write::DeleteRoom { .. }
            );
        if is_about_room && self.rooms.mode == RoomMode::Off {
            return Ok(match write {
                Write::Repeat(..) => Outcome::NotStored,
                _ => Outcome::UnknownRoom,
            });
        }
        match write {
            Write::Message(message) => match &message.to {
                Conversation::Direct(recipient) => self.message(message, recipient),
                Conversation::Room(room) => self.room_message(message, room),
            },
            Write::Edit(at, content) => {
                self.change(at, |batch, found| batch.edit(at, found, content))
            }
            Write::Repeat(at, content, Repeated::Message) => self.repeated_message(at, content),
            Write::Repeat(at, content, Repeated::Edit) => match self.find(at)? {
                Some(found) => self.repeated_edit(&found, content),
                None => Ok(Outcome::NotStored),
            },
            Write::Delete(at) => self.change(at, |batch, found| batch.delete(at, found)),
            Write::Moderate(at) => self.moderate(at),
            Write::React {
                message,
                emoji,
                remove,
            } => self.change(message, |batch, found| {
                batch.react(message, found, emoji, *remove)
            }),
            Write::Read(at) => self.read(at),
            Write::Join { user, room, kind } => self.join(user, room, *kind),
            Write::Leave { user, room, kind } => self.leave(user, room, *kind),
            Write::DeleteRoom { room } => self.delete_room(room),
            Write::ContinueDeletion(id) => self.continue_deletion(*id),
            Write::Block { actor, user, on } => self.block(actor, user, *on),
            Write::Status { user, status } => self.set_status(user, *status),
            Write::Reveal { user } => self.reveal(user),
            Write::Seen { user, until } => self.seen(user, *until),
            Write::LostSessions { at } => self.lost_sessions(*at),
            Write::Erase { user } => self.erase(user),
            Write::EraseStep {
                user,
                is_first,
                limit,
                awaits_log,
            } => self.erase_step(*user, (*is_first, *awaits_log), *limit),
            Write::Revoke { user, until } => self.revoke(user, *until),
            Write::EndRevocation { user } => self.end_revocation(user),
            Write::Events(write) => self.record_events(write),
            Write::Watermark { user, device, seq } => {
                self.watermark(user, device, *seq).map(Outcome::Received)
            }
        }
    }

    fn find_user(&mut self, id: &str) -> Result<Option<User>> {
        self.cache.find_user(self.tx, id)
    }

    fn find_conversation(&mut self, a: i64, b: i64) -> Result<Option<DirectConversation>> {
        self.cache.find_conversation(self.tx, self.log, a, b)
    }

    /// Finds the message that an operation is about. `None`: the conversation has no such message.
    fn find(&mut self, at: &MessageRef) -> Result<Option<Found>> {
        let peer_id = match &at.conversation {
            Conversation::Direct(peer) => peer,
            Conversation::Room(name) => return self.find_in_room(at, name),
        };
        let (Some(actor), Some(peer)) = (self.find_user(&at.actor)?, self.find_user(peer_id)?)
        else {
            return Ok(None);
        };
        match self.find_conversation(actor.n, peer.n)? {
            Some(known) => {
                let others = Others::Peer(peer_id.clone(), peer);
                let found = self.find_in(at, known.n, (actor, others))?;
                Ok(found.map(|found| Found {
                    blocked: known.blocks(actor.n, peer.n),
                    has_block: known.has_block(),
                    direct: Some(known),
                    ..found
                }))
            }
            None => Ok(None),
        }
    }

    fn find_in(
        &self,
        at: &MessageRef,
        conversation: i64,
        (actor, others): (User, Others),
    ) -> Result<Option<Found>> {
        self.tx
            .prepare_cached(
                "SELECT n, sender, from_seq, sent_at, edited_at, deleted_at, change_seq, first, hash
                 FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation, at.id.as_bytes()], |row| {
                Ok(Found {
                    conversation,
                    n: row.get(0)?,
                    sender: row.get(1)?,
                    from_seq: unsigned(row.get(2)?),
                    sent_at: row.get(3)?,
                    edited_at: row.get(4)?,
                    deleted_at: row.get(5)?,
                    change_seq: row.get(6)?,
                    first: row.get(7)?,
                    hash: row.get(8)?,
                    actor,
                    by_key: false,
                    has_entry: true,
                    others,
                    blocked: false,
                    has_block: false,
                    direct: None,
                })
            })
            .optional()
    }

    fn find_in_room(&mut self, at: &MessageRef, name: &str) -> Result<Option<Found>> {
        let Ok((actor, room)) = self.room_of_member(&at.actor, name)? else {
            return Ok(None);
        };
        let others = (actor, Others::Room(room.members.clone()));
        let found = self.find_in(at, room.conversation(), others)?;
        let member = room.member(actor.n);
        Ok(found.filter(|found| member.is_some_and(|member| member.sees(found.n, self.rooms))))
    }

    /// As [`Batch::find`], in a room of which the acting user need not be a member.
    fn find_in_any_room(&mut self, at: &MessageRef, name: &str) -> Result<Option<Found>> {
        let (Some(actor), Some(room)) = (self.find_user(&at.actor)?, self.room(name)?) else {
            return Ok(None);
        };
        let others = (actor, Others::Room(room.members.clone()));
        self.find_in(at, room.conversation(), others)
    }

    /// Notes that a user's inbox has one more entry, by which `superseded` earlier ones are superseded.
    fn inbox_grown(&mut self, id: &str, superseded: u64) {
        if let Some(user) = self.cache.users.get_mut(id) {
            let before = user.excess(self.inbox_limit);
            user.head += 1;
            user.superseded += superseded;
            let excess = user.excess(self.inbox_limit);
            let step = TRIM_EVERY.min(self.inbox_limit);
            if excess > before && excess.is_multiple_of(step) {
                self.cache.overfull.push_back(user.n);
            }
            let unsettled = user.head.saturating_sub(user.listed);
            if unsettled > 0 && unsettled.is_multiple_of(UNSETTLED) {
                self.cache.unsettled.insert(user.n);
            }
        }
    }

    /// Checks whether a user may store this content. `None`: it may be stored.
    fn exceeds_bytes(&mut self, user: i64, content: &str) -> Result<Option<Outcome>> {
        let Some(limit) = self.quotas.user_bytes_per_day else {
            return Ok(None);
        };
        let terms = self.terms(limit);
        let wait = self.cache.bytes.wait(self.tx, (user, content), terms)?;
        Ok(wait.map(|retry_after_ms| Outcome::TooManyBytes { retry_after_ms }))
    }

    /// Counts content that [`Batch::exceeds_bytes`] has allowed and that is stored now.
    fn count_bytes(&mut self, user: i64, content: &str) -> Result<()> {
        let Some(limit) = self.quotas.user_bytes_per_day else {
            return Ok(());
        };
        let terms = self.terms(limit);
        self.cache.bytes.add(self.tx, (user, content), terms)
    }

    fn terms(&self, limit: u64) -> Terms {
        Terms {
            now: self.now,
            limit,
            is_certain: self.is_certain,
        }
    }

    /// Records that a user has connected.
    fn set_connected(&mut self, id: &Arc<str>, user: User) -> Result<()> {
        if user.connected {
            return Ok(());
        }
        self.tx
            .prepare_cached("UPDATE users SET connected = 1 WHERE n = ?1")?
            .execute([user.n])?;
        let unknown = &mut self.cache.unknown_recipients;
        unknown.recipient_known(self.tx, user.n)?;
        if let Some(user) = self.cache.users.get_mut(id) {
            user.connected = true;
        }
        self.effects.connected.push(id.clone());
        Ok(())
    }

    /// Records that a key has named a user, who counts as known from now on.
    fn set_known(&mut self, id: &str, user: User) -> Result<()> {
        if user.is_known() {
            return Ok(());
        }
        self.tx
            .prepare_cached("UPDATE users SET known = 1 WHERE n = ?1")?
            .execute([user.n])?;
        let unknown = &mut self.cache.unknown_recipients;
        unknown.recipient_known(self.tx, user.n)?;
        if let Some(user) = self.cache.users.get_mut(id) {
            user.named = true;
        }
        Ok(())
    }

    /// True if a session of the user has been opened, also if the record of it still waits for its commit.
    fn has_connected(&self, id: &str, user: User) -> bool {
        user.connected || self.shared.is_newly_connected(id)
    }

    /// Finds or creates the author of a message, and decides whether the author's inbox gets an entry of it.
    fn author(&mut self, message: &NewMessage) -> Result<(User, bool)> {
        let from = self.user(&message.from)?;
        if message.authority.is_key() && !self.has_connected(&message.from, from) {
            self.set_known(&message.from, from)?;
            return Ok((from, false));
        }
        // The record of the session may still wait for its commit.
        self.set_connected(&message.from, from)?;
        Ok((from, true))
    }

    /// Finds a user or creates one.
    fn user(&mut self, id: &Arc<str>) -> Result<User> {
        if let Some(user) = self.find_user(id)? {
            return Ok(user);
        }
        // A session may have been told its epoch already.
        let generation = match self.shared.generation_of(id) {
            Some(generation) => generation,
            None => epochs::generation_now(self.tx)?,
        };
        self.tx
            .prepare_cached("INSERT INTO users (id, generation, first_seen) VALUES (?1, ?2, ?3)")?
            .execute(params![&**id, generation, self.now])?;
        let user = User {
            n: self.tx.last_insert_rowid(),
            head: 0,
            trimmed_to: 0,
            superseded: 0,
            listed: 0,
            connected: false,
            named: false,
            received: 0,
            is_invisible: false,
        };
        self.cache.users.insert(id.clone(), user);
        Ok(user)
    }

    /// Finds the conversation of two users or creates one. `None`: there is none, and `to` blocks `from`.
    fn conversation(&mut self, from: i64, to: i64) -> Result<Option<DirectConversation>> {
        if let Some(conversation) = self.find_conversation(from, to)? {
            return Ok(Some(conversation));
        }
        if cache::blocks(self.tx, to, from)? {
            return Ok(None);
        }
        let own = cache::blocks(self.tx, from, to)?;
        let pair = (from.min(to), from.max(to));
        self.tx
            .prepare_cached("INSERT INTO conversations (low, high) VALUES (?1, ?2)")?
            .execute([pair.0, pair.1])?;
        let conversation = DirectConversation {
            n: self.tx.last_insert_rowid(),
            low_blocks: own && from < to,
            high_blocks: own && to < from,
            low_wrote: false,
            high_wrote: false,
            low_deferred: false,
            high_deferred: false,
            counts: Counts::NONE,
        };
        self.cache.add_conversation(pair, conversation);
        Ok(Some(conversation))
    }
}

impl MessageNumbers {
    /// The number of the next message.
    pub fn next(&mut self, tx: &Connection) -> Result<i64> {
        if self.next == self.reserved {
            self.next = tx.query_row("SELECT value FROM meta WHERE key = 'next'", (), |row| {
                row.get(0)
            })?;
            self.reserved = self.next + RESERVE;
            tx.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'next'",
                [self.reserved],
            )?;
        }
        let n = self.next;
        self.next += 1;
        Ok(n)
    }
}
