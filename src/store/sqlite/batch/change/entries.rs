//! Appends the entries of edits, deletions and reactions to inboxes.

use rusqlite::params;

use super::super::{Batch, Found, Others, Result};
use crate::store::sqlite::kinds;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending::{About, EntryRecord, are_late};
use crate::store::sqlite::rooms::Member;
use crate::store::{MessageRef, Outcome, Recipient, Recipients};

/// A kind of change.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Edited,
    Deleted,
    Reacted(&'a str),
    Unreacted(&'a str),
}

impl Change<'_> {
    /// `kind` and `emoji` of its inbox entries.
    fn columns(&self) -> (i64, Option<&str>) {
        match self {
            Self::Edited => (kinds::EDITED, None),
            Self::Deleted => (kinds::DELETED, None),
            Self::Reacted(emoji) => (kinds::REACTED, Some(emoji)),
            Self::Unreacted(emoji) => (kinds::UNREACTED, Some(emoji)),
        }
    }
}

impl Found {
    /// False if no inbox can have an entry that the change supersedes, so that none is searched. A removed reaction may have been
    /// forgotten while its entries are kept.
    fn may_have(&self, superseded_by: Change<'_>) -> bool {
        match superseded_by {
            Change::Edited | Change::Deleted => self.edited_at.is_some(),
            Change::Reacted(_) | Change::Unreacted(_) => true,
        }
    }
}

impl Batch<'_> {
    /// Appends a change to the inboxes of all members of the conversation for whom the message exists, and marks the changes that it supersedes.
    pub(super) fn append_change(
        &mut self,
        at: &MessageRef,
        found: &Found,
        change: Change<'_>,
        changed_at: i64,
    ) -> Result<Outcome> {
        let entry = (found, change, changed_at);
        if found.has_entry && !found.is_in_room() {
            self.append_change_to(&at.actor, found.actor.n, found.actor.head, entry)?;
        }
        let recipients = match &found.others {
            Others::Peer(_, peer) if peer.n == found.actor.n => Recipients::NONE,
            Others::Peer(id, peer) => {
                self.append_change_to(id, peer.n, peer.head, entry)?;
                Recipients::one(id.clone(), peer.head + 1)
            }
            Others::Room(members) => {
                let members: Vec<Member> = members
                    .iter()
                    .filter(|member| member.n != found.actor.n && member.sees(found.n, self.rooms))
                    .cloned()
                    .collect();
                let recipients = self.append_change_in_room(at, &members, entry)?;
                if !found.by_key {
                    self.count_entries(found.actor.n, 1 + recipients.len() as u64);
                }
                recipients.into()
            }
        };
        Ok(Outcome::Stored {
            seq: found.entry(),
            recipients,
            at: changed_at,
            duplicate: false,
            new_contact: false,
            received: if found.by_key {
                None
            } else {
                self.reveal_received_by(found)?
            },
        })
    }

    /// As [`Batch::append_change`], in a room: to the inboxes of the acting user and of `members`, who are the others.
    fn append_change_in_room(
        &mut self,
        at: &MessageRef,
        members: &[Member],
        entry: (&Found, Change<'_>, i64),
    ) -> Result<Vec<Recipient>> {
        let (found, change, changed_at) = entry;
        let mut recipients = Vec::with_capacity(members.len());
        for member in members {
            recipients.push(Recipient {
                user: member.id.clone(),
                seq: self.member_user(member)?.head + 1,
            });
        }
        // Entries that are superseded may still be in the log.
        let are_late = are_late(found.conversation, members.len())
            || self.log.has_conversation(found.conversation)
            || self.pending.has_conversation(found.conversation);
        if !are_late {
            if found.has_entry {
                self.append_change_to(&at.actor, found.actor.n, found.actor.head, entry)?;
            }
            for (member, recipient) in members.iter().zip(&recipients) {
                self.append_change_to(&member.id, member.n, recipient.seq - 1, entry)?;
            }
            return Ok(recipients);
        }
        let (kind, emoji) = change.columns();
        let numbered = members.iter().zip(&recipients);
        let numbered = numbered.map(|(member, recipient)| Recipient {
            user: member.n,
            seq: recipient.seq,
        });
        self.pending.add_entries(EntryRecord {
            about: About {
                conversation: found.conversation,
                n: found.n,
                kind,
                by: found.actor.n,
                at: changed_at,
                emoji: emoji.map(Into::into),
                may_supersede: found.may_have(change),
            },
            own_seq: found.entry().unwrap_or(0),
            recipients: numbered.collect::<Vec<_>>().into(),
        });
        if found.has_entry {
            self.inbox_grown(&at.actor, 0);
        }
        for member in members {
            self.inbox_grown(&member.id, 0);
        }
        Ok(recipients)
    }

    fn append_change_to(
        &mut self,
        id: &str,
        user: i64,
        head: u64,
        (found, change, changed_at): (&Found, Change<'_>, i64),
    ) -> Result<()> {
        let (kind, emoji) = change.columns();
        let superseded = if found.may_have(change) {
            self.supersede(user, found, emoji)?
        } else {
            0
        };
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                user,
                signed(head + 1),
                changed_at,
                found.conversation,
                found.n,
                kind,
                found.actor.n,
                emoji
            ])?;
        self.inbox_grown(id, superseded as u64);
        Ok(())
    }

    /// Marks the changes in a user's inbox that a later one supersedes: an edit or a deletion supersedes the author's last edit, a
    /// reaction the same user's last change of it. Returns how many there are.
    fn supersede(&mut self, user: i64, found: &Found, emoji: Option<&str>) -> Result<usize> {
        // SQLite would search the whole inbox of the user instead of the index, which has all of these columns and this condition.
        let superseded = self
            .tx
            .prepare_cached(
                "UPDATE inbox INDEXED BY changes SET kind = 5, by = NULL, emoji = NULL
                 WHERE conversation = ?1 AND message = ?2 AND user = ?3 AND by = ?4 AND emoji IS ?5 AND kind BETWEEN 1 AND 4",
            )?
            .execute(params![
                found.conversation,
                found.n,
                user,
                found.actor.n,
                emoji
            ])?;
        if superseded > 0 {
            self.tx
                .prepare_cached("UPDATE users SET superseded = superseded + ?2 WHERE n = ?1")?
                .execute([user, superseded as i64])?;
        }
        Ok(superseded)
    }
}
