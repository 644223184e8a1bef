//! Stores messages.

use std::sync::Arc;

use rusqlite::params;
use uuid::Uuid;

use super::{Batch, Result};
use crate::store::sqlite::cache::{DirectConversation, User};
use crate::store::sqlite::counts::{self, Counts};
use crate::store::sqlite::listed;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::sqlite::pending::Record;
use crate::store::{
    Content, ContentHash, Conversation, MessageRef, NewMessage, Outcome, PresenceMode, Recipients,
};

/// Messages with more bytes of content skip the pending log.
pub(super) const LARGE: usize = 2048;

/// A new message in its conversation, with the inbox entries that it makes.
struct Placed<'a> {
    message: &'a NewMessage,
    conversation: i64,
    n: i64,
    from: User,
    /// The message is an entry of the inbox of `from`.
    has_entry: bool,
    /// The other user; `None` for a message to oneself.
    to: Option<(&'a Arc<str>, User)>,
    recipients: Recipients<i64>,
    counts: Counts,
}

impl Placed<'_> {
    /// The entry in the inbox of `from`; 0: there is none.
    fn author_seq(&self) -> u64 {
        if self.has_entry {
            self.from.head + 1
        } else {
            0
        }
    }
}

impl Batch<'_> {
    /// Stores a message, unless it is a duplicate or a rule forbids it.
    pub fn message(&mut self, message: &NewMessage, recipient: &Arc<str>) -> Result<Outcome> {
        let (from, has_connected) = self.author(message)?;
        let by_key = message.authority.is_key();
        let known = self.find_user(recipient)?;
        let is_known = by_key
            || known.is_some_and(|to| to.is_known() || to.n == from.n)
            || self.shared.is_newly_connected(recipient);
        let refusal = if by_key {
            None
        } else if is_known {
            self.check_stranger(from.n, known.map(|to| to.n), message)?
        } else {
            self.check_unknown_recipient(from.n, message)?
        };
        let refusal = match refusal {
            None if !by_key => self.exceeds_bytes(from.n, &message.content)?,
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            // A message that is rejected does not create a row for its recipient.
            return match known {
                Some(to) => self.refuse(message, from.n, to.n, refusal),
                None => Ok(refusal),
            };
        }
        let to = match known {
            Some(to) => to,
            None => self.user(recipient)?,
        };
        if by_key {
            self.set_known(recipient, to)?;
        }
        let Some(conversation) = self.conversation(from.n, to.n)? else {
            return Ok(Outcome::Blocked);
        };
        if conversation.blocks(from.n, to.n) {
            return self.refuse(message, from.n, to.n, Outcome::Blocked);
        }
        let (conversation, state) = (conversation.n, conversation);
        let direct = self.direct.contains(&message.from, recipient);
        if !direct && !message.fresh && self.id_is_taken(conversation, message.id)? {
            return self.duplicate(conversation, from.n, message);
        }
        // Large messages skip the log: batching saves nothing for content that fills whole pages. But a message must not be in
        // its table before an earlier one of its conversation, because a reader could see it alone.
        let direct = direct
            || message.content.len() > LARGE
                && !self.log.has_conversation(conversation)
                && !self.pending.has_conversation(conversation);
        let to_oneself = to.n == from.n;
        let placed = Placed {
            message,
            conversation,
            n: self.numbers.next(self.tx)?,
            from,
            // A message to oneself is an entry of its recipient.
            has_entry: has_connected || to_oneself,
            to: (!to_oneself).then_some((recipient, to)),
            recipients: if to_oneself {
                Recipients::NONE
            } else {
                Recipients::one(to.n, to.head + 1)
            },
            counts: state.counts.next(from.n <= to.n, self.now),
        };
        if !direct {
            self.add_to_log(&placed);
        } else if !self.insert(&placed)? {
            return self.duplicate(conversation, from.n, message);
        }
        let (new_contact, received) = self.count(&placed, state)?;
        if !by_key {
            self.count_bytes(from.n, &message.content)?;
        }
        if !is_known && self.quotas.counts_unknown_recipients() {
            self.count_unknown_recipient(message, from.n, to.n);
        }
        Ok(Outcome::Stored {
            seq: placed.has_entry.then_some(from.head + 1),
            recipients: match placed.to {
                Some((id, user)) => Recipients::one(id.clone(), user.head + 1),
                None => Recipients::NONE,
            },
            at: self.now,
            duplicate: false,
            new_contact,
            received,
        })
    }

    /// Records that a conversation, whose state before it was `before`, has one more message. Returns whether it is the first message by
    /// which the conversation has messages of both users, and what the recipient is to know of what the sender has received.
    fn count(
        &mut self,
        placed: &Placed<'_>,
        before: DirectConversation,
    ) -> Result<(bool, Option<Uuid>)> {
        let from = placed.from.n;
        let to = placed.to.map_or(from, |(_, user)| user.n);
        let (pair, is_low) = ((from.min(to), from.max(to)), from <= to);
        self.cache.message_added(pair, placed.counts);
        let is_first = !before.has_written(from, to);
        if !is_first && !before.is_deferred(from, to) {
            return Ok((false, None));
        }
        if is_first {
            counts::set_wrote(self.tx, before.n, is_low, true)?;
            self.cache.set_wrote(pair, is_low, true);
        }
        let new_contact = is_first && from != to && before.has_written(to, from);
        let now = DirectConversation {
            low_wrote: before.low_wrote || is_low,
            high_wrote: before.high_wrote || !is_low,
            ..before
        };
        let revealed = self.reveal_received(now, (from, to))?;
        // Strangers have not been informed of what was received before.
        let is_revealed = new_contact
            && self.presence == PresenceMode::Contacts
            && !before.has_block()
            && revealed.is_none();
        let received = if is_revealed {
            self.received_message(from, before.n)?
        } else {
            revealed
        };
        Ok((new_contact, received))
    }

    fn add_to_log(&mut self, placed: &Placed<'_>) {
        let message = placed.message;
        self.pending.add(Record {
            conversation: placed.conversation,
            n: placed.n,
            id: message.id.as_bytes(),
            sender: placed.from.n,
            sender_seq: placed.author_seq(),
            recipients: placed.recipients.clone(),
            sent_at: self.now,
            counts: placed.counts,
            reply_to: message.reply_to.as_ref().map(Uuid::as_bytes),
            hash: message.content.hash(),
            content: &message.content,
        });
        if placed.has_entry {
            self.inbox_grown(&message.from, 0);
        }
        if let Some((id, _)) = placed.to {
            self.inbox_grown(id, 0);
        }
    }

    /// Inserts a message into its tables. False: its id is taken.
    fn insert(&mut self, placed: &Placed<'_>) -> Result<bool> {
        let message = placed.message;
        let (_, to) = placed.to.unwrap_or((&message.from, placed.from));
        let inserted = self
            .tx
            .prepare_cached(
                "INSERT INTO messages
                 (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, reply_to, content,
                    low_count, high_count, behind, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                placed.conversation,
                placed.n,
                message.id.as_bytes(),
                placed.from.n,
                to.n,
                signed(placed.author_seq()),
                signed(to.head + 1),
                self.now,
                message.reply_to.as_ref().map(Uuid::as_bytes),
                long_contents::in_row(&message.content),
                placed.counts.low,
                placed.counts.high,
                placed.counts.behind(self.now),
                message.content.hash(),
            ])?;
        if inserted == 0 {
            return Ok(false);
        }
        long_contents::insert(self.tx, placed.n, &message.content)?;
        if placed.has_entry {
            self.append_message(&message.from, placed.from, placed)?;
        } else {
            // The list is settled from entries, and this message has none.
            listed::list(self.tx, placed.from.n, placed.conversation, placed.n)?;
        }
        if let Some((id, user)) = placed.to {
            self.append_message(id, user, placed)?;
        }
        Ok(true)
    }

    fn append_message(&mut self, id: &str, user: User, placed: &Placed<'_>) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                user.n,
                signed(user.head + 1),
                self.now,
                placed.conversation,
                placed.n,
                (user.n == placed.from.n).then_some(user.n)
            ])?;
        self.inbox_grown(id, 0);
        Ok(())
    }

    /// Refuses a message, unless it is a duplicate of one that was stored before the reason to refuse it.
    fn refuse(
        &mut self,
        message: &NewMessage,
        from: i64,
        to: i64,
        refusal: Outcome,
    ) -> Result<Outcome> {
        if !message.fresh
            && let Some(conversation) = self.find_conversation(from, to)?
            && self.id_is_taken(conversation.n, message.id)?
        {
            let outcome = self.duplicate(conversation.n, from, message)?;
            return Ok(outcome.unless_duplicate(refusal));
        }
        Ok(refusal)
    }

    /// A sender who may send no more messages to users who have never connected may send none to other strangers either: the
    /// answer does not tell which of them exist. `None`: the message may be stored.
    fn check_stranger(
        &mut self,
        from: i64,
        to: Option<i64>,
        message: &NewMessage,
    ) -> Result<Option<Outcome>> {
        if self.quotas.known_only || to == Some(from) {
            return Ok(None);
        }
        let has_no_more = message.exceeds_ip_quota()
            || self.quotas.counts_unknown_recipients()
                && self
                    .cache
                    .unknown_recipients
                    .is_exhausted(self.tx, self.quotas, from)?;
        if !has_no_more {
            return Ok(None);
        }
        let conversation = match to {
            Some(to) => self.find_conversation(from, to)?.map(|found| (found, to)),
            None => None,
        };
        let has_written = conversation.is_some_and(|(found, to)| found.has_written(to, from));
        Ok((!has_written).then_some(Outcome::UnknownRecipientLimit))
    }

    /// Checks the limits of messages to users who have never connected. `None`: the message may be stored.
    fn check_unknown_recipient(
        &mut self,
        from: i64,
        message: &NewMessage,
    ) -> Result<Option<Outcome>> {
        if self.quotas.known_only {
            return Ok(Some(Outcome::UnknownUser));
        }
        if message.exceeds_ip_quota() {
            return Ok(Some(Outcome::UnknownRecipientLimit));
        }
        if !self.quotas.counts_unknown_recipients() {
            return Ok(None);
        }
        let unknown = &mut self.cache.unknown_recipients;
        unknown.check(self.tx, self.quotas, from)
    }

    fn count_unknown_recipient(&mut self, message: &NewMessage, from: i64, to: i64) {
        if let Some(ip_quota) = &message.ip_quota {
            ip_quota.consume();
            self.effects.counted.push(ip_quota.clone());
        }
        self.cache.unknown_recipients.count(to, from);
    }

    pub(super) fn id_is_taken(&self, conversation: i64, id: Uuid) -> Result<bool> {
        self.tx
            .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND id = ?2")?
            .exists(params![conversation, id.as_bytes()])
    }

    /// Looks for a message that must not be stored. As for a valid message, it does not matter whether the user has left the room.
    pub(super) fn repeated_message(
        &mut self,
        at: &MessageRef,
        content: &Content,
    ) -> Result<Outcome> {
        let Some(actor) = self.find_user(&at.actor)? else {
            return Ok(Outcome::NotStored);
        };
        let conversation = match &at.conversation {
            Conversation::Room(name) => self.room(name)?.map(|room| room.conversation()),
            Conversation::Direct(peer) => match self.find_user(peer)? {
                Some(peer) => self
                    .find_conversation(actor.n, peer.n)?
                    .map(|found| found.n),
                None => None,
            },
        };
        match conversation {
            Some(conversation) if self.id_is_taken(conversation, at.id)? => {
                let outcome = self.same_message(conversation, actor.n, at.id, content)?;
                Ok(outcome.unless_duplicate(Outcome::NotStored))
            }
            _ => Ok(Outcome::NotStored),
        }
    }

    /// The outcome of a message whose id is taken: the first outcome again if it is the same message, or a conflict.
    pub(super) fn duplicate(
        &mut self,
        conversation: i64,
        from: i64,
        message: &NewMessage,
    ) -> Result<Outcome> {
        self.same_message(conversation, from, message.id, &message.content)
    }

    fn same_message(
        &mut self,
        conversation: i64,
        from: i64,
        id: Uuid,
        sent: &Content,
    ) -> Result<Outcome> {
        type Row = (
            i64,
            i64,
            i64,
            i64,
            Option<String>,
            Option<ContentHash>,
            Option<ContentHash>,
        );
        let (n, sender, from_seq, sent_at, content, first, hash): Row = self
            .tx
            .prepare_cached(
                "SELECT n, sender, from_seq, sent_at, content, first, hash
                 FROM messages WHERE conversation = ?1 AND id = ?2",
            )?
            .query_row(params![conversation, id.as_bytes()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                ))
            })?;
        let content = match first {
            Some(_) => None,
            None => long_contents::read(self.tx, n, content)?,
        };
        // An edit or a deletion keeps a hash of the first content; without one, the content is still the first.
        let is_same = match (first, content) {
            (Some(first), _) => {
                let known = sent.hash().copied();
                first == known.unwrap_or_else(|| self.hasher.hash(sent))
            }
            (None, Some(content)) => {
                let sent = (&**sent, sent.hash());
                self.hasher.same((&content, hash.as_ref()), sent)
            }
            (None, None) => false,
        };
        if sender != from || !is_same {
            return Ok(Outcome::IdConflict);
        }
        Ok(Outcome::Stored {
            seq: (from_seq > 0).then_some(unsigned(from_seq)),
            recipients: Recipients::NONE,
            at: sent_at,
            duplicate: true,
            new_contact: false,
            received: None,
        })
    }
}
