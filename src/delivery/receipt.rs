//! Receipts: how far a user has received or read a conversation (PROTOCOL section 10).

use uuid::Uuid;

use super::Delivery;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::server::{Receipt, ReceiptKind};
use crate::protocol::{MessageId, ServerFrame, Timestamp};
use crate::store::{Conversation, Write};
use crate::websocket;

/// A user has received or read a direct conversation further than before.
pub(super) struct ReceiptUpdate<'a> {
    pub kind: ReceiptKind,
    /// The user.
    pub actor: &'a str,
    /// The other user of the conversation.
    pub peer: &'a str,
    /// The newest message.
    pub id: Uuid,
    pub at: Timestamp,
    /// Only the user's own sessions get the receipt.
    pub hidden: bool,
}

impl ReceiptUpdate<'_> {
    /// The receipt for a user whose conversation partner is `peer`.
    fn frame<'a>(&'a self, peer: &'a str) -> ServerFrame<'a> {
        ServerFrame::Receipt(Receipt {
            kind: self.kind,
            by_user: self.actor,
            target_user: Some(peer),
            target_room: None,
            id: MessageId(self.id),
            at: self.at,
        })
    }
}

impl Delivery {
    /// Pushes a receipt to the sessions of the other user and to the user's own, except to the one that caused it.
    pub(super) fn push_receipt(
        &self,
        update: &ReceiptUpdate<'_>,
        except: Uuid,
        wakeups: &mut WakeupBatch,
    ) {
        if update.actor != update.peer && !update.hidden {
            self.push_receipt_to(update.peer, update.actor, update, except, wakeups);
        }
        self.push_receipt_to(update.actor, update.peer, update, except, wakeups);
    }

    /// A user has acted in a direct conversation, which reveals to the other one that the user has received message `id` before.
    pub(super) fn push_late_receipt(
        &self,
        write: &Write,
        id: Option<Uuid>,
        actor: &str,
        at: Timestamp,
        wakeups: &mut WakeupBatch,
    ) {
        let peer = write.conversation().and_then(Conversation::peer);
        if let (Some(id), Some(peer)) = (id, peer) {
            let update = ReceiptUpdate {
                kind: ReceiptKind::Received,
                actor,
                peer,
                id,
                at,
                hidden: false,
            };
            self.push_receipt_to_peer(&update, wakeups);
        }
    }

    /// Pushes a receipt to the sessions of the other user.
    pub(super) fn push_receipt_to_peer(
        &self,
        update: &ReceiptUpdate<'_>,
        wakeups: &mut WakeupBatch,
    ) {
        self.push_receipt_to(update.peer, update.actor, update, Uuid::nil(), wakeups);
    }

    fn push_receipt_to(
        &self,
        user: &str,
        peer: &str,
        update: &ReceiptUpdate<'_>,
        except: Uuid,
        wakeups: &mut WakeupBatch,
    ) {
        self.registry.with(user, |sessions| {
            let mut frame = Vec::new();
            for session in sessions.iter().filter(|other| other.session() != except) {
                if frame.is_empty() {
                    websocket::write_text(&mut frame, |out| update.frame(peer).write(out));
                }
                wakeups.add(
                    session,
                    session.push_ephemeral(&frame, WrittenBy::AppendingThread).1,
                );
            }
        });
    }
}
