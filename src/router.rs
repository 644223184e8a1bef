//! What each client frame means: rules, then store, then delivery.
//!
//! A [`Router`] is a cheap handle. It holds no lock of its own.

use std::sync::Arc;
use std::task::Waker;

use uuid::Uuid;

use crate::protocol::client::{ClientMessage, ClientTyping};
use crate::protocol::ids::Integer;
use crate::protocol::server::{
    Ack, AckStatus, ErrorFrame, Pong, RawContent, ServerMessage, ServerTyping,
};
use crate::protocol::{
    ClientFrame, ErrorCode, MessageId, Ref, Refused, ServerFrame, Target, Time, schema,
};
use crate::reads::{Reading, Reads};
use crate::registry::{Registered, Registry};
use crate::session::Outbox;
use crate::store::{Entry, NewMessage, Opened, Outcome, Span, Write};
use crate::writer::{Done, Failure, Writer};
use crate::ws;

/// After how many milliseconds a sender who was told `overloaded` should try again.
const RETRY_AFTER_MS: u64 = 500;

/// Who asked for a write, and how to answer.
#[derive(Debug)]
pub enum Origin {
    /// A session that waits for an ack with this `ref`.
    Send(Arc<Outbox>, Option<Box<str>>),
    /// A session whose user is typing, or has stopped.
    Typing {
        /// Whose `typing` it is.
        from: Arc<str>,
        /// False: has stopped.
        active: bool,
    },
}

/// Knows where everything goes.
#[derive(Clone, Debug)]
pub struct Router {
    registry: Arc<Registry>,
    writer: Writer<Origin>,
    reads: Reads,
}

/// What a session does with a frame that asks something of the session itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It is taken care of.
    Done,
    /// The client holds its inbox up to this entry.
    Received(u64),
}

impl Router {
    /// A router over these parts.
    pub fn new(registry: Arc<Registry>, writer: Writer<Origin>, reads: Reads) -> Self {
        Self {
            registry,
            writer,
            reads,
        }
    }

    /// Takes a session in. See [`Registry::register`].
    pub fn register(
        &self,
        outbox: &Arc<Outbox>,
        limit: usize,
    ) -> (Registered, Option<Arc<Outbox>>) {
        self.registry.register(outbox, limit)
    }

    /// Asks where a user's device stands.
    pub fn open(
        &self,
        user: Arc<str>,
        device: Arc<str>,
        reply: impl FnOnce(Result<Opened, Failure>) + Send + 'static,
    ) {
        self.writer.open(user, device, reply);
    }

    /// Reads part of an inbox.
    pub fn read(&self, span: Span) -> Reading<Vec<Entry>> {
        self.reads.entries(span)
    }

    /// Notes that a device holds its inbox up to `seq`.
    pub fn received(&self, user: &Arc<str>, device: &Arc<str>, seq: u64) {
        self.writer.received(user.clone(), device.clone(), seq);
    }

    /// Does what a client asks.
    pub fn route(&self, frame: &ClientFrame<'_>, from: &Arc<Outbox>) -> Routed {
        match frame {
            ClientFrame::Message(message) => self.message(message, from),
            ClientFrame::Typing(typing) => self.typing(typing, from),
            ClientFrame::Received(received) => return Routed::Received(received.seq.0),
            ClientFrame::Ping(ping) => wake(from.reply(&ServerFrame::Pong(Pong {
                server_time: Time::now(),
                reference: ping.reference.as_ref().map(Ref::as_str),
            }))),
        }
        Routed::Done
    }

    fn message(&self, message: &ClientMessage<'_>, from: &Arc<Outbox>) {
        let reference = message.reference.as_ref().map(Ref::as_str);
        let to = match message.target() {
            Target::User(user) => user,
            Target::Room(_) => {
                return wake(refuse(from, &Refused::unknown_room(), reference, None));
            }
        };
        let id = message.id.map_or_else(Uuid::now_v7, |id| id.0);
        if message.ephemeral == Some(true) {
            return self.relay(message, to, MessageId(id), from);
        }
        let write = Write::Message(NewMessage {
            from: from.user().clone(),
            to: to.into(),
            id,
            content: message.message.raw.into(),
            reply_to: message.reply_to.map(|id| id.0),
        });
        from.sent();
        let origin = Origin::Send(from.clone(), reference.map(Into::into));
        if self.writer.write(write, origin).is_err() {
            from.unsent();
            wake(refuse(
                from,
                &failed(Failure::Overloaded),
                reference,
                Some(RETRY_AFTER_MS),
            ));
        }
    }

