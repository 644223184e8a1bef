//! Frames for the members of a room that are not stored: ephemeral messages and `typing`.
//!
//! They pass through the writer's queue, so that the sender's joins, leaves and messages before them count, and are pushed on its
//! thread. The ack of an ephemeral message in a large room may depend on contacts that must be looked up in the store; then it
//! follows on a reader's thread.

use std::sync::Arc;

use uuid::Uuid;

use super::rooms::FanOut;
use super::signal_ack::{SignalAck, SignalSource};
use super::{CommandError, Delivery};
use crate::counters::Limit;
use crate::metrics::{DELIVERIES, count_ephemeral, count_rejected};
use crate::outbox::wakeup::WakeupBatch;
use crate::protocol::server::{AckStatus, ServerTyping};
use crate::protocol::{ContentLabel, FrameError, MessageId, ServerFrame, Timestamp};
use crate::store::RoomMembers;
use crate::websocket;
use crate::writer::WriteError;

/// The number of contacts that are looked up in the store for one ack. Others count as strangers.
const MAX_LOOKUPS: usize = 100;

/// A frame for the members of a room that is not stored.
#[derive(Debug)]
pub struct RoomSignal {
    /// Who sends it.
    pub from: SignalSource,
    /// The room.
    pub room: Arc<str>,
    /// The `ref` of the client's frame.
    pub reference: Option<Box<str>>,
    /// What is sent.
    pub kind: Signalled,
}

/// The kinds of a [`RoomSignal`].
#[derive(Debug)]
pub enum Signalled {
    /// The user is typing, or has stopped.
    Typing {
        /// False: has stopped.
        active: bool,
        /// The user was invisible: nobody is notified.
        is_hidden: bool,
    },
    /// An ephemeral message.
    Message {
        /// The message.
        id: MessageId,
        /// When the server has accepted it.
        sent_at: Timestamp,
        /// The type of its content.
        content: ContentLabel,
        /// The encoded WebSocket frame.
        frame: Vec<u8>,
    },
}

impl Signalled {
    /// Bytes of memory besides the size of the type.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Typing { .. } => 0,
            Self::Message { frame, .. } => frame.len(),
        }
    }
}

impl Delivery {
    /// Delivers a frame that is not stored to the members of a room. `members`: `None` if the sender is not one of them.
    pub(super) fn room_signal(
        &self,
        signal: &RoomSignal,
        members: Result<&Option<RoomMembers>, &WriteError>,
        wakeups: &mut WakeupBatch,
    ) {
        let from = &signal.from;
        let members = match members {
            Ok(Some(members)) => members,
            Ok(None) => {
                let error = if from.as_member() {
                    FrameError::not_member("target_room")
                } else {
                    FrameError::no_such_room("target_room")
                };
                return reject(signal, error.into(), wakeups);
            }
            Err(error) => return reject(signal, CommandError::from(*error), wakeups),
        };
        let user = from.user();
        match &signal.kind {
            Signalled::Typing { active, is_hidden } => {
                let is_hidden = *is_hidden || self.presence.is_invisible(user);
                if members.is_small && !is_hidden && self.count_signal(from, members).is_ok() {
                    self.push_room_typing(signal, *active, members, wakeups);
                }
                if let SignalSource::Session(session) = from {
                    wakeups.add(session, session.reply(None));
                }
            }
            Signalled::Message {
                id,
                sent_at,
                content,
                frame,
            } => {
                if let Err(retry_after_ms) = self.count_signal(from, members) {
                    let error = CommandError {
                        error: FrameError::too_many_signals(),
                        retry_after_ms: Some(retry_after_ms),
                    };
                    return reject(signal, error, wakeups);
                }
                count_ephemeral(*content);
                let mut fan_out = FanOut::default();
                let mut reached = Vec::new();
                for member in others(members, user) {
                    let (is_seen, sessions) =
                        self.push_signal(member, frame, Uuid::nil(), &mut fan_out, wakeups);
                    DELIVERIES.add(sessions);
                    if is_seen {
                        reached.push(member.clone());
                    }
                }
                let reference = signal.reference.clone();
                let ack = SignalAck::new(from.clone(), *id, *sent_at, reference);
                self.acknowledge((from, ack), members, reached, wakeups);
            }
        }
    }

