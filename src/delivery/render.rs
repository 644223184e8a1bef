//! Frames of inbox entries and stored messages.

use std::sync::Arc;

use crate::outbox::Acked;
use crate::protocol::server::{
    Deleted, Edited, Erased, PastMessage, RawContent, Reacted, Reactions, RoomChange, RoomEvent,
    RoomReason, ServerMessage, Skipped,
};
use crate::protocol::types::Integer;
use crate::protocol::{MessageId, ServerFrame, Target, Timestamp};
use crate::store::{
    Conversation, Entry, EntryKind, ErasedEntry, MembershipEntry, MembershipEvent,
    RoomDeletionStep, StoredMessage, Write,
};
use crate::websocket;

/// An inbox entry as sessions receive it, just stored or read from the store.
#[derive(Clone, Debug)]
pub struct EntryView<'a> {
    /// The user who caused the entry.
    actor: &'a str,
    /// The conversation as the actor addresses it.
    target: Target<'a>,
    pub(super) stored_at: Timestamp,
    kind: Kind<'a>,
}

/// The event that an entry records.
#[derive(Clone, Debug)]
enum Kind<'a> {
    /// A message, or a change of one.
    Message(MessageId, Body<'a>),
    /// The actor has joined or left a room.
    Membership {
        room: &'a Arc<str>,
        event: RoomEvent,
        members: u64,
        reason: Option<RoomReason>,
    },
}

/// The part of an entry about a message that depends on the event.
#[derive(Clone, Debug)]
enum Body<'a> {
    Message {
        content: &'a str,
        sent_at: Timestamp,
        reply_to: Option<MessageId>,
        edited_at: Option<Timestamp>,
    },
    Edited {
        content: &'a str,
        edited_at: Timestamp,
    },
    Deleted {
        /// The author of the message.
        author: &'a str,
        /// The conversation as the author addresses it.
        target: Target<'a>,
        deleted_at: Timestamp,
    },
    Reacted {
        emoji: &'a str,
        removed: bool,
    },
}

impl<'a> EntryView<'a> {
    /// The entry of a write that was stored at `at`. `None`: it has no entry.
    pub(super) fn of_write(write: &'a Write, at: Timestamp) -> Option<Self> {
        let (actor, target, id, body) = match write {
            Write::Message(message) => (
                &message.from,
                target_of(&message.to),
                message.id,
                Body::Message {
                    content: &message.content,
                    sent_at: at,
                    reply_to: message.reply_to.map(MessageId),
                    edited_at: None,
                },
            ),
            Write::Edit(message, content) | Write::Repeat(message, content, _) => (
                &message.actor,
                target_of(&message.conversation),
                message.id,
                Body::Edited {
                    content,
                    edited_at: at,
                },
            ),
            Write::Delete(message) | Write::Moderate(message) => (
                &message.actor,
                target_of(&message.conversation),
                message.id,
                Body::Deleted {
                    author: &message.actor,
                    target: target_of(&message.conversation),
                    deleted_at: at,
                },
            ),
            Write::React {
                message,
                emoji,
                remove,
            } => (
                &message.actor,
                target_of(&message.conversation),
                message.id,
                Body::Reacted {
                    emoji,
                    removed: *remove,
                },
            ),
            Write::Read(_)
            | Write::Block { .. }
            | Write::Watermark { .. }
            | Write::Status { .. }
            | Write::Reveal { .. }
            | Write::Seen { .. }
            | Write::LostSessions { .. }
            | Write::Erase { .. }
            | Write::EraseStep { .. }
            | Write::Revoke { .. }
            | Write::EndRevocation { .. }
            | Write::Events(_)
            | Write::Join { .. }
            | Write::Leave { .. }
            | Write::DeleteRoom { .. }
            | Write::ContinueDeletion(_) => {
                return None;
            }
        };
        Some(Self {
            actor,
            target,
            stored_at: at,
            kind: Kind::Message(MessageId(id), body),
        })
    }