    /// Passes on a message that is not stored (PROTOCOL section 5).
    fn relay(&self, message: &ClientMessage<'_>, to: &str, id: MessageId, from: &Arc<Outbox>) {
        let now = Time::now();
        let mut frame = Vec::new();
        ws::write_text(&mut frame, |out| {
            ServerFrame::Message(ServerMessage {
                message: RawContent(message.message.raw),
                from_user: from.user(),
                target_user: Some(to),
                target_room: None,
                id,
                seq: None,
                sent_at: now,
                reply_to: message.reply_to,
                ephemeral: Some(true),
            })
            .write(out);
        });
        let relayed = self.push_live(to, &frame, Some(from));
        wake(from.reply(&ServerFrame::Ack(Ack {
            id,
            seq: None,
            status: if relayed {
                AckStatus::Relayed
            } else {
                AckStatus::Dropped
            },
            sent_at: now,
            duplicate: None,
            reference: message.reference.as_ref().map(Ref::as_str),
        })));
    }

    /// Gives a frame that is not kept to a user's live sessions, but for the one it comes from. True: one took it.
    fn push_live(&self, to: &str, frame: &[u8], but: Option<&Arc<Outbox>>) -> bool {
        let mut taken = false;
        self.registry.with(to, |sessions| {
            for session in sessions {
                if but.is_some_and(|but| Arc::ptr_eq(but, session)) {
                    continue;
                }
                let (took, waker) = session.push_ephemeral(frame);
                taken |= took;
                wake(waker);
            }
        });
        taken
    }

    fn typing(&self, typing: &ClientTyping<'_>, from: &Arc<Outbox>) {
        let reference = typing.reference.as_ref().map(Ref::as_str);
        match typing.target() {
            // Whether the two have a conversation is known where conversations are made, after the messages before this.
            Target::User(to) => {
                let write = Write::Contact(from.user().clone(), to.into());
                let origin = Origin::Typing {
                    from: from.user().clone(),
                    active: typing.active.unwrap_or(true),
                };
                // When the store is busy, nobody misses a sign of typing.
                drop(self.writer.write(write, origin));
            }
            Target::Room(_) => wake(refuse(from, &Refused::unknown_room(), reference, None)),
        }
    }

    /// Acknowledges and delivers what has been committed.
    pub fn deliver(&self, batch: Vec<Done<Origin>>) {
        let mut wakers = Vec::new();
        for done in batch {
            match done.origin {
                Origin::Send(session, reference) => {
                    self.sent(&done.write, done.outcome, &session, reference, &mut wakers);
                }
                Origin::Typing { from, active } => {
                    if let (Write::Contact(_, to), Ok(Outcome::Contact(true))) =
                        (&done.write, done.outcome)
                    {
                        self.tell_typing(&from, to, active);
                    }
                }
            }
        }
        // Each session once, when all that the batch has for it is there.
        wakers.into_iter().for_each(Waker::wake);
    }

    fn sent(
        &self,
        write: &Write,
        outcome: Result<Outcome, Failure>,
        session: &Arc<Outbox>,
        reference: Option<Box<str>>,
        wakers: &mut Vec<Waker>,
    ) {
        let Write::Message(message) = write else {
            return;
        };
        let id = MessageId(message.id);
        match outcome {
            Ok(Outcome::Stored {
                from_seq,
                sent_at,
                duplicate: true,
                ..
            }) => wakers.extend(session.answer(&ServerFrame::Ack(Ack {
                id,
                seq: Some(Integer(from_seq)),
                status: AckStatus::Stored,
                sent_at: Time(sent_at),
                duplicate: Some(true),
                reference: reference.as_deref(),
            }))),
            Ok(Outcome::Stored {
                from_seq,
                to_seq,
                sent_at,
                duplicate: false,
            }) => {
                let view = View::of_message(message, sent_at);
                self.append_own(&view, from_seq, session, reference, wakers);
                if *message.to != **session.user() {
                    self.append(&message.to, &view, to_seq, wakers);
                }
            }
            Ok(Outcome::IdConflict) => {
                wakers.extend(session.answer(&error(
                    &Refused::id_conflict(),
                    reference.as_deref(),
                    None,
                )));
            }
            Ok(Outcome::Contact(_) | Outcome::Noted) => {}
            Err(failure) => {
                let retry = (failure == Failure::Overloaded).then_some(RETRY_AFTER_MS);
                wakers.extend(session.answer(&error(
                    &failed(failure),
                    reference.as_deref(),
                    retry,
                )));
            }
        }
    }

    /// Gives an entry to all sessions of a user. The frame is written once.
    fn append(&self, user: &str, view: &View<'_>, seq: u64, wakers: &mut Vec<Waker>) {
        self.registry.with(user, |sessions| {
            if !sessions.is_empty() {
                let frame = view.message_frame(seq);
                wakers.extend(
                    sessions
                        .iter()
                        .filter_map(|session| session.push_entry(seq, &frame)),
                );
            }
        });
    }

