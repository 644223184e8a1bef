//! Who sends a frame that is not stored, and the ack of an ephemeral message: a session gets a frame, a key an outcome.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::reply::Reply;
use super::{CommandError, PartAck, PartOutcome};
use crate::metrics::count_ack;
use crate::outbox::wakeup::WakeupBatch;
use crate::outbox::{Acked, Outbox};
use crate::protocol::server::{Ack, AckStatus};
use crate::protocol::{MessageId, ServerFrame, Timestamp};

/// The sender of a frame that is not stored.
#[derive(Clone, Debug)]
pub enum SignalSource {
    /// A session, which must be that of a member.
    Session(Arc<Outbox>),
    /// A key, in the name of a user. The rates of users do not apply.
    Key {
        /// The user.
        user: Arc<str>,
        /// Gets the ack or the error.
        reply: UnboundedSender<(usize, PartOutcome)>,
        /// A number that goes with it.
        number: usize,
        /// In a room, the user must be a member.
        as_member: bool,
    },
}

impl SignalSource {
    /// The user in whose name it is sent.
    pub fn user(&self) -> &Arc<str> {
        match self {
            Self::Session(session) => session.user(),
            Self::Key { user, .. } => user,
        }
    }

    /// True if the user must be a member of the room.
    pub fn as_member(&self) -> bool {
        match self {
            Self::Session(_) => true,
            Self::Key { as_member, .. } => *as_member,
        }
    }

    /// The frame was not sent.
    pub(super) fn reject(
        &self,
        reference: Option<&str>,
        error: CommandError,
        wakeups: &mut WakeupBatch,
    ) {
        match self {
            Self::Session(session) => {
                let reply = Reply { session, reference };
                wakeups.add(session, reply.error(&error));
            }
            Self::Key { reply, number, .. } => {
                // The caller may have given up in the meantime.
                let _ = reply.send((*number, Err(error)));
            }
        }
    }
}

/// The ack of an ephemeral message. When it is dropped, the store could not be asked; the recipients then count as strangers.
pub(super) struct SignalAck {
    /// `None`: it has been sent.
    source: Option<SignalSource>,
    id: MessageId,
    sent_at: Timestamp,
    reference: Option<Box<str>>,
}

impl SignalAck {
    pub fn new(
        source: SignalSource,
        id: MessageId,
        sent_at: Timestamp,
        reference: Option<Box<str>>,
    ) -> Self {
        Self {
            source: Some(source),
            id,
            sent_at,
            reference,
        }
    }

    pub fn send(mut self, status: AckStatus, wakeups: &mut WakeupBatch) {
        self.reply(status, wakeups);
    }

    fn reply(&mut self, status: AckStatus, wakeups: &mut WakeupBatch) {
        match self.source.take() {
            Some(SignalSource::Session(session)) => {
                let ack = ServerFrame::Ack(Ack {
                    id: Some(self.id),
                    room: None,
                    seq: None,
                    status,
                    sent_at: self.sent_at,
                    duplicate: None,
                    reference: self.reference.as_deref(),
                });
                wakeups.add(&session, session.reply(Some(&ack)));
            }
            Some(SignalSource::Key { reply, number, .. }) => {
                count_ack(status);
                let ack = PartAck {
                    subject: Acked::Message(self.id),
                    seq: None,
                    status,
                    at: self.sent_at,
                    duplicate: false,
                };
                // The caller may have given up in the meantime.
                let _ = reply.send((number, Ok(ack)));
            }
            None => {}
        }
    }
}

impl Drop for SignalAck {
    fn drop(&mut self) {
        let mut wakeups = WakeupBatch::default();
        self.reply(AckStatus::Sent, &mut wakeups);
        wakeups.run();
    }
}
