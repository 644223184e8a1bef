//! What each client frame means: rules, then store, then delivery.
//!
//! A [`Router`] is a cheap handle. It holds no lock of its own.

use std::sync::Arc;

use uuid::Uuid;

use crate::delivery::{Delivery, RETRY_AFTER_MS, RETRY_LATER_MS, ReplyTo, failed, refuse};
use crate::disk_space::DiskSpaceMonitor;
use crate::outbox::Outbox;
use crate::outbox::wakeup::defer_wakeups;
use crate::protocol::client::{
    ClientConversations, ClientHistory, ClientMessage, ClientTyping, DEFAULT_LIMIT,
};
use crate::protocol::server::{Ack, AckStatus, Pong, RawContent, ServerMessage};
use crate::protocol::types::parse_uuid;
use crate::protocol::{ClientFrame, FrameError, MessageId, Ref, ServerFrame, Target, Timestamp};
use crate::readers::{PendingRead, Readers};
use crate::store::{
    Conversation, ConversationsPage, ConversationsQuery, DeviceRef, Entry, HistoryAnswer,
    HistoryPosition, HistoryQuery, InboxRange, InboxState, MessageRef, NewMessage, Retention,
    Write,
};
use crate::websocket;
use crate::writer::{Unavailable, WriteError, Writer};

/// Bytes of messages in one answer, so that all of it stays under 256 KiB (PROTOCOL section 6).
const ANSWER_BYTES: usize = 250 << 10;

/// Knows where everything goes.
#[derive(Clone, Debug)]
pub struct Router {
    delivery: Arc<Delivery>,
    floor: Arc<DiskSpaceMonitor>,
    writer: Writer<ReplyTo>,
    reads: Readers,
    /// Messages older than so many milliseconds are not shown in histories.
    history_ms: Option<i64>,
}

/// What a session does with a frame that asks something of the session itself.
#[derive(Clone, Debug)]
pub enum Routed {
    /// It is taken care of.
    Done,
    /// The client holds its inbox up to this entry.
    Received(u64),
    /// The client asks for something that is read from the store.
    Ask(Question),
}

/// Something that is read from the store for a client.
#[derive(Clone, Debug)]
pub struct Question {
    reference: Option<Box<str>>,
    asked: Asked,
}

#[derive(Clone, Debug)]
enum Asked {
    History(HistoryQuery),
    Conversations(ConversationsQuery),
}

impl Question {
    /// The `ref` of the frame that asks.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

/// What a [`Question`] will be answered with.
#[derive(Debug)]
pub enum Answering {
    /// Messages of a conversation.
    History(HistoryQuery, PendingRead<HistoryAnswer>),
    /// Conversations.
    Conversations(PendingRead<Option<ConversationsPage>>),
}

impl Router {
    /// A router over these parts.
    pub fn new(
        (delivery, floor): (Arc<Delivery>, Arc<DiskSpaceMonitor>),
        writer: Writer<ReplyTo>,
        reads: Readers,
        lifetimes: &Retention,
    ) -> Self {
        Self {
            delivery,
            floor,
            writer,
            reads,
            history_ms: lifetimes.history_ms,
        }
    }

    /// Asks where a user's device stands.
    pub fn open(
        &self,
        user: Arc<str>,
        device: Arc<str>,
        session: Uuid,
        reply: impl FnOnce(Result<InboxState, WriteError>) + Send + 'static,
    ) {
        self.writer.open(DeviceRef { user, device }, session, reply);
    }

    /// Why something sent now would not be stored; `None`: it would.
    pub fn trouble(&self) -> Option<Unavailable> {
        let trouble = self.writer.unavailable();
        trouble.or_else(|| self.floor.is_low().then_some(Unavailable::NoRoom))
    }

    /// Reads part of an inbox.
    pub fn read(&self, span: InboxRange) -> PendingRead<Vec<Entry>> {
        self.reads.entries(span)
    }

    /// Notes that a device holds its inbox up to `seq`.
    pub fn received(&self, session: &Outbox, device: &Arc<str>, seq: u64) {
        let device = DeviceRef {
            user: session.user().clone(),
            device: device.clone(),
        };
        self.writer.received(device, session.session(), seq);
    }

