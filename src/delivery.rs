//! Delivers outcomes to sessions: the reply to the session that acted, new inbox entries to the sessions of the recipients,
//! receipts and `typing`.
//!
//! [`Delivery`] observes the writer: outcomes are delivered on the writer's thread after each commit, so nothing is acknowledged
//! or delivered before it is durable. `typing` is pushed on the writer's thread too, or, if [`Contacts`] had to look the pair of
//! users up, on a reader's thread. A frame is encoded once for all sessions that get it ([`render`]). Sessions are woken or
//! flushed once per batch, when everything has been appended to their outboxes.
//!
//! The router pushes ephemeral frames, which are not stored, with [`Delivery::push_ephemeral`] on the worker's thread.

pub mod answers;
pub mod commit_metrics;
mod ephemeral;
mod erasure;
mod part;
mod receipt;
pub mod render;
mod reply;
mod reply_to;
mod room_deletion;
mod room_signal;
mod rooms;
mod shared_frame;
mod signal_ack;

use std::sync::Arc;

pub use self::commit_metrics::CommitMetrics;
pub use self::ephemeral::Push;
pub use self::part::{PartAck, PartOutcome};
use self::receipt::ReceiptUpdate;
use self::render::EntryView;
use self::reply::Reply;
pub use self::reply::{RETRY_DISPLACED_MS, RETRY_LATER_MS, overloaded, send_error};
pub use self::reply_to::{OperatorOutcome, ReplyTo};
pub use self::room_signal::{RoomSignal, Signalled};
pub use self::signal_ack::SignalSource;
use crate::blocks::Blocks;
use crate::contacts::Contacts;
use crate::limits::Limits;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::presence::Presence;
use crate::protocol::server::ReceiptKind;
use crate::protocol::{ErrorCode, FrameError, Timestamp};
use crate::registry::Registry;
use crate::store::{Conversation, Outcome, PresenceMode, Recipient, Write};
use crate::writer::{CommitObserver, Completed, CompletedBatch};

/// Why a command was rejected.
#[derive(Clone, Debug)]
pub struct CommandError {
    /// The error for the client.
    pub error: FrameError,
    /// When a retry may succeed, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl From<FrameError> for CommandError {
    fn from(error: FrameError) -> Self {
        Self {
            error,
            retry_after_ms: None,
        }
    }
}

/// Delivers outcomes to sessions. A cheap handle without a lock of its own.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    registry: Arc<Registry>,
    blocks: Arc<Blocks>,
    contacts: Contacts,
    presence: Presence,
    /// `None`: without limits.
    limits: Option<Arc<Limits>>,
    presence_mode: PresenceMode,
}

