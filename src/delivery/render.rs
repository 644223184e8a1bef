//! What an entry of an inbox looks like to a session.

use crate::protocol::server::{
    Ack, AckStatus, Deleted, Edited, PastMessage, RawContent, Reacted, Reactions, ServerMessage,
};
use crate::protocol::types::Integer;
use crate::protocol::{MessageId, ServerFrame, Target, Timestamp};
use crate::store::{Conversation, Entry, EntryKind, StoredMessage, Write};
use crate::websocket;

/// An entry of an inbox as sessions are shown it, just stored or read back.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Who caused it, and the user whom the frame that did was addressed to.
    pub(super) by: &'a str,
    pub(super) to: Target<'a>,
    pub(super) id: MessageId,
    /// When it was stored.
    pub(super) at: Timestamp,
    shows: Shows<'a>,
}

#[derive(Clone, Debug)]
enum Shows<'a> {
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
        /// The author, and the user whom the message was sent to.
        from: &'a str,
        to: Target<'a>,
        deleted_at: Timestamp,
    },
    Reacted {
        emoji: &'a str,
        removed: bool,
    },
}

impl<'a> View<'a> {
    /// What a write has become that was stored at `at`. `None`: it makes no entry.
    pub(super) fn of_write(write: &'a Write, at: Timestamp) -> Option<Self> {
        let (by, to, id, shows) = match write {
            Write::Message(message) => (
                &message.from,
                target(&message.to),
                message.id,
                Shows::Message {
                    content: &message.content,
                    sent_at: at,
                    reply_to: message.reply_to.map(MessageId),
                    edited_at: None,
                },
            ),
            Write::Edit(place, content) => (
                &place.actor,
                target(&place.conversation),
                place.id,
                Shows::Edited {
                    content,
                    edited_at: at,
                },
            ),
            Write::Delete(place) => (
                &place.actor,
                target(&place.conversation),
                place.id,
                Shows::Deleted {
                    from: &place.actor,
                    to: target(&place.conversation),
                    deleted_at: at,
                },
            ),
            Write::React {
                message,
                emoji,
                remove,
            } => (
                &message.actor,
                target(&message.conversation),
                message.id,
                Shows::Reacted {
                    emoji,
                    removed: *remove,
                },
            ),
            Write::Read(_) | Write::Block { .. } | Write::Watermark { .. } => {
                return None;
            }
        };
        Some(Self {
            by,
            to,
            id: MessageId(id),
            at,
            shows,
        })
    }

    /// An entry that was read from the store. It shows the present (PROTOCOL section 5, "Replay").
    pub fn of_entry(entry: &'a Entry) -> Self {
        let message = &entry.message;
        // A change is addressed by whoever made it: to the other of the two.
        let to = match &message.to {
            Conversation::Direct(_) if entry.actor != message.from => Target::User(&message.from),
            to => target(to),
        };
        let shows = match (&entry.kind, message.deleted_at) {
            (_, Some(deleted_at)) => Shows::Deleted {
                from: &message.from,
                to: target(&message.to),
                deleted_at: Timestamp(deleted_at),
            },
            (EntryKind::Reacted { emoji, removed }, _) => Shows::Reacted {
                emoji,
                removed: *removed,
            },
            (EntryKind::Edited, _) => Shows::Edited {
                content: &message.content,
                edited_at: Timestamp(message.edited_at.unwrap_or(entry.at)),
            },
            (EntryKind::Message | EntryKind::Deleted, _) => Shows::Message {
                content: &message.content,
                sent_at: Timestamp(message.sent_at),
                reply_to: message.reply_to.map(MessageId),
                edited_at: message.edited_at.map(Timestamp),
            },
        };
        Self {
            by: &entry.actor,
            to,
            id: MessageId(message.id),
            at: Timestamp(entry.at),
            shows,
        }
    }

    /// Writes the WebSocket frames that this entry is to a session: its `message` (`edited`, ...), or the ack of the session's
    /// own send with its `ref`, and after it the `message` too if the user wrote to themself (PROTOCOL section 5).
    pub fn write(&self, out: &mut Vec<u8>, seq: u64, own: Option<Option<&str>>) {
        if let Some(reference) = own {
            websocket::write_text(out, |out| self.write_ack(out, seq, reference));
        }
        if own.is_none() || self.is_to_oneself() {
            websocket::write_text(out, |out| self.write_entry(out, seq));
        }
    }

    /// A message to oneself, or a change of one.
    pub(super) fn is_to_oneself(&self) -> bool {
        self.to == Target::User(self.by)
    }

    pub(super) fn entry_frame(&self, seq: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| self.write_entry(out, seq));
        frame
    }

    fn write_entry(&self, out: &mut Vec<u8>, seq: u64) {
        let seq = Integer(seq);
        let (target_user, target_room) = target_fields(self.to);
        let frame = match self.shows {
            Shows::Message {
                content,
                sent_at,
                reply_to,
                edited_at,
            } => ServerFrame::Message(ServerMessage {
                message: RawContent(content),
                from_user: self.by,
                target_user,
                target_room,
                id: self.id,
                seq: Some(seq),
                sent_at,
                reply_to,
                edited_at,
                ephemeral: None,
            }),
            Shows::Edited { content, edited_at } => ServerFrame::Edited(Edited {
                message: RawContent(content),
                from_user: self.by,
                target_user,
                target_room,
                id: self.id,
                seq,
                edited_at,
            }),
            Shows::Deleted {
                from,
                to,
                deleted_at,
            } => {
                let (target_user, target_room) = target_fields(to);
                ServerFrame::Deleted(Deleted {
                    from_user: from,
                    target_user,
                    target_room,
                    id: self.id,
                    seq,
                    deleted_at,
                })
            }
            Shows::Reacted { emoji, removed } => ServerFrame::Reacted(Reacted {
                from_user: self.by,
                target_user,
                target_room,
                id: self.id,
                seq,
                emoji,
                removed: removed.then_some(true),
            }),
        };
        frame.write(out);
    }

    fn write_ack(&self, out: &mut Vec<u8>, seq: u64, reference: Option<&str>) {
        ServerFrame::Ack(Ack {
            id: self.id,
            seq: Some(Integer(seq)),
            status: AckStatus::Stored,
            sent_at: self.at,
            duplicate: None,
            reference,
        })
        .write(out);
    }
}

/// A message as `history`, `conversations` and exports show it.
pub fn past(message: &StoredMessage) -> PastMessage<'_> {
    let (target_user, target_room) = target_fields(target(&message.to));
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

/// A conversation as frames address it.
pub fn target(conversation: &Conversation) -> Target<'_> {
    match conversation {
        Conversation::Direct(user) => Target::User(user),
        Conversation::Room(room) => Target::Room(room),
    }
}

/// The fields `target_user` and `target_room` of a frame.
pub fn target_fields(target: Target<'_>) -> (Option<&str>, Option<&str>) {
    match target {
        Target::User(user) => (Some(user), None),
        Target::Room(room) => (None, Some(room)),
    }
}
