//! Applies edits, deletions and reactions.

mod entries;

use rusqlite::{OptionalExtension as _, params};

use self::entries::Change;
use super::{Batch, Found, Others, Result};
use crate::store::sqlite::cache;
use crate::store::sqlite::long_contents;
use crate::store::sqlite::number::{signed, unsigned};
use crate::store::sqlite::uncounted::{self, Uncounted};
use crate::store::{Content, ContentHash, Conversation, MessageRef, Outcome, Recipients};

/// The maximum number of reactions of one user on one message, and of removed ones that are remembered.
const MAX_REACTIONS: i64 = 32;

/// The outcome of a change that was made before.
fn unchanged(seq: Option<u64>, at: i64) -> Outcome {
    Outcome::Stored {
        seq,
        recipients: Recipients::NONE,
        at,
        duplicate: true,
        new_contact: false,
        received: None,
    }
}

impl Batch<'_> {
    /// Makes a change to a message. If the other user blocks the acting user, only a change that was made before succeeds.
    pub(super) fn change(
        &mut self,
        at: &MessageRef,
        make: impl FnOnce(&mut Self, &Found) -> Result<Outcome>,
    ) -> Result<Outcome> {
        if let Some(refusal) = self.refusal_in_room(at)? {
            return Ok(refusal);
        }
        let Some(found) = self.find(at)? else {
            return Ok(if self.is_blocked(at)? {
                Outcome::Blocked
            } else {
                Outcome::UnknownMessage
            });
        };
        let outcome = make(self, &found)?;
        Ok(if found.blocked {
            outcome.unless_duplicate(Outcome::Blocked)
        } else {
            outcome
        })
    }

    /// Deletes a message in the name of its author, whatever the author may do at the moment.
    pub(super) fn moderate(&mut self, at: &MessageRef) -> Result<Outcome> {
        let found = match &at.conversation {
            Conversation::Direct(_) => self.find(at)?,
            Conversation::Room(name) => self.find_in_any_room(at, name)?,
        };
        let Some(found) = found else {
            return Ok(Outcome::UnknownMessage);
        };
        let is_member = match &found.others {
            Others::Peer(..) => true,
            Others::Room(members) => members.iter().any(|member| member.n == found.actor.n),
        };
        let found = Found {
            blocked: false,
            by_key: true,
            has_entry: is_member && self.has_connected(&at.actor, found.actor),
            ..found
        };
        self.delete(at, &found)
    }

    pub(super) fn edit(
        &mut self,
        at: &MessageRef,
        found: &Found,
        content: &Content,
    ) -> Result<Outcome> {
        if found.deleted_at.is_some() {
            return Ok(Outcome::UnknownMessage);
        }
        if found.sender != found.actor.n {
            return Ok(Outcome::NotAuthor);
        }
        let present = self.content(found)?;
        if let Some(outcome) = self.same_edit(found, &present, content) {
            return Ok(outcome);
        }
        if found.blocked {
            return Ok(Outcome::Blocked);
        }
        if let Some(refusal) = self.exceeds_changes(found) {
            return Ok(refusal);
        }
        if let Some(refusal) = self.exceeds_entries_of(found) {
            return Ok(refusal);
        }
        if let Some(refusal) = self.exceeds_bytes(found.actor.n, content)? {
            return Ok(refusal);
        }
        let first = self.first(found, Some(present))?;
        let outcome = self.append_change(at, found, Change::Edited, self.now)?;
        self.count_bytes(found.actor.n, content)?;
        self.count_change(found);
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = ?3, edited_at = ?4, change_seq = ?5, first = ?6, hash = ?7
                 WHERE conversation = ?1 AND n = ?2",
            )?
            .execute(params![
                found.conversation,
                found.n,
                long_contents::in_row(content),
                self.now,
                signed(found.actor.head + 1),
                first,
                content.hash(),
            ])?;
        long_contents::remove(self.tx, found.n)?;
        long_contents::insert(self.tx, found.n, content)?;
        Ok(outcome)
    }

    /// The outcome of an edit that does not change the present content.
    fn same_edit(&self, found: &Found, present: &str, content: &Content) -> Option<Outcome> {
        let edited = (&**content, content.hash());
        let is_same = self.hasher.same((present, found.hash.as_ref()), edited);
        is_same.then(|| {
            let seq = found.change_seq.map_or(found.from_seq, unsigned);
            unchanged(
                (seq > 0).then_some(seq),
                found.edited_at.unwrap_or(found.sent_at),
            )
        })
    }

    /// Looks for an edit that must not be made.
    pub(super) fn repeated_edit(&mut self, found: &Found, content: &Content) -> Result<Outcome> {
        if found.deleted_at.is_some() || found.sender != found.actor.n {
            return Ok(Outcome::NotStored);
        }
        let present = self.content(found)?;
        let repeated = self.same_edit(found, &present, content);
        Ok(repeated.unwrap_or(Outcome::NotStored))
    }

    pub(super) fn delete(&mut self, at: &MessageRef, found: &Found) -> Result<Outcome> {
        let own = found.sender == found.actor.n;
        match found.deleted_at {
            Some(deleted_at) if own => {
                return Ok(unchanged(found.change_seq.map(unsigned), deleted_at));
            }
            Some(_) => return Ok(Outcome::UnknownMessage),
            None if !own => return Ok(Outcome::NotAuthor),
            None => {}
        }
        if found.blocked {
            return Ok(Outcome::Blocked);
        }
        if let Some(refusal) = self.exceeds_entries_of(found) {
            return Ok(refusal);
        }
        let first = self.first(found, None)?;
        let outcome = self.append_change(at, found, Change::Deleted, self.now)?;
        self.tx
            .prepare_cached(
                "UPDATE messages SET content = NULL, hash = NULL, deleted_at = ?3, change_seq = ?4, first = ?5
                 WHERE conversation = ?1 AND n = ?2",
            )?
            .execute(params![
                found.conversation,
                found.n,
                self.now,
                found.entry().map(signed),
                first
            ])?;
        self.tx
            .prepare_cached("DELETE FROM reactions WHERE conversation = ?1 AND message = ?2")?
            .execute([found.conversation, found.n])?;
        long_contents::remove(self.tx, found.n)?;
        if !found.is_in_room() {
            let place = (found.conversation, found.sender, found.n);
            uncounted::add(self.tx, place, Uncounted::DELETED)?;
        }
        Ok(outcome)
    }

    pub(super) fn react(
        &mut self,
        at: &MessageRef,
        found: &Found,
        emoji: &str,
        remove: bool,
    ) -> Result<Outcome> {
        if found.deleted_at.is_some() {
            return Ok(Outcome::UnknownMessage);
        }
        let key = params![found.conversation, found.n, found.actor.n, emoji];
        let known: Option<(bool, i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT removed, seq, at FROM reactions
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND emoji = ?4",
            )?
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        match known {
            Some((removed, seq, changed_at)) if removed == remove => {
                return Ok(unchanged(Some(unsigned(seq)), changed_at));
            }
            None if remove => return Ok(unchanged(None, self.now)),
            _ if found.blocked => return Ok(Outcome::Blocked),
            _ if !remove && !self.may_react(found)? => return Ok(Outcome::TooManyReactions),
            _ => {}
        }
        if let Some(refusal) = self.exceeds_changes(found) {
            return Ok(refusal);
        }
        if let Some(refusal) = self.exceeds_entries_of(found) {
            return Ok(refusal);
        }
        if let Some(refusal) = self.exceeds_bytes(found.actor.n, emoji)? {
            return Ok(refusal);
        }
        let change = if remove {
            Change::Unreacted(emoji)
        } else {
            Change::Reacted(emoji)
        };
        let changed_at = self.after_reactions(found)?;
        let outcome = self.append_change(at, found, change, changed_at)?;
        self.count_bytes(found.actor.n, emoji)?;
        self.count_change(found);
        self.tx
            .prepare_cached(
                "INSERT INTO reactions (conversation, message, user, emoji, removed, seq, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET removed = ?5, seq = ?6, at = ?7",
            )?
            .execute(params![
                found.conversation,
                found.n,
                found.actor.n,
                emoji,
                remove,
                signed(found.actor.head + 1),
                changed_at
            ])?;
        Ok(outcome)
    }

    /// Checks whether the acting user may change a message once more. `None`: it may be changed. A deletion is always allowed: it is
    /// the last change.
    fn exceeds_changes(&self, found: &Found) -> Option<Outcome> {
        let limit = self.quotas.changes_per_message?;
        let wait = self.change_rates.wait(found.actor.n, found.n, limit)?;
        Some(Outcome::TooManyChanges {
            retry_after_ms: wait,
        })
    }

    /// Counts a change that [`Batch::exceeds_changes`] has allowed.
    fn count_change(&mut self, found: &Found) {
        if let Some(limit) = self.quotas.changes_per_message {
            self.change_rates.count(found.actor.n, found.n, limit);
        }
    }

    /// The time of a new reaction. If the clock was set back, it is later than all others on the message, because the times of
    /// reactions of different users are their order.
    fn after_reactions(&self, found: &Found) -> Result<i64> {
        let newest: Option<i64> = self
            .tx
            .prepare_cached(
                "SELECT max(at) FROM reactions WHERE conversation = ?1 AND message = ?2",
            )?
            .query_row([found.conversation, found.n], |row| row.get(0))?;
        Ok(match newest {
            Some(newest) if newest > self.now => newest.saturating_add(1),
            _ => self.now,
        })
    }

    /// True if the user may add one more reaction to a message. Forgets the oldest removed reactions beyond the maximum.
    fn may_react(&self, found: &Found) -> Result<bool> {
        let key = [found.conversation, found.n, found.actor.n, MAX_REACTIONS];
        self.tx
            .prepare_cached(
                "DELETE FROM reactions WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND removed
                 AND emoji NOT IN (SELECT emoji FROM reactions
                    WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND removed
                    ORDER BY seq DESC LIMIT ?4)",
            )?
            .execute(key)?;
        self.tx
            .prepare_cached(
                "SELECT count(*) < ?4 FROM reactions
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND NOT removed",
            )?
            .query_row(key, |row| row.get(0))
    }

    /// The present content of a message.
    fn content(&self, found: &Found) -> Result<String> {
        let content: Option<String> = self
            .tx
            .prepare_cached("SELECT content FROM messages WHERE conversation = ?1 AND n = ?2")?
            .query_row([found.conversation, found.n], |row| row.get(0))?;
        let content = long_contents::read(self.tx, found.n, content)?;
        Ok(content.unwrap_or_default())
    }

    /// The hash of a message's first content, by which a duplicate is recognised once the content has changed. `present`: the
    /// present content, if it has been read.
    fn first(&self, found: &Found, present: Option<String>) -> Result<ContentHash> {
        // The hash of the present content, which is the first one, is known if it is long.
        if let Some(first) = found.first.or(found.hash) {
            return Ok(first);
        }
        let present = match present {
            Some(present) => present,
            None => self.content(found)?,
        };
        Ok(self.hasher.hash(&present))
    }

    /// As [`Batch::exceeds_entries`], for a change of a message in a room.
    fn exceeds_entries_of(&self, found: &Found) -> Option<Outcome> {
        match &found.others {
            _ if found.by_key => None,
            Others::Peer(..) => None,
            Others::Room(members) => self.exceeds_entries(found.actor.n, members.len() as u64),
        }
    }

    /// True if the other user of the conversation blocks the acting user.
    fn is_blocked(&mut self, at: &MessageRef) -> Result<bool> {
        let Some(peer) = at.conversation.peer() else {
            return Ok(false);
        };
        match (self.find_user(&at.actor)?, self.find_user(peer)?) {
            (Some(actor), Some(peer)) => cache::blocks(self.tx, peer.n, actor.n),
            _ => Ok(false),
        }
    }
}