impl CommitObserver<ReplyTo> for Delivery {
    fn completed(&mut self, batch: &CompletedBatch<ReplyTo>) {
        let mut wakeups = WakeupBatch::default();
        for item in &batch.items {
            match item {
                Completed::Write {
                    reply_to: ReplyTo::Invalid(session, reference, error),
                    outcome: Ok(Outcome::NotStored),
                    ..
                } => {
                    let reply = Reply {
                        session,
                        reference: reference.as_deref(),
                    };
                    wakeups.add(session, reply.invalid(error));
                }
                Completed::Write {
                    write,
                    reply_to:
                        ReplyTo::Session(session, reference) | ReplyTo::Invalid(session, reference, _),
                    outcome,
                } => {
                    let reply = Reply {
                        session,
                        reference: reference.as_deref(),
                    };
                    match outcome {
                        Ok(outcome) => {
                            self.deliver(write, outcome, reply, batch.at, &mut wakeups);
                        }
                        Err(error) => {
                            let error = CommandError::from(*error);
                            wakeups.add(session, reply.error(&error));
                        }
                    }
                }
                Completed::Write {
                    reply_to: ReplyTo::InvalidPart(sender, number, error),
                    outcome: Ok(Outcome::NotStored),
                    ..
                } => {
                    let _ = sender.send((*number, Err(CommandError::from((**error).clone()))));
                }
                Completed::Write {
                    write,
                    reply_to:
                        ReplyTo::Part(sender, number) | ReplyTo::InvalidPart(sender, number, _),
                    outcome,
                } => {
                    let outcome = match outcome {
                        Ok(outcome) => self.deliver_to_part(write, outcome, batch.at, &mut wakeups),
                        Err(error) => Err(CommandError::from(*error)),
                    };
                    // The part may have given up in the meantime.
                    let _ = sender.send((*number, outcome));
                }
                Completed::Write {
                    write,
                    reply_to: ReplyTo::Operator(sender),
                    outcome,
                } => {
                    if let Ok(outcome) = outcome {
                        self.note_operation(write, outcome, &mut wakeups);
                    }
                    let outcome = outcome.clone().map_err(CommandError::from);
                    let _ = sender.send(outcome);
                }
                Completed::Write {
                    reply_to: ReplyTo::Committed(sender),
                    outcome,
                    ..
                } => {
                    let _ = sender.send(outcome.is_ok());
                }
                Completed::RoomNotice {
                    notice: ReplyTo::RoomSignal(signal),
                    members,
                } => self.room_signal(signal, members.as_ref(), &mut wakeups),
                Completed::Notice(ReplyTo::Typing { from, to, active }) => {
                    self.typing(from, to, *active, &mut wakeups);
                }
                Completed::Write { .. } | Completed::Notice(_) | Completed::RoomNotice { .. } => {}
            }
        }
        self.erasure_steps(&batch.erasures, &mut wakeups);
        for update in &batch.received {
            for received in &update.received {
                let receipt = ReceiptUpdate {
                    kind: ReceiptKind::Received,
                    actor: &update.user,
                    peer: &received.peer,
                    id: received.id,
                    at: batch.at,
                    hidden: !received.visible,
                };
                match update.session {
                    Some(session) => self.push_receipt(&receipt, session, &mut wakeups),
                    None => self.push_receipt_to_peer(&receipt, &mut wakeups),
                }
            }
        }
        wakeups.run();
    }
}