    /// The entry of a join or leave that was stored at `at`. `None`: it is another write.
    pub(super) fn of_membership(write: &'a Write, members: u64, at: Timestamp) -> Option<Self> {
        let (actor, room, event) = match write {
            Write::Join { user, room, .. } => (user, room, RoomEvent::Joined),
            Write::Leave { user, room, .. } => (user, room, RoomEvent::Left),
            _ => return None,
        };
        Some(Self {
            actor,
            target: Target::Room(room),
            stored_at: at,
            kind: Kind::Membership {
                room,
                event,
                members,
                reason: None,
            },
        })
    }

    /// The end of the membership of a user in a room that was deleted.
    pub(super) fn of_deletion(step: &'a RoomDeletionStep, user: &'a str) -> Self {
        Self {
            actor: user,
            target: Target::Room(&step.room),
            stored_at: Timestamp(step.at),
            kind: Kind::Membership {
                room: &step.room,
                event: RoomEvent::Left,
                members: 0,
                reason: Some(RoomReason::RoomDeleted),
            },
        }
    }

    /// An entry about a membership that was read from the store.
    pub fn of_membership_entry(entry: &'a MembershipEntry) -> Self {
        let event = match entry.event {
            MembershipEvent::Joined => RoomEvent::Joined,
            MembershipEvent::Left => RoomEvent::Left,
        };
        Self {
            actor: &entry.user,
            target: Target::Room(&entry.room),
            stored_at: Timestamp(entry.at),
            kind: Kind::Membership {
                room: &entry.room,
                event,
                members: entry.members,
                reason: entry.room_deleted.then_some(RoomReason::RoomDeleted),
            },
        }
    }

    /// An entry that was read from the store. The body has the current content (PROTOCOL section 5, "Replay").
    pub fn of_entry(entry: &'a Entry) -> Self {
        let message = &entry.message;
        // In a direct conversation the actor addresses the other user.
        let target = match &message.to {
            Conversation::Direct(_) if entry.actor != message.from => Target::User(&message.from),
            to => target_of(to),
        };
        let body = match (&entry.kind, message.deleted_at) {
            (_, Some(deleted_at)) => Body::Deleted {
                author: &message.from,
                target: target_of(&message.to),
                deleted_at: Timestamp(deleted_at),
            },
            (EntryKind::Reacted { emoji, removed }, _) => Body::Reacted {
                emoji,
                removed: *removed,
            },
            (EntryKind::Edited, _) => Body::Edited {
                content: &message.content,
                edited_at: Timestamp(message.edited_at.unwrap_or(entry.at)),
            },
            (EntryKind::Message | EntryKind::Deleted, _) => Body::Message {
                content: &message.content,
                sent_at: Timestamp(message.sent_at),
                reply_to: message.reply_to.map(MessageId),
                edited_at: message.edited_at.map(Timestamp),
            },
        };
        Self {
            actor: &entry.actor,
            target,
            stored_at: Timestamp(entry.at),
            kind: Kind::Message(MessageId(message.id), body),
        }
    }

    /// Writes this entry as a WebSocket frame: `message`, `edited`, ...
    pub fn write(&self, out: &mut Vec<u8>, seq: u64) {
        websocket::write_text(out, |out| self.write_entry(out, seq));
    }