    /// Does what a client asks.
    pub fn route(&self, frame: &ClientFrame<'_>, from: &Arc<Outbox>) -> Routed {
        match frame {
            ClientFrame::Message(frame) => self.message(frame, from),
            ClientFrame::Edit(frame) => {
                let content = frame.message.raw;
                self.change(
                    frame.target(),
                    frame.id,
                    frame.reference.as_ref(),
                    from,
                    |at| Write::Edit(at, content.into()),
                );
            }
            ClientFrame::Delete(frame) => {
                self.change(
                    frame.target(),
                    frame.id,
                    frame.reference.as_ref(),
                    from,
                    Write::Delete,
                );
            }
            ClientFrame::React(frame) => {
                let (emoji, remove) = (&*frame.emoji.0, frame.remove.unwrap_or(false));
                self.change(
                    frame.target(),
                    frame.id,
                    frame.reference.as_ref(),
                    from,
                    |message| Write::React {
                        message,
                        emoji: emoji.into(),
                        remove,
                    },
                );
            }
            ClientFrame::Read(frame) => {
                self.change(
                    frame.target(),
                    frame.id,
                    frame.reference.as_ref(),
                    from,
                    Write::Read,
                );
            }
            ClientFrame::Typing(frame) => self.typing(frame, from),
            ClientFrame::Received(frame) => return Routed::Received(frame.seq.0),
            ClientFrame::History(frame) => return self.history(frame, from),
            ClientFrame::Conversations(frame) => return self.conversations(frame, from),
            ClientFrame::Block(frame) => {
                self.block(frame.user.as_str(), true, frame.reference.as_ref(), from);
            }
            ClientFrame::Unblock(frame) => {
                self.block(frame.user.as_str(), false, frame.reference.as_ref(), from);
            }
            ClientFrame::Ping(frame) => from.send(&ServerFrame::Pong(Pong {
                server_time: Timestamp::now(),
                reference: frame.reference.as_ref().map(Ref::as_str),
            })),
        }
        Routed::Done
    }

    /// Hands a change of a message to the store.
    fn change(
        &self,
        target: Target<'_>,
        id: MessageId,
        reference: Option<&Ref<'_>>,
        from: &Arc<Outbox>,
        write: impl FnOnce(MessageRef) -> Write,
    ) {
        let message = MessageRef {
            actor: from.user().clone(),
            conversation: conversation(target),
            id: id.0,
        };
        self.submit(write(message), reference.map(Ref::as_str), from);
    }

    fn block(&self, user: &str, on: bool, reference: Option<&Ref<'_>>, from: &Arc<Outbox>) {
        let reference = reference.map(Ref::as_str);
        if on && user == &**from.user() {
            return refuse(from, &FrameError::blocks_self(), reference, None);
        }
        let write = Write::Block {
            actor: from.user().clone(),
            user: user.into(),
            on,
        };
        self.submit(write, reference, from);
    }

    /// Puts a write of a session into the store's queue, or says that there is no room.
    fn submit(&self, write: Write, reference: Option<&str>, from: &Arc<Outbox>) {
        let grows = match write {
            Write::Message(_) | Write::Edit(..) | Write::React { .. } => true,
            Write::Block { on, .. } => on,
            _ => false,
        };
        if grows && self.floor.is_low() {
            let refused = failed(WriteError::Overloaded);
            return refuse(from, &refused, reference, Some(RETRY_LATER_MS));
        }
        from.add_pending_write();
        let origin = ReplyTo::Send(from.clone(), reference.map(Into::into));
        if self.writer.write(write, origin).is_err() {
            from.cancel_pending_write();
            let refused = failed(WriteError::Overloaded);
            refuse(from, &refused, reference, Some(RETRY_AFTER_MS));
        }
    }

    fn history(&self, frame: &ClientHistory<'_>, from: &Arc<Outbox>) -> Routed {
        let reference = frame.reference.as_ref().map(Ref::as_str);
        let before = frame.before.map(|id| HistoryPosition::Before(id.0));
        let after = frame.after.map(|id| HistoryPosition::After(id.0));
        Routed::Ask(Question {
            reference: reference.map(Into::into),
            asked: Asked::History(HistoryQuery {
                user: from.user().clone(),
                conversation: conversation(frame.target()),
                position: before.or(after),
                limit: frame.limit.map_or(DEFAULT_LIMIT, |limit| limit.0) as usize,
                not_before: self.not_before(),
                bytes: ANSWER_BYTES,
            }),
        })
    }

