//! What users have received and the other user of the conversation must not know yet (PROTOCOL section 8, "Visibility"). The table
//! `deferred` has a row for each received mark that is ahead of what the other user may know. The other user learns of it when the
//! user reads or writes in the conversation.

use uuid::Uuid;

use super::{Batch, Found, Others, Result};
use crate::store::sqlite::cache::{DirectConversation, User};
use crate::store::sqlite::rooms::share_small_room;
use crate::store::{PresenceMode, ReceivedView, Relation};

impl Batch<'_> {
    /// True if others must not know what a user receives from now on.
    pub(super) fn defers_receipts(&self, _user: &User) -> bool {
        self.presence == PresenceMode::Off
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
        let is_mutual = conversation.is_some_and(|known| known.is_mutual(a, b));
        Ok(Relation {
            is_self: a == b,
            is_mutual: is_mutual || share_small_room(self.tx, a, b, self.rooms.small)?,
            has_block: conversation.is_some_and(|known| known.has_block()),
        })
    }
}
