//! Delivers committed outcomes: the reply to the session that asked, the entry to the sessions of each recipient.
//!
//! The writer's thread calls it after each commit. It holds no lock of its own.

mod render;
mod reply;

use std::sync::Arc;

use uuid::Uuid;

use self::reply::Answer;
use crate::blocks::Blocks;
use crate::contacts::Contacts;
use crate::outbox::Outbox;
use crate::outbox::wakeup::WakeupBatch;
use crate::protocol::server::{Receipt, ReceiptKind, ServerTyping};
use crate::protocol::{ErrorCode, FrameError, MessageId, ServerFrame, Timestamp};
use crate::registry::Registry;
use crate::store::{Outcome, Write};
use crate::websocket;
use crate::writer::{CommitObserver, Completed, CompletedBatch, WriteError};

pub use self::render::{View, past, target, target_fields};
pub use self::reply::{failed, refuse};

/// After how many milliseconds a sender who was told `overloaded` should try again.
pub const RETRY_AFTER_MS: u64 = 500;
/// The same where it is not for the server alone to mend.
pub const RETRY_LATER_MS: u64 = 60_000;
/// Who asked for a write, and how to answer.
#[derive(Debug)]
pub enum ReplyTo {
    /// A session that waits for an ack with this `ref`.
    Send(Arc<Outbox>, Option<Box<str>>),
    /// A session whose user is typing, or has stopped.
    Typing {
        /// The session that says so.
        from: Arc<Outbox>,
        /// The user who is told.
        to: Arc<str>,
        /// False: has stopped.
        active: bool,
    },
}

/// Delivers committed outcomes to sessions.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    registry: Arc<Registry>,
    blocks: Arc<Blocks>,
    contacts: Contacts,
}

impl Delivery {
    /// Delivers to the sessions in `registry`.
    pub fn new(registry: Arc<Registry>, blocks: Arc<Blocks>, contacts: Contacts) -> Self {
        Self {
            registry,
            blocks,
            contacts,
        }
    }

    /// Gives a frame that is not kept to a user's live sessions, but for the one it comes from. `Some(true)`: one took it;
    /// `None`: the user blocks its sender.
    pub fn push_live(
        &self,
        to: &str,
        frame: &[u8],
        from: &Arc<Outbox>,
        calls: &mut WakeupBatch,
    ) -> Option<bool> {
        self.registry.with(to, |sessions| {
            // Looked up while nobody can change it: what is pushed comes before the `ok` of a block.
            if self.blocks.has(to, from.user()) {
                return None;
            }
            let mut taken = false;
            for session in sessions
                .iter()
                .filter(|session| !Arc::ptr_eq(from, session))
            {
                let (took, call) = session.push_ephemeral(frame);
                taken |= took;
                calls.add(session, call);
            }
            Some(taken)
        })
    }

    /// Acknowledges and delivers what has been committed.
    pub fn deliver(&self, batch: &CompletedBatch<ReplyTo>) {
        let mut calls = WakeupBatch::default();
        for item in &batch.items {
            match item {
                Completed::Write {
                    write,
                    reply_to: ReplyTo::Send(session, reference),
                    outcome,
                } => {
                    let answer = Answer {
                        session,
                        reference: reference.as_deref(),
                    };
                    match outcome {
                        Ok(outcome) => {
                            self.done(write, outcome, answer, batch.at, &mut calls);
                        }
                        Err(error) => {
                            let retry =
                                (*error == WriteError::Overloaded).then_some(RETRY_AFTER_MS);
                            calls.add(session, answer.refuse(&failed(*error), retry));
                        }
                    }
                }
                Completed::Notice(ReplyTo::Typing { from, to, active }) => {
                    self.typing(from, to, *active, &mut calls);
                }
                Completed::Write { .. } | Completed::Notice(_) => {}
            }
        }
        for noted in &batch.received {
            for received in &noted.received {
                let receipt = Told {
                    kind: ReceiptKind::Received,
                    by: &noted.user,
                    with: &received.peer,
                    id: received.id,
                    at: batch.at,
                    quiet: received.blocked,
                };
                self.tell_receipt(&receipt, noted.session, &mut calls);
            }
        }
        // Each session once, when all that the batch has for it is there.
        calls.run();
    }