impl Delivery {
    /// Delivers to the sessions in `registry`.
    pub fn new(
        registry: Arc<Registry>,
        blocks: Arc<Blocks>,
        contacts: Contacts,
        presence: Presence,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            registry,
            blocks,
            contacts,
            presence,
            limits: Some(limits),
            presence_mode: PresenceMode::default(),
        }
    }

    /// The same with another rule by which users see each other.
    #[must_use]
    pub fn with_presence_mode(self, mode: PresenceMode) -> Self {
        Self {
            presence_mode: mode,
            ..self
        }
    }

    /// Who is online.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Delivers the outcome of a write that was committed at `now`.
    fn deliver(
        &self,
        write: &Write,
        outcome: &Outcome,
        reply: Reply<'_>,
        now: Timestamp,
        wakeups: &mut WakeupBatch,
    ) {
        let wakeup = match *outcome {
            Outcome::Stored {
                seq,
                ref recipients,
                at,
                duplicate,
                new_contact,
                received,
            } => {
                let Some(entry) = EntryView::of_write(write, Timestamp(at)) else {
                    return;
                };
                match seq {
                    Some(seq) if !duplicate => {
                        self.note_contact(write, new_contact);
                        self.push_to_actor(&entry, seq, reply, wakeups);
                        self.push_to_recipients(&entry, recipients, wakeups);
                        let user = reply.session.user();
                        self.push_late_receipt(write, received, user, now, wakeups);
                        return;
                    }
                    _ => reply.duplicate(&entry, seq),
                }
            }
            Outcome::Membership {
                seq,
                ref recipients,
                at,
                members,
                duplicate,
                ref regrouped,
            } => {
                let Some(entry) = EntryView::of_membership(write, members, Timestamp(at)) else {
                    return;
                };
                match seq {
                    Some(seq) if !duplicate => {
                        let user = reply.session.user();
                        self.forget_relations(user, recipients, regrouped.as_ref());
                        self.push_to_actor(&entry, seq, reply, wakeups);
                        self.push_to_recipients(&entry, recipients, wakeups);
                        return;
                    }
                    _ => reply.duplicate(&entry, seq),
                }
            }
            Outcome::ReadMark {
                moved,
                blocked,
                received,
                ref members,
            } => {
                wakeups.add(reply.session, reply.none());
                let user = reply.session.user();
                self.push_late_receipt(write, received, user, now, wakeups);
                let Write::Read(message) = write else {
                    return;
                };
                if let (true, Conversation::Room(room)) = (moved, &message.conversation) {
                    let except = reply.session.session();
                    self.push_room_receipt(message, room, members.as_ref(), now, except, wakeups);
                }
                if moved && let Some(peer) = message.conversation.peer() {
                    let receipt = ReceiptUpdate {
                        kind: ReceiptKind::Read,
                        actor: &message.actor,
                        peer,
                        id: message.id,
                        at: now,
                        hidden: blocked,
                    };
                    self.push_receipt(&receipt, reply.session.session(), wakeups);
                }
                return;
            }
            Outcome::BlockSet | Outcome::StatusSet { .. } => {
                self.apply_setting(write, now, wakeups);
                reply.ok()
            }
            Outcome::Received(_)
            | Outcome::Revealed { .. }
            | Outcome::RevocationSet { .. }
            | Outcome::ErasureBegun { .. }
            | Outcome::Erasing(_)
            | Outcome::NoSuchUser
            | Outcome::SeenRecorded
            | Outcome::RoomDeletion(_)
            | Outcome::EventsRecorded => return,
            ref rejected => match rejection(write, rejected) {
                Some(error) => reply.error(&error),
                None => return,
            },
        };
        wakeups.add(reply.session, wakeup);
    }

    /// Applies a block or a status that was stored, before its `ok`.
    fn apply_setting(&self, write: &Write, now: Timestamp, wakeups: &mut WakeupBatch) {
        match write {
            Write::Block { actor, user, on } => self.set_block((actor, user), *on, wakeups),
            Write::Status { user, status } => self.presence.set_status(user, *status, now.0),
            _ => {}
        }
    }

    /// A message was stored, by which its users may have become contacts.
    fn note_contact(&self, write: &Write, new_contact: bool) {
        if let Write::Message(message) = write
            && let Some(to) = message.to.peer()
        {
            self.contacts.message_sent(&message.from, to);
            if new_contact {
                self.contacts.set(&message.from, to);
                self.presence.relation_changed(&message.from, to);
            }
        }
    }

    /// Pushes an entry to all sessions of the other users whose inboxes have it. The frame is encoded once for each user, and for
    /// all members of a room together.
    fn push_to_recipients(
        &self,
        entry: &EntryView<'_>,
        recipients: &[Recipient],
        wakeups: &mut WakeupBatch,
    ) {
        match recipients {
            [] => {}
            [recipient] => self.push_entry(&recipient.user, entry, recipient.seq, wakeups),
            _ => self.push_to_members(entry, recipients, wakeups),
        }
    }

    /// Pushes an entry to all sessions of a user. The frame is encoded once.
    fn push_entry(&self, user: &str, entry: &EntryView<'_>, seq: u64, wakeups: &mut WakeupBatch) {
        self.registry.with(user, |sessions| {
            if !sessions.is_empty() {
                let frame = entry.encode(seq);
                for session in sessions {
                    wakeups.add(
                        session,
                        session.push_entry(seq, &frame, WrittenBy::AppendingThread),
                    );
                }
            }
        });
    }

    /// Pushes an entry to all sessions of the user who caused it. The session that acted gets the ack in its place.
    fn push_to_actor(
        &self,
        entry: &EntryView<'_>,
        seq: u64,
        reply: Reply<'_>,
        wakeups: &mut WakeupBatch,
    ) {
        let Reply {
            session: acting,
            reference,
        } = reply;
        let to_oneself = entry.is_to_oneself();
        self.registry.with(acting.user(), |sessions| {
            let others = || sessions.iter().filter(|other| !Arc::ptr_eq(other, acting));
            let frame = (to_oneself || others().next().is_some()).then(|| entry.encode(seq));
            let message = frame.as_deref().filter(|_| to_oneself);
            let ack = (entry.subject(), entry.stored_at);
            wakeups.add(acting, acting.push_ack(seq, ack, reference, message));
            if let Some(frame) = &frame {
                for session in others() {
                    wakeups.add(
                        session,
                        session.push_entry(seq, frame, WrittenBy::AppendingThread),
                    );
                }
            }
        });
    }
}

