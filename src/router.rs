//! What each client frame means: rules, then store, then delivery.
//!
//! A [`Router`] is a cheap handle. It holds no lock of its own.

use std::sync::Arc;
use std::task::Waker;

use uuid::Uuid;

use crate::protocol::client::{
    ClientConversations, ClientHistory, ClientMessage, ClientTyping, DEFAULT_LIMIT,
};
use crate::protocol::ids::{Integer, parse_uuid};
use crate::protocol::server::{
    Ack, AckStatus, Conversation, Conversations, Deleted, Edited, ErrorFrame, History, PastMessage,
    Pong, RawContent, Reacted, Reactions, Receipt, ReceiptKind, ServerMessage, ServerTyping,
};
use crate::protocol::{
    ClientFrame, ErrorCode, MessageId, Ref, Refused, ServerFrame, Target, Time, schema,
};
use crate::reads::{Reading, Reads};
use crate::registry::{Registered, Registry};
use crate::session::Outbox;
use crate::store::{
    Anchor, ConversationsPage, ConversationsQuery, Entry, HistoryPage, HistoryQuery, Kind,
    Lifetimes, NewMessage, Opened, Outcome, Past, Place, Span, Write,
};
use crate::writer::{Batch, Failure, Writer};
use crate::ws;

/// After how many milliseconds a sender who was told `overloaded` should try again.
const RETRY_AFTER_MS: u64 = 500;
/// Bytes of messages in one answer, so that all of it stays under 256 KiB (PROTOCOL section 6).
const ANSWER_BYTES: usize = 250 << 10;