    fn done(
        &self,
        write: &Write,
        outcome: &Outcome,
        answer: Answer<'_>,
        now: Timestamp,
        calls: &mut WakeupBatch,
    ) {
        let refused = match *outcome {
            Outcome::Stored {
                seq,
                ref recipients,
                at,
                duplicate,
            } => {
                let Some(view) = View::of_write(write, Timestamp(at)) else {
                    return;
                };
                match seq {
                    Some(seq) if !duplicate => {
                        self.append_own(&view, seq, answer, calls);
                        for recipient in &**recipients {
                            self.append(&recipient.user, &view, recipient.seq, calls);
                        }
                    }
                    _ => calls.add(answer.session, answer.duplicate(&view, seq)),
                }
                return;
            }
            Outcome::ReadMark { moved, blocked } => {
                calls.add(answer.session, answer.nothing());
                if let (Write::Read(message), true) = (write, moved)
                    && let Some(peer) = message.conversation.peer()
                {
                    let receipt = Told {
                        kind: ReceiptKind::Read,
                        by: &message.actor,
                        with: peer,
                        id: message.id,
                        at: now,
                        quiet: blocked,
                    };
                    self.tell_receipt(&receipt, answer.session.session(), calls);
                }
                return;
            }
            Outcome::BlockSet => {
                if let Write::Block { actor, user, on } = write {
                    // Before anybody hears that it is in force, and while nothing is pushed to who blocks.
                    self.registry
                        .with(actor, |_| self.blocks.set(actor, user, *on));
                }
                calls.add(answer.session, answer.done());
                return;
            }
            Outcome::Received(_) => return,
            Outcome::Blocked => FrameError::blocked(),
            Outcome::UnknownUser => FrameError::unknown_user(),
            Outcome::UnknownRoom => FrameError::unknown_room(),
            Outcome::UnknownRecipientLimit => FrameError::too_many_to_unknown_users(),
            Outcome::UnknownRecipientTotal => {
                let refused = failed(WriteError::Overloaded);
                calls.add(
                    answer.session,
                    answer.refuse(&refused, Some(RETRY_LATER_MS)),
                );
                return;
            }
            Outcome::TooManyBlocks => FrameError::too_many_blocks(),
            Outcome::IdConflict => FrameError::id_conflict(),
            Outcome::UnknownMessage => FrameError::unknown_message("id"),
            Outcome::NotAuthor => FrameError::not_author(),
            Outcome::TooManyReactions => FrameError {
                path: Some("/emoji".to_owned()),
                ..FrameError::new(
                    ErrorCode::Forbidden,
                    "this message has as many reactions of yours as it may have",
                )
            },
        };
        calls.add(answer.session, answer.refuse(&refused, None));
    }

    /// Tells both sides how far one of them is: the other, and one's own other sessions (PROTOCOL section 10).
    fn tell_receipt(&self, told: &Told<'_>, but: Uuid, calls: &mut WakeupBatch) {
        let push = |to: &str, as_seen: &str, calls: &mut WakeupBatch| {
            self.registry.with(to, |sessions| {
                let mut frame = Vec::new();
                for session in sessions.iter().filter(|session| session.session() != but) {
                    if frame.is_empty() {
                        websocket::write_text(&mut frame, |out| told.frame(as_seen).write(out));
                    }
                    calls.add(session, session.push_ephemeral(&frame).1);
                }
            });
        };
        if told.by != told.with && !told.quiet {
            push(told.with, told.by, calls);
        }
        push(told.by, told.with, calls);
    }

    /// Gives an entry to all sessions of a user. The frame is written once.
    fn append(&self, user: &str, view: &View<'_>, seq: u64, calls: &mut WakeupBatch) {
        self.registry.with(user, |sessions| {
            if !sessions.is_empty() {
                let frame = view.entry_frame(seq);
                for session in sessions {
                    calls.add(session, session.push_entry(seq, &frame));
                }
            }
        });
    }

    /// Gives an entry to all sessions of the user who caused it: to one of them it is the ack.
    fn append_own(&self, view: &View<'_>, seq: u64, answer: Answer<'_>, calls: &mut WakeupBatch) {
        let Answer {
            session: own,
            reference,
        } = answer;
        let to_self = view.is_to_oneself();
        self.registry.with(own.user(), |sessions| {
            let others = || sessions.iter().filter(|session| !Arc::ptr_eq(session, own));
            let frame = (to_self || others().next().is_some()).then(|| view.entry_frame(seq));
            let message = frame.as_deref().filter(|_| to_self);
            calls.add(
                own,
                own.push_ack(seq, (view.id, view.at), reference, message),
            );
            if let Some(frame) = &frame {
                for session in others() {
                    calls.add(session, session.push_entry(seq, frame));
                }
            }
        });
    }

    /// Passes a signal of typing on to a user with whom the sender has a conversation, unless one of them blocks the other.
    fn typing(&self, from: &Arc<Outbox>, to: &Arc<str>, active: bool, calls: &mut WakeupBatch) {
        let user = from.user();
        if self.blocks.has(user, to) || self.blocks.has(to, user) {
            return;
        }
        if self.contacts.contains(user, to) {
            return self.tell_typing(from, to, active, calls);
        }
        let (delivery, session, recipient) = (self.clone(), from.clone(), to.clone());
        self.contacts.look_up(user, to, move || {
            let mut calls = WakeupBatch::default();
            delivery.tell_typing(&session, &recipient, active, &mut calls);
            calls.run();
        });
    }

    fn tell_typing(&self, from: &Arc<Outbox>, to: &str, active: bool, calls: &mut WakeupBatch) {
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| {
            ServerFrame::Typing(ServerTyping {
                from_user: from.user(),
                target_user: Some(to),
                target_room: None,
                active,
            })
            .write(out);
        });
        self.push_live(to, &frame, from, calls);
    }
}

impl CommitObserver<ReplyTo> for Delivery {
    fn completed(&mut self, batch: &CompletedBatch<ReplyTo>) {
        self.deliver(batch);
    }
}

/// How far somebody is.
struct Told<'a> {
    kind: ReceiptKind,
    by: &'a str,
    with: &'a str,
    id: Uuid,
    at: Timestamp,
    /// Only their own sessions are told: one of the two blocks the other.
    quiet: bool,
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