/// The error of an outcome by which nothing was stored. `None`: the outcome is none.
fn rejection(write: &Write, outcome: &Outcome) -> Option<CommandError> {
    let retryable = |error, retry_after_ms| CommandError {
        error,
        retry_after_ms: Some(retry_after_ms),
    };
    let room_field = match write {
        Write::Join { .. } | Write::Leave { .. } => "room",
        _ => "target_room",
    };
    Some(CommandError::from(match *outcome {
        Outcome::TooManyBytes { retry_after_ms } => {
            return Some(retryable(FrameError::too_many_bytes(), retry_after_ms));
        }
        Outcome::TooManyChanges { retry_after_ms } => {
            return Some(retryable(FrameError::too_many_changes(), retry_after_ms));
        }
        Outcome::TooManyEntries { retry_after_ms } => {
            return Some(retryable(FrameError::too_many_entries(), retry_after_ms));
        }
        Outcome::UnknownRecipientTotal => {
            return Some(retryable(overloaded(), RETRY_LATER_MS));
        }
        Outcome::NotMember => FrameError::not_member(room_field),
        Outcome::RoomFull => FrameError::room_full(),
        Outcome::TooManyRooms => FrameError::too_many_rooms(),
        Outcome::RoomClosed => FrameError::room_closed(),
        Outcome::Blocked => FrameError::blocked(),
        Outcome::UnknownUser => FrameError::unknown_user(),
        Outcome::UnknownRoom => match write {
            Write::Message(message) if message.authority.is_key() => {
                FrameError::no_such_room(room_field)
            }
            _ => FrameError::unknown_room(room_field),
        },
        Outcome::UnknownRecipientLimit => FrameError::too_many_to_unknown_users(),
        Outcome::TooManyBlocks => FrameError::too_many_blocks(),
        Outcome::IdConflict => FrameError::id_conflict(),
        Outcome::UnknownMessage => FrameError::unknown_message("id"),
        Outcome::NotAuthor => FrameError::not_author(),
        Outcome::TooManyReactions => FrameError {
            path: Some("/emoji".to_owned()),
            ..FrameError::new(
                ErrorCode::Forbidden,
                "you have the maximum number of reactions on this message",
            )
        },
        // The frame that leads to `NotStored` has an error of its own.
        Outcome::NotStored
        | Outcome::Stored { .. }
        | Outcome::ReadMark { .. }
        | Outcome::BlockSet
        | Outcome::StatusSet { .. }
        | Outcome::Revealed { .. }
        | Outcome::SeenRecorded
        | Outcome::RevocationSet { .. }
        | Outcome::EventsRecorded
        | Outcome::ErasureBegun { .. }
        | Outcome::Erasing(_)
        | Outcome::NoSuchUser
        | Outcome::Received(_)
        | Outcome::RoomDeletion(_)
        | Outcome::Membership { .. } => return None,
    }))
}
