//! Rooms: entries of many inboxes, memberships, and read receipts.

use std::sync::Arc;

use uuid::Uuid;

use super::Delivery;
use super::render::EntryView;
use super::shared_frame::SharedFrame;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::server::{Receipt, ReceiptKind};
use crate::protocol::{MessageId, ServerFrame, Timestamp};
use crate::store::{MessageRef, Recipient, RoomMembers};
use crate::websocket;

/// The delivering thread writes to so many sessions itself, which is faster for each of them; another thread writes to the others, so
/// that neither this thread nor a worker is occupied by a large room.
const INLINE_WRITES: usize = 16;

/// Decides which thread writes the frames of one fan-out.
#[derive(Default)]
pub(super) struct FanOut {
    sessions: usize,
}

impl FanOut {
    pub(super) fn written_by(&mut self) -> WrittenBy {
        self.sessions += 1;
        if self.sessions <= INLINE_WRITES {
            WrittenBy::AppendingThread
        } else {
            WrittenBy::FanOutThread
        }
    }
}

impl Delivery {
    /// Pushes an entry to all sessions of many users.
    pub(super) fn push_to_members(
        &self,
        entry: &EntryView<'_>,
        recipients: &[Recipient],
        wakeups: &mut WakeupBatch,
    ) {
        let mut frame = SharedFrame::new(entry);
        let mut fan_out = FanOut::default();
        for Recipient { user, seq } in recipients {
            self.registry.with(user, |sessions| {
                if sessions.is_empty() {
                    return;
                }
                let frame = frame.with_seq(*seq);
                for session in sessions {
                    let wakeup = session.push_entry(*seq, frame, fan_out.written_by());
                    wakeups.add(session, wakeup);
                }
            });
        }
    }

    /// A membership has changed: these users may see each other from now on, or not any more.
    pub(super) fn forget_relations(
        &self,
        user: &Arc<str>,
        recipients: &[Recipient],
        regrouped: Option<&RoomMembers>,
    ) {
        for recipient in recipients {
            self.contacts.forget(user, &recipient.user);
            self.presence.relation_changed(user, &recipient.user);
        }
        if let Some(members) = regrouped {
            self.contacts.forget_among(&members.users);
            self.presence.relations_changed_among(&members.users);
        }
    }

    /// Pushes a `read` receipt to the reader's other sessions and, in a small room, to those of the other members.
    pub(super) fn push_room_receipt(
        &self,
        message: &MessageRef,
        room: &str,
        members: Option<&RoomMembers>,
        at: Timestamp,
        except: Uuid,
        wakeups: &mut WakeupBatch,
    ) {
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| {
            ServerFrame::Receipt(Receipt {
                kind: ReceiptKind::Read,
                by_user: &message.actor,
                target_user: None,
                target_room: Some(room),
                id: MessageId(message.id),
                at,
            })
            .write(out);
        });
        let mut fan_out = FanOut::default();
        let mut push = |user: &str| {
            self.push_signal(user, &frame, except, &mut fan_out, wakeups);
        };
        push(&message.actor);
        let members = members.filter(|members| members.is_small);
        let others = members.iter().flat_map(|members| members.users.iter());
        for user in others.filter(|user| **user != message.actor) {
            push(user);
        }
    }

    /// Pushes a frame that is not stored to the sessions of a user, except to one. Returns whether one of them gets it and the user is not
    /// invisible, and how many get it.
    pub(super) fn push_signal(
        &self,
        user: &str,
        frame: &[u8],
        except: Uuid,
        fan_out: &mut FanOut,
        wakeups: &mut WakeupBatch,
    ) -> (bool, u64) {
        self.registry.with(user, |sessions| {
            let mut reached = 0;
            for session in sessions.iter().filter(|other| other.session() != except) {
                let (sent, wakeup) = session.push_ephemeral(frame, fan_out.written_by());
                wakeups.add(session, wakeup);
                reached += u64::from(sent);
            }
            // While the registry is locked, so that the status is known: a session of the user is registered.
            let is_seen = reached > 0 && !self.presence.is_invisible(user);
            (is_seen, reached)
        })
    }
}