    fn conversations(&self, frame: &ClientConversations<'_>, from: &Arc<Outbox>) -> Routed {
        let reference = frame.reference.as_ref().map(Ref::as_str);
        let cursor = match &frame.cursor {
            None => None,
            Some(cursor) => {
                let Some(cursor) = parse_uuid(&cursor.0) else {
                    refuse(
                        from,
                        &FrameError::unknown_message("cursor"),
                        reference,
                        None,
                    );
                    return Routed::Done;
                };
                Some(cursor)
            }
        };
        Routed::Ask(Question {
            reference: reference.map(Into::into),
            asked: Asked::Conversations(ConversationsQuery {
                user: from.user().clone(),
                limit: frame.limit.map_or(DEFAULT_LIMIT, |limit| limit.0) as usize,
                cursor,
                not_before: self.not_before(),
                bytes: ANSWER_BYTES,
            }),
        })
    }

    fn not_before(&self) -> i64 {
        self.history_ms
            .map_or(i64::MIN, |ms| Timestamp::now().0 - ms)
    }

    /// Begins to read what a client asks for.
    pub fn ask(&self, question: Question, from: &Outbox) -> (Option<Box<str>>, Answering) {
        // What there was room for when it was asked may not be there any more.
        let answering = match question.asked {
            Asked::History(mut query) => {
                query.bytes = from.cap(query.bytes);
                let reading = self.reads.history(query.clone());
                Answering::History(query, reading)
            }
            Asked::Conversations(mut query) => {
                query.bytes = from.cap(query.bytes);
                Answering::Conversations(self.reads.conversations(query))
            }
        };
        (question.reference, answering)
    }

    fn message(&self, message: &ClientMessage<'_>, from: &Arc<Outbox>) {
        let reference = message.reference.as_ref().map(Ref::as_str);
        let id = message.id.map_or_else(Uuid::now_v7, |id| id.0);
        if message.ephemeral == Some(true) {
            return match message.target() {
                Target::User(to) => self.relay(message, to, MessageId(id), from),
                Target::Room(_) => refuse(from, &FrameError::unknown_room(), reference, None),
            };
        }
        let write = Write::Message(NewMessage {
            from: from.user().clone(),
            to: conversation(message.target()),
            id,
            content: message.message.raw.into(),
            reply_to: message.reply_to.map(|id| id.0),
            fresh: message.id.is_none(),
            ip_quota: from.ip_quota().map(|quota| quota.clone() as _),
        });
        self.submit(write, reference, from);
    }

    /// Passes on a message that is not stored (PROTOCOL section 5).
    fn relay(&self, message: &ClientMessage<'_>, to: &str, id: MessageId, from: &Arc<Outbox>) {
        let now = Timestamp::now();
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| {
            ServerFrame::Message(ServerMessage {
                message: RawContent(message.message.raw),
                from_user: from.user(),
                target_user: Some(to),
                target_room: None,
                id,
                seq: None,
                sent_at: now,
                reply_to: message.reply_to,
                edited_at: None,
                ephemeral: Some(true),
            })
            .write(out);
        });
        let reference = message.reference.as_ref().map(Ref::as_str);
        let Some(relayed) = defer_wakeups(|calls| self.delivery.push_live(to, &frame, from, calls))
        else {
            return refuse(from, &FrameError::blocked(), reference, None);
        };
        from.send(&ServerFrame::Ack(Ack {
            id,
            seq: None,
            status: if relayed {
                AckStatus::Relayed
            } else {
                AckStatus::Dropped
            },
            sent_at: now,
            duplicate: None,
            reference,
        }));
    }

    fn typing(&self, typing: &ClientTyping<'_>, from: &Arc<Outbox>) {
        let reference = typing.reference.as_ref().map(Ref::as_str);
        match typing.target() {
            // Whether the two have a conversation is known where conversations are made, after the messages before this.
            Target::User(to) => {
                let notice = ReplyTo::Typing {
                    from: from.clone(),
                    to: to.into(),
                    active: typing.active.unwrap_or(true),
                };
                // When the store is busy, nobody misses a sign of typing.
                drop(self.writer.notify(notice));
            }
            Target::Room(_) => refuse(from, &FrameError::unknown_room(), reference, None),
        }
    }
}

/// The conversation that a frame addresses.
fn conversation(target: Target<'_>) -> Conversation {
    match target {
        Target::User(user) => Conversation::Direct(user.into()),
        Target::Room(room) => Conversation::Room(room.into()),
    }
}