    /// Counts a frame of a session to each of the other members. The error is the time in milliseconds until it is allowed.
    fn count_signal(&self, from: &SignalSource, members: &RoomMembers) -> Result<(), u64> {
        let (Some(limits), SignalSource::Session(session)) = (&self.limits, from) else {
            return Ok(());
        };
        let user = session.user();
        let others = members.users.len().saturating_sub(1);
        let checked = limits.users.check_signal(limits.users.key(user), others);
        checked.inspect_err(|_| Limit::RoomEntries.count(1))
    }

    fn push_room_typing(
        &self,
        signal: &RoomSignal,
        active: bool,
        members: &RoomMembers,
        wakeups: &mut WakeupBatch,
    ) {
        let user = signal.from.user();
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| {
            ServerFrame::Typing(ServerTyping {
                from_user: user,
                target_user: None,
                target_room: Some(&signal.room),
                active,
            })
            .write(out);
        });
        let mut fan_out = FanOut::default();
        for member in others(members, user) {
            self.push_signal(member, &frame, Uuid::nil(), &mut fan_out, wakeups);
        }
    }

    /// Whether a user sees a member of a room. `is_contact`: they are members of the same small room. `None`: it must be looked up.
    fn room_visibility(&self, a: &str, b: &str, is_contact: bool) -> Option<bool> {
        if is_contact {
            Some(self.are_visible(a, b, true))
        } else {
            self.visibility(a, b)
        }
    }

    /// Sends the ack of an ephemeral message: `relayed` if the sender sees one of the users whom it has reached; `dropped` if it
    /// has reached none, and the sender sees all members; otherwise `sent`.
    fn acknowledge(
        &self,
        (source, ack): (&SignalSource, SignalAck),
        members: &RoomMembers,
        reached: Vec<Arc<str>>,
        wakeups: &mut WakeupBatch,
    ) {
        let user = source.user().clone();
        // The members of a small room are contacts of each other. Others need not be contacts of theirs.
        let is_contact = members.is_small && (source.as_member() || members.users.contains(&user));
        let any_reached = !reached.is_empty();
        let users = if any_reached {
            reached
        } else {
            others(members, &user).cloned().collect()
        };
        // With one user of this kind the status is known.
        let (decisive, status, otherwise) = if any_reached {
            (true, AckStatus::Relayed, AckStatus::Sent)
        } else {
            (false, AckStatus::Sent, AckStatus::Dropped)
        };
        let mut unknown = Vec::new();
        for other in users {
            match self.room_visibility(&user, &other, is_contact) {
                Some(visible) if visible == decisive => return ack.send(status, wakeups),
                Some(_) => {}
                None => unknown.push(other),
            }
        }
        if unknown.len() > MAX_LOOKUPS {
            unknown.truncate(MAX_LOOKUPS);
            if !decisive {
                return ack.send(status, wakeups);
            }
        }
        let pending = PendingStatus {
            delivery: self.clone(),
            user,
            unknown,
            decisive,
            status,
            otherwise,
            ack,
        };
        pending.look_up(wakeups);
    }
}

/// Answers a frame that was not sent.
fn reject(signal: &RoomSignal, error: CommandError, wakeups: &mut WakeupBatch) {
    if let Signalled::Message { content, .. } = &signal.kind {
        count_rejected(error.error.code, *content);
    }
    signal
        .from
        .reject(signal.reference.as_deref(), error, wakeups);
}

fn others<'a>(members: &'a RoomMembers, user: &'a Arc<str>) -> impl Iterator<Item = &'a Arc<str>> {
    members.users.iter().filter(move |member| *member != user)
}

/// An ack whose status depends on contacts that are looked up, one after the other.
struct PendingStatus {
    delivery: Delivery,
    user: Arc<str>,
    unknown: Vec<Arc<str>>,
    /// With one user who is visible, or is not, the status is known.
    decisive: bool,
    status: AckStatus,
    /// The status if there is no such user.
    otherwise: AckStatus,
    ack: SignalAck,
}

impl PendingStatus {
    fn look_up(mut self, wakeups: &mut WakeupBatch) {
        let Some(other) = self.unknown.pop() else {
            return self.ack.send(self.otherwise, wakeups);
        };
        let contacts = self.delivery.contacts.clone();
        let (user, asked) = (self.user.clone(), other.clone());
        contacts.ask(&user, &asked, move |is_mutual| {
            let visible = self.delivery.are_visible(&self.user, &other, is_mutual);
            let mut wakeups = WakeupBatch::default();
            if visible == self.decisive {
                self.ack.send(self.status, &mut wakeups);
            } else {
                self.look_up(&mut wakeups);
            }
            wakeups.run();
        });
    }
}
