//! What users have received and the other user of the conversation must not know yet (PROTOCOL section 8, "Visibility"). The table
//! `deferred` has a row for each received mark that is ahead of what the other user may know. The other user learns of it when the
//! user reads or writes in the conversation, or is not invisible any more.

use uuid::Uuid;

use super::{Batch, Found, Others, Result};
use crate::store::sqlite::cache::{DirectConversation, User};
use crate::store::sqlite::rooms::share_small_room;
use crate::store::{Outcome, PresenceMode, Received, ReceivedView, Relation};

/// The maximum number of conversations in one commit in which others are informed of what a user has received.
const REVEALED: i64 = 64;

impl Batch<'_> {
    /// True if others must not know what a user receives from now on.
    pub(super) fn defers_receipts(&self, user: &User) -> bool {
        self.presence == PresenceMode::Off || user.is_invisible
    }

    /// True if receipts of a user are deferred.
    pub(super) fn has_deferred(&self, user: i64) -> Result<bool> {
        self.tx
            .prepare_cached("SELECT 1 FROM deferred WHERE user = ?1")?
            .exists([user])
    }

    /// Ends the deferral of a user's receipts in up to `limit` conversations. Returns these, with the other users.
    pub(super) fn end_deferrals(&mut self, user: i64, limit: i64) -> Result<Vec<(i64, i64)>> {
        let conversations: Vec<(i64, i64)> = self
            .tx
            .prepare_cached(
                "SELECT c.n, iif(c.low = ?1, c.high, c.low) FROM deferred AS d JOIN conversations AS c ON c.n = d.conversation
                 WHERE d.user = ?1 LIMIT ?2",
            )?
            .query_map([user, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_>>()?;
        for (conversation, other) in &conversations {
            self.end_deferral(*conversation, (user, *other))?;
        }
        Ok(conversations)
    }

    /// Ends the deferral of a user's receipts in all conversations. There may be many: the time for each is short.
    pub(super) fn end_all_deferrals(&mut self, user: i64) -> Result<()> {
        let removed = self
            .tx
            .prepare_cached("DELETE FROM deferred WHERE user = ?1")?
            .execute([user])?;
        if removed > 0 {
            self.cache.set_none_deferred(user);
        }
        Ok(())
    }

    /// Ends the deferral of a user's receipts in some conversations, unless the user is invisible again.
    pub fn reveal(&mut self, id: &str) -> Result<Outcome> {
        let mut received = Vec::new();
        let user = self.find_user(id)?;
        let Some(user) = user.filter(|user| !self.defers_receipts(user)) else {
            let more = false;
            return Ok(Outcome::Revealed { received, more });
        };
        let conversations = self.end_deferrals(user.n, REVEALED)?;
        let more = conversations.len() as i64 == REVEALED;
        for (conversation, other) in conversations {
            let known = self.find_conversation(user.n, other)?;
            let relation = self.relation(known, (user.n, other))?;
            if relation.received_view(self.presence, false) == ReceivedView::All
                && let Some(id) = self.received_message(user.n, conversation)?
            {
                let peer = self
                    .tx
                    .prepare_cached("SELECT id FROM users WHERE n = ?1")?
                    .query_row([other], |row| row.get(0))?;
                received.push(Received {
                    peer,
                    id,
                    visible: true,
                });
            }
        }
        Ok(Outcome::Revealed { received, more })
    }

    /// Keeps what the other user may know as it is. To be called before the received mark is moved to message `n`.
    pub(super) fn defer(&self, user: i64, conversation: i64, n: i64) -> Result<()> {
        self.tx
            .prepare_cached(
                "INSERT OR IGNORE INTO deferred (user, conversation, shown)
                 SELECT ?1, ?2, coalesce(max(received), 0) FROM marks WHERE user = ?1 AND conversation = ?2
                 HAVING coalesce(max(received), 0) < ?3",
            )?
            .execute([user, conversation, n])
            .map(drop)
    }

    /// Ends the deferral: the other user may know what `user` has received.
    pub(super) fn end_deferral(
        &mut self,
        conversation: i64,
        (user, other): (i64, i64),
    ) -> Result<()> {
        self.tx
            .prepare_cached("DELETE FROM deferred WHERE user = ?1 AND conversation = ?2")?
            .execute([user, conversation])?;
        self.cache.set_deferred(user, other, false);
        Ok(())
    }

    /// A user reads or writes in a direct conversation, which reveals what was deferred. Returns the newest message that the user has
    /// received, if the other user is to be informed of it now.
    pub(super) fn reveal_received(
        &mut self,
        known: DirectConversation,
        (user, other): (i64, i64),
    ) -> Result<Option<Uuid>> {
        if !known.is_deferred(user, other) {
            return Ok(None);
        }
        self.end_deferral(known.n, (user, other))?;
        let relation = self.relation(Some(known), (user, other))?;
        match relation.received_view(self.presence, true) {
            ReceivedView::Shown | ReceivedView::All => self.received_message(user, known.n),
            ReceivedView::Nothing | ReceivedView::Read => Ok(None),
        }
    }

    /// As [`Batch::reveal_received`], for a user who acts on a message.
    pub(super) fn reveal_received_by(&mut self, found: &Found) -> Result<Option<Uuid>> {
        match (&found.others, found.direct) {
            (Others::Peer(_, peer), Some(known)) => {
                self.reveal_received(known, (found.actor.n, peer.n))
            }
            _ => Ok(None),
        }
    }

    /// What two users have in common, who may have a direct conversation.
    pub(super) fn relation(
        &self,
        conversation: Option<DirectConversation>,
        (a, b): (i64, i64),
    ) -> Result<Relation> {
        let has_block = conversation.is_some_and(|known| known.has_block());
        Relation::of(self.presence, (a == b, has_block), || {
            if conversation.is_some_and(|known| known.is_mutual(a, b)) {
                return Ok(true);
            }
            share_small_room(self.tx, self.rooms, (a, b))
        })
    }
}