/// Who asked for a write, and how to answer.
#[derive(Debug)]
pub enum Origin {
    /// A session that waits for an ack with this `ref`.
    Send(Arc<Outbox>, Option<Box<str>>),
    /// A session whose user is typing, or has stopped.
    Typing {
        /// The session that says so.
        from: Arc<Outbox>,
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

/// What a [`Question`] will be answered with.
#[derive(Debug)]
pub enum Answering {
    /// Messages of a conversation.
    History(HistoryQuery, Reading<Option<HistoryPage>>),
    /// Conversations.
    Conversations(Reading<Option<ConversationsPage>>),
}

impl Router {
    /// A router over these parts.
    pub fn new(
        registry: Arc<Registry>,
        writer: Writer<Origin>,
        reads: Reads,
        lifetimes: &Lifetimes,
    ) -> Self {
        Self {
            registry,
            writer,
            reads,
            history_ms: lifetimes.history_ms,
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
        session: Uuid,
        reply: impl FnOnce(Result<Opened, Failure>) + Send + 'static,
    ) {
        self.writer.open(user, device, session, reply);
    }

    /// Reads part of an inbox.
    pub fn read(&self, span: Span) -> Reading<Vec<Entry>> {
        self.reads.entries(span)
    }

    /// Notes that a device holds its inbox up to `seq`.
    pub fn received(&self, session: &Outbox, device: &Arc<str>, seq: u64) {
        self.writer.received(
            session.user().clone(),
            device.clone(),
            session.session(),
            seq,
        );
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
                    |at| Write::React {
                        at,
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
            ClientFrame::Ping(frame) => wake(from.reply(&ServerFrame::Pong(Pong {
                server_time: Time::now(),
                reference: frame.reference.as_ref().map(Ref::as_str),
            }))),
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
        write: impl FnOnce(Place) -> Write,
    ) {
        let reference = reference.map(Ref::as_str);
        match target {
            Target::User(to) => {
                let place = Place {
                    from: from.user().clone(),
                    to: to.into(),
                    id: id.0,
                };
                self.submit(write(place), reference, from);
            }
            Target::Room(_) => wake(refuse(from, &Refused::unknown_room(), reference, None)),
        }
    }

    /// Puts a write of a session into the store's queue, or says that there is no room.
    fn submit(&self, write: Write, reference: Option<&str>, from: &Arc<Outbox>) {
        from.sent();
        let origin = Origin::Send(from.clone(), reference.map(Into::into));
        if self.writer.write(write, origin).is_err() {
            from.unsent();
            let refused = failed(Failure::Overloaded);
            wake(refuse(from, &refused, reference, Some(RETRY_AFTER_MS)));
        }
    }

    fn history(&self, frame: &ClientHistory<'_>, from: &Arc<Outbox>) -> Routed {
        let reference = frame.reference.as_ref().map(Ref::as_str);
        let Target::User(with) = frame.target() else {
            wake(refuse(from, &Refused::unknown_room(), reference, None));
            return Routed::Done;
        };
        let before = frame.before.map(|id| Anchor::Before(id.0));
        let after = frame.after.map(|id| Anchor::After(id.0));
        Routed::Ask(Question {
            reference: reference.map(Into::into),
            asked: Asked::History(HistoryQuery {
                user: from.user().clone(),
                with: with.into(),
                anchor: before.or(after),
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
                    wake(refuse(
                        from,
                        &Refused::unknown_message("cursor"),
                        reference,
                        None,
                    ));
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
        self.history_ms.map_or(i64::MIN, |ms| Time::now().0 - ms)
    }

    /// Begins to read what a client asks for.
    pub fn ask(&self, question: Question) -> (Option<Box<str>>, Answering) {
        let answering = match question.asked {
            Asked::History(query) => {
                let reading = self.reads.history(query.clone());
                Answering::History(query, reading)
            }
            Asked::Conversations(query) => {
                Answering::Conversations(self.reads.conversations(query))
            }
        };
        (question.reference, answering)
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
        self.submit(write, reference, from);
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
                edited_at: None,
                ephemeral: Some(true),
            })
            .write(out);
        });
        let relayed = self.push_live(to, &frame, from);
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
    fn push_live(&self, to: &str, frame: &[u8], but: &Arc<Outbox>) -> bool {
        let mut taken = false;
        self.registry.with(to, |sessions| {
            for session in sessions {
                if Arc::ptr_eq(but, session) {
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
                    from: from.clone(),
                    active: typing.active.unwrap_or(true),
                };
                // When the store is busy, nobody misses a sign of typing.
                drop(self.writer.write(write, origin));
            }
            Target::Room(_) => wake(refuse(from, &Refused::unknown_room(), reference, None)),
        }
    }

    /// Acknowledges and delivers what has been committed.
    pub fn deliver(&self, batch: Batch<Origin>) {
        let mut wakers = Vec::new();
        for done in batch.done {
            match done.origin {
                Origin::Send(session, reference) => {
                    let answer = Answer {
                        session: &session,
                        reference,
                    };
                    match done.outcome {
                        Ok(outcome) => {
                            self.done(&done.write, outcome, answer, batch.at, &mut wakers);
                        }
                        Err(failure) => {
                            let retry = (failure == Failure::Overloaded).then_some(RETRY_AFTER_MS);
                            wakers.extend(answer.refuse(&failed(failure), retry));
                        }
                    }
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
        for noted in &batch.noted {
            for received in &noted.received {
                let receipt = Told {
                    kind: ReceiptKind::Received,
                    by: &noted.user,
                    with: &received.with,
                    id: received.id,
                    at: batch.at,
                };
                self.tell_receipt(&receipt, noted.session, &mut wakers);
            }
        }
        // Each session once, when all that the batch has for it is there.
        wakers.into_iter().for_each(Waker::wake);
    }

    fn done(
        &self,
        write: &Write,
        outcome: Outcome,
        answer: Answer<'_>,
        now: Time,
        wakers: &mut Vec<Waker>,
    ) {
        let refused = match outcome {
            Outcome::Stored {
                from_seq,
                to_seq,
                at,
                duplicate,
            } => {
                let Some(view) = View::of_write(write, Time(at)) else {
                    return;
                };
                match from_seq {
                    Some(from_seq) if !duplicate => {
                        self.append_own(&view, from_seq, answer, wakers);
                        if view.by != view.to {
                            self.append(view.to, &view, to_seq, wakers);
                        }
                    }
                    _ => wakers.extend(answer.duplicate(&view, from_seq)),
                }
                return;
            }
            Outcome::Marked(moved) => {
                wakers.extend(answer.nothing());
                if let (Write::Read(place), true) = (write, moved) {
                    let receipt = Told {
                        kind: ReceiptKind::Read,
                        by: &place.from,
                        with: &place.to,
                        id: place.id,
                        at: now,
                    };
                    self.tell_receipt(&receipt, answer.session.session(), wakers);
                }
                return;
            }
            Outcome::Contact(_) | Outcome::Received(_) => return,
            Outcome::IdConflict => Refused::id_conflict(),
            Outcome::UnknownMessage => Refused::unknown_message("id"),
            Outcome::NotAuthor => Refused::not_author(),
            Outcome::TooMany => Refused {
                path: Some("/emoji".to_owned()),
                ..Refused::new(
                    ErrorCode::Forbidden,
                    "this message has as many reactions of yours as it may have",
                )
            },
        };
        wakers.extend(answer.refuse(&refused, None));
    }

    /// Tells both sides how far one of them is: the other, and one's own other sessions (PROTOCOL section 10).
    fn tell_receipt(&self, told: &Told<'_>, but: Uuid, wakers: &mut Vec<Waker>) {
        let push = |to: &str, as_seen: &str, wakers: &mut Vec<Waker>| {
            self.registry.with(to, |sessions| {
                let mut frame = Vec::new();
                for session in sessions.iter().filter(|session| session.session() != but) {
                    if frame.is_empty() {
                        ws::write_text(&mut frame, |out| told.frame(as_seen).write(out));
                    }
                    wakers.extend(session.push_ephemeral(&frame).1);
                }
            });
        };
        if told.by != told.with {
            push(told.with, told.by, wakers);
        }
        push(told.by, told.with, wakers);
    }

    /// Gives an entry to all sessions of a user. The frame is written once.
    fn append(&self, user: &str, view: &View<'_>, seq: u64, wakers: &mut Vec<Waker>) {
        self.registry.with(user, |sessions| {
            if !sessions.is_empty() {
                let frame = view.entry_frame(seq);
                wakers.extend(
                    sessions
                        .iter()
                        .filter_map(|session| session.push_entry(seq, &frame)),
                );
            }
        });
    }

    /// Gives an entry to all sessions of the user who caused it: to one of them it is the ack.
    fn append_own(&self, view: &View<'_>, seq: u64, answer: Answer<'_>, wakers: &mut Vec<Waker>) {
        let Answer {
            session: own,
            reference,
        } = answer;
        let to_self = view.by == view.to;
        self.registry.with(own.user(), |sessions| {
            let others = || sessions.iter().filter(|session| !Arc::ptr_eq(session, own));
            let frame = (to_self || others().next().is_some()).then(|| view.entry_frame(seq));
            let message = frame.as_deref().filter(|_| to_self);
            wakers.extend(own.push_own(seq, (view.id, view.at), reference, message));
            if let Some(frame) = &frame {
                wakers.extend(others().filter_map(|session| session.push_entry(seq, frame)));
            }
        });
    }

    fn tell_typing(&self, from: &Arc<Outbox>, to: &str, active: bool) {
        let mut frame = Vec::new();
        ws::write_text(&mut frame, |out| {
            ServerFrame::Typing(ServerTyping {
                from_user: from.user(),
                target_user: Some(to),
                target_room: None,
                active,
            })
            .write(out);
        });
        self.push_live(to, &frame, from);
    }
}

/// A session that waits for an answer, and the `ref` that it gave.
struct Answer<'a> {
    session: &'a Arc<Outbox>,
    reference: Option<Box<str>>,
}

impl Answer<'_> {
    fn refuse(&self, refused: &Refused, retry_after_ms: Option<u64>) -> Option<Waker> {
        let reference = self.reference.as_deref();
        self.session
            .answer(Some(&error(refused, reference, retry_after_ms)))
    }

    /// What had been stored before is answered with the first ack again.
    fn duplicate(&self, view: &View<'_>, seq: Option<u64>) -> Option<Waker> {
        self.session.answer(Some(&ServerFrame::Ack(Ack {
            id: view.id,
            seq: seq.map(Integer),
            status: AckStatus::Stored,
            sent_at: view.at,
            duplicate: Some(true),
            reference: self.reference.as_deref(),
        })))
    }

    /// It is done, and there is nothing to say.
    fn nothing(&self) -> Option<Waker> {
        self.session.answer(None)
    }
}

/// How far somebody is.
struct Told<'a> {
    kind: ReceiptKind,
    by: &'a str,
    with: &'a str,
    id: Uuid,
    at: Time,
}

impl Told<'_> {
    /// The receipt for one to whom the conversation is the one with `as_seen`.
    fn frame<'a>(&'a self, as_seen: &'a str) -> ServerFrame<'a> {
        ServerFrame::Receipt(Receipt {
            kind: self.kind,
            by_user: self.by,
            target_user: Some(as_seen),
            target_room: None,
            id: MessageId(self.id),
            at: self.at,
        })
    }
}

/// An entry of an inbox as sessions are shown it, just stored or read back.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Who caused it, and the user whom the frame that did was addressed to.
    by: &'a str,
    to: &'a str,
    id: MessageId,
    /// When it was stored.
    at: Time,
    shows: Shows<'a>,
}

#[derive(Clone, Debug)]
enum Shows<'a> {
    Message {
        content: &'a str,
        sent_at: Time,
        reply_to: Option<MessageId>,
        edited_at: Option<Time>,
    },
    Edited {
        content: &'a str,
        edited_at: Time,
    },
    Deleted {
        /// The author, and the user whom the message was sent to.
        from: &'a str,
        to: &'a str,
        deleted_at: Time,
    },
    Reacted {
        emoji: &'a str,
        removed: bool,
    },
}

impl<'a> View<'a> {
    /// What a write has become that was stored at `at`. `None`: it makes no entry.
    fn of_write(write: &'a Write, at: Time) -> Option<Self> {
        let (by, to, id, shows) = match write {
            Write::Message(message) => (
                &message.from,
                &message.to,
                message.id,
                Shows::Message {
                    content: &message.content,
                    sent_at: at,
                    reply_to: message.reply_to.map(MessageId),
                    edited_at: None,
                },
            ),
            Write::Edit(place, content) => (
                &place.from,
                &place.to,
                place.id,
                Shows::Edited {
                    content,
                    edited_at: at,
                },
            ),
            Write::Delete(place) => (
                &place.from,
                &place.to,
                place.id,
                Shows::Deleted {
                    from: &place.from,
                    to: &place.to,
                    deleted_at: at,
                },
            ),
            Write::React { at, emoji, remove } => (
                &at.from,
                &at.to,
                at.id,
                Shows::Reacted {
                    emoji,
                    removed: *remove,
                },
            ),
            Write::Read(_) | Write::Contact(..) | Write::Watermark { .. } => return None,
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
        let to = if entry.by == message.from {
            &message.to
        } else {
            &message.from
        };
        let shows = match (&entry.kind, message.deleted_at) {
            (_, Some(deleted_at)) => Shows::Deleted {
                from: &message.from,
                to: &message.to,
                deleted_at: Time(deleted_at),
            },
            (Kind::Reacted { emoji, removed }, _) => Shows::Reacted {
                emoji,
                removed: *removed,
            },
            (Kind::Edited, _) => Shows::Edited {
                content: &message.content,
                edited_at: Time(message.edited_at.unwrap_or(entry.at)),
            },
            (Kind::Message | Kind::Deleted, _) => Shows::Message {
                content: &message.content,
                sent_at: Time(message.sent_at),
                reply_to: message.reply_to.map(MessageId),
                edited_at: message.edited_at.map(Time),
            },
        };
        Self {
            by: &entry.by,
            to,
            id: MessageId(message.id),
            at: Time(entry.at),
            shows,
        }
    }

    /// Writes the WebSocket frames that this entry is to a session: its `message` (`edited`, ...), or the ack of the session's
    /// own send with its `ref`, and after it the `message` too if the user wrote to themself (PROTOCOL section 5).
    pub fn write(&self, out: &mut Vec<u8>, seq: u64, own: Option<Option<&str>>) {
        if let Some(reference) = own {
            ws::write_text(out, |out| self.write_ack(out, seq, reference));
        }
        if own.is_none() || self.by == self.to {
            ws::write_text(out, |out| self.write_entry(out, seq));
        }
    }

    fn entry_frame(&self, seq: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        ws::write_text(&mut frame, |out| self.write_entry(out, seq));
        frame
    }

    fn write_entry(&self, out: &mut Vec<u8>, seq: u64) {
        let seq = Integer(seq);
        let frame = match self.shows {
            Shows::Message {
                content,
                sent_at,
                reply_to,
                edited_at,
            } => ServerFrame::Message(ServerMessage {
                message: RawContent(content),
                from_user: self.by,
                target_user: Some(self.to),
                target_room: None,
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
                target_user: Some(self.to),
                target_room: None,
                id: self.id,
                seq,
                edited_at,
            }),
            Shows::Deleted {
                from,
                to,
                deleted_at,
            } => ServerFrame::Deleted(Deleted {
                from_user: from,
                target_user: Some(to),
                target_room: None,
                id: self.id,
                seq,
                deleted_at,
            }),
            Shows::Reacted { emoji, removed } => ServerFrame::Reacted(Reacted {
                from_user: self.by,
                target_user: Some(self.to),
                target_room: None,
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
pub fn past(message: &Past) -> PastMessage<'_> {
    PastMessage {
        r#type: "message",
        message: message
            .deleted_at
            .is_none()
            .then_some(RawContent(&message.content)),
        from_user: &message.from,
        target_user: Some(&message.to),
        target_room: None,
        id: MessageId(message.id),
        sent_at: Time(message.sent_at),
        reply_to: message.reply_to.map(MessageId),
        edited_at: message.edited_at.map(Time),
        deleted_at: message.deleted_at.map(Time),
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

/// Answers `history`.
pub fn answer_history(
    session: &Outbox,
    query: &HistoryQuery,
    page: Option<&HistoryPage>,
    reference: Option<&str>,
) -> Option<Waker> {
    let Some(page) = page else {
        let field = match query.anchor {
            Some(Anchor::After(_)) => "after",
            _ => "before",
        };
        return refuse(session, &Refused::unknown_message(field), reference, None);
    };
    session.reply(&ServerFrame::History(History {
        target_user: Some(&query.with),
        target_room: None,
        messages: page.messages.iter().map(past).collect(),
        more: page.more,
        reference,
    }))
}

/// Answers `conversations`.
pub fn answer_conversations(
    session: &Outbox,
    page: Option<&ConversationsPage>,
    reference: Option<&str>,
) -> Option<Waker> {
    let Some(page) = page else {
        return refuse(
            session,
            &Refused::unknown_message("cursor"),
            reference,
            None,
        );
    };
    let cursor = page.cursor.map(|id| id.hyphenated().to_string());
    session.reply(&ServerFrame::Conversations(Conversations {
        items: page
            .items
            .iter()
            .map(|item| Conversation {
                target_user: Some(&item.with),
                target_room: None,
                last: past(&item.last),
                unread: Integer(item.unread),
                my_read: item.my_read.map(MessageId),
                their_read: item.their_read.map(MessageId),
                their_received: item.their_received.map(MessageId),
            })
            .collect(),
        cursor: cursor.as_deref(),
        reference,
    }))
}

/// Answers that a question could not be read from the store.
pub fn answer_failed(session: &Outbox, reference: Option<&str>) -> Option<Waker> {
    let refused = Refused::new(
        ErrorCode::Internal,
        "the store could not be read; ask again",
    );
    refuse(session, &refused, reference, None)
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
