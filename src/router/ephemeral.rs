//! Messages that are not stored (PROTOCOL section 5).

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Command, CommandError, Executed, KeyMessage, PartReply, Router};
use crate::delivery::render::target_fields;
use crate::delivery::{Push, RoomSignal, SignalSource, Signalled};
use crate::metrics::count_ephemeral;
use crate::outbox::wakeup::{WakeupBatch, defer_wakeups};
use crate::protocol::client::ClientMessage;
use crate::protocol::server::{Ack, RawContent, ServerMessage};
use crate::protocol::{ContentLabel, FrameError, MessageId, Ref, ServerFrame, Target, Timestamp};
use crate::websocket;

/// The ack of an ephemeral message that waits for a lookup: whether the sender sees the recipient.
#[derive(Debug)]
pub struct DeferredAck {
    visible: oneshot::Receiver<bool>,
    id: MessageId,
    sent_at: Timestamp,
    pushed: Push,
    reference: Option<Box<str>>,
}

impl DeferredAck {
    /// The ack, when the lookup has ended.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ServerFrame<'_>> {
        // Without an answer the store could not be asked; the recipient is then treated as a stranger.
        Pin::new(&mut self.visible).poll(cx).map(|visible| {
            ServerFrame::Ack(Ack {
                id: Some(self.id),
                room: None,
                seq: None,
                status: self.pushed.status(visible.unwrap_or(false)),
                sent_at: self.sent_at,
                duplicate: None,
                reference: self.reference.as_deref(),
            })
        })
    }
}

/// The memory of [`FRAME`] that is kept for the next frame, in bytes.
const KEPT: usize = 16 << 10;

thread_local! {
    /// The frame that this thread pushes.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends the WebSocket frame of an ephemeral message.
fn write(out: &mut Vec<u8>, message: ServerMessage<'_>) {
    websocket::write_text(out, |out| ServerFrame::Message(message).write(out));
}

fn encode(message: ServerMessage<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame, message);
    frame
}

impl Router {
    /// Pushes a message that is not stored.
    pub(super) fn ephemeral_message<'a>(
        &self,
        message: &'a ClientMessage<'a>,
        id: MessageId,
        command: &Command<'a>,
    ) -> Result<Executed<'a>, CommandError> {
        let now = command.time;
        let (target_user, target_room) = target_fields(message.target());
        let frame = ServerMessage {
            message: RawContent(message.message.raw),
            from_user: command.actor,
            target_user,
            target_room,
            id,
            seq: None,
            sent_at: now,
            reply_to: message.reply_to,
            edited_at: None,
            ephemeral: Some(true),
        };
        let to = match message.target() {
            Target::User(to) => to,
            Target::Room(room) => {
                let kind = Signalled::Message {
                    id,
                    sent_at: now,
                    content: message.message.value.label(),
                    frame: encode(frame),
                };
                self.signal(room, kind, message.reference.as_ref(), command)?;
                return Ok(Executed::Accepted);
            }
        };
        let from = command.source.outbox();
        let push = |frame: &[u8]| {
            defer_wakeups(|wakeups| self.delivery.push_ephemeral(to, frame, from, wakeups))
        };
        let pushed = FRAME.with_borrow_mut(|buffer| {
            buffer.clear();
            buffer.shrink_to(KEPT);
            write(buffer, frame);
            push(buffer)
        });
        if pushed == Push::Blocked {
            return Err(FrameError::blocked().into());
        }
        count_ephemeral(message.message.value.label());
        let reference = message.reference.as_ref().map(Ref::as_str);
        let Some(visible) = self.delivery.visibility(command.actor, to) else {
            return Ok(Executed::Deferred(Box::new(DeferredAck {
                visible: self.delivery.look_up_visibility(command.actor, &to.into()),
                id,
                sent_at: now,
                pushed,
                reference: reference.map(Into::into),
            })));
        };
        Ok(Executed::Reply(ServerFrame::Ack(Ack {
            id: Some(id),
            room: None,
            seq: None,
            status: pushed.status(visible),
            sent_at: now,
            duplicate: None,
            reference,
        })))
    }

    /// Pushes a message of a key that is not stored. The ack goes to `reply`.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was pushed.
    pub fn push_by_key(
        &self,
        message: &KeyMessage<'_>,
        (reply, number): PartReply<'_>,
    ) -> Result<(), CommandError> {
        self.check_parties(message.from, message.to)?;
        if let Some(error) = message.invalid_content {
            return Err(error.clone().into());
        }
        let content = ContentLabel::at(message.content.tag());
        let sent_at = self.now();
        let id = MessageId(message.id.unwrap_or_else(|| Self::new_id(sent_at)));
        let (target_user, target_room) = target_fields(message.to);
        let frame = encode(ServerMessage {
            message: RawContent(message.content),
            from_user: message.from,
            target_user,
            target_room,
            id,
            seq: None,
            sent_at,
            reply_to: message.reply_to.map(MessageId),
            edited_at: None,
            ephemeral: Some(true),
        });
        let source = SignalSource::Key {
            user: message.from.clone(),
            reply: reply.clone(),
            number,
            as_member: message.as_member,
        };
        match message.to {
            Target::User(to) => {
                // Not deferred: this need not be the thread of a session.
                let mut wakeups = WakeupBatch::default();
                let to = to.into();
                let pushed =
                    self.delivery
                        .push_by_key(source, &to, (id, sent_at), &frame, &mut wakeups);
                wakeups.run();
                pushed?;
                count_ephemeral(content);
                Ok(())
            }
            Target::Room(room) => self.queue_signal(RoomSignal {
                from: source,
                room: room.into(),
                reference: None,
                kind: Signalled::Message {
                    id,
                    sent_at,
                    content,
                    frame,
                },
            }),
        }
    }
}
