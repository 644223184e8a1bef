//! Commands of keys: what a back end does in the name of users. The rates of users do not apply, and nobody needs a session.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::{CommandError, Router, conversation, to_existing_user};
use crate::delivery::{PartOutcome, ReplyTo};
use crate::protocol::content::Content as ParsedContent;
use crate::protocol::json::WithRaw;
use crate::protocol::types::is_erased_name;
use crate::protocol::{FrameError, Target};
use crate::store::{Authority, Content, MessageRef, NewMessage, Repeated, Write};
use crate::writer::WriteError;

/// Where the outcome of a command goes, together with a number.
pub type PartReply<'a> = (&'a UnboundedSender<(usize, PartOutcome)>, usize);

/// A message that a key sends in the name of a user.
#[derive(Clone, Copy, Debug)]
pub struct KeyMessage<'a> {
    /// The author.
    pub from: &'a Arc<str>,
    /// The user or the room that it is sent to.
    pub to: Target<'a>,
    /// Its id; `None`: the server makes one.
    pub id: Option<Uuid>,
    /// The content, made with [`Router::content`].
    pub content: &'a Content,
    /// Why the content must not be stored. A message that only repeats one that was stored before is acknowledged in spite of it.
    pub invalid_content: Option<&'a FrameError>,
    /// The message that it replies to.
    pub reply_to: Option<Uuid>,
    /// In a room, the author must be a member.
    pub as_member: bool,
}

impl Router {
    /// Content for messages: several of them can share it.
    pub fn content(&self, content: &WithRaw<'_, ParsedContent<'_>>) -> Content {
        // There are few labels.
        Content::new(content.raw, &self.hasher).tagged(content.value.label().index() as u8)
    }

    /// Sends a message in the name of a user, which is stored.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn send_by_key(
        &self,
        message: &KeyMessage<'_>,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        self.check_parties(message.from, message.to)?;
        let to = conversation(message.to);
        let write = match message.invalid_content {
            None => Write::Message(NewMessage {
                from: message.from.clone(),
                to,
                id: message.id.unwrap_or_else(|| Self::new_id(self.now())),
                content: message.content.clone(),
                reply_to: message.reply_to,
                fresh: message.id.is_none(),
                ip_quota: None,
                authority: if message.as_member {
                    Authority::Key
                } else {
                    Authority::KeyOfNonMember
                },
            }),
            Some(error) => {
                let at = MessageRef {
                    actor: message.from.clone(),
                    conversation: to,
                    id: message
                        .id
                        .ok_or_else(|| CommandError::from(error.clone()))?,
                };
                Write::Repeat(at, message.content.clone(), Repeated::Message)
            }
        };
        self.submit_for_part(write, message.invalid_content, reply)
    }

    /// Rejects a message from or to an erased user, or to a room of a server without rooms.
    pub(super) fn check_parties(&self, from: &str, to: Target<'_>) -> Result<(), CommandError> {
        if is_erased_name(from) {
            return Err(FrameError::erased_user("from_user").into());
        }
        to_existing_user(to)?;
        match to {
            Target::Room(_) if !self.has_rooms => {
                Err(FrameError::unknown_room("target_room").into())
            }
            _ => Ok(()),
        }
    }

    /// Deletes a message in the name of its author.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was queued.
    pub fn moderate(
        &self,
        author: &Arc<str>,
        target: Target<'_>,
        id: Uuid,
        reply: PartReply<'_>,
    ) -> Result<(), CommandError> {
        let at = MessageRef {
            actor: author.clone(),
            conversation: conversation(target),
            id,
        };
        self.submit_for_part(Write::Moderate(at), None, reply)
    }

    /// Queues a write of a part of the server.
    pub(super) fn submit_for_part(
        &self,
        write: Write,
        invalid: Option<&FrameError>,
        (sender, number): PartReply<'_>,
    ) -> Result<(), CommandError> {
        self.check_space(&write)?;
        let sender = sender.clone();
        let reply_to = match invalid {
            None => ReplyTo::Part(sender, number),
            Some(error) => ReplyTo::InvalidPart(sender, number, Box::new(error.clone())),
        };
        self.writer
            .write(write, reply_to)
            .map_err(|_| CommandError::from(WriteError::Overloaded))
    }
}