    /// Gives an entry to all sessions of the user who caused it: to one of them it is the ack.
    fn append_own(
        &self,
        view: &View<'_>,
        seq: u64,
        own: &Arc<Outbox>,
        reference: Option<Box<str>>,
        wakers: &mut Vec<Waker>,
    ) {
        let to_self = view.from == view.to;
        self.registry.with(own.user(), |sessions| {
            let others = || sessions.iter().filter(|session| !Arc::ptr_eq(session, own));
            let frame = (to_self || others().next().is_some()).then(|| view.message_frame(seq));
            let message = frame.as_deref().filter(|_| to_self);
            wakers.extend(own.push_own(
                seq,
                reference,
                |out, reference| view.write_ack(out, seq, reference),
                message,
            ));
            if let Some(frame) = &frame {
                wakers.extend(others().filter_map(|session| session.push_entry(seq, frame)));
            }
        });
    }

    fn tell_typing(&self, from: &str, to: &str, active: bool) {
        let mut frame = Vec::new();
        ws::write_text(&mut frame, |out| {
            ServerFrame::Typing(ServerTyping {
                from_user: from,
                target_user: Some(to),
                target_room: None,
                active,
            })
            .write(out);
        });
        self.push_live(to, &frame, None);
    }
}

/// An entry of an inbox as sessions are shown it, just stored or read back.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    from: &'a str,
    to: &'a str,
    id: MessageId,
    sent_at: Time,
    reply_to: Option<MessageId>,
    content: &'a str,
}

impl<'a> View<'a> {
    fn of_message(message: &'a NewMessage, sent_at: i64) -> Self {
        Self {
            from: &message.from,
            to: &message.to,
            id: MessageId(message.id),
            sent_at: Time(sent_at),
            reply_to: message.reply_to.map(MessageId),
            content: &message.content,
        }
    }

    /// An entry that was read from the store.
    pub fn of_entry(entry: &'a Entry) -> Self {
        Self {
            from: &entry.from,
            to: &entry.to,
            id: MessageId(entry.id),
            sent_at: Time(entry.sent_at),
            reply_to: entry.reply_to.map(MessageId),
            content: &entry.content,
        }
    }

    /// Writes the WebSocket frames that this entry is to a session: its `message`, or the ack of the session's own send
    /// with its `ref`, and after it the `message` too if the user wrote to themself (PROTOCOL section 5).
    pub fn write(&self, out: &mut Vec<u8>, seq: u64, own: Option<Option<&str>>) {
        if let Some(reference) = own {
            ws::write_text(out, |out| self.write_ack(out, seq, reference));
        }
        if own.is_none() || self.from == self.to {
            ws::write_text(out, |out| self.write_message(out, seq));
        }
    }

    fn message_frame(&self, seq: u64) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.content.len() + 352);
        ws::write_text(&mut frame, |out| self.write_message(out, seq));
        frame
    }

    fn write_message(&self, out: &mut Vec<u8>, seq: u64) {
        ServerFrame::Message(ServerMessage {
            message: RawContent(self.content),
            from_user: self.from,
            target_user: Some(self.to),
            target_room: None,
            id: self.id,
            seq: Some(Integer(seq)),
            sent_at: self.sent_at,
            reply_to: self.reply_to,
            ephemeral: None,
        })
        .write(out);
    }

    fn write_ack(&self, out: &mut Vec<u8>, seq: u64, reference: Option<&str>) {
        ServerFrame::Ack(Ack {
            id: self.id,
            seq: Some(Integer(seq)),
            status: AckStatus::Stored,
            sent_at: self.sent_at,
            duplicate: None,
            reference,
        })
        .write(out);
    }
}

/// Calls a session's task, if it waits.
pub fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Answers a frame with `error`.
pub fn refuse(
    session: &Outbox,
    refused: &Refused,
    reference: Option<&str>,
    retry_after_ms: Option<u64>,
) -> Option<Waker> {
    let mut schema_reference = String::new();
    if let Some(definition) = refused.definition {
        schema_reference = format!("{}#/$defs/{definition}", schema::CLIENT);
    }
    let ServerFrame::Error(mut frame) = error(refused, reference, retry_after_ms) else {
        return None;
    };
    frame.schema = refused.definition.map(|_| schema_reference.as_str());
    session.reply(&ServerFrame::Error(frame))
}

fn error<'a>(
    refused: &'a Refused,
    reference: Option<&'a str>,
    retry_after_ms: Option<u64>,
) -> ServerFrame<'a> {
    ServerFrame::Error(ErrorFrame {
        code: refused.code,
        detail: &refused.detail,
        path: refused.path.as_deref(),
        schema: None,
        retryable: refused.code.retryable(),
        retry_after_ms: retry_after_ms.map(Integer),
        reference,
    })
}

fn failed(failure: Failure) -> Refused {
    match failure {
        Failure::Overloaded => Refused::new(
            ErrorCode::Overloaded,
            "the server cannot store this now; nothing was stored",
        ),
        Failure::Internal => Refused::new(
            ErrorCode::Internal,
            "something failed and the outcome is unknown; send again with the same `id`",
        ),
    }
}
