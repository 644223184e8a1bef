//! Appends the entries about members of rooms to inboxes.

use std::sync::Arc;

use rusqlite::params;

use super::super::{Batch, Result};
use crate::store::sqlite::cache::User;
use crate::store::sqlite::number::signed;
use crate::store::sqlite::pending::{About, EntryRecord, are_late};
use crate::store::sqlite::rooms::{Member, Room};
use crate::store::{Recipient, Recipients};

/// A membership that begins or ends.
pub(super) struct Event<'a> {
    pub room: &'a Room,
    pub user: (&'a Arc<str>, User),
    pub kind: i64,
    /// The place among the numbers of messages.
    pub n: i64,
    /// The number of members after the event.
    pub members: u64,
    /// It is appended to the inboxes of all members.
    pub is_announced: bool,
    /// A key has made it, which has no rate of entries.
    pub by_key: bool,
}

impl Batch<'_> {
    /// Counts the members, and appends the event to the inboxes. Returns the other members whose inboxes have it.
    pub(super) fn change_members(&mut self, event: &Event<'_>) -> Result<Recipients> {
        let (id, user) = event.user;
        self.tx
            .prepare_cached("UPDATE rooms SET members = ?2 WHERE n = ?1")?
            .execute([event.room.n, signed(event.members)])?;
        // At once, also for many members: the entry is the source of an event.
        self.append_membership(id, user, event)?;
        let recipients = if event.is_announced {
            self.announce(event)?
        } else {
            Vec::new()
        };
        if !event.by_key {
            self.count_entries(user.n, 1 + recipients.len() as u64);
        }
        Ok(recipients.into())
    }

    /// The next entry of each member but `except`. Twice, because a store names users in another way than its callers do.
    pub(super) fn next_entries(
        &mut self,
        members: &[Member],
        except: i64,
    ) -> Result<(Vec<Recipient>, Vec<Recipient<i64>>)> {
        let mut recipients = Vec::with_capacity(members.len());
        let mut numbered = Vec::with_capacity(members.len());
        for member in members.iter().filter(|member| member.n != except) {
            let seq = self.member_user(member)?.head + 1;
            recipients.push(Recipient {
                user: member.id.clone(),
                seq,
            });
            numbered.push(Recipient {
                user: member.n,
                seq,
            });
        }
        Ok((recipients, numbered))
    }

    /// Appends the event to the inboxes of the other members.
    fn announce(&mut self, event: &Event<'_>) -> Result<Vec<Recipient>> {
        let by = event.user.1.n;
        let others = event.room.members.iter().filter(|member| member.n != by);
        let (recipients, numbered) = self.next_entries(&event.room.members, by)?;
        if !are_late(event.room.conversation(), numbered.len()) {
            for member in others {
                let user = self.member_user(member)?;
                self.append_membership(&member.id, user, event)?;
            }
            return Ok(recipients);
        }
        self.pending.add_entries(EntryRecord {
            about: About {
                conversation: event.room.conversation(),
                n: event.n,
                kind: event.kind,
                by,
                at: self.now,
                emoji: Some(event.members.to_string().into()),
                may_supersede: false,
            },
            own_seq: 0,
            recipients: numbered.into(),
        });
        for member in others {
            self.inbox_grown(&member.id, 0);
        }
        Ok(recipients)
    }

    fn append_membership(&mut self, id: &str, owner: User, event: &Event<'_>) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                owner.n,
                signed(owner.head + 1),
                self.now,
                event.room.conversation(),
                event.n,
                event.kind,
                event.user.1.n,
                event.members.to_string(),
            ])?;
        self.inbox_grown(id, 0);
        Ok(())
    }
}