    /// The user who has caused the entry.
    pub(super) fn actor(&self) -> &'a str {
        self.actor
    }

    /// The subject of the acknowledgement that the acting session gets.
    pub(super) fn subject(&self) -> Acked {
        match &self.kind {
            Kind::Message(id, _) => Acked::Message(*id),
            Kind::Membership { room, .. } => Acked::Room(Arc::clone(room)),
        }
    }

    /// True for a message to oneself, and a change of one.
    pub(super) fn is_to_oneself(&self) -> bool {
        self.target == Target::User(self.actor)
    }

    /// The entry as a WebSocket frame, the same for all sessions that have not caused it.
    pub(super) fn encode(&self, seq: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        self.write(&mut frame, seq);
        frame
    }

    /// Writes the payload of the frame.
    pub(super) fn write_entry(&self, out: &mut Vec<u8>, seq: u64) {
        let seq = Integer(seq);
        let (target_user, target_room) = target_fields(self.target);
        let (id, body) = match &self.kind {
            Kind::Message(id, body) => (*id, body),
            Kind::Membership {
                room,
                event,
                members,
                reason,
            } => {
                let change = RoomChange {
                    room,
                    event: *event,
                    user: self.actor,
                    seq,
                    members: Integer(*members),
                    reason: *reason,
                    at: self.stored_at,
                };
                return ServerFrame::Room(change).write(out);
            }
        };
        let frame = match *body {
            Body::Message {
                content,
                sent_at,
                reply_to,
                edited_at,
            } => ServerFrame::Message(ServerMessage {
                message: RawContent(content),
                from_user: self.actor,
                target_user,
                target_room,
                id,
                seq: Some(seq),
                sent_at,
                reply_to,
                edited_at,
                ephemeral: None,
            }),
            Body::Edited { content, edited_at } => ServerFrame::Edited(Edited {
                message: RawContent(content),
                from_user: self.actor,
                target_user,
                target_room,
                id,
                seq,
                edited_at,
            }),
            Body::Deleted {
                author,
                target,
                deleted_at,
            } => {
                let (target_user, target_room) = target_fields(target);
                ServerFrame::Deleted(Deleted {
                    from_user: author,
                    target_user,
                    target_room,
                    id,
                    seq,
                    deleted_at,
                })
            }
            Body::Reacted { emoji, removed } => ServerFrame::Reacted(Reacted {
                from_user: self.actor,
                target_user,
                target_room,
                id,
                seq,
                emoji,
                removed: removed.then_some(true),
            }),
        };
        frame.write(out);
    }
}

/// Writes an entry whose change was superseded as a WebSocket frame.
pub fn write_skipped(out: &mut Vec<u8>, seq: u64) {
    let skipped = ServerFrame::Skipped(Skipped { seq: Integer(seq) });
    websocket::write_text(out, |out| skipped.write(out));
}

/// Writes an entry about another user who was erased as a WebSocket frame.
pub fn write_erased(out: &mut Vec<u8>, entry: &ErasedEntry) {
    let erased = ServerFrame::Erased(Erased {
        renamed_to: &entry.renamed_to,
        user_hash: &entry.user_hash,
        seq: Integer(entry.seq),
        at: Timestamp(entry.at),
    });
    websocket::write_text(out, |out| erased.write(out));
}

/// A message as part of `history`, `conversations` and exports.
pub fn past_message(message: &StoredMessage) -> PastMessage<'_> {
    let (target_user, target_room) = target_fields(target_of(&message.to));
    PastMessage {
        r#type: "message",
        message: message
            .deleted_at
            .is_none()
            .then_some(RawContent(&message.content)),
        from_user: &message.from,
        target_user,
        target_room,
        id: MessageId(message.id),
        sent_at: Timestamp(message.sent_at),
        reply_to: message.reply_to.map(MessageId),
        edited_at: message.edited_at.map(Timestamp),
        deleted_at: message.deleted_at.map(Timestamp),
        reactions: message
            .reactions
            .iter()
            .map(|(emoji, users)| Reactions {
                emoji,
                users: users.iter().map(String::as_str).collect(),
            })
            .collect(),
    }
}

/// A conversation as the target of a frame.
pub fn target_of(conversation: &Conversation) -> Target<'_> {
    match conversation {
        Conversation::Direct(user) => Target::User(user),
        Conversation::Room(room) => Target::Room(room),
    }
}

/// The values of `target_user` and `target_room` in a frame.
pub fn target_fields(target: Target<'_>) -> (Option<&str>, Option<&str>) {
    match target {
        Target::User(user) => (Some(user), None),
        Target::Room(room) => (None, Some(room)),
    }
}
