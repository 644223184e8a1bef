//! Outcomes of writes that a part of the server has made, such as a key in the name of a user: no session of the user gets the ack,
//! so all of them get the entry.

use super::render::EntryView;
use super::{CommandError, Delivery, rejection};
use crate::outbox::Acked;
use crate::outbox::wakeup::WakeupBatch;
use crate::protocol::Timestamp;
use crate::protocol::server::{Ack, AckStatus};
use crate::protocol::types::Integer;
use crate::store::{Outcome, Write};

/// The outcome of a write that a part of the server has made.
pub type PartOutcome = Result<PartAck, CommandError>;

/// The acknowledgement of a write that a part of the server has made.
#[derive(Clone, Debug)]
pub struct PartAck {
    /// The message, or the room.
    pub subject: Acked,
    /// The entry in the inbox of the user in whose name it was made; `None`: it has none.
    pub seq: Option<u64>,
    /// What has happened.
    pub status: AckStatus,
    /// When it was accepted.
    pub at: Timestamp,
    /// It had been made before.
    pub duplicate: bool,
}

impl PartAck {
    /// The fields of the frame.
    pub fn ack(&self) -> Ack<'_> {
        let (id, room) = match &self.subject {
            Acked::Message(id) => (Some(*id), None),
            Acked::Room(room) => (None, Some(&**room)),
        };
        Ack {
            id,
            room,
            seq: self.seq.map(Integer),
            status: self.status,
            sent_at: self.at,
            duplicate: self.duplicate.then_some(true),
            reference: None,
        }
    }
}

impl Delivery {
    /// Delivers the outcome of a write that a part of the server has made, which was committed at `now`.
    pub(super) fn deliver_to_part(
        &self,
        write: &Write,
        outcome: &Outcome,
        now: Timestamp,
        wakeups: &mut WakeupBatch,
    ) -> PartOutcome {
        if let Some(rejected) = rejection(write, outcome) {
            return Err(rejected);
        }
        let (entry, seq, duplicate) = match outcome {
            Outcome::Stored {
                seq,
                recipients,
                at,
                duplicate,
                new_contact,
                received,
            } => {
                let entry = EntryView::of_write(write, Timestamp(*at)).ok_or_else(no_entry)?;
                if !duplicate {
                    self.note_contact(write, *new_contact);
                    if let Some(seq) = seq {
                        self.push_entry(entry.actor(), &entry, *seq, wakeups);
                    }
                    self.push_to_recipients(&entry, recipients, wakeups);
                    self.push_late_receipt(write, *received, entry.actor(), now, wakeups);
                }
                (entry, *seq, *duplicate)
            }
            Outcome::Membership {
                seq,
                recipients,
                at,
                members,
                duplicate,
                regrouped,
            } => {
                let entry = EntryView::of_membership(write, *members, Timestamp(*at));
                let entry = entry.ok_or_else(no_entry)?;
                if let (Some(seq), false) = (seq, duplicate)
                    && let Write::Join { user, .. } | Write::Leave { user, .. } = write
                {
                    self.forget_relations(user, recipients, regrouped.as_ref());
                    self.push_entry(user, &entry, *seq, wakeups);
                    self.push_to_recipients(&entry, recipients, wakeups);
                }
                (entry, *seq, *duplicate)
            }
            _ => return Err(no_entry()),
        };
        Ok(PartAck {
            subject: entry.subject(),
            seq,
            status: AckStatus::Stored,
            at: entry.stored_at,
            duplicate,
        })
    }
}

/// Parts of the server make no writes without an entry.
fn no_entry() -> CommandError {
    crate::writer::WriteError::Internal.into()
}
